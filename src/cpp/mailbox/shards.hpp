// Several mailbox tables, each with a thread of its own, as one: an agent lives on one shard, and
// what it sends to another shard's agents travels by a ring.
//
// Inside a shard nothing is locked or atomic. A message to another shard is accepted when it is in
// the ring; where its box has no room at the other end, it becomes a dead letter there. Rings are
// published in batches, at the latest at the end of a turn, and a thread that sleeps is woken only
// by the first batch after it went to sleep. Messages stay in order for each (sender, receiver,
// lane), also when groups move from shard to shard: all shards rest between two turns while one
// thread moves them.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "mailbox/mailbox.hpp"
#include "mailbox/topic_directory.hpp"

namespace hanse {

struct ShardOptions {
  uint32_t shard_count = 2;                  // 1 … 64
  size_t ring_size_bytes = size_t(4) << 20;  // of each of count * (count - 1) rings
  uint32_t turn_messages = 4096;             // what one turn takes out of a shard's boxes
  // How often an idle thread looks again before it sleeps.
  uint32_t spin_count = 1000;
  MailboxOptions mailboxes;  // of each shard
  // Called on the shard's thread before each of its turns; or null.
  void (*before_turn)(void* context, uint32_t shard) = nullptr;
  void* before_context = nullptr;
};

class Shards;
// What a turn took out of the boxes of one shard, on that shard's thread; it may be swapped for
// another batch. May send; must not turn, run, migrate or stop anything but by `stop`.
using ShardHandler = void (*)(void* context, Shards& shards, uint32_t shard, MessageBatch& batch);

class Shards {
 public:
  // Throws out_of_range.
  explicit Shards(const ShardOptions& options);
  ~Shards();

  uint32_t count() const;
  uint32_t agent_count() const;
  // Agents 0 … agent_count - 1 exist; those that are new are in the groups that `groups_of_new`
  // names, or in group 0. Groups are on shard 0 unless they were moved. Any thread.
  void resize(uint32_t agent_count, std::span<const uint32_t> groups_of_new = {});
  // While no thread is in `run`, and before the agent's first message. Throws unknown_agent,
  // illegal_transition.
  void set_group(AgentId agent, uint32_t group);
  uint32_t shard_of(AgentId agent) const;  // any thread; throws unknown_agent

  // The agents of a group, their messages, bounds and native handlers move to another shard, and so
  // do those to come: every shard that is in `run` rests meanwhile. Any thread that may drive all
  // shards that nobody runs. Throws out_of_range, wrong_thread (another thread drives a shard
  // outside of `run`), illegal_transition (inside of a turn).
  void migrate(uint32_t group, uint32_t shard);

  // From a thread that drives no shard, into the table's own ring. As MailboxTable::send.
  Outcome send_foreign(const MessageHeader& header, Bytes payload);
  Outcome send_foreign(const MessageHeader& header, Payload&& payload);

  // --- on the thread of `shard`: the first that calls one of these for it, until it has left `run`
  // To any agent. ok, or what MailboxTable::send answers; full also where the ring to its shard
  // is. Outside of a turn it is published at once.
  Outcome send(uint32_t shard, const MessageHeader& header, Bytes payload);
  // Moves the payload as MailboxTable::send_payload does, also to another shard. Throws
  // wrong_thread for an adopted one that would leave its shard.
  Outcome send_payload(uint32_t shard, const MessageHeader& header, Payload&& payload);
  // Rows whose outcome is not ok at the start are left out. Throws as MailboxTable::send_many.
  void send_many(uint32_t shard, const MessageHeader& header, std::span<const AgentId> to,
                 MatrixView<const uint8_t> payloads, std::span<const uint32_t> sizes,
                 std::span<Outcome> outcomes_in_out);
  // One message to many, wherever they are: over 64 bytes they share one buffer, and another
  // shard's are one cell of its ring. Rows whose outcome is not ok at the start are left out; ok
  // for another shard's agent: it is in the ring. Returns how many took it. Throws as
  // MailboxTable::send_shared, and wrong_thread as send_payload.
  size_t publish_to(uint32_t shard, const MessageHeader& header, std::span<const AgentId> to,
                    const Payload& payload, std::span<Outcome> outcomes_in_out);
  // As MailboxTable::cancel; on another shard it takes effect when that takes in what was sent to
  // it, in order: a request that waits in a box there is counted as cancelled.
  void cancel(uint32_t shard, AgentId to, uint64_t request);
  // Takes in what other shards sent, runs native handlers, hands one batch of the rest to the
  // handler (null: the rest stays in its boxes), publishes what they sent. Returns how many
  // messages were handled. An exception of a handler passes through.
  size_t turn(uint32_t shard, ShardHandler handler, void* context, uint64_t now_ns);
  // The parts of a turn, for who drains the table itself: takes in, and publishes.
  void take_in(uint32_t shard);
  void publish(uint32_t shard);
  // Before a thread that drives its shard without `run` sleeps: from now on the next batch calls
  // the waker. False: something came meanwhile.
  bool rest(uint32_t shard);
  // Instead of a sleeping `run`: called on the thread of the shard that sent. Before any thread
  // runs.
  void set_waker(uint32_t shard, void (*waker)(void* context), void* context);
  // Turns until `stop`; sleeps while there is nothing to do. `clock` of the mailbox options, or the
  // system's.
  void run(uint32_t shard, ShardHandler handler, void* context);
  void stop();  // any thread: every `run` returns after its turn; later ones return at once
  // Throws illegal_transition where the calling thread is inside of a shard's turn.
  void require_no_turn() const;
  // Waits until no thread is in `run`; after `stop`. Throws illegal_transition inside of one.
  void join();
  // Another thread sent into the shard's table: a sleeping `run` looks again. Any thread.
  void wake(uint32_t shard);
  // The shard whose table the caller owns: where there are several, the one that has its turn.
  // index_none: of none.
  uint32_t driven_here() const;
  // The table, for who must set something of it: of the caller, or of nobody. A table that was
  // nobody's is so again afterwards. Throws wrong_thread, out_of_range.
  class Visit {
   public:
    Visit(Shards& shards, uint32_t shard);
    ~Visit();
    MailboxTable& table;

   private:
    const bool borrowed_;
  };

  // A shard's own table: policies, pauses, counters. Its functions' rules about threads hold.
  MailboxTable& table(uint32_t shard);
  // Sums over the shards of what was handled so far: while no shard has a turn. `ordered` is of
  // the only shard, or 0.
  TraceDigest digest() const;
  // The topics of all shards. body(TopicDirectory&), which must not call this again. Any thread.
  template <class Body>
  auto at_topics(Body&& body) {
    const std::lock_guard lock(topics_mutex());
    return body(topics());
  }
  void count_publication();  // any thread
  // Dead letters of all shards, numbered together. Any thread.
  std::vector<DeadLetter> dead_letters() const;
  // As MailboxTable::resend, to wherever its receiver is now. Any thread.
  Outcome resend(uint64_t number);

  QueueAges ages() const;                   // any thread
  std::vector<TraceRecord> traces() const;  // the newest 1,024, oldest first; any thread
  // Of all shards: accepted = handled + expired + cancelled + dead + queued, where queued includes
  // what is in a ring. Any thread.
  MailboxCounters counters() const;
  // Of one: what was sent from it and what ended on it; the sum over shards is conserved. Any
  // thread.
  MailboxCounters counters(uint32_t shard) const;
  uint64_t crossed() const;     // messages that went by ring; any thread
  uint64_t wakes() const;       // of sleeping threads; any thread
  uint64_t migrations() const;  // groups that moved; any thread
  uint64_t memory_bytes() const;

 private:
  struct State;
  std::mutex& topics_mutex();
  TopicDirectory& topics();
  std::unique_ptr<State> state_;
};

}  // namespace hanse
