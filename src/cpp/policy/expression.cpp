#include <algorithm>
#include <array>

#include "policy/parser.hpp"

namespace hanse::policy {

namespace {

constexpr std::array<std::string_view, fact_count> fact_names = {
#define HANSE_X(name, text) text,
    HANSE_FACTS(HANSE_X)
#undef HANSE_X
};

const char* type_name(Type type) {
  switch (type) {
    case Type::boolean:
      return "a boolean";
    case Type::integer:
      return "a number";
    case Type::text:
      return "a string";
    case Type::entity:
      return "an entity";
    case Type::set:
      return "a set";
  }
  return "";
}

// What `a <compare> b` is when written `b <…> a`.
Compare mirrored(Compare compare) {
  switch (compare) {
    case Compare::less:
      return Compare::greater;
    case Compare::less_equal:
      return Compare::greater_equal;
    case Compare::greater:
      return Compare::less;
    case Compare::greater_equal:
      return Compare::less_equal;
    default:
      return compare;
  }
}

struct Sign {
  std::string_view written;
  Compare compare;
};
constexpr std::array<Sign, 6> signs = {{{"==", Compare::equal},
                                        {"!=", Compare::not_equal},
                                        {"<", Compare::less},
                                        {"<=", Compare::less_equal},
                                        {">", Compare::greater},
                                        {">=", Compare::greater_equal}}};

const Sign* sign_of(const Token& token) {
  for (const Sign& sign : signs)
    if (token.is(sign.written)) return &sign;
  return nullptr;
}

template <class T>
void sort_unique(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

}  // namespace

Type type_of(const Node& node) {
  if (node.kind <= NodeKind::resource_in) return Type::boolean;
  if (node.kind <= NodeKind::minus) return Type::integer;
  if (node.kind <= NodeKind::task_class) return Type::text;
  if (node.kind <= NodeKind::entity) return Type::entity;
  return Type::set;
}

// Counts a level for as long as it lives, so that a hostile text can't exhaust the stack.
class Parser::Nesting {
 public:
  explicit Nesting(Parser& parser) : parser_(parser) {
    if (parser_.nesting_ == nesting_max)
      parser_.fail("at most " + std::to_string(nesting_max) + " levels of nesting");
    ++parser_.nesting_;
  }
  ~Nesting() { --parser_.nesting_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

 private:
  Parser& parser_;
};

NodeIndex Parser::add(Node node) {
  parsed_.nodes.push_back(std::move(node));
  return NodeIndex(parsed_.nodes.size() - 1);
}

void Parser::fail_type(NodeIndex node, std::string_view expected) const {
  const Node& found = parsed_.nodes[node];
  fail_at(policy_, found.at, expected, type_name(type_of(found)));
}

void Parser::expect_type(NodeIndex node, Type type) const {
  if (type_of(parsed_.nodes[node]) != type) fail_type(node, type_name(type));
}

NodeIndex Parser::parse_expression() {
  const NodeIndex first = parse_conjunction();
  if (!peek().is("||")) return first;
  expect_type(first, Type::boolean);
  Node node{.kind = NodeKind::disjunction, .at = parsed_.nodes[first].at, .children = {first}};
  while (accept("||")) {
    node.children.push_back(parse_conjunction());
    expect_type(node.children.back(), Type::boolean);
  }
  return add(std::move(node));
}

NodeIndex Parser::parse_conjunction() {
  const NodeIndex first = parse_relation();
  if (!peek().is("&&")) return first;
  expect_type(first, Type::boolean);
  Node node{.kind = NodeKind::conjunction, .at = parsed_.nodes[first].at, .children = {first}};
  while (accept("&&")) {
    node.children.push_back(parse_relation());
    expect_type(node.children.back(), Type::boolean);
  }
  return add(std::move(node));
}

NodeIndex Parser::parse_relation() {
  const NodeIndex left = parse_sum();
  if (accept("like")) return parse_like(left);
  if (accept("in")) return parse_in(left);
  if (sign_of(peek()) == nullptr) return left;
  const Token& sign = take();
  const NodeIndex right = parse_sum();
  return make_comparison(left, sign, right);
}

NodeIndex Parser::make_comparison(NodeIndex left, const Token& sign, NodeIndex right) {
  const Compare compare = sign_of(sign)->compare;
  const bool equality = compare == Compare::equal || compare == Compare::not_equal;
  const Type type = type_of(parsed_.nodes[left]);
  if (type == Type::boolean || type == Type::set)
    fail_type(left, "a number, a string or an entity to compare");
  if (type != Type::integer && !equality) fail_type(left, "a number");
  expect_type(right, type);
  if (type == Type::text) return make_text_test(left, compare == Compare::equal, right);
  if (type == Type::entity) {
    const NodeIndex test = make_entity_test(left, right, false);
    return compare == Compare::equal ? test : make_not(test);
  }

  Node node{.kind = NodeKind::comparison,
            .compare = compare,
            .at = parsed_.nodes[left].at,
            .children = {left, right}};
  // A fact against a number has an instruction of its own: bring `5 < fact` into that form.
  if (parsed_.nodes[left].kind == NodeKind::number && parsed_.nodes[right].kind == NodeKind::fact) {
    std::swap(node.children[0], node.children[1]);
    node.compare = mirrored(compare);
  }
  return add(std::move(node));
}

NodeIndex Parser::make_text_test(NodeIndex left, bool equal, NodeIndex right) {
  const Node& a = parsed_.nodes[left];
  const Node& b = parsed_.nodes[right];
  if (a.kind == b.kind) {  // Two literals, or the class with itself: known now.
    const bool same = a.kind == NodeKind::task_class || a.text == b.text;
    return add({.kind = NodeKind::constant, .at = a.at, .value = same == equal});
  }
  const std::string& text = a.kind == NodeKind::literal ? a.text : b.text;
  const NodeIndex test = add({.kind = NodeKind::class_equal, .at = a.at, .text = text});
  return equal ? test : make_not(test);
}

NodeIndex Parser::make_not(NodeIndex child) {
  const uint32_t at = parsed_.nodes[child].at;
  return add({.kind = NodeKind::negation, .at = at, .children = {child}});
}

NodeIndex Parser::make_entity_test(NodeIndex left, NodeIndex right, bool in) {
  const Node& a = parsed_.nodes[left];
  const Node& b = parsed_.nodes[right];
  const bool principal = a.kind == NodeKind::principal;
  if (!principal && a.kind != NodeKind::resource) fail_type(left, "principal or resource");
  if (b.kind != NodeKind::entity)
    fail_at(policy_, b.at, R"(an entity such as Agent::"name")", "principal or resource");
  const NodeKind kind = principal ? (in ? NodeKind::principal_in : NodeKind::principal_is)
                                  : (in ? NodeKind::resource_in : NodeKind::resource_is);
  return add({.kind = kind, .at = a.at, .value = b.value});
}

NodeIndex Parser::parse_in(NodeIndex left) {
  expect_type(left, Type::entity);
  const NodeIndex right = parse_sum();
  expect_type(right, Type::entity);
  return make_entity_test(left, right, true);
}

NodeIndex Parser::parse_like(NodeIndex left) {
  if (parsed_.nodes[left].kind != NodeKind::task_class) fail_type(left, "context.task_class");
  if (peek().kind != TokenKind::text) fail("a pattern in quotes");
  const uint32_t at = parsed_.nodes[left].at;
  return add({.kind = NodeKind::class_like, .at = at, .pattern = unescape_pattern(take())});
}

NodeIndex Parser::parse_sum() {
  const NodeIndex first = parse_product();
  if (!peek().is("+") && !peek().is("-")) return first;
  expect_type(first, Type::integer);
  Node node{.kind = NodeKind::sum,
            .at = parsed_.nodes[first].at,
            .children = {first},
            .inverse = {false}};
  while (peek().is("+") || peek().is("-")) {
    node.inverse.push_back(take().is("-"));
    node.children.push_back(parse_product());
    expect_type(node.children.back(), Type::integer);
  }
  return add(std::move(node));
}

NodeIndex Parser::parse_product() {
  const NodeIndex first = parse_unary();
  if (!peek().is("*")) return first;
  expect_type(first, Type::integer);
  Node node{.kind = NodeKind::product, .at = parsed_.nodes[first].at, .children = {first}};
  while (accept("*")) {
    node.children.push_back(parse_unary());
    expect_type(node.children.back(), Type::integer);
  }
  return add(std::move(node));
}

NodeIndex Parser::parse_unary() {
  const uint32_t at = peek().at;
  if (peek().is("!")) {
    const Nesting level(*this);
    take();
    const NodeIndex child = parse_unary();
    expect_type(child, Type::boolean);
    return make_not(child);
  }
  if (peek().is("-")) {
    // A number takes its sign along: -9223372036854775808 has no positive twin.
    if (peek(1).kind == TokenKind::number)
      return add({.kind = NodeKind::number, .at = at, .value = parse_integer()});
    const Nesting level(*this);
    take();
    const NodeIndex child = parse_unary();
    expect_type(child, Type::integer);
    return add({.kind = NodeKind::minus, .at = at, .children = {child}});
  }
  return parse_member();
}

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
  const uint32_t at = parsed_.nodes[receiver].at;
  if (kind == NodeKind::fact && (peek().is("hasAll") || peek().is("hasAny"))) {
    const NodeKind test = take().is("hasAll") ? NodeKind::has_all : NodeKind::has_any;
    expect("(");
    const int64_t mask = parse_integer();
    expect(")");
    return add({.kind = test, .fact = parsed_.nodes[receiver].fact, .at = at, .value = mask});
  }
  if (kind == NodeKind::integer_set || kind == NodeKind::text_set) {
    expect("contains");
    expect("(");
    const NodeIndex element = parse_sum();
    expect_type(element, kind == NodeKind::integer_set ? Type::integer : Type::text);
    if (kind == NodeKind::text_set && parsed_.nodes[element].kind != NodeKind::task_class)
      fail_type(element, "context.task_class");
    expect(")");
    const NodeKind test = kind == NodeKind::integer_set ? NodeKind::contains : NodeKind::class_in;
    return add({.kind = test, .at = at, .children = {receiver, element}});
  }
  fail(kind == NodeKind::fact ? "hasAll or hasAny" : "no member here");
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
    return add({.kind = NodeKind::number, .at = token.at, .value = parse_integer()});
  if (token.kind == TokenKind::text) {
    take();
    return add({.kind = NodeKind::literal, .at = token.at, .text = unescape(token)});
  }
  if (token.kind != TokenKind::word) fail("an expression");

  if (peek(1).is("::"))
    return add({.kind = NodeKind::entity, .at = token.at, .value = int64_t(parse_entity())});
  if (token.is("true") || token.is("false")) {
    take();
    return add({.kind = NodeKind::constant, .at = token.at, .value = token.is("true")});
  }
  if (token.is("principal") || token.is("resource") || token.is("context"))
    return parse_attribute();
  fail("an expression");
}

// principal | resource | principal.kind | context.budget | context.task_class …
NodeIndex Parser::parse_attribute() {
  const Token& variable = take();
  if (!peek().is(".")) {
    if (variable.is("context")) fail("'.' and the name of a fact");
    const bool principal = variable.is("principal");
    return add({.kind = principal ? NodeKind::principal : NodeKind::resource, .at = variable.at});
  }
  take();
  if (peek().kind != TokenKind::word) fail("the name of a fact");
  const std::string name = std::string(variable.text) + "." + std::string(peek().text);
  if (name == "context.task_class") {
    take();
    return add({.kind = NodeKind::task_class, .at = variable.at});
  }
  const auto found = std::find(fact_names.begin(), fact_names.end(), name);
  if (found == fact_names.end()) fail_at(policy_, variable.at, "a known fact", "'" + name + "'");
  take();
  return add(
      {.kind = NodeKind::fact, .fact = uint8_t(found - fact_names.begin()), .at = variable.at});
}

NodeIndex Parser::parse_set() {
  const bool of_texts = peek(1).kind == TokenKind::text;
  Node node{.kind = of_texts ? NodeKind::text_set : NodeKind::integer_set, .at = peek().at};
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
