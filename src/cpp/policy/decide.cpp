#include <algorithm>

#include "base/error.hpp"
#include "base/seeded_bug.hpp"
#include "policy/compiled.hpp"

namespace hanse::policy {

namespace {

enum class Answer : uint8_t { skipped, fired, failed };

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

bool fits(Scope scope, uint32_t entity, const Lineage& lineage) {
  if (scope == Scope::any) return true;
  return scope == Scope::is ? is_same(lineage, entity) : is_within(lineage, entity);
}

uint8_t kind_of(const Lineage& lineage, int64_t kind) {
  return lineage.size == 0 || uint64_t(kind) >= kind_of_none ? kind_of_none : uint8_t(kind);
}

uint32_t self(const Lineage& lineage) { return lineage.size == 0 ? index_none : lineage.chain[0]; }

bool compare(Compare how, int64_t a, int64_t b) {
  return (uint32_t(how) & (uint32_t(a < b) | uint32_t(a == b) << 1 | uint32_t(a > b) << 2)) != 0;
}

template <class T, class V>
bool contains(const std::vector<T>& set, const V& value) {
  return std::binary_search(set.begin(), set.end(), value);
}

// What pops more than integers. False: a value of another type, which stops the rule.
bool test_values(const Code& code, const Instruction& at, const Request& request, Value*& top,
                 bool& answer_out) {
  using Kind = Value::Kind;
  const auto index = size_t(at.operand);
  switch (at.op) {
    case Op::test_compare: {
      top -= 2;
      if (at.compare == Compare::equal || at.compare == Compare::not_equal) {
        answer_out = same_value(top[0], top[1]) == (at.compare == Compare::equal);
        return true;
      }
      answer_out = compare(at.compare, top[0].number, top[1].number);
      return top[0].kind == Kind::integer && top[1].kind == Kind::integer;
    }
    case Op::test_true:
      answer_out = (--top)->number != 0;
      return top->kind == Kind::boolean;
    case Op::test_like:
      if ((--top)->kind != Kind::text) return false;
      answer_out = matches(code.patterns[index], top->text());
      return true;
    case Op::test_member:
      top -= 2;
      if (top[0].kind != Kind::set) return false;
      answer_out = top[0].set->contains(top[1]);
      return true;
    case Op::test_members_all:
    case Op::test_members_any:
      top -= 2;
      if (top[0].kind != Kind::set || top[1].kind != Kind::set) return false;
      answer_out = at.op == Op::test_members_all ? top[0].set->contains_all(*top[1].set)
                                                 : top[0].set->contains_any(*top[1].set);
      return true;
    case Op::test_empty:
      if ((--top)->kind != Kind::set) return false;
      answer_out = top->set->elements.empty();
      return true;
    case Op::test_within:
      if ((--top)->kind != Kind::entity) return false;
      answer_out =
          is_within(at.fact == 0 ? request.principal : request.resource, uint32_t(top->number));
      return true;
    default:  // test_contains
      --top;
      answer_out = top->kind == Kind::integer && contains(code.integer_sets[index], top->number);
      return true;
  }
}

// Puts a value on the stack or works on integers there. False: an overflow, a missing attribute, or
// a value of another type.
bool push_value(const Code& code, const Instruction& at, const Request& request, Value*& top) {
  const int64_t operand = at.operand;
  const auto index = size_t(operand);
  switch (at.op) {
    case Op::push_constant:
      *top++ = Value::of_integer(operand);
      return true;
    case Op::push_fact:
      *top++ = Value::of_integer(request.facts[at.fact]);
      return true;
    case Op::push_boolean:
      *top++ = Value::of_boolean(operand != 0);
      return true;
    case Op::push_text:
      *top++ = Value::of_text(code.texts[index]);
      return true;
    case Op::push_class:
      *top++ = Value::of_text(request.task_class);
      return true;
    case Op::push_set:
      *top++ = Value::of_set(code.sets[index]);
      return true;
    case Op::push_attribute:
      if (index >= request.attributes.size()) return false;
      *top++ = request.attributes[index];
      return top[-1].kind != Value::Kind::missing;
    case Op::push_principal:
      *top++ = Value::of_entity(self(request.principal));
      return true;
    case Op::push_resource:
      *top++ = Value::of_entity(self(request.resource));
      return true;
    case Op::push_entity:
      *top++ = Value::of_entity(uint32_t(operand));
      return true;
    case Op::negate:
      return top[-1].kind == Value::Kind::integer &&
             !__builtin_sub_overflow(int64_t(0), top[-1].number, &top[-1].number);
    default:
      break;
  }
  --top;
  if (top[-1].kind != Value::Kind::integer || top[0].kind != Value::Kind::integer) return false;
  int64_t& left = top[-1].number;
  const int64_t right = top[0].number;
  if (at.op == Op::add) return !__builtin_add_overflow(left, right, &left);
  if (at.op == Op::subtract) return !__builtin_sub_overflow(left, right, &left);
  return !__builtin_mul_overflow(left, right, &left);
}

// At most code_size steps: every jump goes forward.
Answer run(const Code& code, const Rule& rule, const Request& request) {
  Value stack[stack_slots_max];
  Value* top = stack;  // one past the topmost
  const Instruction* const begin = code.instructions.data() + rule.code_begin;
  for (const Instruction* at = begin;;) {
    const int64_t operand = at->operand, fact = request.facts[at->fact];
    const auto entity = uint32_t(operand);
    const auto index = size_t(operand);
    bool answer = at->sense;  // a plain jump is a test that always succeeds
    // clang-format off
    switch (at->op) {
      case Op::fire: return Answer::fired;
      case Op::skip: return Answer::skipped;
      case Op::test_fact: answer = compare(at->compare, fact, operand); break;
      case Op::test_has_all: answer = (fact & operand) == operand; break;
      case Op::test_has_any: answer = (fact & operand) != 0; break;
      case Op::test_class_equal: answer = request.task_class == code.texts[index]; break;
      case Op::test_class_like: answer = matches(code.patterns[index], request.task_class); break;
      case Op::test_class_in: answer = contains(code.text_sets[index], request.task_class); break;
      case Op::test_principal_is: answer = is_same(request.principal, entity); break;
      case Op::test_principal_in: answer = is_within(request.principal, entity); break;
      case Op::test_resource_is: answer = is_same(request.resource, entity); break;
      case Op::test_resource_in: answer = is_within(request.resource, entity); break;
      case Op::test_kind:
        answer = (at->fact == 0 ? kind_of_principal(request) : kind_of_resource(request)) == operand;
        break;
      case Op::test_action: answer = (operand >> size_t(request.action) & 1) != 0; break;
      case Op::test_has:
        answer = index < request.attributes.size() &&
                 request.attributes[index].kind != Value::Kind::missing;
        break;
      case Op::jump: break;
      default:
        if (at->op <= Op::negate) {
          if (!push_value(code, *at, request, top)) return Answer::failed;
          ++at;
          continue;
        }
        if (!test_values(code, *at, request, top, answer)) return Answer::failed;
    }
    // clang-format on
    at = answer == at->sense ? begin + at->target : at + 1;
  }
}

}  // namespace

uint8_t kind_of_principal(const Request& request) {
  return kind_of(request.principal, request.facts[size_t(Fact::principal_kind)]);
}

uint8_t kind_of_resource(const Request& request) {
  return kind_of(request.resource, request.facts[size_t(Fact::resource_kind)]);
}

bool in_scope(const Rule& rule, const Request& request) {
  return fits(rule.principal_scope, rule.principal, request.principal) &&
         fits(rule.resource_scope, rule.resource, request.resource) &&
         (rule.principal_kinds == kinds_all ||
          (rule.principal_kinds >> kind_of_principal(request) & 1) != 0);
}

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
  Fired permits, forbids, errors, obliging;
  uint8_t obligations = 0;
  bool named = false;
  for (const uint16_t number : code.by_action[size_t(request.action)][kind_of_resource(request)]) {
    const Rule& rule = code.rules[number];
    if (!in_scope(rule, request)) continue;
    const Answer answer = run(code, rule, request);
    if (answer == Answer::skipped) continue;
    if (answer == Answer::failed) {
      errors.add(number);
    } else if (rule.effect == Effect::forbid) {
      forbids.add(number);
    } else {
      if (rule.grants) {
        permits.add(number);
        named |= rule.actions != actions_all;
      }
      obligations |= rule.obligations;
      if (rule.obligations != 0) obliging.add(number);
    }
  }

  const bool failed = errors.count != 0 || obliging.count > rules_fired_max;
  const Fired& decisive = errors.count != 0                  ? errors
                          : forbids.count != 0               ? forbids
                          : obliging.count > rules_fired_max ? obliging
                                                             : permits;
  Decision decision;
  decision.allowed = permits.count != 0 && (&decisive == &permits || HANSE_SEEDED_BUG(53));
  decision.error = failed;
  decision.epoch = epoch;
  decision.rule_count = decisive.count;
  decision.rules = decisive.first;
  if (!decision.allowed) return decision;
  decision.named = named;
  decision.obligations = obligations;
  decision.obliging_count = obliging.count;
  decision.obliging = obliging.first;
  return decision;
}

}  // namespace hanse::policy
