// What a policy text becomes: rules with their scopes, and one flat array of instructions that jump
// forward only. Internal to the concept; open to its tests, which corrupt it by hand.
//
// A condition is a chain of tests, each of which jumps to its target when its answer equals `sense`
// and else falls through. The stack is as deep where a jump lands as where it starts, by whichever
// way one comes there.
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
// A level of nesting holds at most four values: one of a method, a comparison, a sum and a product.
constexpr uint32_t stack_slots_max = 320;
constexpr size_t attributes_max = 256;
constexpr size_t action_count = size_t(Action::count_);
constexpr size_t fact_count = size_t(Fact::count_);
constexpr uint32_t actions_all = (1u << action_count) - 1;
static_assert(action_count < 32);

enum class Op : uint8_t {
  push_constant,   // operand
  push_fact,       // facts[fact]
  push_boolean,    // operand
  push_text,       // texts[operand]
  push_class,      // the request's task_class
  push_set,        // sets[operand]
  push_attribute,  // attributes[operand]; missing is an error
  push_principal,
  push_resource,
  push_entity,  // operand: an agent's index
  add,          // these four stop the rule with an error for anything but integers, and when the
  subtract,     // result does not fit
  multiply,
  negate,
  test_compare,       // pops b, then a: a <compare> b; order is for integers alone
  test_true,          // pops a boolean
  test_like,          // pops a text: like patterns[operand]
  test_member,        // pops an element, then a set
  test_members_all,   // pops b, then a, both sets
  test_members_any,   // the same
  test_empty,         // pops a set
  test_within,        // pops an entity; fact 0: the principal, 1: the resource is in it
  test_contains,      // pops a: integer_sets[operand] contains a
  test_fact,          // facts[fact] <compare> operand
  test_has_all,       // (facts[fact] & operand) == operand
  test_has_any,       // (facts[fact] & operand) != 0
  test_class_equal,   // task_class == texts[operand]
  test_class_like,    // task_class like patterns[operand]
  test_class_in,      // text_sets[operand] contains task_class
  test_principal_is,  // operand: an agent's index
  test_principal_in,
  test_resource_is,
  test_resource_in,
  test_kind,    // fact 0: the principal, 1: the resource is of the kind `operand`
  test_action,  // operand: a set of actions, a bit each
  test_has,     // attributes[operand] is not missing
  jump,         // always
  fire,         // the rule applies
  skip,         // it does not
  count_
};

inline bool reads_fact(Op op) {
  return op == Op::push_fact || (op >= Op::test_fact && op <= Op::test_has_any);
}

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

// Kinds of agents as bits; the last bit: there is no such party.
constexpr size_t kind_count = 5;
constexpr uint8_t kind_of_none = 4;
constexpr uint8_t kinds_all = (1u << kind_count) - 1;

struct Rule {
  Effect effect = Effect::permit;
  uint8_t obligations = 0;
  bool grants = true;  // false for a lesson: it only asks for something in return
  Scope principal_scope = Scope::any, resource_scope = Scope::any;
  uint32_t principal = index_none, resource = index_none;
  uint8_t principal_kinds = kinds_all, resource_kinds = kinds_all;
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
  std::vector<ValueSet> sets;
  uint32_t attribute_count = 0;
  // Rule numbers, ascending, by action and kind of the resource.
  std::array<std::array<std::vector<uint16_t>, kind_count>, action_count> by_action;
};

enum class Type : uint8_t { any, boolean, integer, text, entity, integer_set, text_set };

struct SchemaEntry {
  std::string name;  // "context.tags"
  Type type = Type::any;
  bool optional = false;
};
struct Schema {
  std::vector<SchemaEntry> entries;  // ascending by name
  const SchemaEntry* find(std::string_view name) const;
};
// Throws policy_compile (field "schema").
Schema parse_schema(std::string_view text);
const char* type_name(Type type);

struct RuleSource {
  std::string name;
  uint32_t begin = 0, size = 0;  // in the text
  uint8_t redact = 0;
  RateLimit rate;
  std::string approver;
  uint64_t lesson = UINT64_MAX;
};

struct Compiled {
  Code code;
  std::vector<RuleSource> sources;
  std::vector<std::string> attributes;  // by slot
  Schema schema;
};

// Throws policy_compile. The result has not been verified yet.
Compiled compile_text(std::string_view text, const Program::Resolve& resolve,
                      std::string_view schema = {});

// The first thing that is wrong with `code`, or empty. Trusts nothing: the evaluator runs what
// passes here without looking back.
std::string find_fault(const Code& code);

// `code` must have passed find_fault.
Decision decide_with(const Code& code, const Request& request, uint64_t epoch);

// Whether action, kinds and scopes of the rule fit. The index has looked at action and kind of the
// resource.
bool in_scope(const Rule& rule, const Request& request);
uint8_t kind_of_principal(const Request& request);
uint8_t kind_of_resource(const Request& request);

bool matches(const Pattern& pattern, std::string_view text);

}  // namespace hanse::policy
