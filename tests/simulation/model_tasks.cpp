// Tasks: from an order to a worker.
#include <algorithm>

#include "simulation/model.hpp"

namespace hanse::simulation {

namespace {

constexpr size_t look_counts[] = {8, 64, 1024};

}  // namespace

Outcome Model::consider(const Order& order, uint32_t worker, uint32_t version, uint64_t budget,
                        const Tentative* tentative, Pick& pick) const {
  const Offering& offer = offers[worker];
  uint64_t price = 0;
  if (version != 0) {
    if (!offer.found || offer.version != version) return Outcome::stale;
    price = uint64_t(offer.price);
    if (price > budget) return Outcome::budget_exceeded;
    uint64_t open = offer.open;
    if (tentative && tentative->slots.count(worker)) open += tentative->slots.at(worker);
    if (offer.slots != 0 && open >= offer.slots) return Outcome::full;
  }
  if (!live(worker)) return revoked(worker) ? Outcome::revoked : Outcome::paused;
  if (order.role != 0 && !holds_role(worker, order.role)) return Outcome::role_missing;
  if (!permits(Action::dispatch, price, 0, order.verified)) return Outcome::denied;
  pick.worker = worker;
  pick.version = version;
  pick.tier = version == 0 ? 0 : offer.tier;
  pick.price = version == 0 ? budget : price;
  return Outcome::ok;
}

Model::Pick Model::choose(const Order& order, const Look& look, uint64_t budget, bool last,
                          const Tentative* tentative) const {
  Pick pick;
  if (order.to != index_none) {
    pick.outcome = Outcome::unknown;
    if (order.to >= agents.size()) return pick;
    const Offering& offer = offers[order.to];
    pick.outcome =
        consider(order, order.to, offer.found ? offer.version : 0, budget, tentative, pick);
    return pick;
  }
  bool denied = false, moved = false, dear = false, unfit = false;
  for (size_t i = 0; i < look.agents.size(); ++i) {
    const Outcome outcome =
        consider(order, look.agents[i], look.versions[i], budget, tentative, pick);
    if (outcome == Outcome::ok) {
      pick.outcome = Outcome::ok;
      return pick;
    }
    denied |= outcome == Outcome::denied;
    dear |= outcome == Outcome::budget_exceeded;
    unfit |= outcome == Outcome::role_missing;
    moved |= outcome == Outcome::stale || outcome == Outcome::full || outcome == Outcome::revoked ||
             outcome == Outcome::paused;
  }
  pick.retry = !last && (moved || ((denied || unfit) && !look.complete));
  pick.outcome = denied  ? Outcome::denied
                 : unfit ? Outcome::role_missing
                 : dear  ? Outcome::budget_exceeded
                         : Outcome::no_match;
  return pick;
}

Model::Look Model::look(uint32_t actor, const Order& order, uint64_t budget, uint32_t round) const {
  Look found;
  if (order.to != index_none) return found;
  found.agents = feasible(actor, order.angle, int64_t(std::min<uint64_t>(budget, INT64_MAX)));
  found.complete = found.agents.size() < look_counts[round] || round == 2;
  found.agents.resize(std::min(found.agents.size(), look_counts[round]));
  for (const uint32_t agent : found.agents) found.versions.push_back(offers[agent].version);
  return found;
}

Outcome Model::check_money(uint32_t actor, const Order& order, Wide already, bool& recorded) const {
  recorded = false;
  if (order.unit >= unit_count) return Outcome::invalid;
  if (order.deadline_ns != 0 && order.deadline_ns <= std::max(last_ns, now))
    return Outcome::expired;
  recorded = true;
  if (order.budget > agents[actor].budget_max) return Outcome::budget_exceeded;
  const Purse& purse = purses[actor][order.unit];
  if (!purse.there || purse.closed) return Outcome::insufficient_funds;
  switch (room(actor, escrow_party, order.unit, 0, already + order.budget)) {
    case TransferOutcome::ok:
      return Outcome::ok;
    case TransferOutcome::exceeds_budget:
      return Outcome::budget_exceeded;
    default:
      return Outcome::insufficient_funds;
  }
}

bool Model::replayed(uint32_t actor, const Order& order, Placed& placed) const {
  if (order.key.empty()) return false;
  const auto found = keys_.find({actor, order.key});
  if (found == keys_.end()) return false;
  const UsedUp& used = found->second;
  placed.done = true;
  placed.position = used.position;
  placed.outcome = Outcome::conflict;
  if (!(used.order == order)) return true;
  placed.outcome = used.outcome == Outcome::ok ? Outcome::replayed : used.outcome;
  placed.task = used.task;
  placed.worker = used.worker;
  placed.version = used.version;
  placed.price = used.price;
  placed.reserved = used.reserved;
  return true;
}

// A refusal is an event of its own, up to a thousand a second and tenant; then they are counted.
bool Model::records_refusal(uint32_t actor, bool always) {
  Rate& rate = refusal_rates_[tenant(actor)];
  const uint64_t second = std::max(last_ns + 1, now) / 1'000'000'000;
  if (rate.second != second) {
    rate.second = second;
    rate.recorded = 0;
    if (rate.counted != 0) {
      rate.counted = 0;
      commit();
    }
  }
  if (!always && rate.recorded >= 1000) {
    ++rate.counted;
    return false;
  }
  ++rate.recorded;
  return true;
}

void Model::deny(uint32_t actor) {
  if (records_refusal(actor, false)) commit();
  throw Refused{ErrorCode::policy_denied};
}

void Model::refuse(uint32_t actor, const Order& order, Outcome outcome, Placed& placed) {
  if (!records_refusal(actor, !order.key.empty())) return;
  placed.position = count;
  if (!order.key.empty()) keys_[{actor, order.key}] = {order, outcome, count};
  commit();
}

void Model::place_job(uint32_t actor, const Order& order, const Pick& pick, Placed& placed) {
  if (!label_flow(actor, pick.worker)) throw Refused{ErrorCode::policy_denied};
  Job job;
  job.requester = actor;
  job.worker = pick.worker;
  job.budget = order.budget;
  job.price = pick.price;
  job.version = pick.version;
  job.tier = pick.tier;
  job.unit = order.unit;
  job.deadline_ns = order.deadline_ns;
  job.verified = order.verified;
  job.payload = order.payload;
  job.more = order;
  if (order.verifier != index_none || order.verifier_role != 0) job.verified = true;
  const uint64_t task = jobs.size();
  if (order.parent != Order::no_task) {
    Job& above = jobs[order.parent];
    above.children.push_back(task);
    job.depth = above.depth + 1;
    if (above.deadline_ns != 0)
      job.deadline_ns =
          job.deadline_ns == 0 ? above.deadline_ns : std::min(job.deadline_ns, above.deadline_ns);
  }
  if (order.approval) {
    job.state = TaskState::offered;
    job.answer_by = std::max(last_ns + 1, now) + one_day_ns;
    if (job.deadline_ns != 0) job.answer_by = std::min(job.answer_by, job.deadline_ns);
  }
  job.dispatched_at = job.changed_at = count;
  job.hold = hold_money(actor, escrow_party, order.unit, order.budget);
  if (pick.version != 0) ++offers[pick.worker].open;
  if (!order.approval) deliveries_.push_back({task, 1, count});
  jobs.push_back(std::move(job));
  placed = {order.approval ? Outcome::pending : Outcome::ok,
            task,
            pick.worker,
            pick.version,
            pick.price,
            order.budget,
            count,
            true};
  if (!order.key.empty())
    keys_[{actor, order.key}] = {order,       Outcome::ok,  count,      task,
                                 pick.worker, pick.version, pick.price, order.budget};
  commit();
}

// False: look for more candidates and come again.
bool Model::place(uint32_t actor, const Order& order, const Look& found, bool last,
                  Placed& placed) {
  if (replayed(actor, order, placed)) return true;
  check_more(actor, order);
  bool recorded;
  placed.outcome = check_money(actor, order, 0, recorded);
  if (placed.outcome == Outcome::ok) {
    const Pick pick = choose(order, found, order.budget, last, nullptr);
    if (pick.retry) return false;
    placed.outcome = pick.outcome;
    recorded = pick.outcome == Outcome::denied || pick.outcome == Outcome::budget_exceeded ||
               pick.outcome == Outcome::role_missing;
    if (pick.outcome == Outcome::ok) {
      place_job(actor, order, pick, placed);
      return true;
    }
  }
  if (recorded) refuse(actor, order, placed.outcome, placed);
  placed.done = true;
  return true;
}

void Model::place_atomic(uint32_t actor, const std::vector<Order>& orders,
                         std::vector<Placed>& placed) {
  Tentative tentative;
  std::vector<Pick> picks(orders.size());
  const auto abort = [&](size_t at, Outcome outcome, bool recorded) {
    for (Placed& other : placed) other = {Outcome::aborted};
    placed[at].outcome = outcome;
    Order unkeyed = orders[at];
    unkeyed.key.clear();
    if (recorded) refuse(actor, unkeyed, outcome, placed[at]);
  };
  std::vector<Look> looks;
  for (const Order& order : orders) looks.push_back(look(actor, order, order.budget, 0));
  for (size_t i = 0; i < orders.size(); ++i) {
    const Order& order = orders[i];
    check_more(actor, order);
    if (replayed(actor, order, placed[i])) {
      if (placed[i].outcome == Outcome::replayed) continue;
      return abort(i, placed[i].outcome, false);
    }
    if (!order.key.empty() && !tentative.keys.insert(order.key).second)
      return abort(i, Outcome::conflict, false);
    bool recorded;
    const Outcome money = check_money(actor, order, tentative.reserved, recorded);
    if (money != Outcome::ok) return abort(i, money, recorded);
    picks[i] = choose(order, looks[i], order.budget, true, &tentative);
    const Outcome said = picks[i].outcome;
    if (said != Outcome::ok)
      return abort(i, said,
                   said == Outcome::denied || said == Outcome::budget_exceeded ||
                       said == Outcome::role_missing);
    if (label_ends(actor, picks[i].worker)) return abort(i, Outcome::denied, false);
    tentative.reserved += order.budget;
    if (picks[i].version != 0) ++tentative.slots[picks[i].worker];
  }
  for (size_t i = 0; i < orders.size(); ++i)
    if (!placed[i].done) place_job(actor, orders[i], picks[i], placed[i]);
}

Answer Model::dispatch_many(uint32_t actor, const std::vector<Order>& orders, bool atomic,
                            bool single) {
  acting(actor);
  expire();
  std::vector<Placed> placed(orders.size());
  if (atomic) place_atomic(actor, orders, placed);
  std::vector<size_t> waiting;
  for (size_t i = 0; i < orders.size() && !atomic; ++i) waiting.push_back(i);
  for (uint32_t round = 0; round < 3 && !waiting.empty(); ++round) {
    std::vector<Look> looks;
    for (const size_t i : waiting) looks.push_back(look(actor, orders[i], orders[i].budget, round));
    std::vector<size_t> again;
    for (size_t j = 0; j < waiting.size(); ++j) {
      try {
        if (!place(actor, orders[waiting[j]], looks[j], round == 2, placed[waiting[j]]))
          again.push_back(waiting[j]);
      } catch (const Refused& refused) {
        if (single) throw;
        placed[waiting[j]] = {outcome_of_refusal(refused.code)};
      }
    }
    waiting = again;
  }
  Answer answer;
  for (const Placed& one : placed)
    for (const uint64_t value : {uint64_t(one.outcome), one.task, uint64_t(one.worker),
                                 uint64_t(one.version), one.price, one.reserved, one.position})
      answer.values.push_back(value);
  return answer;
}

Answer Model::dispatch(uint32_t actor, const Order& order) {
  return dispatch_many(actor, {order}, false, true);
}

}  // namespace hanse::simulation
