// The inside of Shards.
#pragma once

#include <atomic>
#include <thread>

#include "mailbox/shard_ring.hpp"
#include "mailbox/shards.hpp"
#include "mailbox/state.hpp"

namespace hanse {

// All threads of `run` meet here between the steps of a migration.
class ShardMeeting {
 public:
  explicit ShardMeeting(uint32_t count) : count_(count) {}

  // Returns when `count` threads are here; the last one does `last` before the others go on. False:
  // `given_up` became true first, and the caller has left again.
  template <class Last, class GivenUp>
  bool meet(Last&& last, GivenUp&& given_up) {
    std::unique_lock lock(mutex_);
    const uint64_t round = round_;
    if (++here_ == count_) {
      last();
      here_ = 0;
      ++round_;
      all_here_.notify_all();
      return true;
    }
    all_here_.wait(lock, [&] { return round_ != round || given_up(); });
    if (round_ != round) return true;
    --here_;
    return false;
  }
  void look_again() {
    const std::lock_guard lock(mutex_);
    all_here_.notify_all();
  }

 private:
  const uint32_t count_;
  std::mutex mutex_;
  std::condition_variable all_here_;
  uint32_t here_ = 0;
  uint64_t round_ = 0;
};

struct Shards::State {
  // What an agent takes along to another shard.
  struct Moved {
    AgentId agent;
    std::array<uint64_t, lane_count> next_sequences;  // before the messages that it takes along
    bool paused;
    BoxOptions options;
    std::vector<std::pair<MessageHeader, std::vector<uint8_t>>> messages;
  };

  struct alignas(64) Shard {
    explicit Shard(const MailboxOptions& options) : table(options) {}

    MailboxTable table;
    MessageBatch batch;
    bool in_turn = false;
    std::atomic<std::thread::id> thread{};
    OwnerCounter local, pushed, moved, ring_full;
    std::vector<std::vector<Moved>> leaving;  // by destination
    alignas(64) std::atomic<uint32_t> asleep{0};
    std::atomic<uint64_t> calls{0};  // of `wake`
  };

  explicit State(const ShardOptions& options);
  ~State();

  ShardRing& ring(uint32_t from, uint32_t to) { return *rings[from * options.shard_count + to]; }
  Shard& enter(uint32_t shard);  // throws out_of_range, wrong_thread
  void require_still() const;    // throws illegal_transition while a thread runs
  void check_shard(uint32_t shard) const;
  bool exists(AgentId agent) const {
    return generation_of(agent) == 1 && index_of(agent) < shard_of.size();
  }

  Outcome push(uint32_t from, uint32_t to, const MessageHeader& header, Bytes payload);
  void absorb(uint32_t shard);
  void put(Shard& shard, const MessageHeader& header, Bytes payload);
  void publish(uint32_t shard);
  void wake(uint32_t shard);
  void sleep(uint32_t shard, uint64_t calls_seen);
  bool migrate_here(uint32_t shard);
  void pack(uint32_t shard);
  void unpack(uint32_t shard);
  uint64_t now_ns() { return clock->now_ns(); }

  const ShardOptions options;
  std::shared_ptr<Clock> clock;
  PayloadAccount* account;
  std::vector<std::unique_ptr<Shard>> shards;
  std::vector<std::unique_ptr<ShardRing>> rings;  // [from][to]

  // Written only while no thread is in a turn.
  std::vector<uint32_t> groups;    // by agent
  std::vector<uint16_t> shard_of;  // by agent
  std::vector<uint16_t> place_of;  // by group

  std::atomic<bool> stopping{false};
  std::atomic<uint32_t> running{0};
  std::atomic<uint64_t> wakes{0}, migrations{0};
  ShardMeeting meeting;
  std::mutex wanted_mutex;
  std::vector<std::pair<uint32_t, uint32_t>> wanted;  // (group, shard)
  std::atomic<bool> migration_wanted{false};
  std::vector<std::pair<uint32_t, uint32_t>> moving;  // those that are being carried out
};

}  // namespace hanse
