#include <algorithm>

#include "policy/compiled.hpp"

namespace hanse::policy {

namespace {

// Walks one rule once. Every jump goes forward, so that what comes to an instruction is known when
// the walk is there: all ways must bring a stack of the same depth.
class RuleVerifier {
 public:
  RuleVerifier(const Code& code, const Rule& rule) : code_(code), rule_(rule) {}

  const char* find_fault() {
    if (rule_.code_size == 0 || rule_.code_size > instructions_per_rule_max)
      return "size of a rule";
    if (rule_.code_begin > code_.instructions.size() ||
        rule_.code_size > code_.instructions.size() - rule_.code_begin)
      return "place of a rule";

    landing_.assign(rule_.code_size, depth_unknown);
    for (uint32_t i = 0; i < rule_.code_size; ++i)
      if (const char* fault = step(i)) return fault;
    return falls_through_ ? "a rule without end" : nullptr;
  }

 private:
  static constexpr uint16_t depth_unknown = UINT16_MAX;
  static bool jumps(Op op) { return op >= Op::test_compare && op <= Op::jump; }
  static bool pushes(Op op) { return op <= Op::negate; }

  const char* step(uint32_t i) {
    const Instruction& instruction = code_.instructions[rule_.code_begin + i];
    if (instruction.op >= Op::count_) return "unknown instruction";
    if (const char* fault = check_operands(instruction)) return fault;
    if (landing_[i] != depth_unknown) {
      if (falls_through_ && landing_[i] != depth_) return "a jump between depths of the stack";
      depth_ = landing_[i];
    } else if (!falls_through_) {
      return nullptr;  // Nothing comes here: a condition that is known when it is compiled.
    }

    const uint32_t taken = pops(instruction.op);
    if (depth_ < taken) return "stack underflow";
    depth_ -= taken;
    if (pushes(instruction.op) && ++depth_ > stack_slots_max) return "stack overflow";
    falls_through_ =
        instruction.op != Op::jump && instruction.op != Op::fire && instruction.op != Op::skip;
    return jumps(instruction.op) ? check_jump(i, instruction.target) : nullptr;
  }

  const char* check_jump(uint32_t from, uint32_t target) {
    if (target <= from || target >= rule_.code_size) return "jump target";
    if (landing_[target] != depth_unknown && landing_[target] != depth_)
      return "a jump between depths of the stack";
    landing_[target] = uint16_t(depth_);
    return nullptr;
  }

  const char* check_operands(const Instruction& instruction) const {
    // Of every instruction: the evaluator loads the fact before it knows whether it is needed.
    if (instruction.fact >= fact_count) return "fact";
    if (instruction.compare < Compare::less || instruction.compare > Compare::greater_equal)
      return "unknown comparison";
    const auto operand = uint64_t(instruction.operand);
    switch (instruction.op) {
      case Op::push_boolean:
        return operand <= 1 ? nullptr : "boolean";
      case Op::push_text:
      case Op::test_class_equal:
        return operand < code_.texts.size() ? nullptr : "text";
      case Op::push_set:
        return operand < code_.sets.size() ? nullptr : "set";
      case Op::push_attribute:
      case Op::test_has:
        return operand < code_.attribute_count ? nullptr : "attribute";
      case Op::test_contains:
        return operand < code_.integer_sets.size() ? nullptr : "number set";
      case Op::test_like:
      case Op::test_class_like:
        return operand < code_.patterns.size() ? nullptr : "pattern";
      case Op::test_class_in:
        return operand < code_.text_sets.size() ? nullptr : "text set";
      case Op::test_within:
        return instruction.fact <= 1 ? nullptr : "party";
      case Op::test_kind:
        return instruction.fact <= 1 && operand < kind_count ? nullptr : "kind";
      case Op::test_action:
        return (operand & ~uint64_t(actions_all)) == 0 ? nullptr : "actions";
      case Op::push_entity:
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
      case Op::test_member:
      case Op::test_members_all:
      case Op::test_members_any:
        return 2;
      case Op::negate:
      case Op::test_true:
      case Op::test_like:
      case Op::test_empty:
      case Op::test_within:
      case Op::test_contains:
        return 1;
      default:
        return 0;
    }
  }

  const Code& code_;
  const Rule& rule_;
  uint32_t depth_ = 0;
  bool falls_through_ = true;
  std::vector<uint16_t> landing_;  // the depth that a jump brings to each instruction
};

bool is_scope(Scope scope, uint32_t entity) {
  return scope < Scope::count_ && (scope == Scope::any) == (entity == index_none);
}

bool is_kinds(uint8_t kinds) { return kinds != 0 && (kinds & ~kinds_all) == 0; }

const char* find_fault_in_rule(const Code& code, const Rule& rule) {
  if (rule.effect != Effect::permit && rule.effect != Effect::forbid) return "effect";
  if (!is_scope(rule.principal_scope, rule.principal)) return "scope of the principal";
  if (!is_scope(rule.resource_scope, rule.resource)) return "scope of the resource";
  if (rule.actions == 0 || (rule.actions & ~actions_all) != 0) return "actions";
  if (!is_kinds(rule.principal_kinds) || !is_kinds(rule.resource_kinds)) return "kinds";
  if (rule.obligations > 15) return "obligations";
  if (rule.obligations != 0 && rule.effect != Effect::permit) return "obligations of a forbid";
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
  for (const ValueSet& set : code.sets) {
    for (const Value& value : set.elements)
      if (value.kind == Value::Kind::set || value.kind == Value::Kind::missing)
        return "element of a set";
    const auto& elements = set.elements;
    for (size_t i = 1; i < elements.size(); ++i)
      if (!less_value(elements[i - 1], elements[i])) return "order of a set";
  }
  if (code.attribute_count > attributes_max) return "too many attributes";
  return nullptr;
}

// The index must hold exactly the rules that name action and kind: a forbid that is missing there
// would never fire.
bool index_agrees(const Code& code, size_t action, size_t kind) {
  const std::vector<uint16_t>& listed = code.by_action[action][kind];
  size_t next = 0;
  for (size_t rule = 0; rule < code.rules.size(); ++rule) {
    if ((code.rules[rule].actions >> action & code.rules[rule].resource_kinds >> kind & 1) == 0)
      continue;
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
    for (size_t kind = 0; kind < kind_count; ++kind)
      if (!index_agrees(code, action, kind)) return "index of action " + std::to_string(action);
  return {};
}

}  // namespace hanse::policy
