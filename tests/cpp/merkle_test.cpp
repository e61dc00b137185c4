#include "journal/merkle.hpp"

#include <gtest/gtest.h>

#include <string>

#include "base/error.hpp"

namespace hanse {
namespace {

// The recursive definitions of RFC 6962, word for word, over explicit leaf hashes.
uint64_t split_of(uint64_t count) {
  uint64_t split = 1;
  while (split * 2 < count) split *= 2;
  return split;
}

Digest node(const Digest& left, const Digest& right) {
  std::vector<uint8_t> bytes{0x01};
  bytes.insert(bytes.end(), left.begin(), left.end());
  bytes.insert(bytes.end(), right.begin(), right.end());
  return sha256(bytes);
}

Digest tree_hash(std::span<const Digest> leaves) {
  if (leaves.empty()) return sha256({});
  if (leaves.size() == 1) return leaves[0];
  const uint64_t k = split_of(leaves.size());
  return node(tree_hash(leaves.first(k)), tree_hash(leaves.subspan(k)));
}

std::vector<Digest> path_of(uint64_t m, std::span<const Digest> leaves) {
  if (leaves.size() == 1) return {};
  const uint64_t k = split_of(leaves.size());
  auto path = m < k ? path_of(m, leaves.first(k)) : path_of(m - k, leaves.subspan(k));
  path.push_back(m < k ? tree_hash(leaves.subspan(k)) : tree_hash(leaves.first(k)));
  return path;
}

std::vector<Digest> subproof(uint64_t m, std::span<const Digest> leaves, bool known) {
  if (m == leaves.size()) return known ? std::vector<Digest>{} : std::vector{tree_hash(leaves)};
  const uint64_t k = split_of(leaves.size());
  auto proof =
      m <= k ? subproof(m, leaves.first(k), known) : subproof(m - k, leaves.subspan(k), false);
  proof.push_back(m <= k ? tree_hash(leaves.subspan(k)) : tree_hash(leaves.first(k)));
  return proof;
}

std::vector<uint8_t> unhex(const std::string& text) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i < text.size(); i += 2)
    bytes.push_back(uint8_t(std::stoul(text.substr(i, 2), nullptr, 16)));
  return bytes;
}

std::vector<Digest> leaves_of(uint64_t count) {
  std::vector<Digest> leaves;
  for (uint64_t i = 0; i < count; ++i) {
    const uint8_t record[2] = {uint8_t(i), uint8_t(i >> 8)};
    leaves.push_back(merkle_leaf(record));
  }
  return leaves;
}

MerkleTree tree_of(std::span<const Digest> leaves) {
  MerkleTree tree;
  for (const Digest& leaf : leaves) tree.add(leaf);
  return tree;
}

TEST(MerkleTree, HasTheRootsOfTheCertificateTransparencyVectors) {
  const std::string inputs[] = {"",
                                "00",
                                "10",
                                "2021",
                                "3031",
                                "40414243",
                                "5051525354555657",
                                "606162636465666768696a6b6c6d6e6f"};
  const std::string roots[] = {"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                               "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
                               "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
                               "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
                               "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
                               "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
                               "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
                               "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
  MerkleTree tree;
  EXPECT_EQ(hex(tree.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  for (size_t i = 0; i < 8; ++i) {
    tree.add(merkle_leaf(unhex(inputs[i])));
    EXPECT_EQ(hex(tree.root()), roots[i]) << i + 1 << " leaves";
  }
  for (size_t i = 0; i < 8; ++i) EXPECT_EQ(hex(tree.root_at(i + 1)), roots[i]);
}

TEST(MerkleTree, ProvesEveryLeafOfEveryTreeAsTheDefinitionDoes) {
  const auto leaves = leaves_of(64);
  const MerkleTree tree = tree_of(leaves);
  for (uint64_t count = 1; count <= 64; ++count) {
    const auto part = std::span(leaves).first(count);
    const Digest root = tree_hash(part);
    ASSERT_EQ(tree.root_at(count), root);
    for (uint64_t index = 0; index < count; ++index) {
      const auto proof = tree.inclusion_proof(index, count);
      ASSERT_EQ(proof, path_of(index, part)) << index << " of " << count;
      ASSERT_TRUE(verify_inclusion(leaves[index], index, count, proof, root));
    }
  }
}

TEST(MerkleTree, ProvesThatEveryTreeExtendsEveryEarlierOne) {
  const auto leaves = leaves_of(64);
  const MerkleTree tree = tree_of(leaves);
  for (uint64_t count = 1; count <= 64; ++count) {
    const auto part = std::span(leaves).first(count);
    for (uint64_t old_count = 1; old_count <= count; ++old_count) {
      const auto proof = tree.consistency_proof(old_count, count);
      ASSERT_EQ(proof, subproof(old_count, part, true)) << old_count << " of " << count;
      ASSERT_TRUE(verify_consistency(old_count, tree.root_at(old_count), count, tree.root_at(count),
                                     proof));
    }
    EXPECT_TRUE(tree.consistency_proof(0, count).empty());
    EXPECT_TRUE(verify_consistency(0, tree.root_at(0), count, tree.root_at(count), {}));
  }
}

TEST(MerkleProof, IsRefusedWhenAnythingInItIsChanged) {
  const auto leaves = leaves_of(64);
  const MerkleTree tree = tree_of(leaves);
  for (const uint64_t count : {1, 2, 3, 7, 8, 13, 33, 64}) {
    const Digest root = tree.root_at(count);
    for (uint64_t index = 0; index < count; ++index) {
      auto proof = tree.inclusion_proof(index, count);
      EXPECT_FALSE(verify_inclusion(leaves[(index + 1) % 64], index, count, proof, root));
      for (uint64_t other = 0; other <= count; ++other)
        EXPECT_EQ(verify_inclusion(leaves[index], other, count, proof, root), other == index);
      for (Digest& digest : proof) {
        digest[31] ^= 1;
        EXPECT_FALSE(verify_inclusion(leaves[index], index, count, proof, root));
        digest[31] ^= 1;
      }
      proof.push_back(root);
      EXPECT_FALSE(verify_inclusion(leaves[index], index, count, proof, root)) << "too long";
      proof.pop_back();
      if (proof.empty()) continue;
      proof.pop_back();
      EXPECT_FALSE(verify_inclusion(leaves[index], index, count, proof, root)) << "too short";
    }
  }
}

TEST(MerkleProof, OfConsistencyIsRefusedWhenAnythingInItIsChanged) {
  const auto leaves = leaves_of(40);
  const MerkleTree tree = tree_of(leaves);
  for (uint64_t count = 1; count <= 40; ++count) {
    const Digest root = tree.root_at(count);
    for (uint64_t old_count = 1; old_count < count; ++old_count) {
      const Digest old_root = tree.root_at(old_count);
      auto proof = tree.consistency_proof(old_count, count);
      Digest forged = old_root;
      forged[0] ^= 0x80;
      EXPECT_FALSE(verify_consistency(old_count, forged, count, root, proof));
      EXPECT_FALSE(verify_consistency(old_count, old_root, count, forged, proof));
      EXPECT_FALSE(verify_consistency(count + 1, old_root, count, root, proof));
      for (Digest& digest : proof) {
        digest[0] ^= 1;
        EXPECT_FALSE(verify_consistency(old_count, old_root, count, root, proof));
        digest[0] ^= 1;
      }
      proof.push_back(root);
      EXPECT_FALSE(verify_consistency(old_count, old_root, count, root, proof)) << "too long";
      proof.pop_back();
      proof.pop_back();
      EXPECT_FALSE(verify_consistency(old_count, old_root, count, root, proof)) << "too short";
    }
  }
}

template <class Call>
void expect_out_of_range(const char* field, Call call) {
  try {
    call();
    FAIL() << field << " was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_range);
    EXPECT_EQ(error.field(), field);
  }
}

TEST(MerkleTree, RefusesCountsAndIndexesThatItDoesNotHave) {
  const auto leaves = leaves_of(5);
  const MerkleTree tree = tree_of(leaves);
  EXPECT_EQ(tree.leaf(4), leaves[4]);
  expect_out_of_range("index", [&] { tree.leaf(5); });
  expect_out_of_range("count", [&] { tree.root_at(6); });
  expect_out_of_range("count", [&] { tree.inclusion_proof(0, 6); });
  expect_out_of_range("index", [&] { tree.inclusion_proof(3, 3); });
  expect_out_of_range("index", [&] { tree.inclusion_proof(0, 0); });
  expect_out_of_range("count", [&] { tree.consistency_proof(1, 6); });
  expect_out_of_range("old_count", [&] { tree.consistency_proof(4, 3); });
  EXPECT_FALSE(verify_inclusion(leaves[0], 0, 0, {}, tree.root()));
}

}  // namespace
}  // namespace hanse
