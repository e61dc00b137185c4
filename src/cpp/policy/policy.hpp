// Rules in a subset of Cedar's syntax, compiled to a flat, verified, bounded program.
//
// Default deny; forbid overrides permit; an error (overflow, a missing attribute, a value of
// another type) inside any rule denies. Semantics after Cedar (Cutler et al., OOPSLA 2024);
// stricter in that an error in any rule denies.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.hpp"
#include "policy/value.hpp"

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
  X(read_latent)         \
  X(learn)

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
  X(same_tenant, "context.same_tenant")             \
  X(principal_budget_left, "principal.budget_left") \
  X(principal_tenant, "principal.tenant")           \
  X(principal_rate, "principal.rate")               \
  X(resource_tenant, "resource.tenant")             \
  X(label, "context.label")                         \
  X(untrusted, "context.untrusted")                 \
  X(hops, "context.hops")

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
  // What else the caller says, by the program's own slots (Program::attributes); those beyond the
  // span are missing.
  std::span<const Value> attributes;

  int64_t& operator[](Fact fact) { return facts[size_t(fact)]; }
};

// What a permit asks for in return: @obligation("approval, verifier") before the rule. Of all
// permits that fired, so that one more permit never asks for less. Rules with obligations are about
// dispatch alone, which is what can wait, be verified, be cut and be counted.
enum Obligation : uint8_t {
  obligation_approval = 1,  // a person says yes before the task is handed out
  obligation_verifier = 2,  // the task can't be accepted without one
  obligation_redact = 4,    // parts don't reach the worker: @redact("payload, latents")
  obligation_rate = 8,      // no more than so many a tenant and window: @rate("100/60s")
};
enum Redaction : uint8_t { redact_payload = 1, redact_latents = 2 };
struct RateLimit {
  uint32_t count = 0, seconds = 0;  // 0: none
};

constexpr uint32_t rules_fired_max = 8;
struct Decision {
  bool allowed = false;
  bool error = false;       // a rule could not be evaluated
  bool named = false;       // a permit that fired names its actions: not one for everything
  uint8_t obligations = 0;  // of all permits that fired; only where allowed
  uint64_t epoch = 0;
  // Rules that decided: those that failed if any did, else the forbids that fired, else the
  // permits that fired.
  uint32_t rule_count = 0;
  std::array<uint16_t, rules_fired_max> rules{};  // the first of them, ascending
  // Permits that fired and ask for something. More than fit deny, with an error.
  uint32_t obliging_count = 0;
  std::array<uint16_t, rules_fired_max> obliging{};
};

// What is written before and in the head of a rule.
struct RuleInfo {
  std::string name, text;  // text: as written, with its annotations
  bool forbids = false;
  uint8_t obligations = 0, redact = 0;
  RateLimit rate;
  std::string approver;          // @approver("name"): who is to say yes; empty: whoever may
  uint64_t lesson = UINT64_MAX;  // @lesson("17"): the journal position of the event behind the rule
};

// Immutable once compiled; any thread may decide.
class Program {
 public:
  // entity("Agent", "name") -> agent index, or index_none: unknown. A name "#123" is an id's value.
  using Resolve = std::function<uint32_t(std::string_view type, std::string_view name)>;

  // Grammar (Cedar): policy = {annotation} effect "(" principal "," action "," resource ")"
  //                           {when|unless "{" expr "}"} ";"
  //   scope:  principal | principal == Agent::"x" | principal in Agent::"x" | principal is Human |
  //           principal is Human in Agent::"x"   (resource alike; kinds: Agent Human Group Tool)
  //           action | action == Action::"dispatch" | action in [Action::"dispatch", …]
  //   expr:   if e then e else e, || && ! == != < <= > >= + - * in is has like, i64, string and
  //           boolean literals, sets of literals, contains containsAll containsAny isEmpty, facts,
  //           fact.hasAll(mask), fact.hasAny(mask), context.anything and context["any thing"],
  //           principal/resource ==/!=/in entity or [entity, …], action == / in, (expr)
  //   escapes in strings: \" \\ \n \t \r, and \* in a pattern; comments: // to the end of the line
  // An annotation @id("name") before a policy names its rule; else "rule0", "rule1" … No two rules
  // share a name. @note and @reason are for people; RuleInfo says what the others mean.
  // A schema ("context.tags: Set<String>; context.note?: String; resource.owner: String;") says
  // which attributes there are; any other is refused then. Types: Long, Bool, String, Set<Long>,
  // Set<String>. Without one, any attribute of the context may be asked for.
  // Throws policy_compile with field "policy" (or "schema") and "line L, column C: …" in detail;
  // bounds: 64 KiB of text, 1,000 rules, 4,096 instructions a rule, 64 levels of nesting, 256
  // attributes.
  static std::shared_ptr<const Program> compile(std::string_view text, const Resolve& resolve,
                                                std::string_view schema = {});
  ~Program();

  Decision decide(const Request& request, uint64_t epoch) const;
  uint32_t rule_count() const;
  std::string rule_name(uint32_t rule) const;
  std::string rule_text(uint32_t rule) const;  // as written
  RuleInfo rule(uint32_t rule) const;
  const std::string& text() const;
  const std::string& schema() const;

  // The names of the slots of Request::attributes, "context.tags".
  const std::vector<std::string>& attributes() const;
  // The slot of a name, index_none: no rule asks for it.
  uint32_t attribute_find(std::string_view name) const;
  // What the schema wants of it, where the value is not that; null: it fits.
  const char* attribute_misfit(std::string_view name, const Value& value) const;
  bool asks(Fact fact) const;  // some rule does
  // Rules that were looked at for this request: action, kind and scopes fit. [rule_count]
  void mark_evaluated(const Request& request, std::span<uint8_t> evaluated_out) const;

 private:
  Program();
  struct Compiled;
  std::unique_ptr<const Compiled> compiled_;
};

// What a kernel is born with.
constexpr std::string_view policy_at_birth = "permit(principal, action, resource);";

}  // namespace hanse
