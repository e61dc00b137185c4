// The inside of Shards.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>

#include "mailbox/paged.hpp"
#include "mailbox/shard_ring.hpp"
#include "mailbox/shards.hpp"
#include "mailbox/state.hpp"

namespace hanse {

// The table counted it as accepted, whatever became of it.
inline bool taken_up(Outcome outcome) {
  return outcome == Outcome::ok || outcome == Outcome::dropped;
}

// Messages that were taken out of a ring together, as the columns that a table takes.
struct ShardArrivals {
  std::vector<AgentId> to, senders;
  std::vector<uint32_t> sizes;
  std::vector<Outcome> outcomes;

  void clear() { to.clear(), senders.clear(), sizes.clear(); }
};

struct Shards::State {
  // What an agent takes along to another shard.
  struct Moved {
    struct Letter {
      MessageHeader header;
      std::vector<uint8_t> bytes;
      Payload payload;  // instead of bytes
    };
    AgentId agent;
    std::array<uint64_t, lane_count> next_sequences;  // before the messages that it takes along
    bool paused;
    BoxOptions options;
    NativeHandler native;
    void* native_context;
    std::vector<Letter> letters;
  };

  struct alignas(64) Shard {
    explicit Shard(const MailboxOptions& options) : table(options) {}

    MailboxTable table;
    MessageBatch batch;
    bool in_turn = false;
    // Pushed to other shards; taken in from them; moved out of, and into, by migration.
    OwnerCounter pushed, taken_in, moved_out, moved_in, ring_full;
    ShardArrivals arrivals;
    void (*waker)(void*) = nullptr;
    void* waker_context = nullptr;
    alignas(64) std::atomic<uint32_t> asleep{0};
    std::atomic<uint64_t> calls{0};  // of `wake`
  };

  explicit State(const ShardOptions& options);
  ~State();

  ShardRing& ring(uint32_t from, uint32_t to) { return *rings[from * options.shard_count + to]; }
  Shard& enter(uint32_t shard);  // throws out_of_range, wrong_thread
  void check_shard(uint32_t shard) const;
  bool exists(AgentId agent) const {
    return generation_of(agent) == 1 &&
           index_of(agent) < agent_count.load(std::memory_order_acquire);
  }
  uint16_t place(uint32_t group) const {
    return group < place_of.size() ? place_of[group] : uint16_t(0);
  }
  uint32_t home(AgentId agent) const {
    return places[index_of(agent)].load(std::memory_order_relaxed);
  }

  ShardRing::Cell* cell_for(uint32_t from, uint32_t to);  // null: the ring is full
  Outcome push(uint32_t from, uint32_t to, const MessageHeader& header, Bytes payload,
               PayloadBuffer* buffer);
  void absorb(uint32_t shard);
  size_t absorb_rows(Shard& into, std::span<ShardRing::Cell> cells);
  void absorb_one(Shard& into, ShardRing::Cell& cell);
  void absorb_other(Shard& into, ShardRing::Cell& cell);
  void publish(uint32_t shard);
  void wake(uint32_t shard);
  bool nothing_came(uint32_t shard, uint64_t calls_seen);
  void sleep(uint32_t shard, uint64_t calls_seen);

  // --- shards_migration.cpp
  void begin_run(uint32_t shard);
  void end_run(uint32_t shard);
  void rest_in_run(uint32_t shard);
  void move_group(uint32_t group, uint32_t shard);
  Moved pack(Shard& from, AgentId agent);
  void unpack(Shard& into, Moved&& moved);

  const ShardOptions options;
  std::shared_ptr<Clock> clock;
  PayloadAccount* account;
  std::vector<std::unique_ptr<Shard>> shards;
  std::vector<std::unique_ptr<ShardRing>> rings;  // [from][to]

  // A shard's number by agent: read on every send, written while no shard has a turn, or before
  // agent_count says that there is the agent.
  ReservedArray<std::atomic<uint16_t>> places;
  std::atomic<uint32_t> agent_count{0};
  // Guards what follows, and makes a foreign send and a migration wait for each other.
  std::mutex doors;
  std::vector<uint32_t> groups;    // by agent
  std::vector<uint16_t> place_of;  // by group; those behind its end are on shard 0

  std::mutex topics_mutex;
  TopicDirectory topics;  // guarded by it

  std::atomic<bool> stopping{false};
  std::atomic<uint64_t> wakes{0}, migrations{0}, published{0}, resent{0};

  // Who is in `run`, and whether all shall rest.
  std::mutex run_mutex;
  std::condition_variable changed;
  uint32_t running = 0, resting = 0;  // guarded by run_mutex
  std::atomic<bool> pausing{false};
  std::mutex migration_mutex;
};

}  // namespace hanse
