#include "base/error.hpp"
#include "policy/parser.hpp"

namespace hanse::policy {

namespace {

// Turns the clauses of one rule into instructions. Every jump goes forward, to a label that is
// bound later; labels are resolved as they are bound.
class RuleCompiler {
 public:
  RuleCompiler(std::string_view policy, std::vector<Node>& nodes, Code& code)
      : policy_(policy), nodes_(nodes), code_(code), begin_(code.instructions.size()) {}

  void compile(ParsedRule& rule) {
    at_ = rule.begin;
    Label skip;
    for (const Clause& clause : rule.clauses) jump_if(clause.condition, clause.negated, skip);
    emit({.op = Op::fire});
    // A rule whose conditions can't fail has no way here, and needs no end.
    if (!skip.jumps.empty()) {
      bind(skip);
      emit({.op = Op::skip});
    }
    rule.rule.code_begin = uint32_t(begin_);
    rule.rule.code_size = uint32_t(code_.instructions.size() - begin_);
  }

 private:
  struct Label {
    std::vector<size_t> jumps;  // instructions that wait for it
  };

  void emit(const Instruction& instruction) {
    if (code_.instructions.size() - begin_ == instructions_per_rule_max)
      fail_at(policy_, at_,
              "at most " + std::to_string(instructions_per_rule_max) + " instructions in a rule",
              "more");
    code_.instructions.push_back(instruction);
  }

  void emit_jump(Instruction instruction, bool sense, Label& label) {
    instruction.sense = sense;
    emit(instruction);
    label.jumps.push_back(code_.instructions.size() - 1);
  }

  void bind(Label& label) {
    const auto target = uint16_t(code_.instructions.size() - begin_);
    for (const size_t jump : label.jumps) code_.instructions[jump].target = target;
  }

  // Jumps to `label` when the condition's value is `sense`, else falls through.
  void jump_if(NodeIndex index, bool sense, Label& label) {
    const Node& node = nodes_[index];
    switch (node.kind) {
      case NodeKind::constant:
        if ((node.value != 0) == sense) emit_jump({.op = Op::jump}, sense, label);
        return;
      case NodeKind::negation:
        return jump_if(node.children[0], !sense, label);
      case NodeKind::conjunction:
        return jump_if_chain(node, false, sense, label);
      case NodeKind::disjunction:
        return jump_if_chain(node, true, sense, label);
      case NodeKind::comparison:
        return emit_jump(comparison(node), sense, label);
      default:
        return emit_jump(test(node), sense, label);
    }
  }

  // `decisive` is the value of one child that settles the chain: false for &&, true for ||.
  void jump_if_chain(const Node& node, bool decisive, bool sense, Label& label) {
    if (sense == decisive) {
      for (const NodeIndex child : node.children) jump_if(child, sense, label);
      return;
    }
    Label end;
    for (size_t i = 0; i + 1 < node.children.size(); ++i) jump_if(node.children[i], decisive, end);
    jump_if(node.children.back(), sense, label);
    bind(end);
  }

  Instruction comparison(const Node& node) {
    const Node& left = nodes_[node.children[0]];
    const Node& right = nodes_[node.children[1]];
    if (left.kind == NodeKind::fact && right.kind == NodeKind::number)
      return {
          .op = Op::test_fact, .compare = node.compare, .fact = left.fact, .operand = right.value};
    push(node.children[0]);
    push(node.children[1]);
    return {.op = Op::test_compare, .compare = node.compare};
  }

  // Every other condition, its constants moved into the pools.
  Instruction test(const Node& node) {
    switch (node.kind) {
      case NodeKind::contains:
        push(node.children[1]);
        return {.op = Op::test_contains,
                .operand = pool(code_.integer_sets, nodes_[node.children[0]].integers)};
      case NodeKind::has_all:
        return {.op = Op::test_has_all, .fact = node.fact, .operand = node.value};
      case NodeKind::has_any:
        return {.op = Op::test_has_any, .fact = node.fact, .operand = node.value};
      case NodeKind::class_equal:
        return {.op = Op::test_class_equal, .operand = pool(code_.texts, node.text)};
      case NodeKind::class_like:
        return {.op = Op::test_class_like, .operand = pool(code_.patterns, node.pattern)};
      case NodeKind::class_in:
        return {.op = Op::test_class_in,
                .operand = pool(code_.text_sets, nodes_[node.children[0]].texts)};
      case NodeKind::principal_is:
        return {.op = Op::test_principal_is, .operand = node.value};
      case NodeKind::principal_in:
        return {.op = Op::test_principal_in, .operand = node.value};
      case NodeKind::resource_is:
        return {.op = Op::test_resource_is, .operand = node.value};
      default:
        break;
    }
    HANSE_ASSERT(node.kind == NodeKind::resource_in);
    return {.op = Op::test_resource_in, .operand = node.value};
  }

  template <class T>
  int64_t pool(std::vector<T>& values, const T& value) {
    values.push_back(value);
    return int64_t(values.size() - 1);
  }

  // Leaves the value of an integer expression on the stack.
  void push(NodeIndex index) {
    const Node& node = nodes_[index];
    switch (node.kind) {
      case NodeKind::number:
        return emit({.op = Op::push_constant, .operand = node.value});
      case NodeKind::fact:
        return emit({.op = Op::push_fact, .fact = node.fact});
      case NodeKind::minus:
        push(node.children[0]);
        return emit({.op = Op::negate});
      default:
        break;
    }
    HANSE_ASSERT(node.kind == NodeKind::sum || node.kind == NodeKind::product);
    push(node.children[0]);
    for (size_t i = 1; i < node.children.size(); ++i) {
      push(node.children[i]);
      const bool product = node.kind == NodeKind::product;
      emit({.op = product ? Op::multiply : node.inverse[i] ? Op::subtract : Op::add});
    }
  }

  std::string_view policy_;
  std::vector<Node>& nodes_;
  Code& code_;
  size_t begin_;
  size_t at_ = 0;
};

}  // namespace

Compiled compile_text(std::string_view text, const Program::Resolve& resolve) {
  Parsed parsed = Parser(text, resolve).parse();
  Compiled compiled;
  Code& code = compiled.code;
  for (ParsedRule& rule : parsed.rules) {
    RuleCompiler(text, parsed.nodes, code).compile(rule);
    for (size_t action = 0; action < action_count; ++action)
      if (rule.rule.actions >> action & 1)
        code.by_action[action].push_back(uint16_t(code.rules.size()));
    code.rules.push_back(rule.rule);
    compiled.sources.push_back({rule.name, rule.begin, rule.end - rule.begin});
  }
  return compiled;
}

}  // namespace hanse::policy
