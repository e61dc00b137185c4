// Governance, labels, roles, delegation, identities.
#include <algorithm>

#include "simulation/model.hpp"

namespace hanse::simulation {

// One of many: its refusal is an outcome, as the kernel maps errors to outcomes.
Outcome outcome_of_refusal(ErrorCode code) {
  switch (code) {
    case ErrorCode::unknown_task:
    case ErrorCode::unknown_agent:
    case ErrorCode::unknown_role:
      return Outcome::unknown;
    case ErrorCode::not_permitted:
    case ErrorCode::policy_denied:
    case ErrorCode::verifier_required:
      return Outcome::denied;
    case ErrorCode::revoked:
      return Outcome::revoked;
    case ErrorCode::paused:
      return Outcome::paused;
    case ErrorCode::role_missing:
      return Outcome::role_missing;
    case ErrorCode::exceeds_hold:
      return Outcome::exceeds_hold;
    case ErrorCode::already_resolved:
    case ErrorCode::illegal_transition:
      return Outcome::illegal_transition;
    case ErrorCode::duplicate_artifact:
      return Outcome::duplicate_artifact;
    default:
      return Outcome::invalid;
  }
}

// --- governance

Answer Model::govern(uint32_t actor, LessonText text, uint64_t cause) {
  expire();
  acting(actor);
  // Those who make rules need a rule that names the action; the texts here have none.
  if (actor != 0 || labelled(actor)) deny(actor);
  if (cause != UINT64_MAX && cause >= count) throw Refused{ErrorCode::unknown_event};
  if (text == LessonText::grants || text == LessonText::two)
    throw Refused{ErrorCode::policy_compile};
  if (text == LessonText::lockout) throw Refused{ErrorCode::policy_lockout};
  ++governed;
  if (text != LessonText::none) {
    lessons.push_back({count, text, false});
    ++epoch;
  }
  return {0, {commit()}};
}

Answer Model::repeal(uint32_t actor, uint64_t event) {
  expire();
  acting(actor);
  if (labelled(actor)) deny(actor);
  if (actor != 0) throw Refused{ErrorCode::not_permitted};
  const auto found = std::find_if(lessons.begin(), lessons.end(),
                                  [&](const StandingLesson& one) { return one.event == event; });
  if (found == lessons.end()) throw Refused{ErrorCode::unknown_event};
  if (found->repealed) throw Refused{ErrorCode::already_resolved};
  found->repealed = true;
  const uint64_t next = ++epoch;
  commit();
  return {0, {next}};
}

// --- labels

bool Model::label_ends(uint32_t from, uint32_t to) const {
  return labelled(from) && agents[from].hops >= hops_max && from != to;
}

bool Model::label_flow(uint32_t from, uint32_t to) {
  if (!labelled(from) || from == to) return true;
  if (label_ends(from, to)) return false;
  const auto next = uint8_t(agents[from].hops + 1);
  const bool farther = labelled(to) && agents[to].hops >= next;
  if (to == 0 || farther || agents[to].source) return true;
  agents[to].hops = next;
  commit();
  return true;
}

Answer Model::trust(uint32_t actor, uint32_t agent, bool trusted) {
  expire();
  require_within(acting(actor), agent);
  if (agent == 0) throw Refused{ErrorCode::not_permitted};
  if (trusted && (actor == agent || labelled(actor))) throw Refused{ErrorCode::not_permitted};
  agents[agent].hops = trusted ? trusted_label : 0;
  agents[agent].source = !trusted;
  return {0, {commit()}};
}

// --- roles

bool Model::holds_role(uint32_t agent, uint8_t role) const {
  const uint64_t wanted = roles.at(role);
  return (agents[agent].permissions & wanted) == wanted;
}

Answer Model::set_role(uint32_t actor, uint8_t role, uint64_t permissions) {
  expire();
  if (acting(actor) != 0) throw Refused{ErrorCode::not_permitted};
  roles[role] = permissions;
  return {0, {commit()}};
}

Answer Model::set_terms(uint32_t actor) {
  expire();
  if (acting(actor) != 0) throw Refused{ErrorCode::not_permitted};
  return {0, {commit()}};
}

// --- delegation

uint32_t Model::depth(uint32_t agent) const {
  uint32_t above = 0;
  for (; agents[agent].parent != index_none; agent = agents[agent].parent) ++above;
  return above;
}

uint32_t Model::deepest_below(uint32_t agent) const {
  uint32_t deepest = 0;
  for (uint32_t i = 0; i < agents.size(); ++i)
    if (within(i, agent)) deepest = std::max(deepest, depth(i));
  return deepest;
}

// The nearest group or human above it, or the agent itself below the root.
uint32_t Model::controller(uint32_t agent) const {
  for (uint32_t at = agent; at != 0; at = agents[at].parent) {
    const AgentKind kind = agents[at].kind;
    if (kind == AgentKind::group || kind == AgentKind::human || agents[at].parent == 0) return at;
  }
  return 0;
}

// What came for those below was passed over while they were stopped.
void Model::deliver_below(uint32_t agent) {
  for (uint64_t task = 0; task < jobs.size(); ++task) {
    const Job& job = jobs[task];
    if (job.state == TaskState::dispatched && job.delivered < job.attempt &&
        within(job.worker, agent))
      deliveries_.push_back({task, job.attempt, job.changed_at});
  }
}

Answer Model::steer(uint32_t actor, uint32_t agent, bool paused) {
  expire();
  require_within(acting(actor), agent);
  if (agent == 0 || agent == actor) throw Refused{ErrorCode::not_permitted};
  agents[agent].paused = paused;
  if (!paused) deliver_below(agent);
  return {0, {commit()}};
}

Answer Model::narrow(uint32_t actor, uint32_t agent, uint64_t permissions, uint64_t budget_max) {
  expire();
  require_within(acting(actor), agent);
  const Party& had = agents[agent];
  if (permissions != UINT64_MAX && (permissions & ~had.permissions) != 0)
    throw Refused{ErrorCode::attenuation_violation};
  if (budget_max != UINT64_MAX && budget_max > had.budget_max)
    throw Refused{ErrorCode::attenuation_violation};
  if (labelled(actor)) deny(actor);
  for (uint32_t i = 0; i < agents.size(); ++i) {
    if (!within(i, agent)) continue;
    agents[i].permissions &= permissions;
    agents[i].budget_max = std::min(agents[i].budget_max, budget_max);
  }
  return {0, {commit()}};
}

Answer Model::move(uint32_t actor, uint32_t agent, uint32_t parent) {
  expire();
  acting(actor);
  require_within(actor, agent);
  require_within(actor, parent);
  if (within(parent, agent)) throw Refused{ErrorCode::delegation_cycle};
  if (!live(parent)) throw Refused{ErrorCode::revoked};
  if (tenant(agent) == agent || tenant(agent) != tenant(parent))
    throw Refused{ErrorCode::not_permitted};
  if (deepest_below(agent) - depth(agent) + depth(parent) + 1 > 16)
    throw Refused{ErrorCode::delegation_depth};
  if ((agents[agent].permissions & ~agents[parent].permissions) != 0 ||
      agents[agent].budget_max > agents[parent].budget_max)
    throw Refused{ErrorCode::attenuation_violation};
  for (const auto& [whose, ceiling] : ceilings)
    if (within(agent, whose.first) != within(parent, whose.first) && agent != whose.first)
      throw Refused{ErrorCode::not_permitted};
  if (labelled(actor)) deny(actor);
  agents[agent].parent = parent;
  deliver_below(agent);
  return {0, {commit()}};
}

// --- identities

// step 0: another key; 1: none any more; 2: another model; 3: signed in too few bytes.
Answer Model::identify(uint32_t actor, uint32_t agent, uint8_t step) {
  expire();
  require_within(acting(actor), agent);
  Party& party = agents[agent];
  if (party.identity == 0) throw Refused{ErrorCode::unknown_agent};
  if (party.key_revoked) throw Refused{ErrorCode::key_retired};
  if (step == 3) throw Refused{ErrorCode::bad_signature};
  if (step == 1) party.key_revoked = true;
  return {0, {commit()}};
}

Answer Model::admit(uint32_t actor, uint32_t identity) {
  expire();
  acting(actor);
  uint32_t agent = 0;
  while (agent < agents.size() && agents[agent].identity != identity) ++agent;
  if (agent < agents.size()) {
    require_within(actor, agent);
  } else {
    if (depth(actor) >= 16) throw Refused{ErrorCode::delegation_depth};
    if (labelled(actor)) deny(actor);
    Party party{.parent = actor};
    party.permissions = agents[actor].permissions;
    party.budget_max = agents[actor].budget_max;
    party.identity = identity;
    agents.push_back(party);
    purses.emplace_back();
    offers.emplace_back();
    commit();
  }
  commit();
  return {0, {agent}};
}

}  // namespace hanse::simulation
