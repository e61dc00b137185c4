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
// Up to here all bits of `visited` are cleared faster than those that were set are found.
constexpr size_t visited_words_cleared = 4096;

}  // namespace

void GraphWalk::start(const CodeQuery& query, uint32_t capacity) {
  limit_ = codes_.slot_end();
  const size_t words = limit_ / 64 + 1;
  if (memory_.visited.size() < words) memory_.visited.resize(words + words / 2);
  memory_.visited[0] = 1;
  keeps_seen_ = words > visited_words_cleared;
  size_ = (capacity + pool_unit - 1) / pool_unit * pool_unit;
  memory_.pool_bytes.resize(size_ * sizeof(PoolEntry));
  std::fill_n(memory_.pool(), size_, PoolEntry{0});
  // One more than can be: a slot is written before it is known to be fresh.
  const size_t room = std::max<size_t>(entry_count_max, size_t(degree_) * 2) + 1;
  if (memory_.scores.size() < room) {
    for (auto& fresh : memory_.fresh) fresh.resize(room);
    for (auto& records : memory_.records) records.resize(room);
    memory_.scores.resize(room);
    memory_.bridges.resize(degree_);
  }
  const uint32_t entry_count = parts_.entry_count.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < entry_count; ++i) {
    const uint32_t entry = known(parts_.entries[i].load(std::memory_order_acquire));
    if (visit(entry)) add_fresh(entry);
  }
  fetch_records();
  for (uint32_t i = 1; i < Memory::lists; ++i) turn();
  score(query);
}

void GraphWalk::forget() {
  std::vector<uint64_t>& visited = memory_.visited;
  if (keeps_seen_)
    for (const uint32_t slot : memory_.seen) visited[(slot + 1) / 64] = 0;
  else
    std::fill_n(visited.begin(), std::min<size_t>(visited.size(), limit_ / 64 + 1), 0);
  memory_.seen.clear();
}

void GraphWalk::fetch_records() {
  const uint32_t* slots = memory_.fresh[now_].data();
  const uint8_t** records = memory_.records[now_].data();
  for (uint32_t i = 0; i < fresh_; ++i) {
    records[i] = codes_.record(slots[i]);
    __builtin_prefetch(records[i]);
  }
}

// What was found waits for its codes; another list is filled next.
void GraphWalk::turn() {
  const std::vector<uint32_t>& slots = memory_.fresh[now_];
  if (keeps_seen_) memory_.seen.insert(memory_.seen.end(), slots.begin(), slots.begin() + fresh_);
  visits_ += fresh_;
  pending_[now_] = std::exchange(fresh_, 0);
  now_ = (now_ + 1) % Memory::lists;
}

// Of the list that has waited longest. -> the best place that a new entry took.
uint32_t GraphWalk::score(const CodeQuery& query) {
  const uint32_t of = (now_ + 1) % Memory::lists;
  const uint32_t count = std::exchange(pending_[of], 0);
  codes_.sign_scores(query, memory_.records[of].data(), count, memory_.scores.data());
  return codes_.kernels_.fill_pool(
      {memory_.pool(), size_, memory_.scores.data(), memory_.fresh[of].data(), count});
}

void GraphWalk::fetch_edges(uint32_t slot) const {
  const auto* edges = parts_.edges_of(slot);
  for (uint32_t at = 0; at < degree_; at += 16) __builtin_prefetch(edges + at);
}

// Half of the neighbours were visited before, and which can't be foretold: so there is no branch.
void GraphWalk::follow(uint32_t slot) {
  const std::atomic<uint32_t>* edges = parts_.edges_of(slot);
  uint32_t* fresh = memory_.fresh[now_].data();
  uint32_t count = 0;
  for (uint32_t i = 0; i < degree_; ++i) {
    const uint32_t to = known(edges[i].load(std::memory_order_acquire));
    fresh[count] = to - 1;
    count += visit(to);
  }
  fresh_ = count;
}

void GraphWalk::follow_feasible(uint32_t slot, const RowMask& mask) {
  const std::atomic<uint32_t>* edges = parts_.edges_of(slot);
  uint32_t count = 0, bridge_count = 0;
  for (; count < degree_; ++count) {
    const uint32_t to = known(edges[count].load(std::memory_order_acquire));
    if (to == 0) break;
    if (!visit(to)) continue;
    if (mask.test(codes_.row_of(to - 1))) {
      add_fresh(to);
    } else {
      memory_.bridges[bridge_count++] = to - 1;
      if (keeps_seen_) memory_.seen.push_back(to - 1);
      __builtin_prefetch(parts_.edges_of(to - 1));
    }
  }
  if (fresh_ * crossing_share >= count) return;
  for (uint32_t i = 0; i < bridge_count && fresh_ < degree_; ++i) {
    const std::atomic<uint32_t>* beyond = parts_.edges_of(memory_.bridges[i]);
    for (uint32_t j = 0; j < degree_; ++j) {
      const uint32_t to = known(beyond[j].load(std::memory_order_acquire));
      if (to == 0) break;
      if (mask.test(codes_.row_of(to - 1)) && visit(to)) add_fresh(to);
    }
  }
}

void GraphWalk::run(const CodeQuery& query, const RowMask& mask, uint32_t width, uint32_t capacity,
                    uint32_t visits_max) {
  start(query, capacity);
  PoolEntry* pool = memory_.pool();
  // Three hops are under way: the edges of one come from memory, then the codes of its neighbours,
  // then these are scored. A node is picked knowing two hops less than it could, and nothing is
  // ever waited for; nearly all nodes that are followed would be followed in any order.
  uint32_t next = 0, picked = index_none;
  for (;;) {
    while (next < width && pool[next].followed()) ++next;
    const uint32_t here = std::exchange(picked, index_none);
    if (next < width && !pool[next].empty()) {
      picked = pool[next].slot();
      pool[next].key |= 1;
      fetch_edges(picked);
    }
    if (here == index_none && picked == index_none && idle()) return;
    if (visits_ > visits_max) {
      gave_up_ = true;
      return;
    }
    if (here != index_none) {
      ++hops_;
      if (mask.words == nullptr)
        follow(here);
      else
        follow_feasible(here, mask);
      fetch_records();
    }
    next = std::min(next, score(query));
    turn();
  }
}

std::span<const PoolEntry> GraphWalk::found() const {
  const std::span<const PoolEntry> pool(memory_.pool(), size_);
  return pool.first(
      size_t(std::ranges::partition_point(pool, [](PoolEntry entry) { return !entry.empty(); }) -
             pool.begin()));
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
  walk.run(query, what.post_filter ? RowMask{} : what.mask, width, capacity,
           what.visits_max != 0 ? what.visits_max : UINT32_MAX);

  memory.scan.kept.clear();
  for (const PoolEntry entry : walk.found()) {
    if (memory.scan.kept.size() == look) break;
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
