// RFC 6962 Merkle tree over the records: leaf = SHA-256(0x00 || record),
// node = SHA-256(0x01 || left || right). Roots and proofs are those of any RFC 6962 verifier.
#pragma once

#include <vector>

#include "base/hash.hpp"

namespace hanse {

Digest merkle_leaf(Bytes record);

class MerkleTree {
 public:
  MerkleTree() = default;
  // Goes on behind `count` leaves of which only the frontier is known: the roots of the complete
  // subtrees, largest first. Throws corrupt where their number is not that of the bits of `count`.
  MerkleTree(uint64_t count, std::span<const Digest> frontier);

  void add(const Digest& leaf);            // amortised two hashes: complete subtrees are kept
  uint64_t base() const { return base_; }  // leaves before it are not known
  std::vector<Digest> frontier() const;    // of all leaves
  uint64_t count() const;
  // These throw unknown_event where they need what lies before base().
  Digest leaf(uint64_t index) const;
  Digest root() const { return root_at(count()); }
  Digest root_at(uint64_t count) const;  // of the first `count` leaves; throws out_of_range
  // Audit path of leaf `index` in the tree of the first `count` leaves (RFC 6962 2.1.1).
  std::vector<Digest> inclusion_proof(uint64_t index, uint64_t count) const;
  // RFC 6962 2.1.2, between the first `old_count` and the first `count` leaves.
  std::vector<Digest> consistency_proof(uint64_t old_count, uint64_t count) const;
  uint64_t memory_bytes() const;

 private:
  Digest subtree(uint64_t first, uint64_t count) const;

  const Digest& node(size_t height, uint64_t index) const;

  // levels_[h].nodes[i - first] is the root of the complete subtree of 2^h leaves from leaf
  // i * 2^h; those before `first` are not known.
  struct Level {
    uint64_t first = 0;
    std::vector<Digest> nodes;
    uint64_t end() const { return first + nodes.size(); }
  };
  std::vector<Level> levels_;
  uint64_t base_ = 0;
};

// RFC 9162 2.1.3.2 and 2.1.4.2: what a verifier runs who has nothing but the proof.
bool verify_inclusion(const Digest& leaf, uint64_t index, uint64_t count,
                      std::span<const Digest> proof, const Digest& root);
bool verify_consistency(uint64_t old_count, const Digest& old_root, uint64_t count,
                        const Digest& root, std::span<const Digest> proof);

}  // namespace hanse
