// Which latent starts with these tokens: a tree of whole pages for each (tenant, fingerprint).
//
// A node is a run of 16 tokens behind its parent. A hash of both routes to it; the equality of
// parent and tokens is the proof. Nodes live as long as an entry covers them. Not thread-safe.
#pragma once

#include <map>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ids.hpp"
#include "latent/latent.hpp"

namespace hanse {

// Base of what is indexed. The index keeps its address until it is removed.
struct PrefixEntry {
  uint32_t prefix_node = index_none;  // of its last whole page; index_none: not in the index
  uint32_t prefix_slot = 0;
};

class PrefixIndex {
 public:
  using Hash = uint64_t (*)(uint64_t seed, uint32_t parent, const uint32_t* tokens);
  static uint64_t keyed_hash(uint64_t seed, uint32_t parent, const uint32_t* tokens);

  explicit PrefixIndex(uint64_t seed, Hash hash = keyed_hash) : seed_(seed), hash_(hash) {}

  // Covers the whole pages of `tokens`; with fewer than one page of them it does nothing.
  void add(uint32_t tenant, const Digest& fingerprint, std::span<const uint32_t> tokens,
           PrefixEntry& entry);
  void remove(uint32_t tenant, const Digest& fingerprint, PrefixEntry& entry);

  // An entry that starts with the longest run of whole pages; null: none. `matched` in tokens.
  struct Match {
    PrefixEntry* entry = nullptr;
    uint32_t matched = 0;
  };
  Match longest(uint32_t tenant, const Digest& fingerprint, std::span<const uint32_t> tokens) const;

  size_t node_count() const { return nodes_.size() - free_.size(); }
  uint64_t memory_bytes() const;

 private:
  struct Node {
    uint32_t tokens[latent_page_tokens] = {};
    uint32_t parent = index_none;
    uint32_t first_child = index_none, next = index_none, previous = index_none;
    uint32_t cover_count = 0;        // entries that go through it
    PrefixEntry* witness = nullptr;  // one of them
    std::vector<PrefixEntry*> ends;  // those whose last whole page it is
  };
  using Root = std::pair<uint32_t, Digest>;

  uint32_t child(uint32_t parent, const uint32_t* tokens) const;
  uint32_t add_node(uint32_t parent, const uint32_t* tokens);
  void remove_node(uint32_t number);

  const uint64_t seed_;
  const Hash hash_;
  std::vector<Node> nodes_;
  std::vector<uint32_t> free_;
  std::map<Root, uint32_t> roots_;
  std::unordered_multimap<uint64_t, uint32_t> routes_;  // hash of parent and tokens -> node
};

}  // namespace hanse
