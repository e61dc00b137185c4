// The shape of a policy text: rules with scopes, and typed expression trees.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "policy/compiled.hpp"
#include "policy/lexer.hpp"

namespace hanse::policy {

enum class NodeKind : uint8_t {
  // boolean
  constant,     // value
  negation,     // children[0]
  conjunction,  // children
  disjunction,
  comparison,    // children[0] <compare> children[1]
  contains,      // children[0] is a set, children[1] an element
  contains_all,  // children, both sets
  contains_any,
  is_empty,      // children[0] is a set
  has_all,       // fact, value
  has_any,       // fact, value
  class_equal,   // text
  like,          // children[0], pattern
  principal_is,  // value: an agent's index
  principal_in,
  resource_is,
  resource_in,
  within,     // value 0: the principal, 1: the resource is in children[0]
  kind_is,    // fact 0: the principal, 1: the resource is of kind value
  action_in,  // value: a set of actions
  has,        // value: an attribute's slot
  // values
  number,       // value
  fact,         // fact
  sum,          // children, inverse: subtract
  product,      // children
  minus,        // children[0]
  literal,      // text
  task_class,   // the request's
  attribute,    // value: its slot
  conditional,  // if children[0] then children[1] else children[2]; of any type
  principal,
  resource,
  entity,       // value: an agent's index
  entity_list,  // integers: agents' indices; only behind `in`
  integer_set,  // integers
  text_set,     // texts
  context,      // only before `has` and `.`
};

using NodeIndex = uint32_t;

// A chain `a + b - c` is one node with three children, so that only parentheses, `!` and `-` nest.
struct Node {
  NodeKind kind = NodeKind::constant;
  Type type = Type::boolean;
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
  Rule rule;                    // without code
  uint32_t begin = 0, end = 0;  // in the text, annotations included
  std::vector<Clause> clauses;
  RuleSource source;  // name, annotations
};

struct Parsed {
  std::vector<ParsedRule> rules;
  std::vector<Node> nodes;
  std::vector<std::string> attributes;  // by slot
};

class Parser {
 public:
  // schema: null where any attribute of the context may be asked for.
  Parser(std::string_view policy, const Program::Resolve& resolve, const Schema* schema);
  // Throws policy_compile.
  Parsed parse();

 private:
  // parser.cpp
  ParsedRule parse_rule(size_t number);
  void parse_scope(std::string_view variable, Scope& scope_out, uint32_t& entity_out,
                   uint8_t& kinds_out);
  uint32_t parse_actions();
  uint32_t parse_action();
  uint8_t parse_kind();
  void check_names() const;
  uint32_t parse_entity();

  // annotations.cpp
  void parse_annotations(ParsedRule& rule);
  void parse_annotation(ParsedRule& rule);
  void check_obligations(const ParsedRule& rule) const;

  // expression.cpp; every NodeIndex is already typed.
  NodeIndex parse_expression();
  NodeIndex parse_conditional();
  NodeIndex parse_disjunction();
  NodeIndex parse_conjunction();
  NodeIndex parse_relation();
  NodeIndex parse_sum();
  NodeIndex parse_product();
  NodeIndex parse_unary();
  NodeIndex parse_like(NodeIndex left);
  NodeIndex parse_in(NodeIndex left);
  NodeIndex parse_is(NodeIndex left);
  NodeIndex parse_has(NodeIndex left);
  NodeIndex parse_action_test();
  NodeIndex make_comparison(NodeIndex left, const Token& sign, NodeIndex right);
  NodeIndex make_text_test(NodeIndex left, bool equal, NodeIndex right);
  NodeIndex make_entity_test(NodeIndex left, NodeIndex right);
  NodeIndex make_within(NodeIndex left, NodeIndex right);
  NodeIndex make_not(NodeIndex child);
  NodeIndex make_conditional(NodeIndex condition, NodeIndex yes, NodeIndex no);

  // primary.cpp
  NodeIndex parse_member();
  NodeIndex parse_primary();
  NodeIndex parse_variable();
  NodeIndex parse_set();
  NodeIndex parse_entity_list();
  NodeIndex parse_method(NodeIndex receiver);
  NodeIndex parse_set_method(NodeIndex receiver);
  NodeIndex parse_mask_test(NodeIndex receiver);
  // The value of an attribute, or (`has`) whether there is one.
  NodeIndex make_attribute(const Token& variable, const std::string& name, bool has);
  uint32_t slot_of(const std::string& name, size_t at);
  int64_t parse_integer();

  const Token& peek(size_t ahead = 0) const;
  const Token& take();
  bool accept(std::string_view written);
  const Token& expect(std::string_view written);
  std::string expect_text(std::string_view what);
  std::string unescape(const Token& token) const;
  Pattern unescape_pattern(const Token& token) const;
  NodeIndex add(Node node);
  Type type_of(NodeIndex node) const { return parsed_.nodes[node].type; }
  bool may_be(NodeIndex node, Type type) const {
    return type_of(node) == type || type_of(node) == Type::any;
  }
  void expect_type(NodeIndex node, Type type) const;  // or one that is known later
  void expect_set(NodeIndex node) const;
  [[noreturn]] void fail(std::string_view expected) const;
  [[noreturn]] void fail_type(NodeIndex node, std::string_view expected) const;

  // Counts a level for as long as it lives, so that a hostile text can't exhaust the stack.
  class Nesting {
   public:
    explicit Nesting(Parser& parser);
    ~Nesting() { --parser_.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

   private:
    Parser& parser_;
  };

  std::string_view policy_;
  const Program::Resolve& resolve_;
  const Schema* schema_;
  std::vector<Token> tokens_;
  size_t next_ = 0;
  uint32_t nesting_ = 0;
  Parsed parsed_;
};

}  // namespace hanse::policy
