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
      case NodeKind::conditional:
        if (node.type == Type::boolean) return jump_if_conditional(node, sense, label);
        [[fallthrough]];
      case NodeKind::attribute:
        push(index);
        return emit_jump({.op = Op::test_true}, sense, label);
      default:
        return emit_jump(test(node), sense, label);
    }
  }

  void jump_if_conditional(const Node& node, bool sense, Label& label) {
    Label otherwise, end;
    jump_if(node.children[0], false, otherwise);
    jump_if(node.children[1], sense, label);
    emit_jump({.op = Op::jump}, true, end);
    bind(otherwise);
    jump_if(node.children[2], sense, label);
    bind(end);
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
        return contains(node);
      case NodeKind::contains_all:
      case NodeKind::contains_any:
        push(node.children[0]);
        push(node.children[1]);
        return {.op = node.kind == NodeKind::contains_all ? Op::test_members_all
                                                          : Op::test_members_any};
      case NodeKind::is_empty:
        push(node.children[0]);
        return {.op = Op::test_empty};
      case NodeKind::has_all:
        return {.op = Op::test_has_all, .fact = node.fact, .operand = node.value};
      case NodeKind::has_any:
        return {.op = Op::test_has_any, .fact = node.fact, .operand = node.value};
      case NodeKind::class_equal:
        return {.op = Op::test_class_equal, .operand = pool(code_.texts, node.text)};
      case NodeKind::like:
        if (nodes_[node.children[0]].kind == NodeKind::task_class)
          return {.op = Op::test_class_like, .operand = pool(code_.patterns, node.pattern)};
        push(node.children[0]);
        return {.op = Op::test_like, .operand = pool(code_.patterns, node.pattern)};
      case NodeKind::within:
        push(node.children[0]);
        return {.op = Op::test_within, .fact = uint8_t(node.value)};
      case NodeKind::kind_is:
        return {.op = Op::test_kind, .fact = node.fact, .operand = node.value};
      case NodeKind::action_in:
        return {.op = Op::test_action, .operand = node.value};
      case NodeKind::has:
        return {.op = Op::test_has, .operand = node.value};
      default:
        return {.op = entity_test(node.kind), .operand = node.value};
    }
  }

  static Op entity_test(NodeKind kind) {
    switch (kind) {
      case NodeKind::principal_is:
        return Op::test_principal_is;
      case NodeKind::principal_in:
        return Op::test_principal_in;
      case NodeKind::resource_is:
        return Op::test_resource_is;
      default:
        HANSE_ASSERT(kind == NodeKind::resource_in);
        return Op::test_resource_in;
    }
  }

  Instruction contains(const Node& node) {
    const Node& set = nodes_[node.children[0]];
    const Node& element = nodes_[node.children[1]];
    if (set.kind == NodeKind::text_set && element.kind == NodeKind::task_class)
      return {.op = Op::test_class_in, .operand = pool(code_.text_sets, set.texts)};
    if (set.kind == NodeKind::integer_set) {
      push(node.children[1]);
      return {.op = Op::test_contains, .operand = pool(code_.integer_sets, set.integers)};
    }
    push(node.children[0]);
    push(node.children[1]);
    return {.op = Op::test_member};
  }

  template <class T>
  int64_t pool(std::vector<T>& values, const T& value) {
    values.push_back(value);
    return int64_t(values.size() - 1);
  }

  // Leaves a value on the stack.
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
      case NodeKind::literal:
        return emit({.op = Op::push_text, .operand = pool(code_.texts, node.text)});
      case NodeKind::task_class:
        return emit({.op = Op::push_class});
      case NodeKind::attribute:
        return emit({.op = Op::push_attribute, .operand = node.value});
      case NodeKind::principal:
        return emit({.op = Op::push_principal});
      case NodeKind::resource:
        return emit({.op = Op::push_resource});
      case NodeKind::entity:
        return emit({.op = Op::push_entity, .operand = node.value});
      case NodeKind::integer_set:
        return emit({.op = Op::push_set,
                     .operand = pool(code_.sets, ValueSet::of_integers(node.integers))});
      case NodeKind::text_set:
        return emit(
            {.op = Op::push_set, .operand = pool(code_.sets, ValueSet::of_texts(node.texts))});
      case NodeKind::sum:
      case NodeKind::product:
        return push_chain(node);
      case NodeKind::conditional:
        return push_conditional(node);
      default:
        return push_truth(index);
    }
  }

  void push_chain(const Node& node) {
    push(node.children[0]);
    for (size_t i = 1; i < node.children.size(); ++i) {
      push(node.children[i]);
      const bool product = node.kind == NodeKind::product;
      emit({.op = product ? Op::multiply : node.inverse[i] ? Op::subtract : Op::add});
    }
  }

  void push_conditional(const Node& node) {
    Label otherwise, end;
    jump_if(node.children[0], false, otherwise);
    push(node.children[1]);
    emit_jump({.op = Op::jump}, true, end);
    bind(otherwise);
    push(node.children[2]);
    bind(end);
  }

  // A condition where a value is wanted.
  void push_truth(NodeIndex index) {
    const Node& node = nodes_[index];
    HANSE_ASSERT(node.type == Type::boolean);
    if (node.kind == NodeKind::constant)
      return emit({.op = Op::push_boolean, .operand = node.value});
    Label otherwise, end;
    jump_if(index, false, otherwise);
    emit({.op = Op::push_boolean, .operand = 1});
    emit_jump({.op = Op::jump}, true, end);
    bind(otherwise);
    emit({.op = Op::push_boolean, .operand = 0});
    bind(end);
  }

  std::string_view policy_;
  std::vector<Node>& nodes_;
  Code& code_;
  size_t begin_;
  size_t at_ = 0;
};

}  // namespace

Compiled compile_text(std::string_view text, const Program::Resolve& resolve,
                      std::string_view schema) {
  Compiled compiled;
  compiled.schema = parse_schema(schema);
  Parsed parsed = Parser(text, resolve, schema.empty() ? nullptr : &compiled.schema).parse();
  Code& code = compiled.code;
  code.attribute_count = uint32_t(parsed.attributes.size());
  for (ParsedRule& rule : parsed.rules) {
    RuleCompiler(text, parsed.nodes, code).compile(rule);
    for (size_t action = 0; action < action_count; ++action)
      for (size_t kind = 0; kind < kind_count; ++kind)
        if ((rule.rule.actions >> action & rule.rule.resource_kinds >> kind & 1) != 0)
          code.by_action[action][kind].push_back(uint16_t(code.rules.size()));
    code.rules.push_back(rule.rule);
    rule.source.begin = rule.begin;
    rule.source.size = rule.end - rule.begin;
    compiled.sources.push_back(std::move(rule.source));
  }
  compiled.attributes = std::move(parsed.attributes);
  return compiled;
}

}  // namespace hanse::policy
