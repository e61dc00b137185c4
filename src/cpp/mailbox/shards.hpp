// Several mailbox tables, each with a thread of its own, as one: an agent lives on one shard, and
// what it sends to another shard's agents travels by a ring.
//
// Inside a shard nothing is locked or atomic. A message to another shard is accepted when it is in
// the ring; where its box has no room at the other end, it becomes a dead letter there. Rings are
// published in batches, at the latest at the end of a turn, and a thread that sleeps is woken only
// by the first batch after it went to sleep. Messages stay in order for each (sender, receiver,
// lane), also when groups move from shard to shard: that happens between turns of all shards.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "mailbox/mailbox.hpp"

namespace hanse {

struct ShardOptions {
  uint32_t shard_count = 2;                  // 1 … 64
  size_t ring_size_bytes = size_t(4) << 20;  // of each of count * (count - 1) rings
  uint32_t turn_messages = 4096;             // what one turn takes out of a shard's boxes
  // How often an idle thread looks again before it sleeps.
  uint32_t spin_count = 1000;
  MailboxOptions mailboxes;  // of each shard
};

class Shards;
// What a turn took out of the boxes of one shard, on that shard's thread. May send; must not turn,
// run or stop anything but by `stop`.
using ShardHandler = void (*)(void* context, Shards& shards, uint32_t shard,
                              const MessageBatch& batch);

class Shards {
 public:
  // Throws out_of_range.
  explicit Shards(const ShardOptions& options);
  ~Shards();

  uint32_t count() const;
  // Agents 0 … agent_count - 1 exist, in group 0 unless told otherwise, and groups are on shard 0.
  // These three while no thread is in `turn` or `run`. Throw unknown_agent, out_of_range.
  void resize(uint32_t agent_count);
  void set_group(AgentId agent, uint32_t group);
  void place(uint32_t group, uint32_t shard);  // its agents have no messages yet
  uint32_t shard_of(AgentId agent) const;      // between turns, or on a shard's thread

  // The messages of a group, and those to come, move to another shard: before the next turn of any
  // shard that is in `run`, or at `migrate_now`. Any thread. Throws out_of_range.
  void migrate(uint32_t group, uint32_t shard);

  // --- on the thread of `shard`: the first that calls one of these for it
  // To any agent. ok, or what MailboxTable::send answers; full also where the ring to its shard
  // is. Payloads over 64 bytes are copied.
  Outcome send(uint32_t shard, const MessageHeader& header, Bytes payload);
  // Rows whose outcome is not ok at the start are left out. Throws as MailboxTable::send_many.
  void send_many(uint32_t shard, const MessageHeader& header, std::span<const AgentId> to,
                 MatrixView<const uint8_t> payloads, std::span<const uint32_t> sizes,
                 std::span<Outcome> outcomes_in_out);
  // Takes in what other shards sent, hands one batch to the handler, publishes what it sent.
  // Returns how many messages were handled. An exception of the handler passes through.
  size_t turn(uint32_t shard, ShardHandler handler, void* context, uint64_t now_ns);
  // Turns until `stop`; sleeps while there is nothing to do. `clock` of the mailbox options, or the
  // system's.
  void run(uint32_t shard, ShardHandler handler, void* context);
  void stop();  // any thread: every `run` returns after its turn; later ones return at once
  // Another thread sent into the shard's table: a sleeping `run` looks again. Any thread.
  void wake(uint32_t shard);
  // Carries out migrations while no thread is in `turn` or `run`: call it on every shard's thread,
  // at the same time; it returns when all have.
  void migrate_now(uint32_t shard);

  // A shard's own table: policies, pauses, counters. Its functions' rules about threads hold.
  MailboxTable& table(uint32_t shard);
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
  std::unique_ptr<State> state_;
};

}  // namespace hanse
