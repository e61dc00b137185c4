// Volatile messages between agents: bounded boxes, FIFO by (sender, receiver, lane), counted to the
// last one.
//
// The table belongs to the first thread that owns, drains or receives: its sends take no lock and
// allocate nothing. Other threads, and every thread before there is an owner, enter by one bounded
// ring, which the owner empties before each of its own sends and drains. So messages stay in order
// for each (sender, receiver, lane) also where a sender moves from thread to thread. Boxes are
// linked lists of slots in one slab. One table is one shard.
#pragma once

#include <memory>
#include <vector>

#include "base/clock.hpp"
#include "base/ids.hpp"
#include "base/outcome.hpp"
#include "base/view.hpp"
#include "mailbox/consumer_groups.hpp"
#include "mailbox/message.hpp"
#include "mailbox/observation.hpp"
#include "mailbox/owner.hpp"
#include "mailbox/payload.hpp"

namespace hanse {

class DeadLetters;  // letters.hpp

struct MailboxOptions {
  // Data and requests, of each lane of one box. Replies, failures and cancellations may use 1/8 (at
  // least one) on top of both, so that a box full of work can't keep an answer out.
  uint32_t box_capacity_messages = 1024;
  uint32_t message_count_max = 1u << 22;  // in all boxes together; slots are added in blocks
  uint32_t payload_size_bytes_max = 16u << 20;
  // Of payloads over 64 B: in boxes, ring, dead letters, loans and batches that are not cleared.
  uint64_t payload_bytes_max = uint64_t(1) << 30;
  uint32_t ring_count_max = 1u << 16;  // messages from other threads; rounded up to a power of two

  uint32_t group_quantum_messages = 1024;  // of one group's turn, while others wait
  uint32_t ageing_messages = 16;  // a lane that waits while so many more urgent ones go is served
  // Requests that ended undelivered and are kept for take_undelivered, the newest; 0: none are.
  uint32_t undelivered_count_max = 0;
  uint32_t topic_count_max = 1u << 20;
  uint32_t subscription_count_max = 1u << 24;  // of all topics together, prefixes too

  MailboxForm form = MailboxForm::automatic;
  uint32_t log_population_min = 100'000;  // agents from which on the log is taken into use
  uint32_t log_batch_min = 4096;          // rows of a send_many from which on it goes to the log

  uint32_t trace_interval = 1024;        // one message of so many is sampled; 0: none
  bool digest = false;                   // keep a TraceDigest; costs a hash of each payload
  uint64_t seed = 0;                     // of trace numbers: the same run gives the same ones
  uint32_t shard = 0;                    // which one of a process's tables this is
  std::shared_ptr<DeadLetters> letters;  // shared by several tables; null: its own
  std::shared_ptr<Clock> clock;          // for ages; null: the system's
};

// What a box does with data and requests when it is full.
enum class BoxPolicy : uint8_t {
  reject = 0,       // the sender is answered `full`
  credit = 1,       // and the box is listed by take_credited once it is less than half full again
  drop_oldest = 2,  // the oldest of the lane becomes a dead letter, the new one enters
  drop_newest = 3,  // the new one becomes a dead letter: answered `dropped`
  // A message replaces the queued one of the same key (not 0) and lane, in its place and with its
  // sequence number, whether the box is full or not; the old one becomes a dead letter. No such
  // key and full: answered `full`.
  coalesce = 4
};

struct BoxOptions {
  BoxPolicy policy = BoxPolicy::reject;
  uint32_t capacity_messages = 0;  // of each lane; 0: MailboxOptions::box_capacity_messages
};

struct MessageColumns;  // batch_columns.hpp

// Owns what a drain took out. Reused by the caller, so that a steady state allocates nothing.
class MessageBatch {
 public:
  MessageBatch();
  ~MessageBatch();
  void swap(MessageBatch& other) noexcept { state_.swap(other.state_); }
  void clear();
  size_t count() const;
  const std::vector<Message>& messages() const;
  // The same as columns, where all of it came out of the log; else null. Valid until cleared.
  const MessageColumns* columns() const;
  // One row of 64 bytes a message, `stride_out` bytes apart, zero behind the payload; null when the
  // batch is empty or some payload came by reference. Valid as long as the payloads.
  const uint8_t* rows(size_t& stride_out) const;

 private:
  friend class MailboxTable;
  struct State;
  std::unique_ptr<State> state_;
};

struct DeadLetter {
  uint64_t number = 0;  // from 0, by table, or by all that share their letters
  MessageHeader header;
  Outcome reason = Outcome::invalid;
  size_t size = 0;               // of the message's payload
  std::vector<uint8_t> payload;  // all of it, or its first 64 bytes where `cut`
  bool cut = false;              // it was too large to keep: it can't be sent again
};

// A request that ended without having been handled, by what became of its message.
struct Undelivered {
  AgentId to = id_none, sender = id_none;
  uint64_t request = 0;
  Outcome reason = Outcome::invalid;  // expired, or that of the dead letter
};

// Plain messages of at most 64 bytes: [n] each, payloads `stride` bytes apart.
struct ArrivedRows {
  std::span<const AgentId> senders, to;
  std::span<const uint32_t> sizes;
  const uint8_t* payloads = nullptr;
  size_t stride = message_inline_bytes;
};

// Which boxes a drain may take from: asked once a turn of each. Must not call the table.
struct WantedBoxes {
  bool (*wants)(void* context, AgentId agent);
  void* context;
};

class MailboxTable;

// Runs on the owner thread. May send, subscribe, pause, set handlers, cancel; must not drain,
// receive or run handlers (illegal_transition). What it throws ends run_native, after its message
// became a dead letter.
using NativeHandler = void (*)(void* context, MailboxTable& table, const Message& message);

class MailboxTable {
 public:
  MailboxTable(const MailboxOptions& options);
  ~MailboxTable();
  const MailboxOptions& options() const;

  // Agents 0 … count - 1 have a box; never shrinks. An idle box costs <= 64 bytes. Any thread: the
  // owner's memory grows on the owner's thread.
  void resize(uint32_t agent_count);
  uint32_t agent_count() const;  // any thread
  // By the calling thread, or by none yet.
  bool owned_here() const { return owner_.none() || owner_.caller(); }
  bool owned_by_caller() const { return owner_.caller(); }
  void own();  // throws wrong_thread if another thread owns it
  // The next thread that owns, drains or receives becomes the owner. Owner thread.
  void disown();

  // --- sending
  // Owner thread: no lock, no allocation beyond slab growth. Any other thread: through the ring.
  // ok, full, unknown, too_large, dropped, or the reason for which the box was closed. What a full
  // or closed box can't take out of the ring becomes a dead letter. Throws out_of_range (lane).
  Outcome send(const MessageHeader& header, Bytes payload);
  // Moves the payload, no byte is copied. Not ok: the payload is still the caller's (unless
  // `dropped`). Throws wrong_thread for an adopted one off the owner thread.
  Outcome send_payload(const MessageHeader& header, Payload&& payload);
  // A buffer to write into and then send; empty: payload_bytes_max is reached. Any thread. Throws
  // payload_too_large.
  Payload loan(size_t size);
  // One outcome a row. payloads [n, w], or sizes (n of them, each <= w) for ragged rows. Throws
  // dimension_mismatch, out_of_range (sizes) before anything is sent.
  void send_many(AgentId sender, std::span<const AgentId> to, MatrixView<const uint8_t> payloads,
                 std::span<const uint32_t> sizes, std::span<Outcome> outcomes_out);
  // The same with all that a header can say (its `to` is ignored). Rows whose outcome is not ok at
  // the start are left out.
  void send_many(const MessageHeader& header, std::span<const AgentId> to,
                 MatrixView<const uint8_t> payloads, std::span<const uint32_t> sizes,
                 std::span<Outcome> outcomes_in_out);
  // Rows of several senders, as another shard has handed them over. Owner thread.
  void send_arrived(const ArrivedRows& rows, std::span<Outcome> outcomes_in_out);
  // One message to many: over 64 bytes they share one buffer. Rows whose outcome is not ok at the
  // start are left out (denied by the caller's rules). Owner thread. Throws dimension_mismatch.
  void send_shared(const MessageHeader& header, std::span<const AgentId> to, const Payload& payload,
                   std::span<Outcome> outcomes_in_out);

  // --- taking
  // Adds up to `count_max` messages to the batch. Groups take turns, in a group the boxes in the
  // order in which they became ready, at most `quantum` a turn of each; a box with messages left
  // goes to the back. Those with deadline_ns <= now_ns are counted as expired, not returned. Boxes
  // with a native handler are left out. Owner thread (else wrong_thread). wanted: what waits in
  // other boxes stays there, and is not asked about again before `unpark`, or a drain that wants
  // all, made them ready anew.
  size_t drain(MessageBatch& batch, size_t count_max, uint64_t now_ns, uint32_t quantum = 64,
               const WantedBoxes* wanted = nullptr);
  // Any thread: from another than the owner's it takes effect before the owner's next drain.
  void unpark();
  // Adds the next live one of one box, paused or not. False: none. Owner thread.
  bool receive(AgentId agent, MessageBatch& batch, uint64_t now_ns);
  // Native handlers of messages in boxes that have one; up to `count_max` messages, in the order
  // that drain would take. Messages sent meanwhile count too. Owner thread.
  size_t run_native(size_t count_max, uint64_t now_ns, uint32_t quantum = 64);
  // A null handler removes it: the box is drained again. Owner thread. Throws unknown_agent.
  void set_native(AgentId agent, NativeHandler handler, void* context);
  NativeHandler native(AgentId agent, void*& context_out) const;  // null: it has none
  bool has_ready() const;         // drain may find something; owner thread
  bool has_native_ready() const;  // run_native may find something; owner thread

  // --- boxes
  // A box that is skipped by drain (its async handler runs) still fills. Owner thread.
  void set_paused(AgentId agent, bool paused);
  bool paused(AgentId agent) const;
  // Takes effect for what comes next; queued messages stay. Owner thread. Throws out_of_range.
  void set_box(AgentId agent, const BoxOptions& options);
  BoxOptions box_options(AgentId agent) const;
  // Appends the credit boxes that refused somebody, and have been less than half full since. Each
  // once, until it refuses again. Owner thread.
  void take_credited(std::vector<AgentId>& agents_out);
  // Whose turn a box shares: its parent's index, say. 0 at first. Owner thread.
  void set_group(AgentId agent, uint32_t group);
  uint32_t group(AgentId agent) const;
  // Takes a request that still waits in its receiver's box out again, counted as cancelled. False:
  // it is not in there (handled, expired, or never sent). Walks the box. Owner thread.
  bool cancel(AgentId to, uint64_t request);
  // A revoked or closed agent's queued messages become dead letters, and later ones are refused
  // with `reason` (not ok). Any thread: from another than the owner's it takes effect before the
  // owner takes the next message.
  void close_box(AgentId agent, Outcome reason);
  // Closes all boxes, as at the end of a loop: what is queued becomes dead letters. Owner thread.
  void close_all(Outcome reason);

  // The sequence number that the next message to enter the lane gets: a box that moves to another
  // table goes on counting there. The new box is empty. Owner thread.
  uint64_t next_sequence(AgentId agent, uint8_t lane);
  void set_next_sequence(AgentId agent, uint8_t lane, uint64_t sequence);

  // --- topics: any u64. Owner thread. All throw unknown_agent where they name one.
  // False: was subscribed already. Throws quota_exceeded (topics, subscriptions).
  bool subscribe(AgentId agent, uint64_t topic);
  // All topics that begin with the first `bits` (0 … 64) bits of `prefix`, also those to come; an
  // agent that a topic reaches twice gets one message. Throws out_of_range (bits).
  bool subscribe_prefix(AgentId agent, uint64_t prefix, uint32_t bits);
  bool unsubscribe(AgentId agent, uint64_t topic);  // false: was not subscribed
  bool unsubscribe_prefix(AgentId agent, uint64_t prefix, uint32_t bits);
  void unsubscribe_all(AgentId agent);
  // Consumer groups: of each group of a topic one member gets what is published, in turns.
  // consumer_groups.hpp has the rules. Throw as subscribe.
  bool join_group(AgentId agent, uint64_t topic, uint64_t group);
  bool leave_group(AgentId agent, uint64_t topic, uint64_t group);
  ConsumerGroups& consumer_groups();  // to publish to them; owner thread
  // Who gets what is published to a topic, in the order of subscription (where one left, the last
  // took its place). Valid until the next call about topics.
  std::span<const AgentId> subscribers(uint64_t topic);
  // send_shared to all subscribers of the topic but those whose outcome in `outcomes_in_out`
  // (empty, or one a subscriber) is not ok. Returns how many took it. header.to is ignored. Boxes
  // that are closed lose their subscriptions. Throws dimension_mismatch, payload_too_large.
  size_t publish(uint64_t topic, const MessageHeader& header, Bytes payload,
                 std::span<Outcome> outcomes_in_out = {});
  size_t publish_payload(uint64_t topic, const MessageHeader& header, const Payload& payload,
                         std::span<Outcome> outcomes_in_out = {});

  // --- dead letters
  // A handler failed: the message, counted as handled so far, becomes a dead letter. Any thread.
  void dead(const Message& message, Outcome reason);
  // A message that never entered a box, or left it by other hands (an unacknowledged one, say), is
  // kept as a dead letter and counted as accepted and dead. Any thread.
  void bury(const MessageHeader& header, Outcome reason, Bytes payload);
  // The same with a payload that the letter shares, so that it is kept whole.
  void bury_payload(const MessageHeader& header, Outcome reason, const Payload& payload);
  std::vector<DeadLetter> dead_letters() const;  // the newest 1,024, oldest first; any thread
  // Sends one again, as it was but without its deadline. ok: it is no dead letter any more (but
  // stays counted as one, and counts as accepted anew). unknown: there is none of that number;
  // too_large: it was cut; else as send. Any thread.
  Outcome resend(uint64_t number);

  // Appends the requests that expired or became dead letters since the last call. Any thread.
  void take_undelivered(std::vector<Undelivered>& undelivered_out);
  bool has_undelivered() const;  // any thread

  // --- observation
  uint32_t queued(AgentId agent) const;  // in all lanes of the box, not in the ring; owner thread
  uint32_t queued(AgentId agent, uint8_t lane) const;
  MailboxCounters counters() const;  // any thread
  uint64_t memory_bytes() const;     // any thread
  // What boxes, log and ring hold, counted there: `queued` of the counters. Owner thread, while no
  // other sends.
  uint64_t held() const;
  QueueAges ages() const;                   // any thread
  std::vector<TraceRecord> traces() const;  // the newest 1,024, oldest first; any thread
  TraceDigest digest() const;               // owner thread

 private:
  struct State;
  Outcome send_carefully(const MessageHeader& header, Bytes payload);

  ThreadOwner owner_;
  std::unique_ptr<State> state_;
};

}  // namespace hanse
