#include <algorithm>

#include "base/error.hpp"
#include "base/seeded_bug.hpp"
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
  return (uint32_t(how) & (uint32_t(a < b) | uint32_t(a == b) << 1 | uint32_t(a > b) << 2)) != 0;
}

template <class T, class V>
bool contains(const std::vector<T>& set, const V& value) {
  return std::binary_search(set.begin(), set.end(), value);
}

// At most code_size steps: every jump goes forward.
Answer run(const Code& code, const Rule& rule, const Request& request) {
  int64_t stack[stack_slots_max];
  int64_t* top = stack;  // one past the topmost
  const Instruction* const begin = code.instructions.data() + rule.code_begin;
  for (const Instruction* at = begin;;) {
    const int64_t operand = at->operand, fact = request.facts[at->fact];
    const auto entity = uint32_t(operand);
    const auto index = size_t(operand);
    bool answer = at->sense;  // a plain jump is a test that always succeeds
    // clang-format off
    switch (at->op) {
      case Op::fire: return Answer::fired;
      case Op::push_constant: *top++ = operand; ++at; continue;
      case Op::push_fact: *top++ = fact; ++at; continue;

      case Op::add:
        --top;
        if (__builtin_add_overflow(top[-1], top[0], top - 1)) return Answer::overflowed;
        ++at;
        continue;
      case Op::subtract:
        --top;
        if (__builtin_sub_overflow(top[-1], top[0], top - 1)) return Answer::overflowed;
        ++at;
        continue;
      case Op::multiply:
        --top;
        if (__builtin_mul_overflow(top[-1], top[0], top - 1)) return Answer::overflowed;
        ++at;
        continue;
      case Op::negate:
        if (__builtin_sub_overflow(int64_t(0), top[-1], top - 1)) return Answer::overflowed;
        ++at;
        continue;

      case Op::test_compare: top -= 2; answer = compare(at->compare, top[0], top[1]); break;
      case Op::test_fact: answer = compare(at->compare, fact, operand); break;
      case Op::test_contains: answer = contains(code.integer_sets[index], *--top); break;
      case Op::test_has_all: answer = (fact & operand) == operand; break;
      case Op::test_has_any: answer = (fact & operand) != 0; break;
      case Op::test_class_equal: answer = request.task_class == code.texts[index]; break;
      case Op::test_class_like: answer = matches(code.patterns[index], request.task_class); break;
      case Op::test_class_in: answer = contains(code.text_sets[index], request.task_class); break;
      case Op::test_principal_is: answer = is_same(request.principal, entity); break;
      case Op::test_principal_in: answer = is_within(request.principal, entity); break;
      case Op::test_resource_is: answer = is_same(request.resource, entity); break;
      case Op::test_resource_in: answer = is_within(request.resource, entity); break;
      case Op::jump: break;
      default: return Answer::skipped;  // skip
    }
    // clang-format on
    at = answer == at->sense ? begin + at->target : at + 1;
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
  decision.allowed = permits.count != 0 && (&decisive == &permits || HANSE_SEEDED_BUG(53));
  decision.error = errors.count != 0;
  decision.epoch = epoch;
  decision.rule_count = decisive.count;
  decision.rules = decisive.first;
  return decision;
}

}  // namespace hanse::policy
