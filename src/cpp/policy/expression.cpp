// Operators, by falling precedence upwards: each level calls the next, and types are checked where
// they are known.
#include <algorithm>
#include <array>

#include "policy/parser.hpp"

namespace hanse::policy {

namespace {

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

}  // namespace

Parser::Nesting::Nesting(Parser& parser) : parser_(parser) {
  if (parser_.nesting_ == nesting_max)
    parser_.fail("at most " + std::to_string(nesting_max) + " levels of nesting");
  ++parser_.nesting_;
}

NodeIndex Parser::add(Node node) {
  parsed_.nodes.push_back(std::move(node));
  return NodeIndex(parsed_.nodes.size() - 1);
}

void Parser::fail_type(NodeIndex node, std::string_view expected) const {
  const Node& found = parsed_.nodes[node];
  const bool list = found.kind == NodeKind::entity_list, context = found.kind == NodeKind::context;
  fail_at(policy_, found.at, expected,
          list      ? "a set of entities"
          : context ? "the context"
                    : type_name(found.type));
}

void Parser::expect_type(NodeIndex node, Type type) const {
  if (!may_be(node, type) || parsed_.nodes[node].kind == NodeKind::context ||
      parsed_.nodes[node].kind == NodeKind::entity_list)
    fail_type(node, type_name(type));
}

void Parser::expect_set(NodeIndex node) const {
  if (!may_be(node, Type::integer_set) && !may_be(node, Type::text_set)) fail_type(node, "a set");
  expect_type(node, type_of(node));
}

NodeIndex Parser::parse_expression() {
  return peek().is("if") ? parse_conditional() : parse_disjunction();
}

NodeIndex Parser::parse_conditional() {
  const Nesting level(*this);
  take();
  const NodeIndex condition = parse_expression();
  expect_type(condition, Type::boolean);
  expect("then");
  const NodeIndex yes = parse_expression();
  expect("else");
  const NodeIndex no = parse_expression();
  return make_conditional(condition, yes, no);
}

NodeIndex Parser::make_conditional(NodeIndex condition, NodeIndex yes, NodeIndex no) {
  expect_type(yes, type_of(yes));
  Type type = type_of(yes);
  if (type == Type::any || type_of(no) == Type::any)
    type = Type::any;
  else
    expect_type(no, type);
  return add({.kind = NodeKind::conditional,
              .type = type,
              .at = parsed_.nodes[condition].at,
              .children = {condition, yes, no}});
}

NodeIndex Parser::parse_disjunction() {
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
  if (peek().is("action")) return parse_action_test();
  const NodeIndex left = parse_sum();
  if (accept("has")) return parse_has(left);
  expect_type(left, type_of(left));
  if (accept("like")) return parse_like(left);
  if (accept("in")) return parse_in(left);
  if (accept("is")) return parse_is(left);
  if (sign_of(peek()) == nullptr) return left;
  const Token& sign = take();
  const NodeIndex right = parse_sum();
  return make_comparison(left, sign, right);
}

// action == Action::"x" | action != Action::"x" | action in [Action::"x", …]
NodeIndex Parser::parse_action_test() {
  const uint32_t at = take().at;
  uint32_t actions = 0;
  bool negated = false;
  if (accept("in")) {
    if (accept("[")) {
      do actions |= parse_action();
      while (accept(","));
      expect("]");
    } else {
      actions = parse_action();
    }
  } else {
    negated = peek().is("!=");
    if (!negated && !peek().is("==")) fail("'==', '!=' or 'in'");
    take();
    actions = parse_action();
  }
  const NodeIndex test = add({.kind = NodeKind::action_in, .at = at, .value = actions});
  return negated ? make_not(test) : test;
}

NodeIndex Parser::make_comparison(NodeIndex left, const Token& sign, NodeIndex right) {
  const Compare compare = sign_of(sign)->compare;
  const bool equality = compare == Compare::equal || compare == Compare::not_equal;
  if (!equality) {
    expect_type(left, Type::integer);
    expect_type(right, Type::integer);
  } else if (type_of(left) != Type::any) {
    expect_type(right, type_of(left));
  } else {
    expect_type(right, type_of(right));
  }
  const Node& a = parsed_.nodes[left];
  const Node& b = parsed_.nodes[right];
  if (a.type == Type::text && b.type == Type::text && a.kind != NodeKind::attribute &&
      b.kind != NodeKind::attribute && a.kind != NodeKind::conditional &&
      b.kind != NodeKind::conditional)
    return make_text_test(left, compare == Compare::equal, right);
  if ((a.kind == NodeKind::entity) != (b.kind == NodeKind::entity) && a.type == Type::entity &&
      b.type == Type::entity && a.kind != NodeKind::conditional &&
      b.kind != NodeKind::conditional) {
    const NodeIndex test =
        a.kind == NodeKind::entity ? make_entity_test(right, left) : make_entity_test(left, right);
    return compare == Compare::equal ? test : make_not(test);
  }

  Node node{
      .kind = NodeKind::comparison, .compare = compare, .at = a.at, .children = {left, right}};
  // A fact against a number has an instruction of its own: bring `5 < fact` into that form.
  if (a.kind == NodeKind::number && b.kind == NodeKind::fact) {
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

// left: principal or resource; right: a literal entity.
NodeIndex Parser::make_entity_test(NodeIndex left, NodeIndex right) {
  const Node& a = parsed_.nodes[left];
  const NodeKind kind =
      a.kind == NodeKind::principal ? NodeKind::principal_is : NodeKind::resource_is;
  return add({.kind = kind, .at = a.at, .value = parsed_.nodes[right].value});
}

NodeIndex Parser::make_within(NodeIndex left, NodeIndex right) {
  const Node& a = parsed_.nodes[left];
  const Node& b = parsed_.nodes[right];
  const bool principal = a.kind == NodeKind::principal;
  const NodeKind kind = principal ? NodeKind::principal_in : NodeKind::resource_in;
  if (b.kind == NodeKind::entity) return add({.kind = kind, .at = a.at, .value = b.value});
  return add(
      {.kind = NodeKind::within, .at = a.at, .value = principal ? 0 : 1, .children = {right}});
}

NodeIndex Parser::parse_in(NodeIndex left) {
  const Node& a = parsed_.nodes[left];
  if (a.kind != NodeKind::principal && a.kind != NodeKind::resource)
    fail_type(left, "principal or resource");
  const uint32_t at = a.at;
  if (!peek().is("[")) {
    const NodeIndex right = parse_sum();
    if (type_of(right) != Type::entity) fail_type(right, "an entity");
    return make_within(left, right);
  }
  const NodeIndex list = parse_entity_list();
  const std::vector<int64_t> entities = parsed_.nodes[list].integers;
  Node any{.kind = NodeKind::disjunction, .at = at};
  const bool principal = parsed_.nodes[left].kind == NodeKind::principal;
  for (const int64_t entity : entities)
    any.children.push_back(add({.kind = principal ? NodeKind::principal_in : NodeKind::resource_in,
                                .at = at,
                                .value = entity}));
  return add(std::move(any));
}

// principal is Human | principal is Human in Agent::"team"
NodeIndex Parser::parse_is(NodeIndex left) {
  const NodeKind kind = parsed_.nodes[left].kind;
  const uint32_t at = parsed_.nodes[left].at;
  if (kind != NodeKind::principal && kind != NodeKind::resource)
    fail_type(left, "principal or resource");
  const NodeIndex test = add({.kind = NodeKind::kind_is,
                              .fact = uint8_t(kind == NodeKind::resource),
                              .at = at,
                              .value = parse_kind()});
  if (!accept("in")) return test;
  const NodeIndex within = parse_in(left);
  return add({.kind = NodeKind::conjunction, .at = at, .children = {test, within}});
}

NodeIndex Parser::parse_has(NodeIndex left) {
  const Node& variable = parsed_.nodes[left];
  if (variable.kind != NodeKind::context && variable.kind != NodeKind::principal &&
      variable.kind != NodeKind::resource)
    fail_type(left, "context, principal or resource");
  const uint32_t at = variable.at;
  const Token written{TokenKind::word,
                      variable.kind == NodeKind::context     ? "context"
                      : variable.kind == NodeKind::principal ? "principal"
                                                             : "resource",
                      at};
  if (peek().kind == TokenKind::text) return make_attribute(written, unescape(take()), true);
  if (peek().kind != TokenKind::word) fail("the name of an attribute");
  return make_attribute(written, std::string(take().text), true);
}

NodeIndex Parser::parse_like(NodeIndex left) {
  expect_type(left, Type::text);
  if (peek().kind != TokenKind::text) fail("a pattern in quotes");
  const uint32_t at = parsed_.nodes[left].at;
  return add(
      {.kind = NodeKind::like, .at = at, .children = {left}, .pattern = unescape_pattern(take())});
}

NodeIndex Parser::parse_sum() {
  const NodeIndex first = parse_product();
  if (!peek().is("+") && !peek().is("-")) return first;
  expect_type(first, Type::integer);
  Node node{.kind = NodeKind::sum,
            .type = Type::integer,
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
  Node node{.kind = NodeKind::product,
            .type = Type::integer,
            .at = parsed_.nodes[first].at,
            .children = {first}};
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
      return add(
          {.kind = NodeKind::number, .type = Type::integer, .at = at, .value = parse_integer()});
    const Nesting level(*this);
    take();
    const NodeIndex child = parse_unary();
    expect_type(child, Type::integer);
    return add({.kind = NodeKind::minus, .type = Type::integer, .at = at, .children = {child}});
  }
  return parse_member();
}

}  // namespace hanse::policy
