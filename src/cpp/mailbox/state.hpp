// The inside of a MailboxTable.
//
// What the owner alone touches has no lock; what other threads touch is atomic or has its mutex.
#pragma once

#include <atomic>
#include <mutex>
#include <thread>
#include <utility>

#include "mailbox/batch.hpp"
#include "mailbox/bulk.hpp"
#include "mailbox/inbound_ring.hpp"
#include "mailbox/slab.hpp"

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

struct MailboxTable::State {
  explicit State(const MailboxOptions& options);
  ~State();

  // --- any thread
  bool owned_by_me() const {
    return owner.load(std::memory_order_acquire) == std::this_thread::get_id();
  }
  bool exists(AgentId agent) const {
    return generation_of(agent) != 0 &&
           index_of(agent) < agent_count.load(std::memory_order_acquire);
  }
  void require(AgentId agent) const;  // throws unknown_agent
  Outcome refuse(Outcome outcome);
  Outcome send_foreign(const MessageHeader& header, Bytes payload);
  // A copy that counts against payload_bytes_max; null: over it, or out of memory.
  uint8_t* copy_large(Bytes payload);
  void bury(const MessageHeader& header, Outcome reason, Bytes payload);

  // --- owner
  void own();
  void require_owner() const;  // throws wrong_thread where another thread owns
  void grow();                 // to agent_count boxes
  void grow_slab();
  Box& box(uint32_t index) {
    if (index >= boxes.size()) [[unlikely]]
      grow();
    return boxes[index];
  }
  void settle();  // empties the ring, then closes what other threads wanted closed
  void empty_ring();
  Outcome room(const Box& box, MessageKind kind) const;
  Outcome send_owned(const MessageHeader& header, const uint8_t* payload, uint32_t size);
  void enqueue(Box& box, const MessageHeader& header, const uint8_t* stored, uint32_t size);
  void make_ready(Box& box, uint32_t index);
  void prefetch_turns() const;
  // Unlinks the oldest message of a box that has one. False: it had expired.
  bool take(Box& box, uint32_t index, MessageBatch::State& batch, uint64_t now_ns);
  void unlink(Box& box);
  void release_large(const Slot& slot);
  void close(uint32_t index, Outcome reason);

  // --- owner, the log: bulk.cpp
  uint64_t waiting() const { return slab.used() + bulk.log.count(); }
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
  bool log_single(const MessageHeader& header, const uint8_t* payload, uint32_t size,
                  Outcome& outcome_out);
  size_t drain_log(MessageBatch::State& batch, size_t count_max, uint64_t now_ns);
  bool same_for_all(const ColumnStore& store, uint64_t now_ns) const;
  void take_rows_alike(std::span<const uint32_t> keys, ColumnStore& store);
  bool take_row(uint32_t key, MessageBatch::State& batch, bool alone, uint64_t now_ns);
  void account_log();

  const MailboxOptions options;
  const uint32_t reserved_messages;       // of one box, on top of its capacity
  const uint32_t reserved_message_count;  // of all boxes together
  std::atomic<std::thread::id> owner{};
  std::atomic<uint32_t> agent_count{0};
  std::atomic<uint64_t> payload_bytes{0};  // of payloads over 64 bytes, in boxes and in the ring
  std::atomic<uint64_t> table_bytes{0};
  InboundRing ring;

  std::mutex closes_mutex;
  std::vector<std::pair<uint32_t, Outcome>> closes;  // wanted by other threads; one a close_box
  std::atomic<bool> closes_pending{false};

  std::vector<Box> boxes;  // may be shorter than agent_count: it grows on the owner's thread
  ReadyRing ready;
  Slab slab;
  Bulk bulk;

  // accepted = sent here + pushed into the ring; handled = taken - failed; dead = buried + failed.
  // So one store moves a message from handled to dead, and no observer sees it in neither.
  OwnerCounter sent, taken, expired, buried;
  std::atomic<uint64_t> failed{0};
  std::atomic<uint64_t> refused_full{0}, refused_unknown{0}, refused_too_large{0}, refused_other{0};

  static constexpr size_t letter_count_max = 1024;
  mutable std::mutex letters_mutex;
  std::vector<DeadLetter> letters;
  size_t letters_oldest = 0;
};

}  // namespace hanse
