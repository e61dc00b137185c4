// Volatile messages between agents: bounded boxes, FIFO by (sender, receiver), counted to the last
// one.
//
// The table belongs to the first thread that owns, drains or receives: its sends take no lock and
// allocate nothing. Other threads, and every thread before there is an owner, enter by one bounded
// ring, which the owner empties before each of its own sends and drains. So messages stay in order
// for each (sender, receiver) also where a sender moves from thread to thread. Boxes are linked
// lists of slots in one slab.
#pragma once

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "base/ids.hpp"
#include "base/outcome.hpp"
#include "base/view.hpp"

namespace hanse {

constexpr uint32_t message_inline_bytes = 64;

enum class MessageKind : uint8_t { data = 0, request = 1, reply = 2, failure = 3, task = 4 };

struct MailboxOptions {
  // Data and requests. Replies and failures may use 1/8 (at least one) on top of both, so that a
  // box full of work can't keep an answer out.
  uint32_t box_capacity_messages = 1024;  // of one box
  uint32_t message_count_max = 1u << 22;  // in all boxes together; slots are added in blocks
  uint32_t payload_size_bytes_max = 16u << 20;
  uint64_t payload_bytes_max = uint64_t(1) << 30;  // of payloads over 64 B, in boxes and ring
  uint32_t ring_count_max = 1u << 16;  // messages from other threads; rounded up to a power of two
};

struct MessageHeader {
  AgentId to = id_none, sender = id_none;
  MessageKind kind = MessageKind::data;
  uint64_t request = 0;      // request, reply, failure: which one
  uint64_t deadline_ns = 0;  // Clock time; 0: none
};

// As taken out of a box. `payload` is valid until the batch it came with is cleared.
struct Message {
  AgentId to = id_none, sender = id_none;
  MessageKind kind = MessageKind::data;
  uint64_t request = 0;
  uint64_t sequence = 0;  // in the receiver's box, from 0: gap-free over all that entered it
  Bytes payload;
};

// Owns what a drain took out. Reused by the caller, so that a steady state allocates nothing.
class MessageBatch {
 public:
  MessageBatch();
  ~MessageBatch();
  void clear();
  size_t count() const;
  const std::vector<Message>& messages() const;
  // One row of 64 bytes a message, `stride_out` bytes apart, zero behind the payload; null when the
  // batch is empty or some payload is longer. Valid as long as the payloads.
  const uint8_t* rows(size_t& stride_out) const;

 private:
  friend class MailboxTable;
  struct State;
  std::unique_ptr<State> state_;
};

// accepted = handled + expired + dead + queued, always, for any observer (cancelled requests count
// as dead). What another thread sends is accepted, and queued, when it is in the ring.
struct MailboxCounters {
  uint64_t accepted = 0, handled = 0, expired = 0, dead = 0, queued = 0;
  uint64_t refused_full = 0, refused_unknown = 0, refused_too_large = 0, refused_other = 0;
};

struct DeadLetter {
  MessageHeader header;
  Outcome reason = Outcome::invalid;
  std::vector<uint8_t> payload;  // at most 64 bytes of it
};

class MailboxTable {
 public:
  MailboxTable(const MailboxOptions& options);
  ~MailboxTable();

  // Agents 0 … count - 1 have a box; never shrinks. An idle box costs <= 64 bytes. Any thread: the
  // owner's memory grows on the owner's thread.
  void resize(uint32_t agent_count);
  bool owned_here() const;       // by the calling thread, or by none yet
  bool owned_by_caller() const;  // by the calling thread and no other
  void own();                    // throws wrong_thread if another thread owns it

  // Owner thread: no lock, no allocation beyond slab growth. Any other thread: through the ring.
  // ok, full, unknown, too_large, or the reason for which the box was closed. What a full or closed
  // box can't take out of the ring becomes a dead letter.
  Outcome send(const MessageHeader& header, Bytes payload);
  // One outcome a row. payloads [n, w], or sizes (n of them, each <= w) for ragged rows. Throws
  // dimension_mismatch, out_of_range (sizes) before anything is sent.
  void send_many(AgentId sender, std::span<const AgentId> to, MatrixView<const uint8_t> payloads,
                 std::span<const uint32_t> sizes, std::span<Outcome> outcomes_out);

  // Adds up to `count_max` messages to the batch, boxes in the order in which they became ready, at
  // most `quantum` a turn of each; a box with messages left goes to the back. Those with
  // deadline_ns <= now_ns are counted as expired, not returned. Owner thread (else wrong_thread).
  size_t drain(MessageBatch& batch, size_t count_max, uint64_t now_ns, uint32_t quantum = 64);
  // Adds the oldest live one of one box, paused or not. False: none. Owner thread.
  bool receive(AgentId agent, MessageBatch& batch, uint64_t now_ns);
  // A box that is skipped by drain (its async handler runs) still fills. Owner thread.
  void set_paused(AgentId agent, bool paused);
  bool paused(AgentId agent) const;

  // A handler failed: the message, counted as handled so far, becomes a dead letter. Any thread.
  void dead(const Message& message, Outcome reason);
  std::vector<DeadLetter> dead_letters() const;  // the newest 1,024, oldest first; any thread
  // A revoked or closed agent's queued messages become dead letters, and later ones are refused
  // with `reason` (not ok). Any thread: from another than the owner's it takes effect before the
  // owner takes the next message.
  void close_box(AgentId agent, Outcome reason);

  uint32_t queued(AgentId agent) const;  // in the box, not in the ring; owner thread
  MailboxCounters counters() const;      // any thread
  uint64_t memory_bytes() const;         // any thread

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hanse
