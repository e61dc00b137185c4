#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "capability/graph_parts.hpp"

namespace hanse {
namespace {

// A hop that finds fewer feasible neighbours than this share of all goes on through the infeasible
// ones (NaviX: the local selectivity decides).
constexpr uint32_t crossing_share = 2;  // 1 / this

}  // namespace

void GraphWalk::forget() {
  for (const uint32_t slot : memory_.seen) memory_.visited[slot / 64] = 0;
  memory_.seen.clear();
}

void GraphWalk::start(const CodeQuery& query, uint32_t capacity) {
  const size_t words = codes_.slot_end() / 64 + 1;
  if (memory_.visited.size() < words) memory_.visited.resize(words + words / 2);
  limit_ = uint32_t(words) * 64;
  if (memory_.pool.size() < capacity + 1) memory_.pool.resize(capacity + 1);
  const size_t room = std::max<size_t>(entry_count_max, size_t(degree_) * (degree_ + 1));
  if (memory_.scores.size() < room) {
    for (auto& fresh : memory_.fresh) fresh.resize(room);
    for (auto& records : memory_.records) records.resize(room);
    memory_.scores.resize(room);
    memory_.bridges.resize(degree_);
  }
  const uint32_t entry_count = parts_.entry_count.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < entry_count; ++i) {
    const uint32_t entry = parts_.entries[i].load(std::memory_order_acquire);
    if (entry != 0 && visit(entry - 1)) add_fresh(entry - 1);
  }
  turn();
  score(now_ ^ 1, query, capacity);
}

// What was found waits for its codes; the other list is filled next.
void GraphWalk::turn() {
  const std::vector<uint32_t>& slots = memory_.fresh[now_];
  memory_.seen.insert(memory_.seen.end(), slots.begin(), slots.begin() + fresh_);
  visits_ += fresh_;
  pending_ = std::exchange(fresh_, 0);
  now_ ^= 1;
}

// Best first; the one pushed over the end is lost. -> where it went.
uint32_t GraphWalk::insert(PoolEntry entry, uint32_t capacity) {
  PoolEntry* pool = memory_.pool.data();
  // No branch depends on a comparison: they could not be foretold.
  uint32_t low = 0;
  for (uint32_t left = size_; left > 0;) {
    const uint32_t half = (left + 1) / 2;
    low += pool[low + half - 1].key > entry.key ? half : 0;
    left -= half;
  }
  if (low == capacity) return low;
  const uint32_t moved = std::min(size_, capacity - 1) - low;
  std::memmove(pool + low + 1, pool + low, moved * sizeof(PoolEntry));
  pool[low] = entry;
  size_ = std::min(size_ + 1, capacity);
  return low;
}

// -> the best place that a new entry took.
uint32_t GraphWalk::score(uint32_t of, const CodeQuery& query, uint32_t capacity) {
  const std::vector<uint32_t>& slots = memory_.fresh[of];
  codes_.sign_scores(query, memory_.records[of].data(), pending_, memory_.scores.data());
  uint32_t best = UINT32_MAX;
  float worst = size_ == capacity ? memory_.pool[size_ - 1].score() : -INFINITY;
  for (uint32_t i = 0; i < pending_; ++i) {
    if (memory_.scores[i] <= worst) continue;
    best = std::min(best, insert(PoolEntry::of(memory_.scores[i], slots[i]), capacity));
    if (size_ == capacity) worst = memory_.pool[size_ - 1].score();
  }
  pending_ = 0;
  return best;
}

// The edges of the two that will probably be followed next.
void GraphWalk::fetch_edges(uint32_t from, uint32_t width) const {
  uint32_t count = 0;
  for (uint32_t i = from; i < std::min(size_, width) && count < 2; ++i) {
    if (memory_.pool[i].followed()) continue;
    const auto* edges = parts_.edges_of(memory_.pool[i].slot());
    for (uint32_t at = 0; at < degree_; at += 16) __builtin_prefetch(edges + at);
    ++count;
  }
}

void GraphWalk::follow(uint32_t slot) {
  const std::atomic<uint32_t>* edges = parts_.edges_of(slot);
  for (uint32_t i = 0; i < degree_; ++i) {
    const uint32_t to = edges[i].load(std::memory_order_acquire);
    if (to == 0) return;
    if (visit(to - 1)) add_fresh(to - 1);
  }
}

void GraphWalk::follow_feasible(uint32_t slot, const RowMask& mask) {
  const std::atomic<uint32_t>* edges = parts_.edges_of(slot);
  uint32_t count = 0, bridge_count = 0;
  for (; count < degree_; ++count) {
    const uint32_t to = edges[count].load(std::memory_order_acquire);
    if (to == 0) break;
    if (!visit(to - 1)) continue;
    if (mask.test(codes_.row_of(to - 1))) {
      add_fresh(to - 1);
    } else {
      memory_.bridges[bridge_count++] = to - 1;
      memory_.seen.push_back(to - 1);
      __builtin_prefetch(parts_.edges_of(to - 1));
    }
  }
  if (fresh_ * crossing_share >= count) return;
  for (uint32_t i = 0; i < bridge_count && fresh_ < degree_; ++i) {
    const std::atomic<uint32_t>* beyond = parts_.edges_of(memory_.bridges[i]);
    for (uint32_t j = 0; j < degree_; ++j) {
      const uint32_t to = beyond[j].load(std::memory_order_acquire);
      if (to == 0) break;
      if (mask.test(codes_.row_of(to - 1)) && visit(to - 1)) add_fresh(to - 1);
    }
  }
}

void GraphWalk::run(const CodeQuery& query, const RowMask& mask, uint32_t width, uint32_t capacity,
                    uint32_t visits_max) {
  start(query, capacity);
  // While the codes of one hop come from memory, the edges of the next best node are followed: a
  // hop is scored one later than it could be, and hardly ever waited for.
  for (uint32_t next = 0;;) {
    while (next < size_ && memory_.pool[next].followed()) ++next;
    const bool more = next < std::min(size_, width);
    if (!more && pending_ == 0) return;
    if (visits_ > visits_max) {
      gave_up_ = true;
      return;
    }
    if (more) {
      const uint32_t slot = memory_.pool[next].slot();
      memory_.pool[next].key |= 1;
      ++hops_;
      if (mask.words == nullptr)
        follow(slot);
      else
        follow_feasible(slot, mask);
    }
    next = std::min(next, score(now_ ^ 1, query, capacity));
    turn();
    fetch_edges(next, width);
  }
}

GraphAnswer Graph::search(const CodeQuery& query, const GraphQuery& what, GraphScratch& scratch,
                          Candidate8* candidates_out) const {
  const ReadEpochs::Guard guard(codes_.epochs_);
  GraphScratch::Memory& memory = *scratch.memory_;
  const uint32_t look = what.look != 0 ? std::max(what.look, what.keep)
                                       : std::max(what.width + what.width / 2, what.keep * 2);
  const uint32_t width = std::clamp(what.width, 1u, width_max);
  const uint32_t capacity = std::max(width, look);
  GraphWalk walk(codes_, *parts_, options_.degree, memory);
  walk.run(query, what.mask, width, capacity, what.visits_max != 0 ? what.visits_max : UINT32_MAX);

  memory.scan.kept.clear();
  for (uint32_t i = 0; i < walk.size() && memory.scan.kept.size() < look; ++i) {
    const PoolEntry entry = memory.pool[i];
    // Removed ones are walked through, and so are the first, feasible or not.
    const uint32_t row = codes_.row_of(entry.slot());
    if (row != index_none && what.mask.test(row))
      memory.scan.kept.push_back({entry.score(), entry.slot()});
  }
  const uint32_t count = codes_.glance(query, what.keep, memory.scan, candidates_out);
  parts_->search_count.fetch_add(1, std::memory_order_relaxed);
  parts_->hop_count.fetch_add(walk.hops(), std::memory_order_relaxed);
  parts_->visit_count.fetch_add(walk.visits(), std::memory_order_relaxed);
  return {count, walk.gave_up(), walk.hops(), walk.visits()};
}

}  // namespace hanse
