// Tasks: complete, judge, escalate.
#include <algorithm>

#include "simulation/model.hpp"

namespace hanse::simulation {

namespace {

constexpr uint64_t parts_per_unit = 1'000'000;

void require_state(const Job& job, std::initializer_list<TaskState> states) {
  if (std::find(states.begin(), states.end(), job.state) != states.end()) return;
  throw Refused{job.settled() ? ErrorCode::already_resolved : ErrorCode::illegal_transition};
}

}  // namespace

Job& Model::job_for(uint32_t actor, uint64_t task, bool as_worker) {
  if (task >= jobs.size()) throw Refused{ErrorCode::unknown_task};
  Job& job = jobs[task];
  if (!same_view(actor, job.requester) && !same_view(actor, job.worker))
    throw Refused{ErrorCode::unknown_task};
  if (!within(as_worker ? job.worker : job.requester, actor))
    throw Refused{ErrorCode::not_permitted};
  return job;
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
  require_state(job, {TaskState::dispatched, TaskState::running, TaskState::unknown});
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
  if (verifier != index_none && !live(verifier)) throw Refused{ErrorCode::revoked};
  Job& job = job_for(actor, task, false);
  if (verifier == job.worker) throw Refused{ErrorCode::not_permitted};
  if (verdict == Verdict::accept) {
    require_state(job, {TaskState::completed, TaskState::verified});
    if (job.artifact == 0) throw Refused{ErrorCode::illegal_transition};
    if (accepted_artifacts.count(job.artifact)) throw Refused{ErrorCode::duplicate_artifact};
    const bool was_verified = job.state == TaskState::verified;
    if (job.verified && !was_verified) {
      if (verifier == index_none) throw Refused{ErrorCode::verifier_required};
      check_verifier(verifier, job);
    }
    if (!permits(Action::accept, 0, 0, verifier != index_none || was_verified)) deny(actor);
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
    note_verdict(job);
  } else if (verdict == Verdict::reject) {
    require_state(job, {TaskState::completed, TaskState::verified});
    job.state = TaskState::rejected;
    note_verdict(job);
    job.changed_at = count;
  } else {
    if (job.settled()) throw Refused{ErrorCode::already_resolved};
    end_job(job, TaskState::voided, HoldState::voided);
  }
  return {0, {commit()}};
}

Answer Model::escalate(uint32_t actor, uint64_t task, uint32_t to, uint32_t angle) {
  expire();
  acting(actor);
  Job& job = job_for(actor, task, false);
  require_state(job, {TaskState::completed, TaskState::rejected, TaskState::verified});
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
    if (!label_flow(job.requester, pick.worker)) throw Refused{ErrorCode::policy_denied};
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
