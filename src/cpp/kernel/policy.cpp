// The question that every command asks policy, and what becomes of a refusal.
#include <algorithm>

#include "kernel/inner.hpp"

namespace hanse {

namespace {

int64_t as_fact(uint64_t value) { return int64_t(std::min<uint64_t>(value, INT64_MAX)); }

std::span<const uint16_t> fired(const Decision& decision) {
  return {decision.rules.data(), std::min(decision.rule_count, rules_fired_max)};
}

}  // namespace

Request Kernel::Inner::question(uint32_t actor, Action action, uint32_t resource) const {
  Request request;
  request.action = action;
  request.principal = lineage(actor);
  request[Fact::principal_kind] = int64_t(agents.kind(actor));
  request[Fact::principal_depth] = agents.depth(actor);
  request[Fact::principal_permissions] = int64_t(agents.permissions(actor));
  request[Fact::principal_budget_max] = as_fact(agents.budget_max(actor));
  request[Fact::principal_tenant] = as_fact(agents.id_at(agents.tenant(actor)));
  if (const uint8_t distance = distance_of(actor); distance != label_trusted) {
    request[Fact::untrusted] = 1;
    request[Fact::hops] = distance;
  }
  if (program->asks(Fact::principal_budget_left))
    request[Fact::principal_budget_left] = as_fact(ledger.available(actor, 0));
  if (resource == index_none) return request;
  request.resource = lineage(resource);
  request[Fact::resource_kind] = int64_t(agents.kind(resource));
  request[Fact::resource_depth] = agents.depth(resource);
  request[Fact::resource_tenant] = as_fact(agents.id_at(agents.tenant(resource)));
  request[Fact::same_tenant] = agents.tenant(resource) == agents.tenant(actor);
  return request;
}

std::string Kernel::Inner::name_rules(std::span<const uint16_t> rules) const {
  std::string text;
  for (const uint16_t rule : rules) {
    const RuleInfo info = program->rule(rule);
    text += (text.empty() ? "by " : ", ") + info.name;
    if (info.lesson != UINT64_MAX) text += " (event " + std::to_string(info.lesson) + ")";
  }
  return (text.empty() ? "no rule permits it" : text) + " in epoch " + std::to_string(epoch);
}

// Above the rate, refusals are counted, and the count becomes an event in the next second; those
// that use a key up are always events.
bool Kernel::Inner::records_refusal(uint32_t tenant, bool always) {
  RefusalRate& rate = refusal_rates[tenant];
  const uint64_t second = next_time_ns() / 1'000'000'000;
  if (rate.second != second) {
    rate.second = second;
    rate.recorded = 0;
    if (rate.counted != 0) {
      RefusalsCountedRecord counted{tenant, rate.counted};
      rate.counted = 0;
      commit(0, counted);
    }
  }
  if (!always && rate.recorded >= refusal_records_per_second_max) {
    ++rate.counted;
    return false;
  }
  ++rate.recorded;
  return true;
}

Position Kernel::Inner::record_denial(uint32_t actor, const Request& request,
                                      const Decision& decision) {
  if (!records_refusal(agents.tenant(actor), false)) return position_none;
  DeniedRecord record;
  record.action = request.action;
  if (request.resource.size != 0) record.resource = request.resource.chain[0];
  record.amount = request.facts[size_t(Fact::amount)];
  record.epoch = decision.epoch;
  record.error = decision.error;
  const auto rules = fired(decision);
  record.rules.assign(rules.begin(), rules.end());
  return commit(actor, record);
}

void Kernel::Inner::require_policy(uint32_t actor, const Request& request, AgentId id) {
  const Decision decision = program->decide(request, epoch);
  remember(request, decision);
  const bool labelled = label_forbids(actor, request.action);
  if (decision.allowed && !labelled) return;
  const Position position = record_denial(actor, request, decision);
  throw Error(ErrorCode::policy_denied, action_name(request.action),
              labelled ? "by the flow of labels: the actor has heard untrusted words, " +
                             std::to_string(distance_of(actor)) + " hops away"
                       : name_rules(fired(decision)),
              id, position);
}

void Kernel::Inner::require_policy(uint32_t actor, Action action, uint32_t resource,
                                   int64_t amount) {
  Request request = question(actor, action, resource);
  request[Fact::amount] = amount;
  require_policy(actor, request, agents.id_at(actor));
}

Request Kernel::policy_question(AgentId principal, Action action, AgentId resource) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  return in.question(in.agents.index_checked(principal), action,
                     resource == id_none ? index_none : in.agents.index_checked(resource));
}

std::shared_ptr<const Program> Kernel::policy() const {
  std::lock_guard lock(inner_->writer);
  return inner_->program;
}

uint64_t Kernel::policy_epoch() const {
  std::lock_guard lock(inner_->writer);
  return inner_->epoch;
}

}  // namespace hanse
