// What a graph is made of, and what a thread that walks or changes it has. Internal to this
// concept.
#pragma once

#include <atomic>
#include <mutex>
#include <vector>

#include "capability/graph.hpp"

namespace hanse {

constexpr uint32_t degree_max = 64;
constexpr uint32_t entry_count_max = 64;
constexpr uint32_t width_max = 4096;

struct Near {
  float distance;  // squared
  uint32_t slot;
};

// 64-byte aligned int8.
class AlignedBytes {
 public:
  void resize(size_t bytes) {
    if (bytes <= memory_.size() * sizeof(Line)) return;
    memory_.resize((bytes + sizeof(Line) - 1) / sizeof(Line));
  }
  int8_t* data() const { return const_cast<int8_t*>(memory_.data()->bytes); }

 private:
  struct alignas(64) Line {
    int8_t bytes[64];
  };
  std::vector<Line> memory_;
};

struct GraphScratch::Memory {
  std::vector<uint64_t> visited;  // bit slot + 1, all clear between walks
  std::vector<uint32_t> seen;     // which were visited, where that is kept
  AlignedBytes pool_bytes;        // PoolEntry, best first
  static constexpr uint32_t lists = 2;
  std::vector<uint32_t> fresh[lists];  // slots to be scored: of this hop and of those before
  std::vector<const uint8_t*> records[lists];
  std::vector<float> scores;
  std::vector<uint32_t> bridges;  // infeasible neighbours of one hop
  ScanScratch scan;

  PoolEntry* pool() const { return reinterpret_cast<PoolEntry*>(pool_bytes.data()); }

  // Of changes only.
  CodeQuery query;  // about the node that is inserted
  CodeQuery about;  // int8 of another node
  std::vector<Near> near, chosen, merged;
  AlignedBytes chosen_int8;    // [degree, padded]
  int32_t excess[degree_max];  // of each of them
  std::vector<uint32_t> slots, others;
  std::vector<Candidate8> found;
};

// Slots are stored plus 1: 0 is the end of the edges. A parent of 0 means that the slot is no node
// (any more).
struct Graph::Parts {
  Parts(uint32_t degree) : edges(degree * sizeof(uint32_t)), parents(sizeof(uint32_t)) {}

  static constexpr uint32_t root = UINT32_MAX;  // the parent of entry points
  static constexpr uint32_t lock_count = 4096;

  struct Removed {
    uint32_t slot;
    uint64_t swept;  // `swept` of the graph when it was removed
  };

  const std::atomic<uint32_t>* edges_of(uint32_t slot) const {
    return reinterpret_cast<const std::atomic<uint32_t>*>(edges.at(slot));
  }
  std::atomic<uint32_t>* edges_of(uint32_t slot) {
    return reinterpret_cast<std::atomic<uint32_t>*>(edges.at(slot));
  }
  std::atomic<uint32_t>& parent(uint32_t slot) const {
    return *reinterpret_cast<std::atomic<uint32_t>*>(parents.at(slot));
  }
  bool is_node(uint32_t slot) const { return parent(slot).load(std::memory_order_acquire) != 0; }
  bool is_child(uint32_t slot, uint32_t of) const {
    return parent(slot).load(std::memory_order_relaxed) == of + 1;
  }

  SlotArena edges, parents;
  std::atomic<uint32_t> entries[entry_count_max] = {};  // plus 1; 0: none
  std::atomic<uint32_t> entry_count{0};
  mutable std::atomic<uint64_t> search_count{0}, hop_count{0}, visit_count{0};
  std::atomic<uint32_t> node_count{0}, removed_count{0};
  std::atomic<uint64_t> memory_bytes{0};  // as of the last update

  // The writer's alone.
  std::mutex writer;
  std::vector<uint32_t> node_of_row;  // slot plus 1
  std::vector<Removed> removed;       // in the order of their removal
  uint64_t swept = 0;                 // slots that the repairing hand has passed, ever
  uint64_t order = 0;                 // of the next batch: what its shuffle is seeded with
  std::vector<std::unique_ptr<GraphScratch>> helpers;  // one a thread
  std::atomic<uint8_t> locks[lock_count] = {};
};

// One node's edges, for writers only: readers see each edge by itself.
class NodeLock {
 public:
  NodeLock(std::atomic<uint8_t>* locks, uint32_t slot, uint32_t count)
      : lock_(locks[slot % count]) {
    while (lock_.exchange(1, std::memory_order_acquire) != 0) {
      while (lock_.load(std::memory_order_relaxed) != 0) {
      }
    }
  }
  ~NodeLock() { lock_.store(0, std::memory_order_release); }
  NodeLock(const NodeLock&) = delete;
  NodeLock& operator=(const NodeLock&) = delete;

 private:
  std::atomic<uint8_t>& lock_;
};

// A walk from the entry points to what scores best by sign codes.
class GraphWalk {
 public:
  using Memory = GraphScratch::Memory;

  GraphWalk(const CodeTable& codes, const Graph::Parts& parts, uint32_t degree, Memory& memory)
      : codes_(codes), parts_(parts), degree_(degree), memory_(memory) {}
  ~GraphWalk() { forget(); }
  GraphWalk(const GraphWalk&) = delete;
  GraphWalk& operator=(const GraphWalk&) = delete;

  // Leaves the best nodes in the pool, `capacity` or a few more. Follows the edges of the best
  // `width`.
  void run(const CodeQuery& query, const RowMask& mask, uint32_t width, uint32_t capacity,
           uint32_t visits_max);
  std::span<const PoolEntry> found() const;  // best first
  uint32_t hops() const { return hops_; }
  uint32_t visits() const { return visits_; }
  bool gave_up() const { return gave_up_; }

 private:
  void start(const CodeQuery& query, uint32_t capacity);
  void follow(uint32_t slot);
  void follow_feasible(uint32_t slot, const RowMask& mask);
  void fetch_records();
  void turn();
  uint32_t score(const CodeQuery& query);
  bool idle() const {
    uint32_t sum = 0;
    for (const uint32_t pending : pending_) sum += pending;
    return sum == 0;
  }
  void fetch_edges(uint32_t slot) const;
  void forget();

  // Edges name slots plus 1. Bit 0 is set always: the end of the edges, and what was added since
  // the walk began, count as visited.
  uint32_t known(uint32_t to) const { return to <= limit_ ? to : 0; }
  bool visit(uint32_t to) {
    uint64_t& word = memory_.visited[to / 64];
    const uint64_t before = word;
    word |= uint64_t(1) << (to % 64);
    return (before >> (to % 64) & 1) == 0;
  }
  void add_fresh(uint32_t to) { memory_.fresh[now_][fresh_++] = to - 1; }

  const CodeTable& codes_;
  const Graph::Parts& parts_;
  uint32_t degree_;
  Memory& memory_;
  uint32_t now_ = 0;                      // which of the lists is filled
  uint32_t fresh_ = 0;                    // how many are in it
  uint32_t pending_[Memory::lists] = {};  // and in the others
  uint32_t limit_ = 0;                    // the last slot that `visited` has a bit for, plus 1
  uint32_t size_ = 0, hops_ = 0, visits_ = 0;
  bool keeps_seen_ = false, gave_up_ = false;
};

}  // namespace hanse
