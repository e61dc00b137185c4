// Proofs: a wrong one never convinces, and none crashes the verifier. The tree is small, so that
// changes of a sound proof are tried as well.
#include "fuzz.hpp"
#include "journal/merkle.hpp"

using namespace hanse;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const MerkleTree tree = [] {
    MerkleTree made;
    for (uint8_t i = 0; i < 70; ++i) made.add(merkle_leaf({&i, 1}));
    return made;
  }();
  fuzz::Input input(data, size);
  const uint64_t count = 1 + input.take<uint8_t>() % tree.count();
  const uint64_t index = input.take<uint8_t>() % count;
  std::vector<Digest> proof = tree.inclusion_proof(index, count);
  const std::vector<Digest> sound = proof;
  uint64_t said_index = index, said_count = count;
  bool changed = false;
  while (!input.empty()) {
    const auto what = input.take<uint8_t>();
    if (what % 4 == 0 && !proof.empty())
      proof[what / 4 % proof.size()][input.take<uint8_t>() % 32] ^= input.take<uint8_t>();
    else if (what % 4 == 1)
      proof.resize(input.take<uint8_t>() % 80);
    else if (what % 4 == 2)
      said_index = input.take<uint64_t>();
    else
      said_count = input.take<uint64_t>();
  }
  changed = proof != sound || said_index != index;
  const bool convinced =
      verify_inclusion(tree.leaf(index), said_index, said_count, proof, tree.root_at(count));
  fuzz::require(!changed || !convinced);
  fuzz::require(changed || said_count != count || convinced);
  verify_consistency(said_index, tree.root_at(index), said_count, tree.root_at(count), proof);
  return 0;
}
