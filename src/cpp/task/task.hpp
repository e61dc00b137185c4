// One unit of work toward an artifact, and its legal transitions.
//
//   offered -> dispatched: reserved, until a person approves it
//   dispatched -> running: its worker has said so, and holds a lease
//   dispatched | running -> dispatched again (attempt + 1): the worker died, or gave it back
//   dispatched | running | unknown -> completed -> verified -> accepted; or accepted at once
//   completed | verified -> rejected
//   completed | verified | rejected -> escalated = dispatched elsewhere (attempt + 1), same id
//   dispatched | running | completed -> unknown: no one knows what came of it; time can't end it
//   whatever is not settled -> voided; and expired, but for unknown
//
// Record plane: one thread at a time; `check_*` is const, `apply_*` follows from a record.
#pragma once

#include <array>
#include <deque>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/chunked_hash.hpp"
#include "base/hash_map.hpp"
#include "base/ids.hpp"
#include "base/outcome.hpp"
#include "base/snapshot.hpp"
#include "ledger/ledger.hpp"
#include "task/attempts.hpp"

namespace hanse {

enum class TaskState : uint8_t {
  dispatched = 0,
  completed = 1,
  accepted = 2,
  rejected = 3,
  voided = 4,
  expired = 5,
  offered = 6,
  running = 7,
  verified = 8,
  unknown = 9
};
const char* task_state_name(TaskState state);
inline bool is_settled(TaskState state) {
  return state == TaskState::accepted || state == TaskState::voided || state == TaskState::expired;
}

constexpr uint32_t latents_per_task_max = 8;
constexpr uint32_t task_class_size_max = 64;
constexpr uint32_t task_class_count_max = 65535;
constexpr uint16_t task_class_none = UINT16_MAX;
constexpr uint32_t key_size_max = 64;
constexpr uint32_t payload_inline_max = 4096;  // above: an extent
constexpr uint32_t payload_size_max = 16u << 20;
constexpr uint16_t task_attempts_max = 16;  // a task that is given back so often is given up
constexpr uint32_t task_depth_max = 16;     // of tasks that tasks dispatched
constexpr uint32_t task_children_max = 4096;

// A latent as a record names it: enough to know later what the worker was given.
struct LatentManifest {
  Digest content{};  // keyed hash, the latent's identity
  Digest fingerprint{};
  uint32_t tokens = 0;
  uint64_t size_bytes = 0;

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.content, self.fingerprint, self.tokens, self.size_bytes);
  }
};

struct Task {
  AgentId requester = id_none, worker = id_none, verifier = id_none;
  uint32_t space = 0, offer = 0, version = 0;  // what was matched; version 0: addressed directly
  uint8_t tier = 0;
  TaskState state = TaskState::dispatched;
  bool verifier_required = false;
  uint16_t task_class = 0;  // index into class names
  uint16_t attempt = 1;     // deliveries so far
  UnitId unit = 0;
  uint64_t price = 0;   // the worker's fee on acceptance
  uint64_t budget = 0;  // of the whole task
  uint64_t spent = 0;   // posted so far: usage and fee
  HoldId hold = 0;
  uint64_t dispatched_ns = 0, deadline_ns = 0;  // 0: none
  Position dispatched_at = 0, changed_at = 0;   // journal positions
  uint64_t epoch = 0;                           // of the policy decision
  float score = 0;
  Digest artifact{};
  Usage usage{};                 // summed over attempts
  std::vector<uint8_t> payload;  // up to payload_inline_max; else payload_extent
  Digest payload_extent{};
  uint32_t payload_size = 0;
  std::vector<LatentManifest> latents;

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.requester, self.worker, self.verifier, self.space, self.offer, self.version,
          self.tier, self.state, self.verifier_required, self.task_class, self.attempt, self.unit,
          self.price, self.budget, self.spent, self.hold, self.dispatched_ns, self.deadline_ns,
          self.dispatched_at, self.changed_at, self.epoch, self.score, self.artifact);
    coder(self.usage, self.payload, self.payload_extent, self.payload_size, self.latents);
  }
};

// What an agent is paid for what the task reads, once a person has allowed it.
struct TaskRead {
  uint32_t producer = 0;
  uint64_t amount = 0;

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.producer, self.amount);
  }
};

// What few tasks have.
struct TaskMore {
  uint32_t parent = index_none;  // task
  uint32_t depth = 0;
  std::vector<uint32_t> children;
  uint64_t lease_ns = 0;        // how long a worker may be silent; 0: for good
  uint64_t lease_until_ns = 0;  // while it runs
  AgentId verifier = id_none;   // who must verify; none: see verifier_role
  std::string verifier_role, role;
  std::string rule;  // that asked for approval
  AgentId approver = id_none;
  uint64_t answer_by_ns = 0;  // silence until then is a denial
  Digest asked{};             // what is approved
  Position answered_at = position_none;
  std::vector<TaskRead> reads;  // in snapshots a table of its own, where there are any

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.parent, self.depth, self.children, self.lease_ns, self.lease_until_ns, self.verifier,
          self.verifier_role, self.role, self.rule, self.approver, self.answer_by_ns, self.asked,
          self.answered_at);
  }
};

// What an idempotency key was used up by.
struct KeyedResult {
  Digest body{};          // of the request, so that another body is a conflict
  Position position = 0;  // of the record
  TaskId task = id_none;  // none: a refusal
  Outcome outcome = Outcome::ok;
  // What the first receipt said; the task itself may have moved on.
  AgentId worker = id_none;
  uint32_t offer = 0, version = 0;
  float score = 0;
  uint64_t price = 0, reserved = 0, epoch = 0;

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.body, self.position, self.task, self.outcome, self.worker, self.offer, self.version,
          self.score, self.price, self.reserved, self.epoch);
  }
};

// Cost of accepted work, folded with every transition. Usage and spend count for the tier that
// caused them. A task counts as dispatched once in total and in its class, and once in each tier
// that it is sent to. Usage saturates at 2^64 - 1.
struct Economics {
  uint64_t dispatched = 0, completed = 0, accepted = 0, rejected = 0, escalated = 0;
  uint64_t voided = 0, expired = 0;
  u128 spend = 0;  // everything posted
  Usage usage{};

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.dispatched, self.completed, self.accepted, self.rejected, self.escalated,
          self.voided, self.expired, self.spend, self.usage);
  }
};

class TaskTable {
 public:
  uint32_t count() const { return uint32_t(tasks_.size()); }
  bool contains(TaskId id) const { return index_of(id) < tasks_.size() && generation_of(id) == 1; }
  uint32_t index_checked(TaskId id) const;  // throws unknown_task
  TaskId id_at(uint32_t index) const { return make_id(index, 1); }
  const Task& at(uint32_t index) const { return tasks_[index]; }

  // Throw illegal_transition naming state and verb (also: accept without an artifact, which is one
  // of zeros), already_resolved for a settled task, duplicate_artifact (the same artifact accepted
  // twice).
  void check_complete(uint32_t index) const;
  void check_accept(uint32_t index) const;
  void check_reject(uint32_t index) const;
  void check_escalate(uint32_t index) const;
  void check_void(uint32_t index) const;

  void check_start(uint32_t index) const;
  void check_return(uint32_t index) const;
  void check_verify(uint32_t index) const;
  void check_unknown(uint32_t index) const;

  // In state dispatched or offered, of a known class; returns the index.
  uint32_t apply_dispatch(Task task);
  // Right after apply_dispatch. Where it is offered, silence ends it at answer_by_ns.
  void apply_more(uint32_t index, TaskMore more);
  // nullptr: nothing but what a plain dispatch says.
  const TaskMore* more(uint32_t index) const;
  void apply_start(uint32_t index, uint64_t until_ns, Position position);
  void apply_return(uint32_t index, Position position);  // attempt + 1
  void apply_verify(uint32_t index, AgentId verifier, Position position);
  void apply_unknown(uint32_t index, Position position);
  void apply_approve(uint32_t index, Position position);
  // Tasks that wait for a person, ascending.
  const std::set<uint32_t>& offered() const { return offered_; }
  // Leases that have ended, ascending by (end, id), at most `limit`.
  void lapsed(uint64_t now_ns, uint32_t limit, std::vector<uint32_t>& indices_out) const;
  // The task and all below it that are not settled, those below first.
  void open_tree(uint32_t index, std::vector<uint32_t>& indices_out) const;
  // No task below this index is open.
  uint32_t open_from() const;
  bool settled(uint32_t index) const;

  AttemptTable attempts;

  void apply_complete(uint32_t index, const Digest& artifact, const Usage& usage, uint64_t cost,
                      Position position);
  void apply_accept(uint32_t index, AgentId verifier, uint64_t fee, Position position);
  void apply_reject(uint32_t index, AgentId verifier, Position position);
  struct Escalation {
    AgentId worker;
    uint32_t space, offer, version;
    uint8_t tier;
    uint64_t price;
    HoldId hold;
    uint64_t epoch;
    float score;
  };
  void apply_escalate(uint32_t index, const Escalation& to, Position position);
  void apply_void(uint32_t index, Position position);
  void apply_expire(uint32_t index, Position position);
  void apply_redeliver(uint32_t index, Position position);  // attempt + 1, after reopening

  uint16_t class_find(std::string_view name) const;  // task_class_none
  // Throws too_large (name), quota_exceeded (a new class where the table is full).
  void check_class(std::string_view name) const;
  uint16_t class_find_or_add(std::string_view name);  // apply only
  const std::string& class_name(uint16_t task_class) const { return classes_[task_class]; }
  uint32_t class_count() const { return uint32_t(classes_.size()); }

  // nullptr where the key is new. Valid for as long as the table. A key is applied once.
  const KeyedResult* keyed(uint32_t requester_index, Bytes key) const;
  void apply_key(uint32_t requester_index, Bytes key, const KeyedResult& result);

  // What payloads are in extents.
  template <class Add>
  void each_extent(Add&& add) const {
    for (const Task& task : tasks_)
      if (task.payload_size > payload_inline_max) add(task.payload_extent);
  }

  // Work that a worker still owes, ascending by id.
  void unfinished(std::vector<uint32_t>& indices_out) const;
  // Tasks past their deadline and not settled, ascending by (deadline, id), at most `limit`.
  void due(uint64_t now_ns, uint32_t limit, std::vector<uint32_t>& indices_out) const;
  uint64_t earliest_deadline_ns() const;  // UINT64_MAX: none

  const Economics& economics() const { return total_; }
  const Economics& economics_of_class(uint16_t task_class) const { return by_class_[task_class]; }
  const Economics& economics_of_tier(uint8_t tier) const { return by_tier_[tier]; }

  Digest state_hash() const;
  static constexpr uint16_t snapshot_version = 1;
  void encode(SnapshotWriter& out) const;
  void decode(SnapshotReader& in);
  uint64_t memory_bytes() const;

 private:
  struct Keyed {
    uint32_t requester;
    std::string key;
    KeyedResult result;

    template <class Coder, class Self>
    static void each_field(Coder& coder, Self& self) {
      coder(self.requester, self.key, self.result);
    }
  };

  [[noreturn]] void refuse(uint32_t index, const char* verb) const;
  Task& change(uint32_t index, TaskState state, Position position);
  TaskMore* more_of(uint32_t index);
  void leave_lease(uint32_t index);
  void put_more(ByteWriter& writer) const;
  template <class Change>
  void fold(const Task& task, Change&& change);
  static void count_attempt(Task& task);
  uint32_t accepted_find(const Digest& artifact) const;
  static uint64_t owned_bytes(const Task& task) {
    return task.payload.capacity() + task.latents.capacity() * sizeof(LatentManifest);
  }
  Digest economics_hash() const;

  // Deques: growing copies nothing, and references stay valid.
  std::deque<Task> tasks_;
  std::deque<Keyed> keyed_;  // in the order of the journal
  HashMap keyed_of_;         // by requester and key
  HashMap accepted_;         // tasks by the artifact that was accepted
  std::vector<std::string> classes_;
  HashMap class_of_;
  std::set<std::pair<uint64_t, uint32_t>> deadlines_;  // of tasks that are not settled
  std::unordered_map<uint32_t, TaskMore> more_;
  std::set<std::pair<uint64_t, uint32_t>> leases_;
  std::set<uint32_t> offered_;
  mutable uint32_t open_from_ = 0;
  Economics total_;
  std::vector<Economics> by_class_;
  std::array<Economics, 256> by_tier_{};
  uint64_t owned_bytes_ = 0;  // payloads, manifests and long keys
  mutable ChunkedHash hash_, keyed_hash_;
};

}  // namespace hanse
