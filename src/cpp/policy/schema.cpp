// Which attributes there are, and of what type: "context.tags: Set<String>; context.note?:
// String;".
#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "policy/compiled.hpp"
#include "policy/lexer.hpp"

namespace hanse::policy {

namespace {

constexpr std::array<std::string_view, 3> roots = {"context", "principal", "resource"};

class SchemaParser {
 public:
  explicit SchemaParser(std::string_view text) : text_(text), tokens_(lex(text)) {}

  Schema parse() {
    Schema schema;
    while (peek().kind != TokenKind::end) {
      if (schema.entries.size() == attributes_max)
        fail("at most " + std::to_string(attributes_max) + " attributes");
      const size_t at = peek().at;
      SchemaEntry entry = parse_entry();
      for (const SchemaEntry& other : schema.entries)
        if (other.name == entry.name)
          fail_at(text_, at, "each attribute once", "'" + entry.name + "' again");
      schema.entries.push_back(std::move(entry));
    }
    std::ranges::sort(schema.entries, {}, &SchemaEntry::name);
    return schema;
  }

 private:
  const Token& peek() const { return tokens_[next_]; }
  const Token& take() { return tokens_[next_ + 1 < tokens_.size() ? next_++ : next_]; }
  [[noreturn]] void fail(std::string_view expected) const {
    fail_at(text_, peek().at, expected, describe(peek()));
  }
  void expect(std::string_view written) {
    if (!peek().is(written)) fail("'" + std::string(written) + "'");
    take();
  }

  SchemaEntry parse_entry() {
    SchemaEntry entry;
    if (std::find(roots.begin(), roots.end(), peek().text) == roots.end())
      fail("context, principal or resource");
    entry.name = take().text;
    expect(".");
    if (peek().kind != TokenKind::word) fail("the name of an attribute");
    entry.name += "." + std::string(take().text);
    if (peek().is("?")) {
      take();
      entry.optional = true;
    }
    expect(":");
    entry.type = parse_type();
    if (peek().kind != TokenKind::end) expect(";");
    return entry;
  }

  Type parse_scalar() {
    if (peek().is("Long")) return take(), Type::integer;
    if (peek().is("String")) return take(), Type::text;
    fail("Long or String");
  }

  Type parse_type() {
    if (peek().is("Bool")) return take(), Type::boolean;
    if (!peek().is("Set")) {
      if (peek().is("Long") || peek().is("String")) return parse_scalar();
      fail("Long, Bool, String or Set<…>");
    }
    take();
    expect("<");
    const Type element = parse_scalar();
    expect(">");
    return element == Type::integer ? Type::integer_set : Type::text_set;
  }

  std::string_view text_;
  std::vector<Token> tokens_;
  size_t next_ = 0;
};

}  // namespace

const SchemaEntry* Schema::find(std::string_view name) const {
  const auto found = std::ranges::lower_bound(entries, name, {}, &SchemaEntry::name);
  return found != entries.end() && found->name == name ? &*found : nullptr;
}

Schema parse_schema(std::string_view text) {
  try {
    return SchemaParser(text).parse();
  } catch (const Error& error) {
    throw Error(error.code(), "schema", error.detail());
  }
}

const char* type_name(Type type) {
  switch (type) {
    case Type::any:
      return "a value";
    case Type::boolean:
      return "a boolean";
    case Type::integer:
      return "a number";
    case Type::text:
      return "a string";
    case Type::entity:
      return "an entity";
    case Type::integer_set:
      return "a set of numbers";
    case Type::text_set:
      return "a set of strings";
  }
  return "";
}

}  // namespace hanse::policy
