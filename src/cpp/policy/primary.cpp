// What operators stand between: literals, sets, attributes and their methods.
#include <algorithm>

#include "policy/parser.hpp"

namespace hanse::policy {

namespace {

constexpr std::array<std::string_view, fact_count> fact_names = {
#define HANSE_X(name, text) text,
    HANSE_FACTS(HANSE_X)
#undef HANSE_X
};

template <class T>
void sort_unique(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

}  // namespace

int64_t Parser::parse_integer() {
  const Token& first = peek();
  const bool negative = accept("-");
  if (peek().kind != TokenKind::number) fail("a number");
  const uint64_t limit = uint64_t(INT64_MAX) + (negative ? 1 : 0);
  uint64_t magnitude = 0;
  for (const char c : peek().text) {
    const auto digit = uint64_t(c - '0');
    if (magnitude > (limit - digit) / 10)
      fail_at(policy_, first.at, "a number of 64 bits with sign", describe(peek()));
    magnitude = magnitude * 10 + digit;
  }
  take();
  return int64_t(negative ? 0 - magnitude : magnitude);
}

NodeIndex Parser::parse_member() {
  const NodeIndex receiver = parse_primary();
  return accept(".") ? parse_method(receiver) : receiver;
}

NodeIndex Parser::parse_method(NodeIndex receiver) {
  const NodeKind kind = parsed_.nodes[receiver].kind;
  if (kind == NodeKind::fact) return parse_mask_test(receiver);
  const Type type = type_of(receiver);
  if (type == Type::integer_set || type == Type::text_set || type == Type::any)
    return parse_set_method(receiver);
  fail("no member here");
}

NodeIndex Parser::parse_mask_test(NodeIndex receiver) {
  const Node& fact = parsed_.nodes[receiver];
  if (!peek().is("hasAll") && !peek().is("hasAny")) fail("hasAll or hasAny");
  const NodeKind test = take().is("hasAll") ? NodeKind::has_all : NodeKind::has_any;
  expect("(");
  const int64_t mask = parse_integer();
  expect(")");
  return add({.kind = test, .fact = fact.fact, .at = fact.at, .value = mask});
}

NodeIndex Parser::parse_set_method(NodeIndex receiver) {
  const Nesting level(*this);
  const uint32_t at = parsed_.nodes[receiver].at;
  const Type set = type_of(receiver);
  if (accept("isEmpty")) {
    expect("(");
    expect(")");
    return add({.kind = NodeKind::is_empty, .at = at, .children = {receiver}});
  }
  const bool one = peek().is("contains"), all = peek().is("containsAll");
  if (!one && !all && !peek().is("containsAny"))
    fail("contains, containsAll, containsAny or isEmpty");
  take();
  expect("(");
  const NodeIndex argument = parse_expression();
  if (!one) {
    expect_set(argument);
    if (set != Type::any) expect_type(argument, set);
  } else if (set == Type::integer_set) {
    expect_type(argument, Type::integer);
  } else if (set == Type::text_set) {
    expect_type(argument, Type::text);
  } else {
    expect_type(argument, type_of(argument));
  }
  expect(")");
  const NodeKind kind = one   ? NodeKind::contains
                        : all ? NodeKind::contains_all
                              : NodeKind::contains_any;
  return add({.kind = kind, .at = at, .children = {receiver, argument}});
}

NodeIndex Parser::parse_primary() {
  const Token& token = peek();
  if (token.is("(")) {
    const Nesting level(*this);
    take();
    const NodeIndex inner = parse_expression();
    expect(")");
    return inner;
  }
  if (token.is("[")) return parse_set();
  if (token.kind == TokenKind::number)
    return add({.kind = NodeKind::number,
                .type = Type::integer,
                .at = token.at,
                .value = parse_integer()});
  if (token.kind == TokenKind::text) {
    take();
    return add(
        {.kind = NodeKind::literal, .type = Type::text, .at = token.at, .text = unescape(token)});
  }
  if (token.kind != TokenKind::word) fail("an expression");

  if (peek(1).is("::"))
    return add({.kind = NodeKind::entity,
                .type = Type::entity,
                .at = token.at,
                .value = int64_t(parse_entity())});
  if (token.is("true") || token.is("false")) {
    take();
    return add({.kind = NodeKind::constant, .at = token.at, .value = token.is("true")});
  }
  if (token.is("principal") || token.is("resource") || token.is("context")) return parse_variable();
  fail("an expression");
}

// principal | resource | principal.kind | context.budget | context["any thing"] …
NodeIndex Parser::parse_variable() {
  const Token& variable = take();
  if (accept("[")) {
    const std::string name = expect_text("the name of an attribute in quotes");
    expect("]");
    return make_attribute(variable, name, false);
  }
  if (accept(".")) {
    if (peek().kind != TokenKind::word) fail("the name of a fact or an attribute");
    return make_attribute(variable, std::string(take().text), false);
  }
  if (!variable.is("context"))
    return add({.kind = variable.is("principal") ? NodeKind::principal : NodeKind::resource,
                .type = Type::entity,
                .at = variable.at});
  if (!peek().is("has")) fail("'.' and the name of a fact or an attribute");
  return add({.kind = NodeKind::context, .type = Type::any, .at = variable.at});
}

uint32_t Parser::slot_of(const std::string& name, size_t at) {
  std::vector<std::string>& names = parsed_.attributes;
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return uint32_t(found - names.begin());
  if (names.size() == attributes_max)
    fail_at(policy_, at, "at most " + std::to_string(attributes_max) + " attributes", "more");
  names.push_back(name);
  return uint32_t(names.size() - 1);
}

// Hanse's own facts are always there; what else the context says has a slot.
NodeIndex Parser::make_attribute(const Token& variable, const std::string& name, bool has) {
  const std::string full = std::string(variable.text) + "." + name;
  const auto fact = std::find(fact_names.begin(), fact_names.end(), full);
  const bool is_class = full == "context.task_class";
  if (has && (fact != fact_names.end() || is_class))
    return add({.kind = NodeKind::constant, .at = variable.at, .value = 1});
  if (is_class) return add({.kind = NodeKind::task_class, .type = Type::text, .at = variable.at});
  if (fact != fact_names.end())
    return add({.kind = NodeKind::fact,
                .type = Type::integer,
                .fact = uint8_t(fact - fact_names.begin()),
                .at = variable.at});

  const SchemaEntry* declared = schema_ == nullptr ? nullptr : schema_->find(full);
  if (schema_ != nullptr && declared == nullptr)
    fail_at(policy_, variable.at, "a fact or an attribute of the schema", "'" + full + "'");
  if (schema_ == nullptr && !variable.is("context"))
    fail_at(policy_, variable.at, "a known fact", "'" + full + "'");
  if (name.empty() || name.size() > 256)
    fail_at(policy_, variable.at, "a name of 1 to 256 bytes", std::to_string(name.size()));
  return add({.kind = has ? NodeKind::has : NodeKind::attribute,
              .type = has        ? Type::boolean
                      : declared ? declared->type
                                 : Type::any,
              .at = variable.at,
              .value = slot_of(full, variable.at)});
}

NodeIndex Parser::parse_entity_list() {
  Node node{.kind = NodeKind::entity_list, .type = Type::any, .at = peek().at};
  expect("[");
  do node.integers.push_back(int64_t(parse_entity()));
  while (accept(","));
  expect("]");
  return add(std::move(node));
}

NodeIndex Parser::parse_set() {
  const bool of_texts = peek(1).kind == TokenKind::text;
  Node node{.kind = of_texts ? NodeKind::text_set : NodeKind::integer_set,
            .type = of_texts ? Type::text_set : Type::integer_set,
            .at = peek().at};
  expect("[");
  do {
    if (of_texts) {
      node.texts.push_back(expect_text("a string"));
    } else {
      node.integers.push_back(parse_integer());
    }
  } while (accept(","));
  expect("]");
  sort_unique(node.integers);
  sort_unique(node.texts);
  return add(std::move(node));
}

}  // namespace hanse::policy
