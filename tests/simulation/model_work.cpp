// Tasks between dispatch and verdict, and the people who are asked.
#include <algorithm>

#include "simulation/model.hpp"

namespace hanse::simulation {

// What only few orders ask for.
void Model::check_more(uint32_t actor, const Order& order) const {
  if (order.plain()) return;
  for (const uint8_t role : {order.role, order.verifier_role})
    if (role != 0 && roles.count(role) == 0) throw Refused{ErrorCode::unknown_role};
  for (const uint32_t who : {order.verifier, order.approver})
    if (who != index_none && (who >= agents.size() || !same_view(actor, who)))
      throw Refused{ErrorCode::unknown_agent};
    else if (who != index_none && who == order.verifier && !live(who))
      throw Refused{ErrorCode::revoked};
  if (order.parent == Order::no_task) return;
  if (order.parent >= jobs.size()) throw Refused{ErrorCode::unknown_task};
  const Job& above = jobs[order.parent];
  if (!same_view(actor, above.requester) && !same_view(actor, above.worker))
    throw Refused{ErrorCode::unknown_task};
  if (!within(above.worker, actor) && !within(above.requester, actor))
    throw Refused{ErrorCode::not_permitted};
  if (above.settled()) throw Refused{ErrorCode::illegal_transition};
  if (above.depth + 1 > 16) throw Refused{ErrorCode::delegation_depth};
}

// Once too often, and a task is given up.
void Model::return_jobs(const std::vector<size_t>& tasks) {
  std::vector<size_t> again;
  for (const size_t task : tasks) {
    if (jobs[task].attempt < attempts_max) {
      again.push_back(task);
      continue;
    }
    end_job(jobs[task], TaskState::voided, HoldState::voided);
    commit();
  }
  for (const size_t task : again) {
    Job& job = jobs[task];
    job.state = TaskState::dispatched;
    ++job.attempt;
    job.changed_at = count;
    deliveries_.push_back({task, job.attempt, count});
  }
  if (!again.empty()) commit();
}

static void require_handed_out(const Job& job) {
  if (job.state == TaskState::dispatched || job.state == TaskState::running) return;
  throw Refused{job.settled() ? ErrorCode::already_resolved : ErrorCode::illegal_transition};
}

Answer Model::start(uint32_t actor, uint64_t task) {
  expire();
  acting(actor);
  Job& job = job_for(actor, task, true);
  require_handed_out(job);
  job.state = TaskState::running;
  job.lease_until = job.more.lease_ns == 0 ? 0 : std::max(last_ns + 1, now) + job.more.lease_ns;
  job.changed_at = count;
  return {0, {commit()}};
}

Answer Model::return_task(uint32_t actor, uint64_t task) {
  expire();
  acting(actor);
  require_handed_out(job_for(actor, task, true));
  return_jobs({task});
  return {0, {count - 1}};
}

Answer Model::declare_unknown(uint32_t actor, uint64_t task) {
  expire();
  acting(actor);
  if (task >= jobs.size()) throw Refused{ErrorCode::unknown_task};
  Job& job = job_for(actor, task, within(jobs[task].worker, actor));
  if (job.state != TaskState::completed) require_handed_out(job);
  job.state = TaskState::unknown;
  job.deadline_ns = 0;
  job.changed_at = count;
  return {0, {commit()}};
}

void Model::check_verifier(uint32_t by, const Job& job) const {
  if (by == job.worker) throw Refused{ErrorCode::not_permitted};
  if (job.more.verifier != index_none && job.more.verifier != by)
    throw Refused{ErrorCode::verifier_required};
  if (job.more.verifier_role != 0 && !holds_role(by, job.more.verifier_role))
    throw Refused{ErrorCode::role_missing};
}

Answer Model::verify(uint32_t actor, uint64_t task, bool good) {
  expire();
  acting(actor);
  if (task >= jobs.size()) throw Refused{ErrorCode::unknown_task};
  Job& job = jobs[task];
  if (job.more.verifier != actor && !same_view(actor, job.requester) &&
      !same_view(actor, job.worker))
    throw Refused{ErrorCode::unknown_task};
  if (job.state != TaskState::completed)
    throw Refused{job.settled() ? ErrorCode::already_resolved : ErrorCode::illegal_transition};
  check_verifier(actor, job);
  if (good && !permits(Action::accept, 0, 0, false)) deny(actor);
  job.state = good ? TaskState::verified : TaskState::rejected;
  if (!good) note_verdict(job);
  job.changed_at = count;
  return {0, {commit()}};
}

void Model::open_tree(uint64_t task, std::vector<uint64_t>& tasks) const {
  for (const uint64_t child : jobs[task].children) open_tree(child, tasks);
  if (!jobs[task].settled()) tasks.push_back(task);
}

Answer Model::cancel(uint32_t actor, uint64_t task) {
  expire();
  acting(actor);
  if (job_for(actor, task, false).settled()) throw Refused{ErrorCode::already_resolved};
  Answer answer;
  open_tree(task, answer.values);
  for (const uint64_t one : answer.values) end_job(jobs[one], TaskState::voided, HoldState::voided);
  commit();
  return answer;
}

// --- opinions

void Model::note_verdict(Job& job) {
  job.judged = true;
  job.rated = false;
  job.self_dealt = controller(job.requester) == controller(job.worker);
}

Answer Model::rate(uint32_t actor, uint64_t task) {
  expire();
  acting(actor);
  Job& job = job_for(actor, task, false);
  if (!job.settled() && job.state != TaskState::rejected) throw Refused{ErrorCode::no_receipt};
  if (!job.judged) throw Refused{ErrorCode::no_receipt};
  if (job.self_dealt) throw Refused{ErrorCode::self_dealing};
  if (job.rated) throw Refused{ErrorCode::already_rated};
  if (actor != 0 && controller(actor) == controller(job.worker))
    throw Refused{ErrorCode::self_dealing};
  job.rated = true;
  return {0, {commit()}};
}

// --- people

void Model::bring_attention(uint32_t human, uint64_t amount) {
  if (amount == 0) return;
  issuance[attention_in].out += amount;
  purses[human][attention_in].there = true;
  purses[human][attention_in].in += amount;
}

Answer Model::set_attention(uint32_t actor, uint32_t human, uint64_t per_day) {
  expire();
  if (acting(actor) != 0) throw Refused{ErrorCode::not_permitted};
  require_within(actor, human);
  if (agents[human].kind != AgentKind::human) throw Refused{ErrorCode::out_of_range};
  const Wide left = available(human, attention_in);
  if (per_day > left) bring_attention(human, uint64_t(per_day - left));
  agents[human].daily = true;
  agents[human].per_day = per_day;
  agents[human].day = std::max(last_ns + 1, now) / one_day_ns;
  return {0, {commit()}};
}

bool Model::may_approve(uint32_t human, const Job& job) const {
  if (job.more.approver != index_none) return job.more.approver == human;
  if (agents[human].kind != AgentKind::human) return false;
  const uint32_t above = tenant(human);
  return within(job.requester, human) || (above != 0 && tenant(job.requester) == above);
}

Answer Model::answer(uint32_t human, bool allow, bool stale) {
  // What they were shown may fall due just as they answer.
  uint64_t answer_by = UINT64_MAX;
  for (const Job& job : jobs)
    if (job.state == TaskState::offered && may_approve(human, job))
      answer_by = std::min(answer_by, job.answer_by);
  expire();
  acting(human);
  Answer said;
  bool asked_others = false;
  for (uint64_t task = 0; task < jobs.size(); ++task) {
    if (jobs[task].state != TaskState::offered) continue;
    asked_others = true;
    if (!may_approve(human, jobs[task])) continue;
    said.values.push_back(task);
  }
  if (said.values.empty() && agents[human].kind != AgentKind::human)
    throw Refused{ErrorCode::policy_denied};
  if (answer_by <= std::max(last_ns, now)) throw Refused{ErrorCode::approval_expired};
  if (said.values.empty() && asked_others) throw Refused{ErrorCode::policy_denied};
  if (said.values.empty() || stale) throw Refused{ErrorCode::approval_stale};
  Party& party = agents[human];
  const uint64_t day = std::max(last_ns + 1, now) / one_day_ns;
  uint64_t renewed = 0;
  if (party.daily) {
    const Wide left = available(human, attention_in);
    if (day > party.day && left < party.per_day) renewed = uint64_t(party.per_day - left);
    if (left + renewed == 0) throw Refused{ErrorCode::insufficient_funds};
  }
  for (const uint64_t task : said.values) {
    Job& job = jobs[task];
    if (!allow) {
      end_job(job, TaskState::voided, HoldState::voided);
      continue;
    }
    job.state = TaskState::dispatched;
    job.changed_at = count;
    deliveries_.push_back({task, job.attempt, count});
  }
  bring_attention(human, renewed);
  if (party.daily) {
    const uint64_t hold = hold_money(human, escrow_party, attention_in, 1);
    draw(hold, 1, usage[attention_in], 0);
    resolve(hold, HoldState::posted);
    party.day = day;
  }
  commit();
  return said;
}

}  // namespace hanse::simulation
