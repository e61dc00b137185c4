#include "latent/prefix_index.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/random.hpp"

namespace hanse {

uint64_t PrefixIndex::keyed_hash(uint64_t seed, uint32_t parent, const uint32_t* tokens) {
  uint64_t hash = mix64(seed ^ (uint64_t(parent) + 0x9e3779b97f4a7c15));
  for (uint32_t i = 0; i < latent_page_tokens; i += 2)
    hash = mix64(hash ^ (uint64_t(tokens[i]) << 32 | tokens[i + 1]));
  return hash;
}

void PrefixIndex::add(uint32_t tenant, const Digest& fingerprint, std::span<const uint32_t> tokens,
                      PrefixEntry& entry) {
  HANSE_ASSERT(entry.prefix_node == index_none);
  const size_t page_count = tokens.size() / latent_page_tokens;
  if (page_count == 0) return;
  const auto [root, added] = roots_.try_emplace({tenant, fingerprint}, index_none);
  if (added) root->second = add_node(index_none, nullptr);

  uint32_t node = root->second;
  const auto cover = [&](uint32_t number) {
    ++nodes_[number].cover_count;
    nodes_[number].witness = &entry;
  };
  cover(node);
  for (size_t page = 0; page < page_count; ++page) {
    const uint32_t* run = &tokens[page * latent_page_tokens];
    const uint32_t found = child(node, run);
    node = found != index_none ? found : add_node(node, run);
    cover(node);
  }
  entry.prefix_node = node;
  entry.prefix_slot = uint32_t(nodes_[node].ends.size());
  nodes_[node].ends.push_back(&entry);
}

void PrefixIndex::remove(uint32_t tenant, const Digest& fingerprint, PrefixEntry& entry) {
  if (entry.prefix_node == index_none) return;
  std::vector<PrefixEntry*>& ends = nodes_[entry.prefix_node].ends;
  ends[entry.prefix_slot] = ends.back();
  ends[entry.prefix_slot]->prefix_slot = entry.prefix_slot;
  ends.pop_back();

  // From the leaf to the root, so that a child's witness is right before its parent borrows it.
  for (uint32_t number = entry.prefix_node; number != index_none;) {
    Node& node = nodes_[number];
    const uint32_t parent = node.parent;
    if (--node.cover_count == 0) {
      if (parent == index_none) roots_.erase({tenant, fingerprint});
      remove_node(number);
    } else if (node.witness == &entry) {
      node.witness = node.ends.empty() ? nodes_[node.first_child].witness : node.ends.back();
    }
    number = parent;
  }
  entry.prefix_node = index_none;
}

PrefixIndex::Match PrefixIndex::longest(uint32_t tenant, const Digest& fingerprint,
                                        std::span<const uint32_t> tokens) const {
  const auto root = roots_.find({tenant, fingerprint});
  if (root == roots_.end()) return {};
  uint32_t node = root->second, matched = 0;
  while (tokens.size() - matched >= latent_page_tokens) {
    const uint32_t next = child(node, &tokens[matched]);
    if (next == index_none) break;
    node = next;
    matched += latent_page_tokens;
  }
  if (matched == 0) return {};
  return {nodes_[node].witness, matched};
}

uint64_t PrefixIndex::memory_bytes() const {
  constexpr uint64_t route_bytes = 40, root_bytes = 96;  // with the containers' own nodes
  return nodes_.capacity() * sizeof(Node) + free_.capacity() * sizeof(uint32_t) +
         routes_.size() * route_bytes + roots_.size() * root_bytes;
}

uint32_t PrefixIndex::child(uint32_t parent, const uint32_t* tokens) const {
  const auto [first, last] = routes_.equal_range(hash_(seed_, parent, tokens));
  for (auto route = first; route != last; ++route) {
    const Node& node = nodes_[route->second];
    if (node.parent == parent && std::equal(node.tokens, std::end(node.tokens), tokens))
      return route->second;
  }
  return index_none;
}

uint32_t PrefixIndex::add_node(uint32_t parent, const uint32_t* tokens) {
  if (free_.empty()) {
    free_.push_back(uint32_t(nodes_.size()));
    nodes_.emplace_back();
  }
  const uint32_t number = free_.back();
  free_.pop_back();
  Node& node = nodes_[number];
  node = Node();
  node.parent = parent;
  if (parent == index_none) return number;

  std::copy_n(tokens, latent_page_tokens, node.tokens);
  node.next = nodes_[parent].first_child;
  if (node.next != index_none) nodes_[node.next].previous = number;
  nodes_[parent].first_child = number;
  routes_.emplace(hash_(seed_, parent, tokens), number);
  return number;
}

void PrefixIndex::remove_node(uint32_t number) {
  const Node& node = nodes_[number];
  if (node.parent != index_none) {
    if (node.next != index_none) nodes_[node.next].previous = node.previous;
    if (node.previous != index_none)
      nodes_[node.previous].next = node.next;
    else
      nodes_[node.parent].first_child = node.next;
    const auto [first, last] = routes_.equal_range(hash_(seed_, node.parent, node.tokens));
    routes_.erase(
        std::find_if(first, last, [&](const auto& route) { return route.second == number; }));
  }
  free_.push_back(number);
}

}  // namespace hanse
