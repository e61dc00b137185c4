// What a policy text becomes: rules with their scopes, and one flat array of instructions that jump
// forward only. Internal to the concept; open to its tests, which corrupt it by hand.
//
// Booleans are never values: a condition is a chain of tests, each of which jumps to its target
// when its answer equals `sense` and else falls through. The stack holds integers only, and it is
// empty wherever a jump starts or lands.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.hpp"
#include "policy/policy.hpp"

namespace hanse::policy {

constexpr size_t text_size_max = 64 * 1024;
constexpr size_t rules_max = 1000;
constexpr size_t instructions_per_rule_max = 4096;
constexpr uint32_t nesting_max = 64;
// A level of nesting holds at most three integers: one of a comparison, a sum and a product.
constexpr uint32_t stack_slots_max = 256;
constexpr size_t action_count = size_t(Action::count_);
constexpr size_t fact_count = size_t(Fact::count_);
constexpr uint32_t actions_all = (1u << action_count) - 1;
static_assert(action_count < 32);

enum class Op : uint8_t {
  push_constant,  // operand
  push_fact,      // facts[fact]
  add,            // these four stop the rule with an error when the result does not fit
  subtract,
  multiply,
  negate,
  test_compare,       // pops b, then a: a <compare> b
  test_fact,          // facts[fact] <compare> operand
  test_contains,      // pops a: integer_sets[operand] contains a
  test_has_all,       // (facts[fact] & operand) == operand
  test_has_any,       // (facts[fact] & operand) != 0
  test_class_equal,   // task_class == texts[operand]
  test_class_like,    // task_class like patterns[operand]
  test_class_in,      // text_sets[operand] contains task_class
  test_principal_is,  // operand: an agent's index
  test_principal_in,
  test_resource_is,
  test_resource_in,
  jump,  // always
  fire,  // the rule applies
  skip,  // it does not
  count_
};

// Bits: 1 less, 2 equal, 4 greater, so that a comparison is one mask and no branch.
enum class Compare : uint8_t {
  less = 1,
  equal = 2,
  less_equal = 3,
  greater = 4,
  not_equal = 5,
  greater_equal = 6
};

struct Instruction {
  Op op = Op::skip;
  Compare compare = Compare::equal;
  bool sense = false;
  uint8_t fact = 0;
  uint16_t target = 0;  // counted from the rule's first instruction
  int64_t operand = 0;
};

enum class Effect : uint8_t { permit, forbid };
enum class Scope : uint8_t { any, is, in, count_ };

struct Rule {
  Effect effect = Effect::permit;
  Scope principal_scope = Scope::any, resource_scope = Scope::any;
  uint32_t principal = index_none, resource = index_none;
  uint32_t actions = 0;  // bit a: Action(a)
  uint32_t code_begin = 0, code_size = 0;
};

// "a*b" is {"a", "b"}: the first piece is a prefix, the last a suffix, the others lie between.
struct Pattern {
  std::vector<std::string> pieces;
};

struct Code {
  std::vector<Rule> rules;
  std::vector<Instruction> instructions;
  std::vector<std::vector<int64_t>> integer_sets;   // ascending, no duplicates
  std::vector<std::vector<std::string>> text_sets;  // the same
  std::vector<std::string> texts;
  std::vector<Pattern> patterns;
  std::array<std::vector<uint16_t>, action_count> by_action;  // rule numbers, ascending
};

struct RuleSource {
  std::string name;
  uint32_t begin = 0, size = 0;  // in the text
};

struct Compiled {
  Code code;
  std::vector<RuleSource> sources;
};

// Throws policy_compile. The result has not been verified yet.
Compiled compile_text(std::string_view text, const Program::Resolve& resolve);

// The first thing that is wrong with `code`, or empty. Trusts nothing: the evaluator runs what
// passes here without looking back.
std::string find_fault(const Code& code);

// `code` must have passed find_fault.
Decision decide_with(const Code& code, const Request& request, uint64_t epoch);

bool matches(const Pattern& pattern, std::string_view text);

}  // namespace hanse::policy
