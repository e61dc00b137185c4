#include "journal/merkle.hpp"

#include <bit>

#include "base/error.hpp"

namespace hanse {

namespace {

Digest hash_node(const Digest& left, const Digest& right) {
  constexpr uint8_t node_prefix = 0x01;
  return Sha256().update({&node_prefix, 1}).update(left).update(right).finish();
}

// The largest power of two smaller than `count`; count > 1.
uint64_t split_of(uint64_t count) { return std::bit_floor(count - 1); }

}  // namespace

Digest merkle_leaf(Bytes record) {
  constexpr uint8_t leaf_prefix = 0x00;
  return Sha256().update({&leaf_prefix, 1}).update(record).finish();
}

MerkleTree::MerkleTree(uint64_t count, std::span<const Digest> frontier) : base_(count) {
  if (frontier.size() != size_t(std::popcount(count)))
    throw Error(ErrorCode::corrupt, "frontier", frontier.size(), uint64_t(std::popcount(count)));
  levels_.resize(size_t(std::bit_width(count)));
  size_t at = frontier.size();
  for (size_t height = 0; height < levels_.size(); ++height) {
    const bool known = (count >> height & 1) != 0;
    levels_[height].first = (count >> height) - (known ? 1 : 0);
    if (known) levels_[height].nodes.push_back(frontier[--at]);
  }
}

std::vector<Digest> MerkleTree::frontier() const {
  std::vector<Digest> nodes;
  for (size_t height = levels_.size(); height-- > 0;)
    if ((count() >> height & 1) != 0) nodes.push_back(node(height, (count() >> height) - 1));
  return nodes;
}

const Digest& MerkleTree::node(size_t height, uint64_t index) const {
  const Level& level = levels_[height];
  if (index < level.first)
    throw Error(ErrorCode::unknown_event, "leaves",
                "those before " + std::to_string(base_) + " were not loaded", 0, base_);
  return level.nodes[index - level.first];
}

void MerkleTree::add(const Digest& leaf) {
  if (levels_.empty()) levels_.emplace_back();
  levels_[0].nodes.push_back(leaf);
  for (size_t height = 0; levels_[height].end() % 2 == 0; ++height) {
    if (height + 1 == levels_.size()) levels_.emplace_back();
    const auto& nodes = levels_[height].nodes;
    levels_[height + 1].nodes.push_back(hash_node(nodes[nodes.size() - 2], nodes.back()));
  }
}

uint64_t MerkleTree::count() const { return levels_.empty() ? 0 : levels_[0].end(); }

Digest MerkleTree::leaf(uint64_t index) const {
  if (index >= count()) throw Error(ErrorCode::out_of_range, "index", index, count());
  return node(0, index);
}

// The root of the `count` leaves from `first` on; `first` is a multiple of the power of two at or
// above `count`, so each complete subtree inside is one that is kept.
Digest MerkleTree::subtree(uint64_t first, uint64_t count) const {
  if (std::has_single_bit(count)) {
    const auto height = size_t(std::countr_zero(count));
    return node(height, first >> height);
  }
  const uint64_t left = split_of(count);
  return hash_node(subtree(first, left), subtree(first + left, count - left));
}

Digest MerkleTree::root_at(uint64_t count) const {
  if (count > this->count()) throw Error(ErrorCode::out_of_range, "count", count, this->count());
  return count == 0 ? sha256({}) : subtree(0, count);
}

std::vector<Digest> MerkleTree::inclusion_proof(uint64_t index, uint64_t count) const {
  if (count > this->count()) throw Error(ErrorCode::out_of_range, "count", count, this->count());
  if (index >= count) throw Error(ErrorCode::out_of_range, "index", index, count);
  // Down from the root to the leaf; the path goes up, so it is reversed at the end.
  std::vector<Digest> path;
  for (uint64_t first = 0; count > 1;) {
    const uint64_t left = split_of(count);
    const bool in_left = index - first < left;
    path.push_back(in_left ? subtree(first + left, count - left) : subtree(first, left));
    if (!in_left) first += left;
    count = in_left ? left : count - left;
  }
  return {path.rbegin(), path.rend()};
}

std::vector<Digest> MerkleTree::consistency_proof(uint64_t old_count, uint64_t count) const {
  if (count > this->count()) throw Error(ErrorCode::out_of_range, "count", count, this->count());
  if (old_count > count) throw Error(ErrorCode::out_of_range, "old_count", old_count, count);
  // From the empty tree, and to itself, nothing needs a proof.
  if (old_count == 0 || old_count == count) return {};
  std::vector<Digest> path;
  uint64_t first = 0;
  bool old_is_known = true;  // what is left of the old tree is the old root itself
  while (old_count != count) {
    const uint64_t left = split_of(count);
    if (old_count <= left) {
      path.push_back(subtree(first + left, count - left));
      count = left;
    } else {
      path.push_back(subtree(first, left));
      first += left;
      count -= left;
      old_count -= left;
      old_is_known = false;
    }
  }
  if (!old_is_known) path.push_back(subtree(first, count));
  return {path.rbegin(), path.rend()};
}

uint64_t MerkleTree::memory_bytes() const {
  uint64_t bytes = 0;
  for (const Level& level : levels_) bytes += level.nodes.capacity() * sizeof(Digest);
  return bytes;
}

bool verify_inclusion(const Digest& leaf, uint64_t index, uint64_t count,
                      std::span<const Digest> proof, const Digest& root) {
  if (index >= count) return false;
  uint64_t at = index, last = count - 1;
  Digest hash = leaf;
  for (const Digest& sibling : proof) {
    if (last == 0) return false;
    if (at % 2 == 1 || at == last) {
      hash = hash_node(sibling, hash);
      while (at % 2 == 0 && at != 0) at >>= 1, last >>= 1;
    } else {
      hash = hash_node(hash, sibling);
    }
    at >>= 1;
    last >>= 1;
  }
  return last == 0 && hash == root;
}

bool verify_consistency(uint64_t old_count, const Digest& old_root, uint64_t count,
                        const Digest& root, std::span<const Digest> proof) {
  if (old_count > count) return false;
  if (old_count == count) return proof.empty() && old_root == root;
  if (old_count == 0) return proof.empty() && old_root == sha256({});
  // An old tree that is complete is its own first proof node and is not sent.
  const bool old_is_complete = std::has_single_bit(old_count);
  if (!old_is_complete && proof.empty()) return false;
  Digest old_hash = old_is_complete ? old_root : proof.front();
  Digest new_hash = old_hash;
  uint64_t at = old_count - 1, last = count - 1;
  while (at % 2 == 1) at >>= 1, last >>= 1;
  for (const Digest& node : proof.subspan(old_is_complete ? 0 : 1)) {
    if (last == 0) return false;
    if (at % 2 == 1 || at == last) {
      old_hash = hash_node(node, old_hash);
      new_hash = hash_node(node, new_hash);
      while (at % 2 == 0 && at != 0) at >>= 1, last >>= 1;
    } else {
      new_hash = hash_node(new_hash, node);
    }
    at >>= 1;
    last >>= 1;
  }
  return last == 0 && old_hash == old_root && new_hash == root;
}

}  // namespace hanse
