// The shape of a policy text: rules with scopes, and typed expression trees.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "policy/compiled.hpp"
#include "policy/lexer.hpp"

namespace hanse::policy {

enum class Type : uint8_t { boolean, integer, text, entity, set };

enum class NodeKind : uint8_t {
  // boolean
  constant,     // value
  negation,     // children[0]
  conjunction,  // children
  disjunction,
  comparison,    // children[0] <compare> children[1], integers
  contains,      // children[0] is an integer set, children[1] an integer
  has_all,       // fact, value
  has_any,       // fact, value
  class_equal,   // text
  class_like,    // pattern
  class_in,      // children[0] is a text set
  principal_is,  // value: an agent's index
  principal_in,
  resource_is,
  resource_in,
  // integer
  number,   // value
  fact,     // fact
  sum,      // children, inverse: subtract
  product,  // children
  minus,    // children[0]
  // text
  literal,     // text
  task_class,  // the request's
  // entity
  principal,
  resource,
  entity,  // value: an agent's index
  // set
  integer_set,  // integers
  text_set,     // texts
};

using NodeIndex = uint32_t;

// A chain `a + b - c` is one node with three children, so that only parentheses, `!` and `-` nest.
struct Node {
  NodeKind kind = NodeKind::constant;
  Compare compare = Compare::equal;
  uint8_t fact = 0;
  uint32_t at = 0;  // offset in the policy, for errors
  int64_t value = 0;
  std::vector<NodeIndex> children{};
  std::vector<bool> inverse{};  // of a sum: children[i] is subtracted
  std::string text{};
  Pattern pattern{};
  std::vector<int64_t> integers{};
  std::vector<std::string> texts{};
};

struct Clause {
  bool negated = false;  // unless
  NodeIndex condition = 0;
};

struct ParsedRule {
  Rule rule;  // without code
  std::string name;
  uint32_t begin = 0, end = 0;  // in the text, annotations included
  std::vector<Clause> clauses;
};

struct Parsed {
  std::vector<ParsedRule> rules;
  std::vector<Node> nodes;
};

class Parser {
 public:
  Parser(std::string_view policy, const Program::Resolve& resolve);
  // Throws policy_compile.
  Parsed parse();

 private:
  // parser.cpp
  ParsedRule parse_rule(size_t number);
  void parse_annotations(ParsedRule& rule);
  Scope parse_scope(std::string_view variable, uint32_t& entity_out);
  uint32_t parse_actions();
  uint32_t parse_action();
  void check_names() const;
  uint32_t parse_entity();

  // expression.cpp; every NodeIndex is already typed.
  NodeIndex parse_expression();
  NodeIndex parse_conjunction();
  NodeIndex parse_relation();
  NodeIndex parse_sum();
  NodeIndex parse_product();
  NodeIndex parse_unary();
  NodeIndex parse_member();
  NodeIndex parse_primary();
  NodeIndex parse_attribute();
  NodeIndex parse_set();
  NodeIndex parse_like(NodeIndex left);
  NodeIndex parse_in(NodeIndex left);
  NodeIndex parse_method(NodeIndex receiver);
  int64_t parse_integer();
  NodeIndex make_comparison(NodeIndex left, const Token& sign, NodeIndex right);
  NodeIndex make_text_test(NodeIndex left, bool equal, NodeIndex right);
  NodeIndex make_entity_test(NodeIndex left, NodeIndex right, bool in);
  NodeIndex make_not(NodeIndex child);

  const Token& peek(size_t ahead = 0) const;
  const Token& take();
  bool accept(std::string_view written);
  const Token& expect(std::string_view written);
  std::string expect_text(std::string_view what);
  std::string unescape(const Token& token) const;
  Pattern unescape_pattern(const Token& token) const;
  NodeIndex add(Node node);
  void expect_type(NodeIndex node, Type type) const;
  [[noreturn]] void fail(std::string_view expected) const;
  [[noreturn]] void fail_type(NodeIndex node, std::string_view expected) const;

  class Nesting;

  std::string_view policy_;
  const Program::Resolve& resolve_;
  std::vector<Token> tokens_;
  size_t next_ = 0;
  uint32_t nesting_ = 0;
  Parsed parsed_;
};

Type type_of(const Node& node);

}  // namespace hanse::policy
