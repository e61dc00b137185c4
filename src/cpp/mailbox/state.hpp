// The inside of a MailboxTable.
//
// What the owner alone touches has no lock; what other threads touch is atomic or has its mutex.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "mailbox/batch.hpp"
#include "mailbox/box.hpp"
#include "mailbox/bulk.hpp"
#include "mailbox/inbound_ring.hpp"
#include "mailbox/letters.hpp"
#include "mailbox/ready.hpp"
#include "mailbox/slab.hpp"
#include "mailbox/topics.hpp"

namespace hanse {

// Written by the owner alone, read by anyone: no locked instruction.
class OwnerCounter {
 public:
  void add(uint64_t count) {
    value_.store(value_.load(std::memory_order_relaxed) + count, std::memory_order_release);
  }
  uint64_t get() const { return value_.load(std::memory_order_acquire); }

 private:
  std::atomic<uint64_t> value_{0};
};
using LaneTotals = std::array<OwnerCounter, lane_count>;
inline uint64_t sum_of(const LaneTotals& totals) {
  uint64_t sum = 0;
  for (const OwnerCounter& total : totals) sum += total.get();
  return sum;
}

// A payload on its way into a box: bytes to copy, or a reference.
struct Content {
  const uint8_t* data;
  size_t size;
  PayloadBuffer* buffer;  // not null: its reference is taken over by ok and dropped

  Content(Bytes bytes) : data(bytes.data()), size(bytes.size()), buffer(nullptr) {}
  Content(PayloadBuffer* from) : data(from->data), size(from->size), buffer(from) {}
  Bytes bytes() const { return {data, size}; }
};

struct MailboxTable::State {
  State(const MailboxOptions& options, ThreadOwner& owner);
  ~State();

  // --- any thread
  bool exists(AgentId agent) const {
    return generation_of(agent) != 0 &&
           index_of(agent) < agent_count.load(std::memory_order_acquire);
  }
  void require(AgentId agent) const;  // throws unknown_agent
  Outcome refuse(Outcome outcome);
  Outcome send_foreign(const MessageHeader& header, const Content& content);
  void bury(const MessageHeader& header, Outcome reason, const Content& content);
  void note_undelivered(const MessageHeader& header, Outcome reason);
  // Accepted and dead at once: it never was in a box.
  void bury_unqueued(const MessageHeader& header, Outcome reason, const Content& content);

  // --- owner
  void own();
  void require_owner() const;        // throws wrong_thread where another thread owns
  void require_not_running() const;  // throws illegal_transition inside a native handler
  void grow();                       // to agent_count boxes
  void grow_slab();
  void count_memory();
  Box& box(uint32_t index) {
    if (index >= boxes.size()) [[unlikely]]
      grow();
    return boxes[index];
  }
  BoxExtra& extra(Box& box);  // made on first use
  LaneQueue& queue(Box& box, uint8_t lane) { return lane == 0 ? box : extra(box).lanes[lane - 1]; }
  // Empties the ring, then closes what other threads wanted closed.
  void settle() {
    if (ring.pending()) empty_ring();
    if (closes_pending.load(std::memory_order_acquire)) close_wanted();
  }
  void empty_ring();
  void close_wanted();

  // --- entering: enter.cpp
  // One branch for all that is rare, then the few steps that every message needs. The box must
  // exist, the size be within the limit.
  Outcome send_owned(const MessageHeader& header, const uint8_t* payload, size_t size) {
    return put(boxes[index_of(header.to)], header, payload, size);
  }
  [[gnu::always_inline]] Outcome put(Box& target, const MessageHeader& header,
                                     const uint8_t* payload, size_t size) {
    const uint64_t rare = header.deadline_ns | header.key | header.trace | header.latent;
    const bool plain = (uint64_t(target.flags & (Box::closed | Box::ruled)) | header.lane | rare |
                        uint64_t(size > message_inline_bytes)) == 0;
    const bool sampled = --until_sample == 0;
    const auto kind = size_t(header.kind) & 7;
    if (!plain || sampled || target.count >= box_limits[kind] || slab.used() >= put_limits[kind] ||
        slab.needs_block()) [[unlikely]]
      return put_carefully(header, payload, size, sampled);

    const uint32_t number = slab.take();
    Slot& slot = slab[number];
    slot.sequence = uint32_t(target.next_sequence++);
    slot.to_generation = generation_of(header.to);
    slot.kind = header.kind;
    slot.lane = 0;
    slot.flags = 0;
    slot.size = uint8_t(size);
    slot.sender = header.sender;
    slot.request = header.request;
    copy_inline(slot.payload, payload, size);
    if (target.count++ == 0) {
      target.head = number;
      make_ready(target, index_of(header.to));
    } else {
      links[target.tail] = number;
    }
    target.tail = number;
    entered_here[0].add(1);
    return Outcome::ok;
  }
  Outcome put_carefully(const MessageHeader& header, const uint8_t* payload, size_t size,
                        bool sampled);
  // Everything that send_owned leaves out: lanes, rare fields, references, policies, samples.
  Outcome enter_here(const MessageHeader& header, const Content& content, bool sampled);
  // As send answers. The content's reference is taken over by ok and dropped.
  Outcome enter(const MessageHeader& header, Content content, bool sampled, bool from_ring);
  void prepare(Box& box);
  Outcome admit(const Box& box, const LaneQueue& queue, const MessageHeader& header,
                uint32_t& replaced_out) const;
  bool has_droppable(const LaneQueue& queue) const;
  void drop_oldest(Box& box, uint32_t index, uint8_t lane);
  void drop_newest(const MessageHeader& header, const Content& content, bool from_ring);
  void replace(uint32_t number, const MessageHeader& header, const Content& content, bool sampled);
  void fill(Slot& slot, const MessageHeader& header, const Content& content, bool sampled);
  void link(Box& box, LaneQueue& queue, uint8_t lane, uint32_t index, uint32_t number);
  void make_ready(Box& box, uint32_t index) {
    const bool by_native = (box.flags & Box::native) != 0;
    const uint16_t standing = by_native ? Box::native_ready : Box::ready;
    if (box.flags & (standing | Box::paused | Box::parked)) return;
    box.flags |= standing;
    (by_native ? native_ready : ready).push(box.group, index);
  }
  void park(Box& box, uint32_t index);
  void unpark();
  void owe(Box& box, uint32_t index);
  void credit_starved();
  uint32_t capacity(const Box& box, MessageKind kind) const;
  uint32_t queued(const Box& box) const;

  // --- leaving: leave.cpp
  struct Taken {
    uint32_t number;
    uint64_t sequence;
  };
  // Unlinks the next message of a box that has one; its slot must then be freed.
  Taken unlink_next(Box& box, uint32_t index) {
    if (box.flags & Box::careful) [[unlikely]]
      return unlink_carefully(box, index, next_lane(box));
    const uint32_t number = box.head;
    const uint64_t sequence = box.next_sequence - box.count;
    // FIFO and gap-free, checked at each message.
    HANSE_ASSERT(slab[number].sequence == uint32_t(sequence));
    if (--box.count != 0) box.head = links[number];
    return {number, sequence};
  }
  [[gnu::noinline]] Taken unlink_carefully(Box& box, uint32_t index, uint8_t lane);
  uint8_t next_lane(Box& box);
  void unlink_between(Box& box, uint32_t index, uint8_t lane, uint32_t before, uint32_t number);
  void after_unlink(Box& box, uint32_t index, uint8_t lane);
  // What it holds is let go. `buffer_moved`: its reference is somebody else's now.
  void free_slot(uint32_t number, bool buffer_moved = false) {
    if (slab[number].flags != 0) [[unlikely]]
      release_held(slab[number], buffer_moved);
    slab.put_back(number);
  }
  [[gnu::noinline]] void release_held(Slot& slot, bool buffer_moved);
  void forget_key(Box& box, uint32_t number);
  void forget_keys(Box& box);
  const MessageRare& rare(const Slot& slot) const {
    return slot.flags & Slot::extended ? extensions[slot.extension].rare : message_rare_none;
  }
  bool alive(const Slot& slot, uint64_t now_ns) const {
    if (!(slot.flags & Slot::extended)) return true;
    const uint64_t deadline = rare(slot).deadline_ns;
    return deadline == 0 || now_ns < deadline;
  }
  MessageHeader header_of(const Slot& slot, uint32_t index) const;
  size_t drain_boxes(MessageBatch::State& batch, size_t count_max, uint64_t now_ns,
                     uint32_t quantum, const WantedBoxes* wanted);
  // Takes the next message out of a box that has one. False: it had expired.
  bool take(Box& box, uint32_t index, MessageBatch::State& batch, uint64_t now_ns);
  [[gnu::noinline]] void expire(uint32_t number, uint32_t index);
  void end_dead(uint32_t number, uint32_t index, Outcome reason);
  // A message that is handled now: counted, and observed where that is wanted.
  void handled(const Slot& slot, uint32_t index, uint64_t sequence, uint64_t now_ns) {
    if ((slot.flags & Slot::sampled) || options.digest) [[unlikely]]
      observe(slot, index, sequence, now_ns);
    taken[slot.lane].add(1);
  }
  [[gnu::noinline]] void observe(const Slot& slot, uint32_t index, uint64_t sequence,
                                 uint64_t now_ns);
  void add_to_digest(const MessageHeader& header, Bytes payload, uint64_t sequence);
  void add_age(uint64_t age_ns, uint64_t count);
  void close(uint32_t index, Outcome reason);
  void prefetch_turns(const ReadyBoxes& of) const {
    if (of.crowded()) prefetch_crowd(of);
  }
  [[gnu::noinline]] void prefetch_crowd(const ReadyBoxes& of) const;

  // --- the log: bulk.cpp
  uint64_t waiting() const { return slab.used() + bulk.log.count(); }  // not in the ring
  void send_rows(const BulkRows& rows, std::span<Outcome> outcomes_in_out);
  Outcome send_row(const BulkRows& rows, size_t i);
  void send_rows_linked(const BulkRows& rows, std::span<Outcome> outcomes);
  void send_rows_logged(const BulkRows& rows, std::span<Outcome> outcomes);
  bool log_wanted(const BulkRows& rows);
  void take_up_log();
  void put_down_log();
  void spill_log();
  void leave_log(uint32_t index);
  uint64_t room_in_log() const;
  bool heal(uint32_t index);
  bool log_single(const MessageHeader& header, const Content& content, Outcome& outcome_out);
  size_t drain_log(MessageBatch::State& batch, size_t count_max, uint64_t now_ns,
                   const WantedBoxes* only);
  bool log_wanted(const WantedBoxes& wanted);
  bool same_for_all(const ColumnStore& store, uint64_t now_ns) const;
  void take_rows_alike(std::span<const uint32_t> keys, ColumnStore& store);
  bool take_row(uint32_t key, MessageBatch::State& batch, bool alone, uint64_t now_ns);
  void observe_epoch(uint64_t now_ns);

  // --- elsewhere
  struct NativeRun;
  [[gnu::always_inline]] bool run_one(MailboxTable& table, NativeRun& run, uint64_t now_ns);
  size_t send_to_all(MessageHeader header, std::span<const AgentId> to, const Payload& payload,
                     std::span<Outcome> outcomes);

  const MailboxOptions options;
  ThreadOwner& owner;
  // By kind: answers have an eighth more.
  std::array<uint32_t, 8> box_limits, table_limits;
  std::array<uint32_t, 8> put_limits;  // table_limits, or 0 while the log is in use

  // The owner's hot fields, in the order of a send.
  ZeroedArray<Box> boxes;  // may be shorter than agent_count: it grows on the owner's thread
  uint64_t until_sample;
  Slab<Slot> slab;
  ReservedArray<uint32_t> links;  // by slot: the next one in its queue
  LaneTotals entered_here, taken;
  ReadyBoxes ready, native_ready;
  bool running = false;  // a native handler
  Bulk bulk;

  LaneTotals entered_by_ring, ended;
  OwnerCounter expired, cancelled, buried, lost;  // lost: in the ring, and found no room
  Slab<Extension> extensions;
  std::vector<std::unique_ptr<BoxExtra>> extras;  // the first is null
  std::vector<AgentId> credited;
  std::vector<uint32_t> parked;   // boxes whose flag says so; some may have lost it since
  std::vector<uint32_t> starved;  // boxes that refused for want of room in the table
  std::unordered_map<uint32_t, uint32_t> group_numbers;
  std::vector<uint32_t> group_keys{0};  // by number

  std::atomic<uint32_t> agent_count{0};
  PayloadAccount* const account;
  std::atomic<uint64_t> table_bytes{0};
  InboundRing ring;

  std::mutex closes_mutex;
  std::vector<std::pair<uint32_t, Outcome>> closes;  // wanted by other threads; one a close_box
  bool unpark_wanted = false;                        // by another thread
  std::atomic<bool> closes_pending{false};

  // accepted = entered here + pushed into the ring + unqueued; handled = taken - failed; dead =
  // buried + lost + unqueued + failed. So one store moves a message from handled to dead, and no
  // observer sees it in neither.
  std::atomic<uint64_t> failed{0}, unqueued{0}, resent{0};
  std::atomic<uint64_t> refused_full{0}, refused_unknown{0}, refused_too_large{0}, refused_other{0};
  const std::shared_ptr<DeadLetters> letters;
  std::array<std::atomic<uint64_t>, outcome_count_max> dead_by_reason{};
  const uint32_t undelivered_count_max;
  std::mutex undelivered_mutex;
  std::deque<Undelivered> undelivered;
  std::atomic<bool> undelivered_any{false};

  Topics topics;
  ConsumerGroups consumer_groups;
  OwnerCounter published;

  static constexpr size_t trace_count_max = 1024;
  // Written by the owner, for sampled messages alone; read by anyone.
  std::array<OwnerCounter, QueueAges::bucket_count> age_counts;
  OwnerCounter age_sum_ns;
  std::atomic<uint64_t> age_max_ns{0};
  mutable std::mutex traces_mutex;
  std::vector<TraceRecord> traces;
  size_t traces_oldest = 0;
  TraceDigest digest;
  uint64_t sampled_count = 0;
  std::shared_ptr<Clock> clock;
};

}  // namespace hanse
