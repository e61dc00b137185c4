// The words of a policy text, each with its place.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace hanse::policy {

enum class TokenKind : uint8_t { word, number, text, symbol, end };

struct Token {
  TokenKind kind = TokenKind::end;
  std::string_view text;  // as written, a text with its quotes; borrowed from the policy
  uint32_t at = 0;        // offset in the policy

  bool is(std::string_view written) const {
    return kind != TokenKind::text && kind != TokenKind::end && text == written;
  }
};

// Throws policy_compile: "line L, column C: expected …, got …", lines and columns from 1, columns
// in characters.
[[noreturn]] void fail_at(std::string_view policy, size_t at, std::string_view expected,
                          std::string_view got);

// What an error message calls a token; long ones are cut.
std::string describe(const Token& token);

// The whole text, ending with a token of kind `end`. Throws policy_compile for text that is too
// large, is not UTF-8, or holds a character that begins no word.
std::vector<Token> lex(std::string_view policy);

}  // namespace hanse::policy
