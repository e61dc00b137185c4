// Tasks: dispatch, complete, judge, escalate.
#include <algorithm>

#include "simulation/model.hpp"

namespace hanse::simulation {

namespace {

constexpr size_t look_counts[] = {8, 64, 1024};
constexpr uint64_t parts_per_unit = 1'000'000;

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
  if (!live(worker)) return Outcome::revoked;
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
  bool denied = false, moved = false, dear = false;
  for (size_t i = 0; i < look.agents.size(); ++i) {
    const Outcome outcome =
        consider(order, look.agents[i], look.versions[i], budget, tentative, pick);
    if (outcome == Outcome::ok) {
      pick.outcome = Outcome::ok;
      return pick;
    }
    denied |= outcome == Outcome::denied;
    dear |= outcome == Outcome::budget_exceeded;
    moved |= outcome == Outcome::stale || outcome == Outcome::full || outcome == Outcome::revoked;
  }
  pick.retry = !last && (moved || (denied && !look.complete));
  pick.outcome = denied ? Outcome::denied : dear ? Outcome::budget_exceeded : Outcome::no_match;
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
  job.dispatched_at = job.changed_at = count;
  job.hold = hold_money(actor, escrow_party, order.unit, order.budget);
  if (pick.version != 0) ++offers[pick.worker].open;
  const uint64_t task = jobs.size();
  deliveries_.push_back({task, 1, count});
  jobs.push_back(std::move(job));
  placed = {Outcome::ok, task, pick.worker, pick.version, pick.price, order.budget, count, true};
  if (!order.key.empty())
    keys_[{actor, order.key}] = {order,       Outcome::ok,  count,      task,
                                 pick.worker, pick.version, pick.price, order.budget};
  commit();
}

// False: look for more candidates and come again.
bool Model::place(uint32_t actor, const Order& order, const Look& found, bool last,
                  Placed& placed) {
  if (replayed(actor, order, placed)) return true;
  bool recorded;
  placed.outcome = check_money(actor, order, 0, recorded);
  if (placed.outcome == Outcome::ok) {
    const Pick pick = choose(order, found, order.budget, last, nullptr);
    if (pick.retry) return false;
    placed.outcome = pick.outcome;
    recorded = pick.outcome == Outcome::denied || pick.outcome == Outcome::budget_exceeded;
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
      return abort(i, said, said == Outcome::denied || said == Outcome::budget_exceeded);
    tentative.reserved += order.budget;
    if (picks[i].version != 0) ++tentative.slots[picks[i].worker];
  }
  for (size_t i = 0; i < orders.size(); ++i)
    if (!placed[i].done) place_job(actor, orders[i], picks[i], placed[i]);
}

Answer Model::dispatch_many(uint32_t actor, const std::vector<Order>& orders, bool atomic) {
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
    for (size_t j = 0; j < waiting.size(); ++j)
      if (!place(actor, orders[waiting[j]], looks[j], round == 2, placed[waiting[j]]))
        again.push_back(waiting[j]);
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
  return dispatch_many(actor, {order}, false);
}

// --- the other transitions

Job& Model::job_for(uint32_t actor, uint64_t task, bool as_worker) {
  if (task >= jobs.size()) throw Refused{ErrorCode::unknown_task};
  Job& job = jobs[task];
  if (!same_view(actor, job.requester) && !same_view(actor, job.worker))
    throw Refused{ErrorCode::unknown_task};
  if (!within(as_worker ? job.worker : job.requester, actor))
    throw Refused{ErrorCode::not_permitted};
  return job;
}

static void require_state(const Job& job, std::initializer_list<TaskState> states) {
  if (std::find(states.begin(), states.end(), job.state) != states.end()) return;
  const bool settled = job.state == TaskState::accepted || job.state == TaskState::voided ||
                       job.state == TaskState::expired;
  throw Refused{settled ? ErrorCode::already_resolved : ErrorCode::illegal_transition};
}

void Model::release(Job& job) {
  if (job.version != 0) --offers[job.worker].open;
}

void Model::end_job(Job& job, TaskState state, HoldState hold) {
  resolve(job.hold, hold);
  release(job);
  job.state = state;
  job.changed_at = count;
}

Answer Model::complete(uint32_t actor, uint64_t task, uint32_t artifact, uint64_t fresh) {
  expire();
  acting(actor);
  Job& job = job_for(actor, task, true);
  require_state(job, {TaskState::dispatched});
  Purse& payer = purses[job.requester][job.unit];
  const Wide parts = Wide(fresh) * rates[job.unit][job.tier] + payer.remainder;
  const uint64_t left = promises[job.hold - 1].left;
  const uint64_t fee = job.version == 0 ? 0 : std::min(job.price, left);
  const Wide cost = parts / parts_per_unit;
  if (cost > Wide(left - fee)) throw Refused{ErrorCode::exceeds_hold};
  payer.remainder = uint64_t(parts % parts_per_unit);
  draw(job.hold, uint64_t(cost), usage[job.unit], 0);
  job.spent += uint64_t(cost);
  job.artifact = artifact;
  job.state = TaskState::completed;
  job.changed_at = count;
  return {0, {commit()}};
}

Answer Model::judge(uint32_t actor, uint64_t task, Verdict verdict, uint32_t verifier) {
  expire();
  acting(actor);
  if (verifier != index_none) acting(verifier);
  Job& job = job_for(actor, task, false);
  if (verifier == job.worker) throw Refused{ErrorCode::not_permitted};
  if (verdict == Verdict::accept) {
    require_state(job, {TaskState::completed});
    if (job.artifact == 0) throw Refused{ErrorCode::illegal_transition};
    if (accepted_artifacts.count(job.artifact)) throw Refused{ErrorCode::duplicate_artifact};
    if (job.verified && verifier == index_none) throw Refused{ErrorCode::verifier_required};
    if (!permits(Action::accept, 0, 0, verifier != index_none)) deny(actor);
    const uint64_t fee = std::min(job.price, promises[job.hold - 1].left);
    const auto house = uint64_t(Wide(fee) * fee_basis_points / 10'000);
    if (fee > house) {
      purses[job.worker][job.unit].there = true;
      draw(job.hold, fee - house, purses[job.worker][job.unit], job.worker);
    }
    draw(job.hold, house, fees[job.unit], 0);
    job.spent += fee;
    accepted_artifacts.insert(job.artifact);
    end_job(job, TaskState::accepted, HoldState::posted);
  } else if (verdict == Verdict::reject) {
    require_state(job, {TaskState::completed});
    job.state = TaskState::rejected;
    job.changed_at = count;
  } else {
    require_state(job, {TaskState::dispatched, TaskState::completed, TaskState::rejected});
    end_job(job, TaskState::voided, HoldState::voided);
  }
  return {0, {commit()}};
}

Answer Model::escalate(uint32_t actor, uint64_t task, uint32_t to, uint32_t angle) {
  expire();
  acting(actor);
  Job& job = job_for(actor, task, false);
  require_state(job, {TaskState::completed, TaskState::rejected});
  const uint64_t left = job.budget - job.spent;
  Order order;
  order.to = to;
  order.angle = angle;
  order.budget = left;
  Pick pick;
  if (left == 0) {
    pick.outcome = Outcome::budget_exceeded;
  } else {
    for (uint32_t round = 0; round < 3; ++round) {
      const Look found = look(actor, order, left, round);
      pick = choose(order, found, left, round == 2, nullptr);
      if (pick.outcome == Outcome::no_match && to == index_none && found.agents.empty()) {
        if (busy(actor, left))
          pick.outcome = Outcome::full;
        else if (!feasible(actor, angle, INT64_MAX).empty())
          pick.outcome = Outcome::budget_exceeded;
      }
      if (!pick.retry) break;
    }
  }
  Placed placed{pick.outcome, task};
  if (pick.outcome == Outcome::budget_exceeded) {
    end_job(job, TaskState::voided, HoldState::voided);
    placed.position = commit();
  } else if (pick.outcome == Outcome::denied) {
    refuse(actor, order, pick.outcome, placed);
  } else if (pick.outcome == Outcome::ok) {
    end_job(job, TaskState::dispatched, HoldState::voided);
    job.worker = pick.worker;
    job.version = pick.version;
    job.tier = pick.tier;
    job.price = pick.price;
    job.hold = hold_money(job.requester, escrow_party, job.unit, left);
    job.artifact = 0;
    ++job.attempt;
    if (pick.version != 0) ++offers[pick.worker].open;
    deliveries_.push_back({task, job.attempt, count});
    placed.position = commit();
  }
  return {0, {uint64_t(placed.outcome), placed.position}};
}

}  // namespace hanse::simulation
