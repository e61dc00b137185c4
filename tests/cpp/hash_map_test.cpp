#include "base/hash_map.hpp"

#include <gtest/gtest.h>

#include <map>

namespace hanse {
namespace {

// `mask` keeps few bits of the hash, so that long probe chains and wrap-around are common.
void compare_with_std_map(uint64_t mask, uint64_t seed) {
  HashMap map;
  std::vector<uint64_t> keys;
  std::map<uint64_t, uint32_t> oracle;
  const auto hash_of = [&](uint64_t key) { return mix64(key) & mask; };
  const auto find = [&](uint64_t key) {
    return map.find(hash_of(key), [&](uint32_t index) { return keys[index] == key; });
  };
  Random random(seed);
  for (int step = 0; step < 20'000; ++step) {
    const uint64_t key = random.below(400) + 1;
    const auto found = oracle.find(key);
    ASSERT_EQ(find(key), found == oracle.end() ? index_none : found->second);
    if (found == oracle.end()) {
      map.insert(hash_of(key), uint32_t(keys.size()));
      oracle[key] = uint32_t(keys.size());
      keys.push_back(key);
    } else {
      map.erase(hash_of(key), found->second);
      oracle.erase(found);
    }
    ASSERT_EQ(map.count(), oracle.size());
  }
}

TEST(HashMap, agrees_with_a_tree_under_random_inserts_and_erases) {
  compare_with_std_map(UINT64_MAX, 1);
}

TEST(HashMap, agrees_with_a_tree_when_most_hashes_collide) {
  compare_with_std_map(uint64_t(7) << 32, 2);
  compare_with_std_map(uint64_t(0xf0000000) << 32, 3);
}

TEST(HashMap, an_empty_map_finds_nothing) {
  const HashMap map;
  EXPECT_EQ(map.find(1, [](uint32_t) { return true; }), index_none);
}

TEST(HashMap, the_hash_of_bytes_depends_on_every_byte_the_size_and_the_seed) {
  std::vector<uint8_t> bytes(19, 0);
  const uint64_t plain = hash_bytes(bytes);
  for (size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = 1;
    EXPECT_NE(hash_bytes(bytes), plain) << i;
    bytes[i] = 0;
  }
  EXPECT_NE(hash_bytes(Bytes(bytes).first(18)), plain);
  EXPECT_NE(hash_bytes(bytes, 1), plain);
}

}  // namespace
}  // namespace hanse
