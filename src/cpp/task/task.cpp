#include "task/task.hpp"

#include "base/seeded_bug.hpp"

#include <algorithm>

namespace hanse {

namespace {

uint64_t add_saturating(uint64_t a, uint64_t b) { return a > UINT64_MAX - b ? UINT64_MAX : a + b; }

// Token counts come from workers and may cost nothing, so nothing else keeps their sum in bounds.
void add_usage(Usage& sum, const Usage& usage) {
  sum.fresh = add_saturating(sum.fresh, usage.fresh);
  sum.cache_read = add_saturating(sum.cache_read, usage.cache_read);
  sum.cache_write = add_saturating(sum.cache_write, usage.cache_write);
  sum.output = add_saturating(sum.output, usage.output);
}

Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void put_usage(ByteWriter& writer, const Usage& usage) {
  writer.put(usage.fresh);
  writer.put(usage.cache_read);
  writer.put(usage.cache_write);
  writer.put(usage.output);
}

void put_economics(ByteWriter& writer, const Economics& economics) {
  writer.put(economics.dispatched);
  writer.put(economics.completed);
  writer.put(economics.accepted);
  writer.put(economics.rejected);
  writer.put(economics.escalated);
  writer.put(economics.voided);
  writer.put(economics.expired);
  writer.put(uint64_t(economics.spend));
  writer.put(uint64_t(economics.spend >> 64));
  put_usage(writer, economics.usage);
}

void put_task(ByteWriter& writer, const Task& task) {
  for (const AgentId agent : {task.requester, task.worker, task.verifier}) writer.put(agent);
  for (const uint32_t match : {task.space, task.offer, task.version}) writer.put(match);
  writer.put(task.tier);
  writer.put(task.state);
  writer.put(uint8_t(task.verifier_required));
  writer.put(task.task_class);
  writer.put(task.attempt);
  writer.put(task.unit);
  for (const uint64_t amount : {task.price, task.budget, task.spent, task.hold}) writer.put(amount);
  for (const uint64_t time_ns : {task.dispatched_ns, task.deadline_ns}) writer.put(time_ns);
  for (const Position position : {task.dispatched_at, task.changed_at}) writer.put(position);
  writer.put(task.epoch);
  writer.put(task.score);
  writer.put_digest(task.artifact);
  put_usage(writer, task.usage);
  writer.put_bytes(task.payload);
  writer.put_digest(task.payload_extent);
  writer.put(task.payload_size);
  writer.put(uint32_t(task.latents.size()));
  for (const LatentManifest& latent : task.latents) {
    writer.put_digest(latent.content);
    writer.put_digest(latent.fingerprint);
    writer.put(latent.tokens);
    writer.put(latent.size_bytes);
  }
}

}  // namespace

const char* task_state_name(TaskState state) {
  switch (state) {
    case TaskState::dispatched:
      return "dispatched";
    case TaskState::completed:
      return "completed";
    case TaskState::accepted:
      return "accepted";
    case TaskState::rejected:
      return "rejected";
    case TaskState::voided:
      return "voided";
    case TaskState::expired:
      return "expired";
    case TaskState::offered:
      return "offered";
    case TaskState::running:
      return "running";
    case TaskState::verified:
      return "verified";
    case TaskState::unknown:
      return "unknown";
  }
  return "unknown";
}

uint32_t TaskTable::index_checked(TaskId id) const {
  if (!contains(id)) throw Error(ErrorCode::unknown_task, "task", "no such task", id);
  return index_of(id);
}

void TaskTable::refuse(uint32_t index, const char* verb) const {
  const TaskState state = tasks_[index].state;
  throw Error(is_settled(state) ? ErrorCode::already_resolved : ErrorCode::illegal_transition,
              "task", std::string("can't ") + verb + " a task that is " + task_state_name(state),
              id_at(index));
}

void TaskTable::check_complete(uint32_t index) const {
  const TaskState state = tasks_[index].state;
  if (state != TaskState::dispatched && state != TaskState::running && state != TaskState::unknown)
    refuse(index, "complete");
}

void TaskTable::check_accept(uint32_t index) const {
  const Task& task = tasks_[index];
  if (task.state != TaskState::completed && task.state != TaskState::verified)
    refuse(index, "accept");
  if (task.artifact == Digest{})
    throw Error(ErrorCode::illegal_transition, "task",
                "can't accept a task that is completed without an artifact", id_at(index));
  const uint32_t other = accepted_find(task.artifact);
  if (other != index_none && !HANSE_SEEDED_BUG(35))
    throw Error(ErrorCode::duplicate_artifact, "artifact",
                hex(task.artifact) + " was accepted as task " + std::to_string(id_at(other)),
                id_at(index));
}

void TaskTable::check_reject(uint32_t index) const {
  const TaskState state = tasks_[index].state;
  if (state != TaskState::completed && state != TaskState::verified) refuse(index, "reject");
}

void TaskTable::check_escalate(uint32_t index) const {
  const TaskState state = tasks_[index].state;
  if (state != TaskState::completed && state != TaskState::rejected && state != TaskState::verified)
    refuse(index, "escalate");
}

void TaskTable::check_void(uint32_t index) const {
  if (is_settled(tasks_[index].state)) refuse(index, "void");
}

template <class Change>
void TaskTable::fold(const Task& task, Change&& change) {
  change(total_);
  change(by_class_[task.task_class]);
  change(by_tier_[task.tier]);
}

Task& TaskTable::change(uint32_t index, TaskState state, Position position) {
  Task& task = tasks_[index];
  task.state = state;
  task.changed_at = position;
  hash_.mark(index);
  if (!more_.empty()) leave_lease(index);
  if (is_settled(state) && task.deadline_ns != 0) deadlines_.erase({task.deadline_ns, index});
  return task;
}

uint32_t TaskTable::apply_dispatch(Task task) {
  HANSE_ASSERT(task.state == TaskState::dispatched || task.state == TaskState::offered);
  HANSE_ASSERT(task.task_class < classes_.size());
  HANSE_ASSERT(tasks_.size() < index_none);
  const auto index = uint32_t(tasks_.size());
  fold(task, [](Economics& economics) { ++economics.dispatched; });
  if (task.deadline_ns != 0) deadlines_.insert({task.deadline_ns, index});
  owned_bytes_ += owned_bytes(task);
  attempts.apply_start({index, index_of(task.requester), index_of(task.worker), task.task_class,
                        task.tier, Ending::open, true, task.dispatched_ns, 0, task.dispatched_at,
                        position_none});
  if (task.state == TaskState::offered) offered_.insert(index);
  tasks_.push_back(std::move(task));
  hash_.mark(index);
  return index;
}

void TaskTable::apply_complete(uint32_t index, const Digest& artifact, const Usage& usage,
                               uint64_t cost, Position position) {
  const TaskState before = tasks_[index].state;
  HANSE_ASSERT(before == TaskState::dispatched || before == TaskState::running ||
               before == TaskState::unknown);
  Task& task = change(index, TaskState::completed, position);
  attempts.apply_spend(index, cost);
  task.artifact = artifact;
  task.spent = add_saturating(task.spent, cost);
  add_usage(task.usage, usage);
  fold(task, [&](Economics& economics) {
    ++economics.completed;
    economics.spend += cost;
    add_usage(economics.usage, usage);
  });
}

void TaskTable::apply_accept(uint32_t index, AgentId verifier, uint64_t fee, Position position) {
  HANSE_ASSERT(tasks_[index].state == TaskState::completed ||
               tasks_[index].state == TaskState::verified);
  HANSE_ASSERT(accepted_find(tasks_[index].artifact) == index_none);
  Task& task = change(index, TaskState::accepted, position);
  if (verifier != id_none) task.verifier = verifier;
  attempts.apply_spend(index, fee);
  attempts.apply_end(index, Ending::accepted, position);
  task.spent = add_saturating(task.spent, fee);
  accepted_.insert(hash_bytes(task.artifact), index);
  fold(task, [&](Economics& economics) {
    ++economics.accepted;
    economics.spend += fee;
  });
}

void TaskTable::apply_reject(uint32_t index, AgentId verifier, Position position) {
  HANSE_ASSERT(tasks_[index].state == TaskState::completed ||
               tasks_[index].state == TaskState::verified);
  Task& task = change(index, TaskState::rejected, position);
  task.verifier = verifier;
  attempts.apply_end(index, Ending::rejected, position);
  fold(task, [](Economics& economics) { ++economics.rejected; });
}

void TaskTable::apply_escalate(uint32_t index, const Escalation& to, Position position) {
  HANSE_ASSERT(tasks_[index].state == TaskState::completed ||
               tasks_[index].state == TaskState::rejected ||
               tasks_[index].state == TaskState::verified);
  Task& task = change(index, TaskState::dispatched, position);
  attempts.apply_end(index, Ending::rejected, position);
  attempts.apply_start({index, index_of(task.requester), index_of(to.worker), task.task_class,
                        to.tier, Ending::open, false, task.dispatched_ns, 0, position,
                        position_none});
  fold(task, [](Economics& economics) { ++economics.escalated; });
  ++by_tier_[to.tier].dispatched;  // the tier gets work; the task as a whole was counted before
  count_attempt(task);
  task.worker = to.worker;
  task.verifier = id_none;
  task.space = to.space;
  task.offer = to.offer;
  task.version = to.version;
  task.tier = to.tier;
  task.price = to.price;
  task.hold = to.hold;
  task.epoch = to.epoch;
  task.score = to.score;
  task.artifact = {};
}

void TaskTable::apply_void(uint32_t index, Position position) {
  HANSE_ASSERT(!is_settled(tasks_[index].state));
  attempts.apply_end(index, Ending::lost, position);
  fold(change(index, TaskState::voided, position),
       [](Economics& economics) { ++economics.voided; });
}

void TaskTable::apply_expire(uint32_t index, Position position) {
  HANSE_ASSERT(!is_settled(tasks_[index].state));
  attempts.apply_end(index, Ending::lost, position);
  fold(change(index, TaskState::expired, position),
       [](Economics& economics) { ++economics.expired; });
}

void TaskTable::apply_redeliver(uint32_t index, Position position) {
  HANSE_ASSERT(tasks_[index].state == TaskState::dispatched ||
               tasks_[index].state == TaskState::running);
  count_attempt(change(index, TaskState::dispatched, position));
}

void TaskTable::count_attempt(Task& task) {
  if (task.attempt != UINT16_MAX) ++task.attempt;
}

uint16_t TaskTable::class_find(std::string_view name) const {
  const uint32_t found =
      class_of_.find(hash_bytes(bytes_of(name)), [&](uint32_t at) { return classes_[at] == name; });
  return found == index_none ? task_class_none : uint16_t(found);
}

void TaskTable::check_class(std::string_view name) const {
  if (name.size() > task_class_size_max)
    throw Error(ErrorCode::too_large, "task_class", name.size(), task_class_size_max);
  if (classes_.size() >= task_class_count_max && class_find(name) == task_class_none)
    throw Error(ErrorCode::quota_exceeded, "task_class", classes_.size() + 1, task_class_count_max);
}

uint16_t TaskTable::class_find_or_add(std::string_view name) {
  const uint16_t found = class_find(name);
  if (found != task_class_none) return found;
  HANSE_ASSERT(classes_.size() < task_class_count_max);
  const auto index = uint16_t(classes_.size());
  classes_.emplace_back(name);
  by_class_.emplace_back();
  class_of_.insert(hash_bytes(bytes_of(name)), index);
  return index;
}

const KeyedResult* TaskTable::keyed(uint32_t requester_index, Bytes key) const {
  const uint32_t found = keyed_of_.find(hash_bytes(key, requester_index), [&](uint32_t at) {
    return keyed_[at].requester == requester_index &&
           std::ranges::equal(bytes_of(keyed_[at].key), key);
  });
  return found == index_none ? nullptr : &keyed_[found].result;
}

void TaskTable::apply_key(uint32_t requester_index, Bytes key, const KeyedResult& result) {
  HANSE_ASSERT(keyed(requester_index, key) == nullptr);
  const auto index = uint32_t(keyed_.size());
  keyed_.push_back({requester_index, std::string(key.begin(), key.end()), result});
  keyed_of_.insert(hash_bytes(key, requester_index), index);
  owned_bytes_ += key.size();
  keyed_hash_.mark(index);
}

void TaskTable::unfinished(std::vector<uint32_t>& indices_out) const {
  indices_out.clear();
  for (uint32_t index = 0; index < count(); ++index)
    if (tasks_[index].state == TaskState::dispatched || tasks_[index].state == TaskState::running)
      indices_out.push_back(index);
}

void TaskTable::due(uint64_t now_ns, uint32_t limit, std::vector<uint32_t>& indices_out) const {
  indices_out.clear();
  for (const auto& [deadline_ns, index] : deadlines_) {
    if (deadline_ns > now_ns || indices_out.size() >= limit) return;
    indices_out.push_back(index);
  }
}

uint64_t TaskTable::earliest_deadline_ns() const {
  const uint64_t deadline = deadlines_.empty() ? UINT64_MAX : deadlines_.begin()->first;
  const uint64_t lease = leases_.empty() ? UINT64_MAX : leases_.begin()->first;
  return std::min(deadline, lease);
}

uint32_t TaskTable::accepted_find(const Digest& artifact) const {
  return accepted_.find(hash_bytes(artifact),
                        [&](uint32_t index) { return tasks_[index].artifact == artifact; });
}

Digest TaskTable::economics_hash() const {
  ByteWriter writer;
  put_economics(writer, total_);
  writer.put(uint32_t(classes_.size()));
  for (size_t i = 0; i < classes_.size(); ++i) {
    writer.put_text(classes_[i]);
    put_economics(writer, by_class_[i]);
  }
  for (size_t tier = 0; tier < by_tier_.size(); ++tier) {
    if (by_tier_[tier].dispatched == 0) continue;
    writer.put(uint8_t(tier));
    put_economics(writer, by_tier_[tier]);
  }
  return sha256(writer.bytes());
}

Digest TaskTable::state_hash() const {
  Sha256 all;
  all.update(hash_.digest(
      count(), [&](uint32_t index, ByteWriter& writer) { put_task(writer, tasks_[index]); }));
  all.update(keyed_hash_.digest(uint32_t(keyed_.size()), [&](uint32_t at, ByteWriter& writer) {
    const Keyed& keyed = keyed_[at];
    writer.put(keyed.requester);
    writer.put_text(keyed.key);
    writer.put_digest(keyed.result.body);
    writer.put(keyed.result.position);
    writer.put(keyed.result.task);
    writer.put(keyed.result.outcome);
  }));
  all.update(economics_hash());
  if (!more_.empty()) {
    ByteWriter writer;
    put_more(writer);
    all.update(writer.bytes());
  }
  return all.finish();
}

uint64_t TaskTable::memory_bytes() const {
  constexpr uint64_t tree_node_overhead = 32;  // of std::set: three pointers and a colour
  return tasks_.size() * sizeof(Task) + owned_bytes_ + keyed_.size() * sizeof(Keyed) +
         keyed_of_.memory_bytes() + attempts.memory_bytes() +
         more_.size() * (sizeof(TaskMore) + 2 * tree_node_overhead) + accepted_.memory_bytes() +
         class_of_.memory_bytes() +
         deadlines_.size() * (tree_node_overhead + sizeof(std::pair<uint64_t, uint32_t>)) +
         classes_.capacity() * (sizeof(std::string) + sizeof(Economics)) + sizeof(TaskTable);
}

}  // namespace hanse
