// Which latent starts with these tokens: a radix tree of whole pages for each (tenant,
// fingerprint).
//
// An edge is a run of whole pages; a hash of (node, first page) routes to it, and the equality of
// all its tokens is the proof. Nodes live as long as an entry ends in them or below. Not
// thread-safe.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/hash_map.hpp"
#include "base/ids.hpp"
#include "latent/latent.hpp"

namespace hanse {

// Tokens from position 0 on. Shared by all that begin alike: the first `filled` never change, so
// whoever knows a shorter count reads them without a lock.
struct TokenRun {
  explicit TokenRun(uint32_t wanted) : ids(new uint32_t[wanted]), capacity(wanted) {}
  std::unique_ptr<uint32_t[]> ids;
  uint32_t capacity = 0, filled = 0;
};

// Base of what is indexed. The index keeps its address until it is removed.
struct PrefixEntry {
  uint32_t prefix_node = index_none;  // where its last whole page ends; index_none: not indexed
  uint32_t prefix_slot = 0;
};

class PrefixIndex {
 public:
  using Hash = uint64_t (*)(uint64_t seed, uint32_t parent, const uint32_t* tokens);
  static uint64_t keyed_hash(uint64_t seed, uint32_t parent, const uint32_t* tokens);

  explicit PrefixIndex(uint64_t seed, Hash hash = keyed_hash) : seed_(seed), hash_(hash) {}

  // Covers the whole pages of the first `count` tokens of `run`; with fewer than one page it does
  // nothing.
  void add(uint32_t tenant, const Digest& fingerprint, const std::shared_ptr<TokenRun>& run,
           uint32_t count, PrefixEntry& entry);
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
    std::shared_ptr<TokenRun> run;  // its edge is run[start, end)
    uint32_t start = 0, end = 0;
    uint32_t parent = index_none;
    uint32_t first_child = index_none, next = index_none, previous = index_none;
    std::vector<PrefixEntry*> ends;
    const uint32_t* edge() const { return run->ids.get() + start; }
  };
  using Root = std::pair<uint32_t, Digest>;
  struct Walk {
    uint32_t node;
    uint32_t matched;  // below the node's end: inside its edge
  };

  Walk walk(uint32_t root, const uint32_t* tokens, uint32_t count) const;
  uint32_t child(uint32_t parent, const uint32_t* tokens) const;
  uint32_t add_node(uint32_t parent, std::shared_ptr<TokenRun> run, uint32_t start, uint32_t end);
  void link(uint32_t number, uint32_t parent);
  void unlink(uint32_t number);
  void split(uint32_t number, uint32_t at);
  void tidy(uint32_t number, const Root& root);

  const uint64_t seed_;
  const Hash hash_;
  std::vector<Node> nodes_;
  std::vector<uint32_t> free_;
  std::map<Root, uint32_t> roots_;
  HashMap routes_;  // hash of parent and first page -> node
};

}  // namespace hanse
