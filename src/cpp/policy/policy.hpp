// Rules in a subset of Cedar's syntax, compiled to a flat, verified, bounded program.
//
// Default deny; forbid overrides permit; an error (overflow) inside any rule denies. Semantics
// after Cedar (Cutler et al., OOPSLA 2024); stricter in that an error in any rule denies.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.hpp"

namespace hanse {

#define HANSE_ACTIONS(X) \
  X(dispatch)            \
  X(complete)            \
  X(accept)              \
  X(reject)              \
  X(escalate)            \
  X(withdraw)            \
  X(send)                \
  X(publish)             \
  X(transfer)            \
  X(fund)                \
  X(add_agent)           \
  X(revoke)              \
  X(load_policy)         \
  X(read_latent)

enum class Action : uint8_t {
#define HANSE_X(name) name,
  HANSE_ACTIONS(HANSE_X)
#undef HANSE_X
      count_
};
const char* action_name(Action action);

// Numbers that a rule can test, by their name in the text. Zero where they don't apply.
#define HANSE_FACTS(X)                              \
  X(principal_kind, "principal.kind")               \
  X(principal_depth, "principal.depth")             \
  X(principal_permissions, "principal.permissions") \
  X(principal_budget_max, "principal.budget_max")   \
  X(resource_kind, "resource.kind")                 \
  X(resource_depth, "resource.depth")               \
  X(resource_price, "resource.price")               \
  X(resource_tier, "resource.tier")                 \
  X(resource_skills, "resource.skills")             \
  X(resource_region, "resource.region")             \
  X(resource_load, "resource.load")                 \
  X(resource_policy_bits, "resource.policy_bits")   \
  X(budget, "context.budget")                       \
  X(payload_size, "context.payload_size")           \
  X(latent_count, "context.latent_count")           \
  X(amount, "context.amount")                       \
  X(verified, "context.verified")                   \
  X(attempt, "context.attempt")                     \
  X(same_tenant, "context.same_tenant")

enum class Fact : uint8_t {
#define HANSE_X(name, text) name,
  HANSE_FACTS(HANSE_X)
#undef HANSE_X
      count_
};

// The chain of an agent: itself, its parent … the root. `==` tests the first, `in` any of them.
struct Lineage {
  std::array<uint32_t, 17> chain;
  uint32_t size = 0;
};

struct Request {
  Action action = Action::dispatch;
  Lineage principal, resource;  // resource may be empty (size 0): only an unscoped rule matches it
  std::array<int64_t, size_t(Fact::count_)> facts{};
  std::string_view task_class;  // context.task_class

  int64_t& operator[](Fact fact) { return facts[size_t(fact)]; }
};

constexpr uint32_t rules_fired_max = 8;
struct Decision {
  bool allowed = false;
  bool error = false;  // a rule overflowed
  uint64_t epoch = 0;
  // Rules that decided: those that overflowed if any did, else the forbids that fired, else the
  // permits that fired.
  uint32_t rule_count = 0;
  std::array<uint16_t, rules_fired_max> rules{};  // the first of them, ascending
};

// Immutable once compiled; any thread may decide.
class Program {
 public:
  // entity("Agent", "name") -> agent index, or index_none: unknown. A name "#123" is an id's value.
  using Resolve = std::function<uint32_t(std::string_view type, std::string_view name)>;

  // Grammar (Cedar): policy = effect "(" principal "," action "," resource ")" {when|unless "{"
  // expr "}"} ";"
  //   scope:  principal | principal == Agent::"x" | principal in Agent::"x"   (resource alike)
  //           action | action == Action::"dispatch" | action in [Action::"dispatch", …]
  //   expr:   || && ! == != < <= > >= + - * , i64 and string literals, true false, facts,
  //           [1, 2].contains(fact), fact.hasAll(mask), fact.hasAny(mask), context.task_class ==
  //           "x" / != / like "a*", ["x", "y"].contains(context.task_class),
  //           principal/resource ==/!=/in entity, (expr)
  //   escapes in strings: \" \\ \n \t \r, and \* in a pattern; comments: // to the end of the line
  // An annotation @id("name") before a policy names its rule; else "rule0", "rule1" …
  // No two rules share a name.
  // Throws policy_compile with field "policy" and "line L, column C: …" in detail; bounds: 64 KiB
  // of text, 1,000 rules, 4,096 instructions a rule, 64 levels of nesting.
  static std::shared_ptr<const Program> compile(std::string_view text, const Resolve& resolve);
  ~Program();

  Decision decide(const Request& request, uint64_t epoch) const;
  uint32_t rule_count() const;
  std::string rule_name(uint32_t rule) const;
  std::string rule_text(uint32_t rule) const;  // as written
  const std::string& text() const;

 private:
  Program();
  struct Compiled;
  std::unique_ptr<const Compiled> compiled_;
};

// What a kernel is born with.
constexpr std::string_view policy_at_birth = "permit(principal, action, resource);";

}  // namespace hanse
