// The inner loops behind base/hash.hpp, one row for each instruction set; for the dispatch in
// hash.cpp and for the tests that hold one row against the other.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/view.hpp"

namespace hanse {

struct HashTable {
  // Folds `block_count` blocks of 64 bytes into the state.
  void (*sha256_blocks)(uint32_t* state, const uint8_t* blocks, size_t block_count);
  uint32_t (*crc32c)(Bytes bytes, uint32_t crc);
};

void sha256_blocks_portable(uint32_t* state, const uint8_t* blocks, size_t block_count);
uint32_t crc32c_portable(Bytes bytes, uint32_t crc);

// Only on x86-64, and only where cpu_has_sha() and cpu_has_crc32() say so.
void sha256_blocks_sha(uint32_t* state, const uint8_t* blocks, size_t block_count);
uint32_t crc32c_sse42(Bytes bytes, uint32_t crc);

// The fastest of each on this machine. Chosen once; any thread.
const HashTable& hash_table();

}  // namespace hanse
