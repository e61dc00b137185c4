#include "base/hash.hpp"

#include "base/cpu.hpp"
#include "base/hash_tables.hpp"

namespace hanse {

namespace {

HashTable choose_hash_table() {
  HashTable table{sha256_blocks_portable, crc32c_portable};
#if defined(__x86_64__)
  if (cpu_has_sha()) table.sha256_blocks = sha256_blocks_sha;
  if (cpu_has_crc32()) table.crc32c = crc32c_sse42;
#endif
  return table;
}

}  // namespace

const HashTable& hash_table() {
  static const HashTable table = choose_hash_table();
  return table;
}

uint32_t crc32c(Bytes bytes, uint32_t crc) { return hash_table().crc32c(bytes, crc); }

std::string hex(Bytes bytes) {
  constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const uint8_t byte : bytes) {
    text += digits[byte >> 4];
    text += digits[byte & 15];
  }
  return text;
}

}  // namespace hanse
