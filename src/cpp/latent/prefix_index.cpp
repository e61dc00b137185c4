#include "latent/prefix_index.hpp"

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "base/random.hpp"

namespace hanse {

namespace {

uint64_t fold(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return uint64_t(product) ^ uint64_t(product >> 64);
}

// How many of the first `count` are equal, in whole pages. Equal runs are the common case, and one
// comparison of all is what memory can do.
uint32_t common_pages(const uint32_t* a, const uint32_t* b, uint32_t count) {
  constexpr size_t page_size = latent_page_tokens * sizeof(uint32_t);
  if (std::memcmp(a, b, count * sizeof(uint32_t)) == 0) return count;
  uint32_t same = 0;
  while (same < count && std::memcmp(a + same, b + same, page_size) == 0)
    same += latent_page_tokens;
  return same;
}

}  // namespace

// Wide multiplications that don't wait for each other: a hash that only routes needs no more, and
// the seed keeps others from choosing what collides.
uint64_t PrefixIndex::keyed_hash(uint64_t seed, uint32_t parent, const uint32_t* tokens) {
  static_assert(latent_page_tokens == 16);
  uint64_t words[8];
  std::memcpy(words, tokens, sizeof(words));
  const uint64_t a = fold(words[0] ^ seed, words[1] ^ 0x9e3779b97f4a7c15);
  const uint64_t b = fold(words[2] ^ seed, words[3] ^ 0xbf58476d1ce4e5b9);
  const uint64_t c = fold(words[4] ^ seed, words[5] ^ 0x94d049bb133111eb);
  const uint64_t d = fold(words[6] ^ seed, words[7] ^ 0xd6e8feb86659fd93);
  return fold(a ^ (b << 1) ^ seed, (c ^ (d << 1)) + (uint64_t(parent) << 32 | parent) + 1);
}

PrefixIndex::Walk PrefixIndex::walk(uint32_t root, const uint32_t* tokens, uint32_t count) const {
  Walk at{root, 0};
  while (at.matched < count) {
    const uint32_t next = child(at.node, tokens + at.matched);
    if (next == index_none) break;
    const Node& node = nodes_[next];
    const uint32_t length = node.end - node.start;
    const uint32_t same =
        common_pages(node.edge(), tokens + at.matched, std::min(length, count - at.matched));
    at = {next, at.matched + same};
    if (same < length) break;
  }
  return at;
}

void PrefixIndex::add(uint32_t tenant, const Digest& fingerprint,
                      const std::shared_ptr<TokenRun>& run, uint32_t count, PrefixEntry& entry) {
  HANSE_ASSERT(entry.prefix_node == index_none);
  count -= count % latent_page_tokens;
  if (count == 0) return;
  const auto [root, added] = roots_.try_emplace({tenant, fingerprint}, index_none);
  if (added) root->second = add_node(index_none, nullptr, 0, 0);

  const Walk at = walk(root->second, run->ids.get(), count);
  uint32_t node = at.node;
  if (at.matched < nodes_[node].end) {
    split(node, at.matched);
    node = nodes_[node].parent;
  }
  if (at.matched < count) node = add_node(node, run, at.matched, count);
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
  tidy(entry.prefix_node, {tenant, fingerprint});
  entry.prefix_node = index_none;
}

PrefixIndex::Match PrefixIndex::longest(uint32_t tenant, const Digest& fingerprint,
                                        std::span<const uint32_t> tokens) const {
  const auto root = roots_.find({tenant, fingerprint});
  if (root == roots_.end()) return {};
  const auto count = uint32_t(std::min<size_t>(tokens.size(), UINT32_MAX));
  const Walk at = walk(root->second, tokens.data(), count - count % latent_page_tokens);
  if (at.matched == 0) return {};
  uint32_t node = at.node;
  while (nodes_[node].ends.empty()) node = nodes_[node].first_child;
  return {nodes_[node].ends.back(), at.matched};
}

uint64_t PrefixIndex::memory_bytes() const {
  constexpr uint64_t root_bytes = 96;  // with the map's own node
  return nodes_.capacity() * sizeof(Node) + free_.capacity() * sizeof(uint32_t) +
         routes_.memory_bytes() + roots_.size() * root_bytes;
}

uint32_t PrefixIndex::child(uint32_t parent, const uint32_t* tokens) const {
  return routes_.find(hash_(seed_, parent, tokens), [&](uint32_t number) {
    const Node& node = nodes_[number];
    return node.parent == parent &&
           std::memcmp(node.edge(), tokens, latent_page_tokens * sizeof(uint32_t)) == 0;
  });
}

uint32_t PrefixIndex::add_node(uint32_t parent, std::shared_ptr<TokenRun> run, uint32_t start,
                               uint32_t end) {
  if (free_.empty()) {
    free_.push_back(uint32_t(nodes_.size()));
    nodes_.emplace_back();
  }
  const uint32_t number = free_.back();
  free_.pop_back();
  Node& node = nodes_[number];
  node = Node();
  node.run = std::move(run);
  node.start = start;
  node.end = end;
  if (parent != index_none) link(number, parent);
  return number;
}

void PrefixIndex::link(uint32_t number, uint32_t parent) {
  Node& node = nodes_[number];
  node.parent = parent;
  node.previous = index_none;
  node.next = nodes_[parent].first_child;
  if (node.next != index_none) nodes_[node.next].previous = number;
  nodes_[parent].first_child = number;
  routes_.insert(hash_(seed_, parent, node.edge()), number);
}

void PrefixIndex::unlink(uint32_t number) {
  const Node& node = nodes_[number];
  if (node.next != index_none) nodes_[node.next].previous = node.previous;
  if (node.previous != index_none)
    nodes_[node.previous].next = node.next;
  else
    nodes_[node.parent].first_child = node.next;
  routes_.erase(hash_(seed_, node.parent, node.edge()), number);
}

// The edge's part before position `at` becomes a node of its own, above this one, which keeps its
// number: entries that end in it stay right.
void PrefixIndex::split(uint32_t number, uint32_t at) {
  unlink(number);
  const Node& lower = nodes_[number];
  const uint32_t upper = add_node(lower.parent, lower.run, lower.start, at);
  nodes_[number].start = at;
  link(number, upper);
}

// Removes nodes in which nothing ends and below which there is nothing, and joins an edge with its
// only continuation: the run of the lower one begins at position 0 and so holds both.
void PrefixIndex::tidy(uint32_t number, const Root& root) {
  while (nodes_[number].ends.empty()) {
    const uint32_t only = nodes_[number].first_child, parent = nodes_[number].parent;
    if (parent == index_none) {
      if (only != index_none) return;
      roots_.erase(root);
      nodes_[number] = Node();
      free_.push_back(number);
      return;
    }
    if (only != index_none && nodes_[only].next != index_none) return;
    const uint32_t start = nodes_[number].start;
    if (only != index_none) unlink(only);
    unlink(number);
    nodes_[number] = Node();
    free_.push_back(number);
    if (only != index_none) {
      nodes_[only].start = start;
      link(only, parent);
      return;
    }
    number = parent;
  }
}

}  // namespace hanse
