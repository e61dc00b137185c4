// What happens to a task between dispatch and verdict: it starts, comes back, is verified, is
// unknown, is cancelled with all below it.
#include <algorithm>

#include "kernel/inner.hpp"

namespace hanse {

// What few dispatches ask for. Throws unknown_task, unknown_agent, unknown_role, not_permitted,
// illegal_transition (the parent is settled), delegation_depth, quota_exceeded, too_large.
void Kernel::Inner::check_more(uint32_t actor, const DispatchRequest& request) const {
  if (request.plain()) return;
  for (const std::string_view role : {request.role, request.verifier_role})
    if (!role.empty() && reputation.role(role) == nullptr)
      throw Error(ErrorCode::unknown_role, "role", role);
  if (request.approval.size() > rule_size_max)
    throw Error(ErrorCode::too_large, "approval", request.approval.size(), rule_size_max);
  if (request.verifier != id_none) {
    const uint32_t by = visible(actor, request.verifier);
    if (!agents.live(by)) throw Error(ErrorCode::revoked, "verifier", "", request.verifier);
  }
  if (request.approver != id_none) (void)visible(actor, request.approver);
  if (request.parent == id_none) return;
  const uint32_t parent = tasks.index_checked(request.parent);
  const Task& above = tasks.at(parent);
  if (!same_view(actor, index_of(above.requester)) && !same_view(actor, index_of(above.worker)))
    throw Error(ErrorCode::unknown_task, "parent", "", request.parent);
  if (!agents.within(index_of(above.worker), actor) &&
      !agents.within(index_of(above.requester), actor))
    throw Error(ErrorCode::not_permitted, "parent",
                "the actor neither asked for it nor works on it", request.parent);
  if (tasks.settled(parent))
    throw Error(ErrorCode::illegal_transition, "parent",
                std::string("is ") + task_state_name(above.state), request.parent);
  const TaskMore* more = tasks.more(parent);
  if (more == nullptr) return;
  if (more->depth + 1 > task_depth_max)
    throw Error(ErrorCode::delegation_depth, "parent", more->depth + 1, task_depth_max,
                request.parent);
  if (more->children.size() >= task_children_max)
    throw Error(ErrorCode::quota_exceeded, "parent", more->children.size() + 1, task_children_max,
                request.parent);
}

// A task never outlives the one that it is part of.
uint64_t Kernel::Inner::deadline_of(const DispatchRequest& request) const {
  if (request.parent == id_none) return request.deadline_ns;
  const uint64_t above = tasks.at(index_of(request.parent)).deadline_ns;
  if (above == 0) return request.deadline_ns;
  return request.deadline_ns == 0 ? above : std::min(above, request.deadline_ns);
}

// Tasks that were given back often enough are given up, and what they held goes back.
void Kernel::Inner::return_tasks(uint32_t actor, std::span<const uint32_t> indices,
                                 Outcome reason) {
  TaskReturnedRecord record;
  record.reason = reason;
  for (const uint32_t index : indices) {
    if (tasks.at(index).attempt < task_attempts_max) {
      record.tasks.push_back(index);
      continue;
    }
    JudgedRecord given_up;
    given_up.task = index;
    given_up.verdict = uint8_t(Verdict::withdraw);
    given_up.reason = Outcome::undeliverable;
    given_up.epoch = epoch;
    commit(actor, given_up);
  }
  if (!record.tasks.empty()) commit(actor, record);
}

Position Kernel::start_task(AgentId actor, TaskId id) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t index = in.task_for(me, id, true);
    in.tasks.check_start(index);
    const TaskMore* more = in.tasks.more(index);
    const uint64_t now = in.next_time_ns();
    TaskStartedRecord record{index, more && more->lease_ns != 0 ? now + more->lease_ns : 0};
    position = in.commit_at(me, now, record);
    in.rearm(record.until_ns);
  }
  in.wait(position);
  return position;
}

Position Kernel::give_back(AgentId actor, TaskId id) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t index = in.task_for(me, id, true);
    in.tasks.check_return(index);
    in.return_tasks(me, {&index, 1}, Outcome::undeliverable);
    position = in.journal->count() - 1;
  }
  in.wait(position);
  return position;
}

Position Kernel::declare_unknown(AgentId actor, TaskId id) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t index = in.tasks.index_checked(id);
    const bool worker = in.agents.within(index_of(in.tasks.at(index).worker), me);
    (void)in.task_for(me, id, worker);
    in.tasks.check_unknown(index);
    TaskUnknownRecord record{index};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

// Whether this agent may verify the task. Throws verifier_required, role_missing, not_permitted.
void Kernel::Inner::check_verifier(uint32_t by, uint32_t index) const {
  const AgentId id = tasks.id_at(index);
  if (by == index_of(tasks.at(index).worker))
    throw Error(ErrorCode::not_permitted, "verifier", "a worker can't verify its own work", id);
  const TaskMore* more = tasks.more(index);
  if (more == nullptr) return;
  if (more->verifier != id_none && index_of(more->verifier) != by)
    throw Error(ErrorCode::verifier_required, "verifier",
                "this task asks for agent " + std::to_string(more->verifier), id);
  if (!more->verifier_role.empty() && !holds_role(by, more->verifier_role))
    throw Error(ErrorCode::role_missing, "verifier", "lacks the role " + more->verifier_role,
                agents.id_at(by));
}

Position Kernel::verify_task(AgentId actor, TaskId id, bool good) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t index = in.tasks.index_checked(id);
    const Task& task = in.tasks.at(index);
    const TaskMore* more = in.tasks.more(index);
    // Whoever was named may be of another tenant.
    const bool named = more && more->verifier == actor;
    if (!named && !in.same_view(me, index_of(task.requester)) &&
        !in.same_view(me, index_of(task.worker)))
      throw Error(ErrorCode::unknown_task, "task", "", id);
    in.tasks.check_verify(index);
    in.check_verifier(me, index);
    in.require_policy(me, good ? Action::accept : Action::reject, index_of(task.worker));
    TaskVerifiedRecord record{index, me, good};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

std::vector<TaskId> Kernel::cancel(AgentId actor, TaskId id) {
  Inner& in = *inner_;
  Position position;
  std::vector<TaskId> ended;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t index = in.task_for(me, id, false);
    in.tasks.check_void(index);
    in.require_policy(me, Action::withdraw, index_of(in.tasks.at(index).worker));
    CancelledRecord record;
    in.tasks.open_tree(index, record.tasks);
    for (const uint32_t task : record.tasks) ended.push_back(in.tasks.id_at(task));
    position = in.commit(me, record);
  }
  in.wait(position);
  return ended;
}

TaskMore Kernel::task_more(AgentId actor, TaskId id) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t me = in.agents.index_checked(actor);
  const uint32_t index = in.tasks.index_checked(id);
  const Task& task = in.tasks.at(index);
  if (!in.same_view(me, index_of(task.requester)) && !in.same_view(me, index_of(task.worker)))
    throw Error(ErrorCode::unknown_task, "task", "", id);
  const TaskMore* more = in.tasks.more(index);
  return more ? *more : TaskMore{};
}

// --- apply

void Kernel::Inner::apply(const Envelope& envelope, Position position, TaskedRecord& record) {
  apply_tasked(envelope, position, record, false);
}

void Kernel::Inner::apply(const Envelope& envelope, Position position, TaskedUnpaidRecord& record) {
  apply_tasked(envelope, position, record, true);
}

void Kernel::Inner::apply_tasked(const Envelope& envelope, Position position, TaskedRecord& record,
                                 bool unpaid) {
  apply_rates(record.rates, ledger, [this](uint64_t expires_ns, HoldId hold) {
    rate_expiries.insert({expires_ns, hold});
    rearm(expires_ns);
  });
  TaskMore more;
  more.parent = record.parent;
  more.lease_ns = record.lease_ns;
  more.verifier = record.verifier == index_none ? id_none : agents.id_at(record.verifier);
  more.verifier_role = std::move(record.verifier_role);
  more.role = std::move(record.role);
  more.rule = std::move(record.rule);
  more.approver = record.approver == index_none ? id_none : agents.id_at(record.approver);
  more.answer_by_ns = record.answer_by_ns;
  more.asked = record.asked;
  const std::vector<ReadLine> reads = std::move(record.reads);
  if (unpaid)
    for (const ReadLine& read : reads) more.reads.push_back({read.producer, read.amount});
  const Task& task = tasks.at(apply_dispatched(envelope, position, record.base, &more));
  if (unpaid) return;
  for (const ReadLine& read : reads)
    ledger.apply_draw(task.hold, read.amount, ledger.apply_account(read.producer, task.unit));
}

void Kernel::Inner::apply(const Envelope&, Position position, TaskStartedRecord& record) {
  tasks.apply_start(record.task, record.until_ns, position);
}

void Kernel::Inner::apply(const Envelope&, Position position, TaskReturnedRecord& record) {
  for (const uint32_t task : record.tasks) {
    tasks.apply_return(task, position);
    queue_delivery(task, position);
  }
}

void Kernel::Inner::apply(const Envelope& envelope, Position position, TaskVerifiedRecord& record) {
  const AgentId verifier = agents.id_at(record.verifier);
  if (record.good) return tasks.apply_verify(record.task, verifier, position);
  apply_verdict(envelope, record.task, false, 0);
  tasks.apply_reject(record.task, verifier, position);
}

void Kernel::Inner::apply(const Envelope&, Position position, TaskUnknownRecord& record) {
  tasks.apply_unknown(record.task, position);
}

void Kernel::Inner::apply(const Envelope&, Position position, CancelledRecord& record) {
  for (const uint32_t task : record.tasks) {
    settle_task(task, HoldState::voided);
    tasks.apply_void(task, position);
  }
}

}  // namespace hanse
