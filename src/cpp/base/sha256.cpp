#include <algorithm>
#include <bit>
#include <cstring>

#include "base/hash.hpp"
#include "base/hash_tables.hpp"
#include "base/sha256_constants.hpp"

namespace hanse {

namespace {

constexpr size_t block_size = 64;
constexpr uint32_t initial_state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

uint32_t load_big_endian(const uint8_t* from) {
  return uint32_t(from[0]) << 24 | uint32_t(from[1]) << 16 | uint32_t(from[2]) << 8 | from[3];
}

void store_big_endian(uint8_t* to, uint32_t value) {
  for (int i = 0; i < 4; ++i) to[i] = uint8_t(value >> (24 - 8 * i));
}

void fold_block(uint32_t* state, const uint8_t* block) {
  uint32_t w[64];
  for (size_t i = 0; i < 16; ++i) w[i] = load_big_endian(block + 4 * i);
  for (size_t i = 16; i < 64; ++i) {
    const uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
    const uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
  uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
  for (size_t i = 0; i < 64; ++i) {
    const uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
    const uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + sha256_round_constants[i] + w[i];
    const uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
    const uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d;
  state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

}  // namespace

void sha256_blocks_portable(uint32_t* state, const uint8_t* blocks, size_t block_count) {
  for (size_t i = 0; i < block_count; ++i) fold_block(state, blocks + i * block_size);
}

Sha256::Sha256() { std::memcpy(state_, initial_state, sizeof(state_)); }

Sha256& Sha256::update(Bytes bytes) {
  if (bytes.empty()) return *this;
  const size_t held = size_bytes_ % block_size;
  size_bytes_ += bytes.size();
  if (held != 0) {
    const size_t taken = std::min(block_size - held, bytes.size());
    std::memcpy(block_ + held, bytes.data(), taken);
    if (held + taken < block_size) return *this;
    hash_table().sha256_blocks(state_, block_, 1);
    bytes = bytes.subspan(taken);
  }
  const size_t whole = bytes.size() / block_size;
  if (whole != 0) hash_table().sha256_blocks(state_, bytes.data(), whole);
  bytes = bytes.subspan(whole * block_size);
  if (!bytes.empty()) std::memcpy(block_, bytes.data(), bytes.size());
  return *this;
}

Digest Sha256::finish() {
  // A one bit, zeros up to 8 bytes before the end of a block, then the length in bits.
  const size_t held = size_bytes_ % block_size;
  uint8_t tail[2 * block_size] = {};
  std::memcpy(tail, block_, held);
  tail[held] = 0x80;
  const size_t tail_size = held < block_size - 8 ? block_size : 2 * block_size;
  const uint64_t size_bits = size_bytes_ * 8;
  store_big_endian(tail + tail_size - 8, uint32_t(size_bits >> 32));
  store_big_endian(tail + tail_size - 4, uint32_t(size_bits));
  hash_table().sha256_blocks(state_, tail, tail_size / block_size);

  Digest digest;
  for (size_t i = 0; i < 8; ++i) store_big_endian(digest.data() + 4 * i, state_[i]);
  *this = Sha256();
  return digest;
}

Digest sha256(Bytes bytes) { return Sha256().update(bytes).finish(); }

}  // namespace hanse
