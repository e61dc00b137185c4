#include <algorithm>

#include "policy/compiled.hpp"

namespace hanse::policy {

namespace {

// Walks one rule once. `depths[i]` is the stack depth before instruction i; since every jump needs
// an empty stack at both ends, the linear walk sees the depth of every path.
class RuleVerifier {
 public:
  RuleVerifier(const Code& code, const Rule& rule) : code_(code), rule_(rule) {}

  const char* find_fault() {
    if (rule_.code_size == 0 || rule_.code_size > instructions_per_rule_max)
      return "size of a rule";
    if (rule_.code_begin > code_.instructions.size() ||
        rule_.code_size > code_.instructions.size() - rule_.code_begin)
      return "place of a rule";

    for (uint32_t i = 0; i < rule_.code_size; ++i) {
      starts_empty_[i] = depth_ == 0;
      if (const char* fault = step(i)) return fault;
    }
    const Op last = at(rule_.code_size - 1).op;
    if (last != Op::fire && last != Op::skip) return "a rule without end";
    for (uint32_t i = 0; i < rule_.code_size; ++i)
      if (jumps(at(i).op) && !starts_empty_[at(i).target]) return "jump into an expression";
    return nullptr;
  }

 private:
  static bool jumps(Op op) { return op >= Op::test_compare && op <= Op::jump; }
  const Instruction& at(uint32_t i) const { return code_.instructions[rule_.code_begin + i]; }

  const char* step(uint32_t i) {
    const Instruction& instruction = at(i);
    if (instruction.op >= Op::count_) return "unknown instruction";
    if (const char* fault = check_operands(instruction)) return fault;

    const uint32_t taken = pops(instruction.op);
    if (depth_ < taken) return "stack underflow";
    depth_ -= taken;
    if (pushes(instruction.op) && ++depth_ > stack_slots_max) return "stack overflow";
    if (!pushes(instruction.op) && depth_ != 0) return "a test on a stack that is not empty";
    if (jumps(instruction.op) && (instruction.target <= i || instruction.target >= rule_.code_size))
      return "jump target";
    return nullptr;
  }

  const char* check_operands(const Instruction& instruction) const {
    // Of every instruction: the evaluator loads the fact before it knows whether it is needed.
    if (instruction.fact >= fact_count) return "fact";
    if (instruction.compare < Compare::less || instruction.compare > Compare::greater_equal)
      return "unknown comparison";
    const auto operand = uint64_t(instruction.operand);
    switch (instruction.op) {
      case Op::test_contains:
        return operand < code_.integer_sets.size() ? nullptr : "number set";
      case Op::test_class_equal:
        return operand < code_.texts.size() ? nullptr : "text";
      case Op::test_class_like:
        return operand < code_.patterns.size() ? nullptr : "pattern";
      case Op::test_class_in:
        return operand < code_.text_sets.size() ? nullptr : "text set";
      case Op::test_principal_is:
      case Op::test_principal_in:
      case Op::test_resource_is:
      case Op::test_resource_in:
        return operand < index_none ? nullptr : "agent index";
      default:
        return nullptr;
    }
  }

  static uint32_t pops(Op op) {
    switch (op) {
      case Op::add:
      case Op::subtract:
      case Op::multiply:
      case Op::test_compare:
        return 2;
      case Op::negate:
      case Op::test_contains:
        return 1;
      default:
        return 0;
    }
  }
  static bool pushes(Op op) { return op <= Op::negate; }

  const Code& code_;
  const Rule& rule_;
  uint32_t depth_ = 0;
  std::array<bool, instructions_per_rule_max> starts_empty_{};
};

bool is_scope(Scope scope, uint32_t entity) {
  return scope < Scope::count_ && (scope == Scope::any) == (entity == index_none);
}

const char* find_fault_in_rule(const Code& code, const Rule& rule) {
  if (rule.effect != Effect::permit && rule.effect != Effect::forbid) return "effect";
  if (!is_scope(rule.principal_scope, rule.principal)) return "scope of the principal";
  if (!is_scope(rule.resource_scope, rule.resource)) return "scope of the resource";
  if (rule.actions == 0 || (rule.actions & ~actions_all) != 0) return "actions";
  return RuleVerifier(code, rule).find_fault();
}

template <class T>
bool is_ascending(const std::vector<T>& values) {
  return std::adjacent_find(values.begin(), values.end(),
                            [](const T& a, const T& b) { return !(a < b); }) == values.end();
}

const char* find_fault_in_pools(const Code& code) {
  for (const auto& set : code.integer_sets)
    if (!is_ascending(set)) return "order of a number set";
  for (const auto& set : code.text_sets)
    if (!is_ascending(set)) return "order of a text set";
  for (const Pattern& pattern : code.patterns)
    if (pattern.pieces.empty()) return "empty pattern";
  return nullptr;
}

// The index must hold exactly the rules that name the action: a forbid that is missing there would
// never fire.
bool index_agrees(const Code& code, size_t action) {
  const std::vector<uint16_t>& listed = code.by_action[action];
  size_t next = 0;
  for (size_t rule = 0; rule < code.rules.size(); ++rule) {
    if ((code.rules[rule].actions >> action & 1) == 0) continue;
    if (next == listed.size() || listed[next] != rule) return false;
    ++next;
  }
  return next == listed.size();
}

}  // namespace

std::string find_fault(const Code& code) {
  if (code.rules.size() > rules_max) return "too many rules";
  if (const char* fault = find_fault_in_pools(code)) return fault;
  for (size_t rule = 0; rule < code.rules.size(); ++rule)
    if (const char* fault = find_fault_in_rule(code, code.rules[rule]))
      return "rule " + std::to_string(rule) + ": " + fault;
  for (size_t action = 0; action < action_count; ++action)
    if (!index_agrees(code, action)) return "index of action " + std::to_string(action);
  return {};
}

}  // namespace hanse::policy
