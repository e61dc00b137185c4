#include "policy/lexer.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "policy/compiled.hpp"

namespace hanse::policy {

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_continuation(char c) { return (uint8_t(c) & 0xc0) == 0x80; }

// Length of the well-formed UTF-8 sequence at `at` (Unicode 15, table 3-7), or 0.
size_t utf8_size(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return at + i < text.size() ? uint8_t(text[at + i]) : 0; };
  const auto follows = [&](size_t i, int low, int high) {
    return byte(i) >= low && byte(i) <= high;
  };
  const int first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf) return follows(1, 0x80, 0xbf) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const int low = first == 0xe0 ? 0xa0 : 0x80, high = first == 0xed ? 0x9f : 0xbf;
    return follows(1, low, high) && follows(2, 0x80, 0xbf) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const int low = first == 0xf0 ? 0x90 : 0x80, high = first == 0xf4 ? 0x8f : 0xbf;
    return follows(1, low, high) && follows(2, 0x80, 0xbf) && follows(3, 0x80, 0xbf) ? 4 : 0;
  }
  return 0;
}

std::string byte_name(char c) {
  constexpr char digits[] = "0123456789abcdef";
  return std::string("byte 0x") + digits[uint8_t(c) >> 4] + digits[uint8_t(c) & 15];
}

void check_encoding(std::string_view policy) {
  if (policy.size() > text_size_max)
    fail_at(policy, 0, "at most " + std::to_string(text_size_max) + " bytes",
            std::to_string(policy.size()));
  for (size_t at = 0; at < policy.size();) {
    const size_t size = utf8_size(policy, at);
    if (size == 0) fail_at(policy, at, "UTF-8", byte_name(policy[at]));
    at += size;
  }
}

// The longest symbols first, so that "<=" is not read as "<".
constexpr std::array<std::string_view, 24> symbols = {
    "==", "!=", "<=", ">=", "&&", "||", "::", "<", ">", "+", "-", "*",
    "!",  "(",  ")",  "{",  "}",  "[",  "]",  ",", ";", ".", ":", "?"};

// Spaces and comments.
size_t skip_blank(std::string_view policy, size_t at) {
  while (at < policy.size()) {
    if (is_space(policy[at])) {
      ++at;
    } else if (policy.substr(at, 2) == "//") {
      at = std::min(policy.find('\n', at), policy.size());
    } else {
      break;
    }
  }
  return at;
}

// The end of the text literal that begins at `at`. What an escape means is the parser's affair.
size_t end_of_text(std::string_view policy, size_t at) {
  for (size_t end = at + 1; end < policy.size() && policy[end] != '\n'; ++end) {
    if (policy[end] == '"') return end + 1;
    if (policy[end] == '\\' && end + 1 < policy.size() && policy[end + 1] != '\n') ++end;
  }
  fail_at(policy, at, "a closing \" on the same line", "a string without end");
}

Token next_token(std::string_view policy, size_t at) {
  const auto token = [&](TokenKind kind, size_t end) {
    return Token{kind, policy.substr(at, end - at), uint32_t(at)};
  };
  if (at == policy.size()) return token(TokenKind::end, at);

  const char first = policy[at];
  size_t end = at + 1;
  if (is_letter(first)) {
    while (end < policy.size() && (is_letter(policy[end]) || is_digit(policy[end]))) ++end;
    return token(TokenKind::word, end);
  }
  if (is_digit(first)) {
    while (end < policy.size() && is_digit(policy[end])) ++end;
    return token(TokenKind::number, end);
  }
  if (first == '"') return token(TokenKind::text, end_of_text(policy, at));
  if (first == '@') return token(TokenKind::symbol, end);
  for (std::string_view symbol : symbols)
    if (policy.substr(at, symbol.size()) == symbol)
      return token(TokenKind::symbol, at + symbol.size());

  const bool printable = uint8_t(first) > 0x20 && first != 0x7f;
  fail_at(policy, at, "a word, a number, a string or a symbol",
          printable ? std::string("'").append(policy.substr(at, utf8_size(policy, at))).append("'")
                    : byte_name(first));
}

}  // namespace

void fail_at(std::string_view policy, size_t at, std::string_view expected, std::string_view got) {
  size_t line = 1, column = 1;
  for (const char c : policy.substr(0, at)) {
    if (c == '\n') {
      ++line;
      column = 1;
    } else if (!is_continuation(c)) {
      ++column;
    }
  }
  std::string detail = "line " + std::to_string(line) + ", column " + std::to_string(column);
  detail += ": expected ";
  detail += expected;
  detail += ", got ";
  detail += got;
  throw Error(ErrorCode::policy_compile, "policy", detail);
}

std::string describe(const Token& token) {
  constexpr size_t size_max = 80;
  if (token.kind == TokenKind::end) return "the end of the text";
  std::string_view shown = token.text;
  if (shown.size() > size_max) {
    size_t end = size_max;
    while (is_continuation(shown[end])) --end;
    shown = shown.substr(0, end);
  }
  const std::string written = std::string(shown) + (shown.size() < token.text.size() ? "…" : "");
  return token.kind == TokenKind::text ? written : "'" + written + "'";
}

std::vector<Token> lex(std::string_view policy) {
  check_encoding(policy);
  std::vector<Token> tokens;
  size_t at = 0;
  do {
    at = skip_blank(policy, at);
    tokens.push_back(next_token(policy, at));
    at += tokens.back().text.size();
  } while (tokens.back().kind != TokenKind::end);
  return tokens;
}

}  // namespace hanse::policy
