// What tasks can do beyond dispatch and verdict: wait for approval, run on a lease, come back, be
// verified, be unknown, have children.
#include <algorithm>

#include "task/task.hpp"

namespace hanse {

bool TaskTable::settled(uint32_t index) const {
  const TaskState state = tasks_[index].state;
  return state == TaskState::accepted || state == TaskState::voided || state == TaskState::expired;
}

// `running` again renews the lease.
void TaskTable::check_start(uint32_t index) const {
  const TaskState state = tasks_[index].state;
  if (state != TaskState::dispatched && state != TaskState::running) refuse(index, "start");
}

void TaskTable::check_return(uint32_t index) const {
  const TaskState state = tasks_[index].state;
  if (state != TaskState::dispatched && state != TaskState::running) refuse(index, "give back");
}

void TaskTable::check_verify(uint32_t index) const {
  if (tasks_[index].state != TaskState::completed) refuse(index, "verify");
}

void TaskTable::check_unknown(uint32_t index) const {
  const TaskState state = tasks_[index].state;
  if (state != TaskState::dispatched && state != TaskState::running &&
      state != TaskState::completed)
    refuse(index, "declare unknown");
}

TaskMore* TaskTable::more_of(uint32_t index) {
  const auto found = more_.find(index);
  return found == more_.end() ? nullptr : &found->second;
}

const TaskMore* TaskTable::more(uint32_t index) const {
  const auto found = more_.find(index);
  return found == more_.end() ? nullptr : &found->second;
}

void TaskTable::apply_more(uint32_t index, TaskMore more) {
  Task& task = tasks_[index];
  if (more.parent != index_none) {
    TaskMore& parent = more_[more.parent];
    parent.children.push_back(index);
    more.depth = parent.depth + 1;
  }
  if (task.state == TaskState::offered && more.answer_by_ns != 0) {
    if (task.deadline_ns != 0) deadlines_.erase({task.deadline_ns, index});
    deadlines_.insert({more.answer_by_ns, index});
  }
  more_[index] = std::move(more);
}

// Whatever changes a task ends its lease, and the wait for an answer.
void TaskTable::leave_lease(uint32_t index) {
  TaskMore* more = more_of(index);
  if (more == nullptr) return;
  if (more->lease_until_ns != 0) leases_.erase({more->lease_until_ns, index});
  more->lease_until_ns = 0;
  if (offered_.erase(index) != 0 && more->answer_by_ns != 0)
    deadlines_.erase({more->answer_by_ns, index});
}

void TaskTable::apply_start(uint32_t index, uint64_t until_ns, Position position) {
  change(index, TaskState::running, position);
  if (until_ns == 0) return;
  more_[index].lease_until_ns = until_ns;
  leases_.insert({until_ns, index});
}

void TaskTable::apply_return(uint32_t index, Position position) {
  count_attempt(change(index, TaskState::dispatched, position));
}

void TaskTable::apply_verify(uint32_t index, AgentId verifier, Position position) {
  change(index, TaskState::verified, position).verifier = verifier;
}

// It has no deadline from here on: time can't settle what may have happened.
void TaskTable::apply_unknown(uint32_t index, Position position) {
  Task& task = change(index, TaskState::unknown, position);
  if (task.deadline_ns != 0) deadlines_.erase({task.deadline_ns, index});
  task.deadline_ns = 0;
}

void TaskTable::apply_approve(uint32_t index, Position position) {
  const Task& task = change(index, TaskState::dispatched, position);
  if (task.deadline_ns != 0) deadlines_.insert({task.deadline_ns, index});
  if (TaskMore* more = more_of(index)) more->answered_at = position;
}

void TaskTable::lapsed(uint64_t now_ns, uint32_t limit, std::vector<uint32_t>& indices_out) const {
  indices_out.clear();
  for (const auto& [until_ns, index] : leases_) {
    if (until_ns > now_ns || indices_out.size() >= limit) return;
    indices_out.push_back(index);
  }
}

void TaskTable::open_tree(uint32_t index, std::vector<uint32_t>& indices_out) const {
  if (const TaskMore* known = more(index))
    for (const uint32_t child : known->children) open_tree(child, indices_out);
  if (!settled(index)) indices_out.push_back(index);
}

uint32_t TaskTable::open_from() const {
  while (open_from_ < count() && settled(open_from_)) ++open_from_;
  return open_from_;
}

void TaskTable::put_more(ByteWriter& writer) const {
  std::vector<uint32_t> indices;
  for (const auto& [index, more] : more_) indices.push_back(index);
  std::sort(indices.begin(), indices.end());
  for (const uint32_t index : indices) {
    const TaskMore& more = more_.at(index);
    writer.put(index), writer.put(more.parent), writer.put(more.lease_ns);
    writer.put(more.lease_until_ns), writer.put(more.verifier), writer.put_text(more.verifier_role);
    writer.put_text(more.role), writer.put_text(more.rule), writer.put(more.approver);
    writer.put(more.answer_by_ns), writer.put_digest(more.asked), writer.put(more.answered_at);
    for (const TaskRead& read : more.reads) writer.put(read.producer), writer.put(read.amount);
  }
}

}  // namespace hanse
