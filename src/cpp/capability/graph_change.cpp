#include "capability/graph_change.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace hanse {
namespace {

constexpr uint32_t dots_at_once = 8;
// Replacements taken from the edges of a removed neighbour (IP-DiskANN, §4: c = 3).
constexpr uint32_t replacement_count = 3;

}  // namespace

GraphChange::GraphChange(CodeTable& codes, Graph::Parts& parts, const GraphOptions& options,
                         GraphScratch& scratch)
    : codes_(codes),
      parts_(parts),
      options_(options),
      scratch_(scratch),
      memory_(*scratch.memory_),
      child_count_max_(options.degree / 2) {}

uint32_t GraphChange::read_edges(uint32_t slot, std::vector<uint32_t>& out) const {
  const std::atomic<uint32_t>* edges = parts_.edges_of(slot);
  uint32_t lost = 0;
  for (uint32_t i = 0; i < options_.degree; ++i) {
    const uint32_t to = edges[i].load(std::memory_order_acquire);
    if (to == 0) break;
    if (parts_.is_node(to - 1))
      out.push_back(to - 1);
    else
      ++lost;
  }
  return lost;
}

void GraphChange::write_edges(uint32_t slot, const std::vector<Near>& to) {
  std::atomic<uint32_t>* edges = parts_.edges_of(slot);
  for (uint32_t i = 0; i < options_.degree; ++i)
    edges[i].store(i < to.size() ? to[i].slot + 1 : 0, std::memory_order_release);
}

// Makes the int8 of a slot a query; -> what its products are too large by.
int32_t GraphChange::load(uint32_t slot, int8_t* out) const {
  const uint32_t padded = codes_.rotation_.dim_padded();
  const uint8_t* bytes = codes_.int8(slot);
  for (uint32_t i = 0; i < padded; ++i) out[i] = int8_t(bytes[i] ^ 0x80);
  int32_t sum = 0;
  for (uint32_t i = 0; i < padded; ++i) sum += bytes[i];
  return 128 * (sum - 128 * int32_t(padded));
}

void GraphChange::measure(uint32_t from, std::vector<Near>& near_out) {
  const std::vector<uint32_t>& slots = memory_.slots;
  near_out.clear();
  codes_.reserve(memory_.about);
  const int32_t excess = load(from, memory_.about.int8);
  const CodeFactors& own = codes_.factors(from);
  const auto fetch = [&](size_t i) {
    if (i >= slots.size()) return;
    const uint8_t* bytes = codes_.int8(slots[i]);
    for (uint32_t at = 0; at < memory_.about.padded; at += 64) __builtin_prefetch(bytes + at);
  };
  for (size_t i = 0; i < dots_at_once; ++i) fetch(i);
  for (size_t first = 0; first < slots.size(); first += dots_at_once) {
    const uint8_t* bytes[dots_at_once];
    int32_t dots[dots_at_once];
    const auto count = uint32_t(std::min<size_t>(dots_at_once, slots.size() - first));
    for (uint32_t i = 0; i < count; ++i) {
      fetch(first + dots_at_once + i);
      bytes[i] = codes_.int8(slots[first + i]);
    }
    codes_.kernels_.dots(memory_.about.int8, bytes, count, memory_.about.padded, dots);
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t slot = slots[first + i];
      near_out.push_back({distance(own, codes_.factors(slot), dots[i] - excess), slot});
    }
  }
  std::sort(near_out.begin(), near_out.end(), [](const Near& a, const Near& b) {
    return a.distance != b.distance ? a.distance < b.distance : a.slot < b.slot;
  });
}

// Whether one of the chosen is nearer to the candidate than the node is, by the factor of `slack`.
bool GraphChange::occluded(const Near& candidate) const {
  const std::vector<Near>& chosen = memory_.chosen;
  const uint8_t* bytes = codes_.int8(candidate.slot);
  const CodeFactors& own = codes_.factors(candidate.slot);
  const float bound = candidate.distance / options_.slack;
  const uint32_t padded = codes_.rotation_.dim_padded();
  for (size_t first = 0; first < chosen.size(); first += dots_at_once) {
    const int8_t* queries[dots_at_once];
    int32_t dots[dots_at_once];
    const auto count = uint32_t(std::min<size_t>(dots_at_once, chosen.size() - first));
    for (uint32_t i = 0; i < count; ++i)
      queries[i] = memory_.chosen_int8.data() + (first + i) * padded;
    codes_.kernels_.row_dots(bytes, queries, count, padded, dots);
    for (uint32_t i = 0; i < count; ++i)
      if (distance(own, codes_.factors(chosen[first + i].slot),
                   dots[i] - memory_.excess[first + i]) < bound)
        return true;
  }
  return false;
}

void GraphChange::take(const Near& near) {
  const size_t i = memory_.chosen.size();
  const uint32_t padded = codes_.rotation_.dim_padded();
  memory_.excess[i] = load(near.slot, memory_.chosen_int8.data() + i * padded);
  memory_.chosen.push_back(near);
}

void GraphChange::choose(uint32_t of, const std::vector<Near>& near) {
  memory_.chosen.clear();
  memory_.chosen_int8.resize(size_t(options_.degree) * codes_.rotation_.dim_padded());
  auto owed = uint32_t(std::count_if(near.begin(), near.end(),
                                     [&](const Near& n) { return parts_.is_child(n.slot, of); }));
  for (const Near& candidate : near) {
    if (parts_.is_child(candidate.slot, of)) {
      take(candidate);
      --owed;
    } else if (memory_.chosen.size() + owed < options_.degree && !occluded(candidate)) {
      take(candidate);
    }
  }
}

void GraphChange::link(uint32_t from, uint32_t to) {
  const NodeLock lock(parts_.locks, from, Graph::Parts::lock_count);
  link_locked(from, to);
}

void GraphChange::link_locked(uint32_t from, uint32_t to) {
  std::atomic<uint32_t>* edges = parts_.edges_of(from);
  for (uint32_t i = 0; i < options_.degree; ++i) {
    const uint32_t has = edges[i].load(std::memory_order_relaxed);
    if (has == to + 1) return;
    if (has == 0) return edges[i].store(to + 1, std::memory_order_release);
  }
  memory_.slots.assign(1, to);
  read_edges(from, memory_.slots);
  measure(from, memory_.merged);
  choose(from, memory_.merged);
  write_edges(from, memory_.chosen);
}

uint32_t GraphChange::child_count(uint32_t slot) const {
  const std::atomic<uint32_t>* edges = parts_.edges_of(slot);
  uint32_t count = 0;
  for (uint32_t i = 0; i < options_.degree; ++i) {
    const uint32_t to = edges[i].load(std::memory_order_acquire);
    if (to == 0) break;
    count += parts_.is_child(to - 1, slot);
  }
  return count;
}

bool GraphChange::adopt(uint32_t parent, uint32_t child) {
  const NodeLock lock(parts_.locks, parent, Graph::Parts::lock_count);
  if (child_count(parent) >= child_count_max_) return false;
  parts_.parent(child).store(parent + 1, std::memory_order_release);
  link_locked(parent, child);
  return true;
}

// Down from a node with too many children to one that has room; leaves have.
void GraphChange::descend_for_room(uint32_t slot, uint32_t from) {
  for (uint32_t depth = 0; !adopt(from, slot); ++depth) {
    std::vector<uint32_t> children;
    read_edges(from, children);
    std::erase_if(children, [&](uint32_t to) { return !parts_.is_child(to, from) || to == slot; });
    if (!children.empty()) from = children[(slot + depth) % children.size()];
  }
}

void GraphChange::become_entry(uint32_t slot) {
  const uint32_t count = parts_.entry_count.load(std::memory_order_relaxed);
  HANSE_ASSERT(count < entry_count_max);
  parts_.parent(slot).store(Graph::Parts::root, std::memory_order_release);
  parts_.entries[count].store(slot + 1, std::memory_order_release);
  parts_.entry_count.store(count + 1, std::memory_order_release);
}

void GraphChange::find_parent(uint32_t slot) {
  if (parts_.entry_count.load(std::memory_order_relaxed) < entry_count_max)
    return become_entry(slot);
  for (const Near& near : memory_.near)
    if (adopt(near.slot, slot)) return;
  descend_for_room(slot,
                   memory_.near.empty() ? parts_.entries[0].load() - 1 : memory_.near[0].slot);
}

void GraphChange::insert(uint32_t slot) {
  codes_.prepare_slot(slot, memory_.query);
  {
    GraphWalk walk(codes_, parts_, options_.degree, memory_);
    walk.run(memory_.query, {}, options_.build_width, options_.build_width, UINT32_MAX);
    memory_.slots.clear();
    for (const PoolEntry entry : walk.found())
      if (entry.slot() != slot && parts_.is_node(entry.slot()))
        memory_.slots.push_back(entry.slot());
  }
  measure(slot, memory_.near);
  choose(slot, memory_.near);
  write_edges(slot, memory_.chosen);
  const std::vector<Near> chosen = memory_.chosen;
  find_parent(slot);
  for (const Near& to : chosen) link(to.slot, slot);
  parts_.node_count.fetch_add(1, std::memory_order_relaxed);
}

// An entry point that goes is followed by one of its children, or by another neighbour.
void GraphChange::give_entry_away(uint32_t slot) {
  const uint32_t count = parts_.entry_count.load(std::memory_order_relaxed);
  uint32_t at = 0;
  while (parts_.entries[at].load(std::memory_order_relaxed) != slot + 1) ++at;
  std::vector<uint32_t> heirs;
  read_edges(slot, heirs);
  std::stable_partition(heirs.begin(), heirs.end(),
                        [&](uint32_t heir) { return parts_.is_child(heir, slot); });
  for (const uint32_t heir : heirs) {
    std::atomic<uint32_t>& parent = parts_.parent(heir);
    if (parent.load(std::memory_order_relaxed) == Graph::Parts::root) continue;
    parent.store(Graph::Parts::root, std::memory_order_release);
    parts_.entries[at].store(heir + 1, std::memory_order_release);
    return;
  }
  const uint32_t last = parts_.entries[count - 1].load(std::memory_order_relaxed);
  parts_.entries[at].store(last, std::memory_order_release);
  parts_.entries[count - 1].store(0, std::memory_order_release);
  parts_.entry_count.store(count - 1, std::memory_order_release);
}

bool GraphChange::descends(uint32_t slot, uint32_t from) const {
  while (slot != from) {
    const uint32_t parent = parts_.parent(slot).load(std::memory_order_relaxed);
    if (parent == Graph::Parts::root) return false;
    slot = parent - 1;
  }
  return true;
}

void GraphChange::move_child(uint32_t child, uint32_t from) {
  memory_.slots.clear();
  read_edges(child, memory_.slots);
  read_edges(from, memory_.slots);
  const uint32_t above = parts_.parent(from).load(std::memory_order_relaxed);
  if (above != Graph::Parts::root) memory_.slots.push_back(above - 1);
  std::erase_if(memory_.slots, [&](uint32_t s) { return s == child || s == from; });
  measure(child, memory_.near);
  uint32_t last = from;
  for (const Near& near : memory_.near) {
    if (near.slot == last || descends(near.slot, child)) continue;
    last = near.slot;
    if (adopt(near.slot, child)) return;
  }
  if (parts_.entry_count.load(std::memory_order_relaxed) < entry_count_max)
    return become_entry(child);
  // The entry points are all taken, so at least one other than the child's own root has a tree.
  for (uint32_t i = 0; i < entry_count_max; ++i) {
    const uint32_t entry = parts_.entries[i].load(std::memory_order_relaxed) - 1;
    if (!descends(child, entry)) return descend_for_room(child, entry);
  }
  HANSE_ASSERT(!"no other entry point");
}

void GraphChange::remove(uint32_t slot) {
  std::vector<uint32_t> children;
  if (parts_.parent(slot).load(std::memory_order_relaxed) == Graph::Parts::root)
    give_entry_away(slot);
  read_edges(slot, children);
  std::erase_if(children, [&](uint32_t to) { return !parts_.is_child(to, slot); });
  for (const uint32_t child : children) move_child(child, slot);
  parts_.parent(slot).store(0, std::memory_order_release);
  parts_.removed.push_back({slot, parts_.swept});
  parts_.removed_count.fetch_add(1, std::memory_order_relaxed);
  parts_.node_count.fetch_sub(1, std::memory_order_relaxed);
}

void GraphChange::repair(uint32_t slot) {
  const std::atomic<uint32_t>* edges = parts_.edges_of(slot);
  memory_.others.clear();
  if (read_edges(slot, memory_.others) == 0) return;
  const NodeLock lock(parts_.locks, slot, Graph::Parts::lock_count);
  memory_.merged.clear();
  for (const uint32_t to : memory_.others) memory_.merged.push_back({0, to});
  if (parts_.is_node(slot)) {
    for (uint32_t i = 0; i < options_.degree; ++i) {
      const uint32_t to = edges[i].load(std::memory_order_relaxed);
      if (to == 0) break;
      if (parts_.is_node(to - 1)) continue;
      memory_.slots.clear();
      read_edges(to - 1, memory_.slots);
      std::erase_if(memory_.slots, [&](uint32_t s) {
        return s == slot ||
               std::find(memory_.others.begin(), memory_.others.end(), s) != memory_.others.end();
      });
      measure(slot, memory_.near);
      for (uint32_t j = 0; j < std::min<size_t>(replacement_count, memory_.near.size()); ++j)
        memory_.others.push_back(memory_.near[j].slot);
    }
    memory_.slots = memory_.others;
    measure(slot, memory_.merged);
    if (memory_.merged.size() > options_.degree) {
      choose(slot, memory_.merged);
      return write_edges(slot, memory_.chosen);
    }
  }
  write_edges(slot, memory_.merged);
}

}  // namespace hanse
