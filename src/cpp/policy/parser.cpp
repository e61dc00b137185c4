#include "policy/parser.hpp"

#include <unordered_set>

#include "base/error.hpp"

namespace hanse::policy {

Parser::Parser(std::string_view policy, const Program::Resolve& resolve, const Schema* schema)
    : policy_(policy), resolve_(resolve), schema_(schema), tokens_(lex(policy)) {}

const Token& Parser::peek(size_t ahead) const {
  return next_ + ahead < tokens_.size() ? tokens_[next_ + ahead] : tokens_.back();
}

const Token& Parser::take() {
  const Token& token = peek();
  if (next_ + 1 < tokens_.size()) ++next_;  // The end is never passed.
  return token;
}

bool Parser::accept(std::string_view written) {
  if (!peek().is(written)) return false;
  take();
  return true;
}

const Token& Parser::expect(std::string_view written) {
  if (!peek().is(written)) fail("'" + std::string(written) + "'");
  return take();
}

void Parser::fail(std::string_view expected) const {
  fail_at(policy_, peek().at, expected, describe(peek()));
}

std::string Parser::expect_text(std::string_view what) {
  if (peek().kind != TokenKind::text) fail(what);
  return unescape(take());
}

namespace {

// The character that `\c` stands for, or 0.
char escaped(char c) {
  switch (c) {
    case '"':
      return '"';
    case '\\':
      return '\\';
    case 'n':
      return '\n';
    case 't':
      return '\t';
    case 'r':
      return '\r';
    default:
      return 0;
  }
}

}  // namespace

std::string Parser::unescape(const Token& token) const {
  const std::string_view written = token.text;
  std::string text;
  for (size_t i = 1; i + 1 < written.size(); ++i) {
    if (written[i] != '\\') {
      text += written[i];
      continue;
    }
    const char c = escaped(written[++i]);
    if (c == 0) fail_at(policy_, token.at + i - 1, R"(one of \" \\ \n \t \r)", "another escape");
    text += c;
  }
  return text;
}

// As a text, but `*` stands for any characters and `\*` for a star.
Pattern Parser::unescape_pattern(const Token& token) const {
  const std::string_view written = token.text;
  Pattern pattern;
  pattern.pieces.emplace_back();
  for (size_t i = 1; i + 1 < written.size(); ++i) {
    if (written[i] == '*') {
      pattern.pieces.emplace_back();
    } else if (written[i] != '\\') {
      pattern.pieces.back() += written[i];
    } else {
      const char c = written[++i] == '*' ? '*' : escaped(written[i]);
      if (c == 0)
        fail_at(policy_, token.at + i - 1, R"(one of \" \\ \n \t \r \*)", "another escape");
      pattern.pieces.back() += c;
    }
  }
  return pattern;
}

// Agent::"name"
uint32_t Parser::parse_entity() {
  if (peek().kind != TokenKind::word || !peek(1).is("::"))
    fail(R"(an entity such as Agent::"name")");
  const Token& type = take();
  expect("::");
  const Token& written = peek();
  const std::string name = expect_text("a name in quotes");
  const uint32_t index = resolve_(type.text, name);
  if (index == index_none)
    fail_at(policy_, type.at, "a known entity", std::string(type.text) + "::" + describe(written));
  return index;
}

uint8_t Parser::parse_kind() {
  constexpr std::string_view kinds[] = {"Agent", "Human", "Group", "Tool"};
  for (uint8_t kind = 0; kind < std::size(kinds); ++kind)
    if (peek().is(kinds[kind])) return take(), kind;
  fail("one of Agent, Human, Group, Tool");
}

// principal | principal == Agent::"x" | principal in Agent::"x" | principal is Human [in
// Agent::"x"]
void Parser::parse_scope(std::string_view variable, Scope& scope_out, uint32_t& entity_out,
                         uint8_t& kinds_out) {
  expect(variable);
  if (accept("==")) {
    entity_out = parse_entity();
    scope_out = Scope::is;
    return;
  }
  if (accept("is")) kinds_out = uint8_t(1u << parse_kind());
  if (accept("in")) {
    entity_out = parse_entity();
    scope_out = Scope::in;
  }
}

uint32_t Parser::parse_action() {
  const Token& type = peek();
  if (!type.is("Action") || !peek(1).is("::")) fail(R"(an action such as Action::"dispatch")");
  take();
  expect("::");
  const Token& written = peek();
  const std::string name = expect_text("the name of an action in quotes");
  for (size_t action = 0; action < action_count; ++action)
    if (name == action_name(Action(action))) return 1u << action;
  fail_at(policy_, type.at, "a known action", "Action::" + describe(written));
}

// action | action == Action::"x" | action in Action::"x" | action in [Action::"x", …]
uint32_t Parser::parse_actions() {
  expect("action");
  if (accept("==")) return parse_action();
  if (!accept("in")) return actions_all;
  if (!accept("[")) return parse_action();
  uint32_t actions = 0;
  do actions |= parse_action();
  while (accept(","));
  expect("]");
  return actions;
}

ParsedRule Parser::parse_rule(size_t number) {
  ParsedRule rule;
  rule.source.name = "rule" + std::to_string(number);
  rule.begin = peek().at;
  parse_annotations(rule);

  if (peek().is("permit")) {
    rule.rule.effect = Effect::permit;
  } else if (peek().is("forbid")) {
    rule.rule.effect = Effect::forbid;
  } else {
    fail("permit or forbid");
  }
  take();
  expect("(");
  Rule& head = rule.rule;
  parse_scope("principal", head.principal_scope, head.principal, head.principal_kinds);
  expect(",");
  head.actions = parse_actions();
  expect(",");
  parse_scope("resource", head.resource_scope, head.resource, head.resource_kinds);
  expect(")");
  check_obligations(rule);

  while (peek().is("when") || peek().is("unless")) {
    Clause clause;
    clause.negated = take().is("unless");
    expect("{");
    clause.condition = parse_expression();
    expect_type(clause.condition, Type::boolean);
    expect("}");
    rule.clauses.push_back(clause);
  }
  rule.end = expect(";").at + 1;
  return rule;
}

// A decision names its rules, so one name is one rule.
void Parser::check_names() const {
  std::unordered_set<std::string_view> names;
  for (const ParsedRule& rule : parsed_.rules)
    if (!names.insert(rule.source.name).second)
      fail_at(policy_, rule.begin, "a name for each rule alone",
              "\"" + rule.source.name + "\" again");
}

Parsed Parser::parse() {
  while (peek().kind != TokenKind::end) {
    if (parsed_.rules.size() == rules_max) fail("at most " + std::to_string(rules_max) + " rules");
    parsed_.rules.push_back(parse_rule(parsed_.rules.size()));
  }
  check_names();
  return std::move(parsed_);
}

}  // namespace hanse::policy
