// Tasks, idempotency keys and economics in a snapshot.
#include <algorithm>

#include "task/task.hpp"

namespace hanse {

void TaskTable::encode(SnapshotWriter& out) const {
  out.table(classes_.size(),
            [&](size_t i, FieldWriter& fields) { fields(classes_[i], by_class_[i]); });
  out.table(tasks_.size(), [&](size_t i, FieldWriter& fields) { fields(tasks_[i]); });
  out.table(keyed_.size(), [&](size_t i, FieldWriter& fields) { fields(keyed_[i]); });
  out.put(total_);
  out.table(by_tier_.size(), [&](size_t i, FieldWriter& fields) { fields(by_tier_[i]); });
  std::vector<uint32_t> indices;
  for (const auto& [index, more] : more_) indices.push_back(index);
  std::sort(indices.begin(), indices.end());
  out.table(indices.size(),
            [&](size_t i, FieldWriter& fields) { fields(indices[i], more_.at(indices[i])); });
  attempts.encode(out);
  std::erase_if(indices, [&](uint32_t index) { return more_.at(index).reads.empty(); });
  // Left out while it is empty, so that such snapshots stay what they were to the byte.
  if (!indices.empty())
    out.table(indices.size(), [&](size_t i, FieldWriter& fields) {
      fields(indices[i], more_.at(indices[i]).reads);
    });
}

void TaskTable::decode(SnapshotReader& in) {
  in.table([&](size_t i, FieldReader& fields) {
    std::string name;
    fields(name);
    in.require(i < task_class_count_max && class_find_or_add(name) == i, "task.class");
    fields(by_class_[i]);
  });
  in.table([&](size_t at, FieldReader& fields) {
    in.require(at < index_none, "task.count");
    const auto index = uint32_t(at);
    Task& task = tasks_.emplace_back();
    fields(task);
    in.require(task.state <= TaskState::unknown, "task.state");
    in.require(task.task_class < classes_.size(), "task.class");
    in.require(task.latents.size() <= latents_per_task_max, "task.latents");
    const bool waits = task.state == TaskState::offered || task.state == TaskState::unknown;
    if (task.deadline_ns != 0 && !is_settled(task.state) && !waits)
      deadlines_.emplace(task.deadline_ns, index);
    if (task.state == TaskState::offered) offered_.insert(index);
    if (task.state == TaskState::accepted) accepted_.insert(hash_bytes(task.artifact), index);
    owned_bytes_ += owned_bytes(task);
    hash_.mark(index);
  });
  in.table([&](size_t at, FieldReader& fields) {
    in.require(at < index_none, "task.key");
    Keyed& keyed = keyed_.emplace_back();
    fields(keyed);
    const Bytes key{reinterpret_cast<const uint8_t*>(keyed.key.data()), keyed.key.size()};
    keyed_of_.insert(hash_bytes(key, keyed.requester), uint32_t(at));
    owned_bytes_ += key.size();
    keyed_hash_.mark(uint32_t(at));
  });
  in.take(total_);
  in.table([&](size_t i, FieldReader& fields) {
    in.require(i < by_tier_.size(), "task.tier");
    fields(by_tier_[i]);
  });
  in.table([&](size_t, FieldReader& fields) {
    uint32_t index = 0;
    TaskMore more;
    fields(index, more);
    in.require(index < tasks_.size(), "task.more");
    if (more.lease_until_ns != 0) leases_.emplace(more.lease_until_ns, index);
    if (tasks_[index].state == TaskState::offered) deadlines_.emplace(more.answer_by_ns, index);
    more_[index] = std::move(more);
  });
  attempts.decode(in);
  if (in.remaining() != 0)
    in.table([&](size_t, FieldReader& fields) {
      uint32_t index = 0;
      std::vector<TaskRead> reads;
      fields(index, reads);
      in.require(more_.contains(index), "task.reads");
      more_[index].reads = std::move(reads);
    });
  in.expect_end();
}

}  // namespace hanse
