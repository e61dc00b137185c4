#include "capability/graph.hpp"

#include <algorithm>
#include <exception>
#include <numeric>
#include <string>
#include <thread>

#include "base/error.hpp"
#include "base/random.hpp"
#include "capability/graph_change.hpp"

namespace hanse {
namespace {

// Slots that the repairing hand passes for each removal. It comes round once in n / 128 removals,
// so that not more than some 1.6 % of the nodes are removed ones that edges still lead to.
constexpr uint64_t slots_a_removal = 128;
constexpr uint32_t slots_in_share = 64, rows_in_share = 8;

void check(const char* field, uint64_t value, uint64_t low, uint64_t high) {
  if (value < low || value > high)
    throw Error(ErrorCode::out_of_range, field,
                std::to_string(value) + " is outside " + std::to_string(low) + " … " +
                    std::to_string(high));
}

// Shares of `count` go to whoever is free; work(thread, first, last).
template <class Work>
void share_out(uint64_t count, uint64_t share, uint32_t threads, const Work& work) {
  std::atomic<uint64_t> next{0};
  const auto run = [&](uint32_t thread) {
    for (uint64_t first; (first = next.fetch_add(share)) < count;)
      work(thread, first, std::min(count, first + share));
  };
  std::vector<std::thread> others;
  const auto useful = uint32_t(std::min<uint64_t>(threads, (count + share - 1) / share));
  for (uint32_t i = 1; i < useful; ++i) others.emplace_back(run, i);
  run(0);
  for (std::thread& other : others) other.join();
}

}  // namespace

GraphScratch::GraphScratch() : memory_(std::make_unique<Memory>()) {}
GraphScratch::~GraphScratch() = default;
GraphScratch::GraphScratch(GraphScratch&&) noexcept = default;
GraphScratch& GraphScratch::operator=(GraphScratch&&) noexcept = default;

Graph::Graph(CodeTable& codes, const GraphOptions& options)
    : codes_(codes), options_(options), parts_(std::make_unique<Parts>(options.degree)) {
  check("degree", options.degree, 8, degree_max);
  check("build_width", options.build_width, options.degree, width_max);
  if (!(options.slack >= 1 && options.slack <= 4))
    throw Error(ErrorCode::out_of_range, "slack",
                std::to_string(options.slack) + " is outside 1 … 4");
}

Graph::~Graph() {
  for (const uint32_t node : parts_->node_of_row)
    if (node != 0) codes_.release(node - 1);
  for (const Parts::Removed& removed : parts_->removed) codes_.release(removed.slot);
}

void Graph::update(std::span<const uint32_t> rows, uint32_t threads) {
  Parts& parts = *parts_;
  const std::scoped_lock lock(parts.writer);
  parts.edges.grow(codes_.slot_end());
  parts.parents.grow(codes_.slot_end());
  while (parts.helpers.size() < std::max(threads, 1u))
    parts.helpers.push_back(std::make_unique<GraphScratch>());
  GraphChange change(codes_, parts, options_, *parts.helpers[0]);

  std::vector<uint32_t> inserted;
  uint64_t removed_count = 0;
  for (const uint32_t row : rows) {
    if (row >= parts.node_of_row.size()) {
      if (!codes_.has(row)) continue;
      parts.node_of_row.resize(std::max<size_t>(row + 1, parts.node_of_row.size() * 3 / 2));
    }
    const uint32_t slot = codes_.slot_of(row);
    uint32_t& node = parts.node_of_row[row];
    if (node == slot + 1) continue;
    if (node != 0) {
      change.remove(node - 1);
      ++removed_count;
    }
    node = slot + 1;
    if (slot == index_none) continue;
    codes_.hold(slot);
    inserted.push_back(slot);
  }

  // Neighbours in a file are often neighbours in meaning: a shuffle spreads the first ones.
  Random random(options_.seed + 0x9e3779b97f4a7c15 * parts.order++);
  for (size_t i = inserted.size(); i > 1; --i)
    std::swap(inserted[i - 1], inserted[random.below(i)]);
  size_t first = 0;
  while (first < inserted.size() && parts.entry_count.load() < entry_count_max)
    change.insert(inserted[first++]);
  share_out(inserted.size() - first, rows_in_share, threads,
            [&](uint32_t thread, uint64_t from, uint64_t to) {
              GraphChange own(codes_, parts, options_, *parts.helpers[thread]);
              for (uint64_t i = from; i < to; ++i) own.insert(inserted[first + i]);
            });
  sweep(removed_count * slots_a_removal, threads);
  parts.memory_bytes.store(
      uint64_t(codes_.slot_end()) * (parts.edges.stride_bytes() + parts.parents.stride_bytes()) +
          parts.node_of_row.capacity() * sizeof(uint32_t) +
          parts.removed.capacity() * sizeof(Parts::Removed),
      std::memory_order_relaxed);
}

void Graph::sweep(uint64_t count, uint32_t threads) {
  Parts& parts = *parts_;
  if (parts.removed.empty()) return;
  const uint64_t end = codes_.slot_end();
  const uint64_t from = parts.swept;
  count = std::min(count, end);
  share_out(count, slots_in_share, threads, [&](uint32_t thread, uint64_t first, uint64_t last) {
    GraphChange own(codes_, parts, options_, *parts.helpers[thread]);
    for (uint64_t i = first; i < last; ++i) own.repair(uint32_t((from + i) % end));
  });
  parts.swept += count;
  // What the hand has passed everywhere since is in no edges any more.
  const auto gone = std::find_if(
      parts.removed.begin(), parts.removed.end(),
      [&](const Parts::Removed& removed) { return parts.swept - removed.swept < end; });
  for (auto it = parts.removed.begin(); it != gone; ++it) {
    for (uint32_t i = 0; i < options_.degree; ++i)
      parts.edges_of(it->slot)[i].store(0, std::memory_order_release);
    codes_.release(it->slot);
  }
  parts.removed_count.fetch_sub(uint32_t(gone - parts.removed.begin()), std::memory_order_relaxed);
  parts.removed.erase(parts.removed.begin(), gone);
}

std::vector<uint32_t> Graph::unreachable() const {
  const Parts& parts = *parts_;
  std::vector<bool> reached(codes_.slot_end());
  std::vector<uint32_t> open;
  const auto reach = [&](uint32_t to) {
    if (to == 0 || reached[to - 1]) return;
    reached[to - 1] = true;
    open.push_back(to - 1);
  };
  for (uint32_t i = 0; i < parts.entry_count.load(); ++i) reach(parts.entries[i].load());
  while (!open.empty()) {
    const uint32_t slot = open.back();
    open.pop_back();
    // What only removed nodes lead to will be lost when those go, so it does not count.
    if (!parts.is_node(slot)) continue;
    for (uint32_t i = 0; i < options_.degree; ++i) reach(parts.edges_of(slot)[i].load());
  }
  std::vector<uint32_t> lost;
  for (uint32_t row = 0; row < parts.node_of_row.size(); ++row) {
    const uint32_t node = parts.node_of_row[row];
    if (node != 0 && codes_.slot_of(row) == node - 1 && !reached[node - 1]) lost.push_back(row);
  }
  return lost;
}

GraphStats Graph::stats() const {
  const Parts& parts = *parts_;
  GraphStats stats;
  stats.node_count = parts.node_count.load(std::memory_order_relaxed);
  stats.removed_count = parts.removed_count.load(std::memory_order_relaxed);
  stats.search_count = parts.search_count.load(std::memory_order_relaxed);
  stats.hop_count = parts.hop_count.load(std::memory_order_relaxed);
  stats.visit_count = parts.visit_count.load(std::memory_order_relaxed);
  const std::scoped_lock lock(parts_->writer);
  const uint32_t end = std::min(codes_.slot_end(), parts.edges.capacity());
  for (uint32_t slot = 0; slot < end; ++slot) {
    if (!parts.is_node(slot)) continue;
    for (uint32_t i = 0; i < options_.degree; ++i)
      stats.edge_count += parts.edges_of(slot)[i].load(std::memory_order_relaxed) != 0;
  }
  stats.memory_bytes = memory_bytes();
  return stats;
}

uint64_t Graph::memory_bytes() const {
  return sizeof(Graph) + sizeof(Parts) + parts_->memory_bytes.load(std::memory_order_relaxed);
}

}  // namespace hanse
