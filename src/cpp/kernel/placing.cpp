// From a request to a choice: candidates by vector (no mutex), then policy, price, slot and version
// for each of them in order (under the mutex), until one stands.
#include <algorithm>
#include <cmath>

#include "kernel/inner.hpp"

namespace hanse {

namespace {

constexpr uint32_t candidate_counts[search_rounds] = {8, 64, 1024};

template <class T>
Bytes bytes_of(std::span<const T> values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size_bytes()};
}

}  // namespace

// Invalid input: nothing happened, the key is not used up. Without the mutex.
void Kernel::Inner::check_request(const DispatchRequest& request) const {
  if (request.task_class.size() > task_class_size_max)
    throw Error(ErrorCode::too_large, "task_class", request.task_class.size(), task_class_size_max);
  if (request.key.size() > key_size_max)
    throw Error(ErrorCode::too_large, "key", request.key.size(), key_size_max);
  if (request.payload.size() > payload_size_max)
    throw Error(ErrorCode::payload_too_large, "payload", request.payload.size(), payload_size_max);
  if (request.latents.size() > latents_per_task_max)
    throw Error(ErrorCode::too_large, "latents", request.latents.size(), latents_per_task_max);
  if (request.budget == 0) throw Error(ErrorCode::out_of_range, "budget", "must not be 0");
  if (request.to == id_none && request.query.empty())
    throw Error(ErrorCode::empty, "to", "neither an address nor a query is given");
  if (request.query.empty()) return;
  if (request.space >= capabilities.space_count())
    throw Error(ErrorCode::unknown_space, "space", request.space, capabilities.space_count());
  const uint32_t dim = capabilities.space(request.space).dim;
  if (request.query.size() != dim)
    throw Error(
        ErrorCode::dimension_mismatch, "query",
        std::to_string(request.query.size()) + " where the space has " + std::to_string(dim));
  bool zero = true;
  for (const float value : request.query) {
    if (!std::isfinite(value)) throw Error(ErrorCode::bad_vector, "query", "is not finite");
    zero = zero && value == 0;
  }
  if (zero) throw Error(ErrorCode::bad_vector, "query", "is zero");
}

// Same key, other body is a conflict: everything that the caller asked for is in here.
Digest Kernel::Inner::body_digest(const DispatchRequest& request,
                                  std::span<const LatentManifest> latents) const {
  ByteWriter body;
  body.put(request.to);
  body.put_bytes(bytes_of(request.query));
  body.put(request.space);
  const Feasible& feasible = request.feasible;
  body.put(feasible.price_max), body.put(feasible.tier_min), body.put(feasible.tier_max);
  body.put(feasible.skills_all), body.put(feasible.skills_any), body.put(feasible.skills_none);
  body.put(feasible.policy_all), body.put(feasible.policy_none), body.put(feasible.region);
  body.put(feasible.tenant);
  body.put_text(request.task_class);
  body.put_bytes(request.payload);
  for (const LatentManifest& latent : latents) body.put_digest(latent.content);
  body.put(request.budget), body.put(request.unit), body.put(request.deadline_ns);
  body.put(request.verifier_required);
  if (!request.plain()) {
    body.put(request.parent), body.put(request.lease_ns), body.put(request.verifier);
    body.put_text(request.verifier_role), body.put_text(request.role);
    body.put_text(request.approval), body.put(request.approver), body.put(request.answer_by_ns);
  }
  return sha256(body.bytes());
}

// One search for all requests of the same space and round.
void Kernel::Inner::find_candidates(uint32_t actor,
                                    std::span<const DispatchRequest* const> requests,
                                    uint32_t round, std::vector<Candidates>& candidates_out) {
  candidates_out.assign(requests.size(), {});
  refresh_live();
  std::vector<uint8_t> done(requests.size());
  for (size_t first = 0; first < requests.size(); ++first) {
    if (done[first] || requests[first]->to != id_none) continue;
    const uint32_t space = requests[first]->space;
    std::vector<size_t> members;
    for (size_t i = first; i < requests.size(); ++i)
      if (!done[i] && requests[i]->to == id_none && requests[i]->space == space)
        members.push_back(i), done[i] = 1;
    const size_t dim = requests[first]->query.size();
    const uint32_t k = candidate_counts[round];
    std::vector<float> queries(members.size() * dim);
    std::vector<Feasible> feasible(members.size());
    for (size_t i = 0; i < members.size(); ++i) {
      const DispatchRequest& request = *requests[members[i]];
      std::copy(request.query.begin(), request.query.end(), queries.begin() + ptrdiff_t(i * dim));
      feasible[i] = request.feasible;
      feasible[i].price_max = std::min<int64_t>(
          feasible[i].price_max, int64_t(std::min<uint64_t>(request.budget, INT64_MAX)));
      feasible[i].exclude_agent = actor;
    }
    // Equal filters are the usual case; then one mask serves them all.
    const auto same = [&](const Feasible& other) { return other == feasible[0]; };
    const bool shared = std::all_of(feasible.begin(), feasible.end(), same);
    std::vector<Match> matches(members.size() * k);
    std::vector<int32_t> counts(members.size());
    capabilities.search(space, {queries.data(), members.size(), dim},
                        std::span<const Feasible>(feasible).first(shared ? 1 : feasible.size()), k,
                        {matches.data(), members.size(), k}, counts);
    for (size_t i = 0; i < members.size(); ++i) {
      Candidates& found = candidates_out[members[i]];
      const auto from = matches.begin() + ptrdiff_t(i * k);
      found.matches.assign(from, from + counts[i]);
      found.complete = uint32_t(counts[i]) < k || round + 1 == std::size(candidate_counts);
    }
  }
}

// An address instead of a search: the agent's offer 0 of the space, where it has one, sets price
// and tier; else the price is what the budget allows.
bool Kernel::Inner::direct_match(const DispatchRequest& request, Match& match_out) const {
  if (!agents.contains(request.to)) return false;
  match_out = Match{};
  match_out.agent = index_of(request.to);
  if (request.space >= capabilities.space_count()) return true;
  const uint32_t row = capabilities.row_find(request.space, match_out.agent, 0);
  if (row == index_none) return true;
  const CapabilityStore::Row offer = capabilities.row(request.space, row);
  if (!offer.found) return true;
  match_out.row = row;
  match_out.version = offer.version;
  return true;
}

Outcome Kernel::Inner::consider(uint32_t actor, const DispatchRequest& request, const Match& match,
                                uint64_t budget, Action action, const Tentative* tentative,
                                Choice& choice) {
  CapabilityStore::Row row{};
  if (match.row != index_none) {
    row = capabilities.row(request.space, match.row);
    if (!row.found || row.agent != match.agent || row.version != match.version)
      return Outcome::stale;
    if (uint64_t(row.price) > budget) return Outcome::budget_exceeded;
    uint32_t open = row.open;
    if (tentative) {
      const auto taken = tentative->slots.find(uint64_t(request.space) << 32 | match.row);
      if (taken != tentative->slots.end()) open += taken->second;
    }
    if (row.slots != 0 && open >= row.slots) return Outcome::full;
  }
  if (!agents.live(match.agent))
    return agents.revoked_ancestor(match.agent) == index_none ? Outcome::paused : Outcome::revoked;
  if (!request.role.empty() && !holds_role(match.agent, request.role)) return Outcome::role_missing;

  Request question;
  question.action = action;
  question.principal = lineage(actor);
  question.resource = lineage(match.agent);
  question.task_class = request.task_class;
  question[Fact::principal_kind] = int64_t(agents.kind(actor));
  question[Fact::principal_depth] = agents.depth(actor);
  question[Fact::principal_permissions] = int64_t(agents.permissions(actor));
  question[Fact::principal_budget_max] =
      int64_t(std::min<uint64_t>(agents.budget_max(actor), INT64_MAX));
  question[Fact::resource_kind] = int64_t(agents.kind(match.agent));
  question[Fact::resource_depth] = agents.depth(match.agent);
  question[Fact::resource_price] = row.price;
  question[Fact::resource_tier] = row.tier;
  question[Fact::resource_skills] = int64_t(row.skills);
  question[Fact::resource_region] = row.region;
  question[Fact::resource_load] = row.open;
  question[Fact::resource_policy_bits] = int64_t(row.policy_bits);
  question[Fact::budget] = int64_t(std::min<uint64_t>(budget, INT64_MAX));
  question[Fact::payload_size] = int64_t(request.payload.size());
  question[Fact::latent_count] = int64_t(request.latents.size());
  question[Fact::same_tenant] = agents.tenant(match.agent) == agents.tenant(actor);
  const Decision decision = program->decide(question, epoch);
  choice.rules.assign(decision.rules.begin(),
                      decision.rules.begin() + std::min(decision.rule_count, rules_fired_max));
  if (!decision.allowed) return Outcome::denied;

  choice.worker = match.agent;
  choice.space = request.space;
  choice.row = match.row;
  choice.offer = match.offer;
  choice.version = match.version;
  choice.tier = row.tier;
  choice.price = match.row == index_none ? budget : uint64_t(row.price);
  choice.score = match.score;
  return Outcome::ok;
}

Choice Kernel::Inner::choose(uint32_t actor, const DispatchRequest& request,
                             const Candidates& candidates, uint64_t budget, Action action,
                             bool last_round, const Tentative* tentative) {
  Choice choice;
  choice.epoch = epoch;
  Match direct;
  std::span<const Match> matches = candidates.matches;
  bool complete = candidates.complete;
  if (request.to != id_none) {
    if (!direct_match(request, direct)) {
      choice.outcome = Outcome::unknown;
      choice.reason = "no such agent";
      return choice;
    }
    matches = {&direct, 1};
    complete = true;
  }
  bool denied = false, moved = false, dear = false, unfit = false, busy = false;
  Outcome last = Outcome::no_match;
  std::vector<uint16_t> denied_by;
  for (const Match& match : matches) {
    last = consider(actor, request, match, budget, action, tentative, choice);
    if (choice.considered.size() < considered_max)
      choice.considered.push_back({match.agent, match.score, last});
    if (last == Outcome::ok) {
      choice.outcome = Outcome::ok;
      // The chosen one is shown even when the list of those passed over is full.
      choice.considered.back() = {match.agent, match.score, last};
      return choice;
    }
    if (last == Outcome::denied && !denied) denied_by = choice.rules;
    denied |= last == Outcome::denied;
    dear |= last == Outcome::budget_exceeded;
    unfit |= last == Outcome::role_missing;
    busy |= last == Outcome::full;
    moved |= last == Outcome::stale || last == Outcome::full || last == Outcome::revoked ||
             last == Outcome::paused;
  }
  choice.retry =
      !last_round && request.to == id_none && (moved || ((denied || unfit) && !complete));
  if (request.to != id_none)
    choice.outcome = last;
  else if (denied)
    choice.outcome = Outcome::denied;
  else if (unfit)
    choice.outcome = Outcome::role_missing;
  else
    choice.outcome = dear && !busy ? Outcome::budget_exceeded : Outcome::no_match;
  choice.rules = denied ? denied_by : std::vector<uint16_t>{};
  choice.recorded = choice.outcome == Outcome::denied ||
                    choice.outcome == Outcome::budget_exceeded ||
                    choice.outcome == Outcome::role_missing;
  if (choice.outcome == Outcome::denied) {
    choice.reason = choice.rules.empty() ? "no rule permits it" : "by";
    for (const uint16_t rule : choice.rules)
      choice.reason.append(" ").append(program->rule_name(rule));
    choice.reason += " in epoch " + std::to_string(epoch);
  } else if (choice.outcome == Outcome::role_missing) {
    choice.reason = "no one asked has the role " + std::string(request.role);
  } else if (choice.outcome == Outcome::no_match) {
    choice.reason = "nothing feasible";
  }
  return choice;
}

// A refusal changes nothing but one event. Above the rate, refusals without a key are counted, and
// the count becomes an event in the next second.
Position Kernel::Inner::record_refusal(uint32_t actor, const DispatchRequest& request,
                                       const Digest& body, const Choice& choice) {
  const uint32_t tenant = agents.tenant(actor);
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
  if (request.key.empty() && rate.recorded >= refusal_records_per_second_max) {
    ++rate.counted;
    return position_none;
  }
  ++rate.recorded;
  RefusedRecord record;
  record.requester = actor;
  record.outcome = choice.outcome;
  record.budget = request.budget;
  record.epoch = choice.epoch;
  record.task_class = request.task_class;
  record.key.assign(request.key.begin(), request.key.end());
  record.body = body;
  record.considered = choice.considered;
  record.rules = choice.rules;
  return commit(actor, record);
}

}  // namespace hanse
