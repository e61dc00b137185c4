#include <algorithm>

#include "base/error.hpp"
#include "policy/compiled.hpp"

namespace hanse::policy {

namespace {

enum class Answer : uint8_t { skipped, fired, overflowed };

struct Fired {
  uint32_t count = 0;
  std::array<uint16_t, rules_fired_max> first{};

  void add(uint16_t rule) {
    if (count < rules_fired_max) first[count] = rule;
    ++count;
  }
};

bool is_within(const Lineage& lineage, uint32_t entity) {
  for (uint32_t i = 0; i < lineage.size; ++i)
    if (lineage.chain[i] == entity) return true;
  return false;
}

bool is_same(const Lineage& lineage, uint32_t entity) {
  return lineage.size != 0 && lineage.chain[0] == entity;
}

bool in_scope(Scope scope, uint32_t entity, const Lineage& lineage) {
  if (scope == Scope::any) return true;
  return scope == Scope::is ? is_same(lineage, entity) : is_within(lineage, entity);
}

bool compare(Compare how, int64_t a, int64_t b) {
  switch (how) {
    case Compare::equal:
      return a == b;
    case Compare::not_equal:
      return a != b;
    case Compare::less:
      return a < b;
    case Compare::less_equal:
      return a <= b;
    case Compare::greater:
      return a > b;
    default:
      return a >= b;
  }
}

template <class T, class V>
bool contains(const std::vector<T>& set, const V& value) {
  return std::binary_search(set.begin(), set.end(), value);
}

// The answer of a test that needs no stack.
bool test(const Code& code, const Instruction& at, const Request& request) {
  const int64_t fact = request.facts[at.fact];
  const auto operand = size_t(at.operand);
  switch (at.op) {
    case Op::test_fact:
      return compare(at.compare, fact, at.operand);
    case Op::test_has_all:
      return (fact & at.operand) == at.operand;
    case Op::test_has_any:
      return (fact & at.operand) != 0;
    case Op::test_class_equal:
      return request.task_class == code.texts[operand];
    case Op::test_class_like:
      return matches(code.patterns[operand], request.task_class);
    case Op::test_class_in:
      return contains(code.text_sets[operand], request.task_class);
    case Op::test_principal_is:
      return is_same(request.principal, uint32_t(at.operand));
    case Op::test_principal_in:
      return is_within(request.principal, uint32_t(at.operand));
    case Op::test_resource_is:
      return is_same(request.resource, uint32_t(at.operand));
    case Op::test_resource_in:
      return is_within(request.resource, uint32_t(at.operand));
    default:
      return at.sense;  // jump
  }
}

// At most code_size steps: every jump goes forward.
Answer run(const Code& code, const Rule& rule, const Request& request) {
  int64_t stack[stack_slots_max];
  int64_t* top = stack;  // one past the topmost
  const Instruction* const begin = code.instructions.data() + rule.code_begin;
  for (const Instruction* at = begin;;) {
    bool answer = false, overflow = false;
    switch (at->op) {
      case Op::fire:
        return Answer::fired;
      case Op::skip:
        return Answer::skipped;
      case Op::push_constant:
        *top++ = at->operand;
        ++at;
        continue;
      case Op::push_fact:
        *top++ = request.facts[at->fact];
        ++at;
        continue;
      case Op::add:
        --top;
        overflow = __builtin_add_overflow(top[-1], top[0], top - 1);
        break;
      case Op::subtract:
        --top;
        overflow = __builtin_sub_overflow(top[-1], top[0], top - 1);
        break;
      case Op::multiply:
        --top;
        overflow = __builtin_mul_overflow(top[-1], top[0], top - 1);
        break;
      case Op::negate:
        overflow = __builtin_sub_overflow(int64_t(0), top[-1], top - 1);
        break;
      case Op::test_compare:
        top -= 2;
        answer = compare(at->compare, top[0], top[1]);
        at = answer == at->sense ? begin + at->target : at + 1;
        continue;
      case Op::test_contains:
        answer = contains(code.integer_sets[size_t(at->operand)], *--top);
        at = answer == at->sense ? begin + at->target : at + 1;
        continue;
      default:
        at = test(code, *at, request) == at->sense ? begin + at->target : at + 1;
        continue;
    }
    if (overflow) return Answer::overflowed;
    ++at;
  }
}

}  // namespace

bool matches(const Pattern& pattern, std::string_view text) {
  const std::string& first = pattern.pieces.front();
  if (pattern.pieces.size() == 1) return text == first;
  const std::string& last = pattern.pieces.back();
  if (text.size() < first.size() + last.size()) return false;
  if (!text.starts_with(first) || !text.ends_with(last)) return false;

  // Leftmost matches in between: if any choice fits, this one does.
  text = text.substr(first.size(), text.size() - first.size() - last.size());
  for (size_t i = 1; i + 1 < pattern.pieces.size(); ++i) {
    const size_t found = text.find(pattern.pieces[i]);
    if (found == text.npos) return false;
    text.remove_prefix(found + pattern.pieces[i].size());
  }
  return true;
}

Decision decide_with(const Code& code, const Request& request, uint64_t epoch) {
  HANSE_ASSERT(request.action < Action::count_);
  HANSE_ASSERT(request.principal.size <= request.principal.chain.size());
  HANSE_ASSERT(request.resource.size <= request.resource.chain.size());

  // Every rule that can match is asked, so that the answer doesn't depend on their order.
  Fired permits, forbids, errors;
  for (const uint16_t number : code.by_action[size_t(request.action)]) {
    const Rule& rule = code.rules[number];
    if (!in_scope(rule.principal_scope, rule.principal, request.principal)) continue;
    if (!in_scope(rule.resource_scope, rule.resource, request.resource)) continue;
    switch (run(code, rule, request)) {
      case Answer::skipped:
        break;
      case Answer::fired:
        (rule.effect == Effect::permit ? permits : forbids).add(number);
        break;
      case Answer::overflowed:
        errors.add(number);
        break;
    }
  }

  const Fired& decisive = errors.count != 0 ? errors : forbids.count != 0 ? forbids : permits;
  Decision decision;
  decision.allowed = permits.count != 0 && &decisive == &permits;
  decision.error = errors.count != 0;
  decision.epoch = epoch;
  decision.rule_count = decisive.count;
  decision.rules = decisive.first;
  return decision;
}

}  // namespace hanse::policy
