// The columns of one block of rows, laid out for tests of 64 rows at a time: numbers have a 16-bit
// code in the order of the numbers, bit sets lie transposed. Internal to this concept.
//
// Searches read while one writer at a time changes cells. So every cell that a search reads is read
// and written whole, by `peek` and `poke`; what belongs together (a vector, its version, who it is
// of) is read between two looks at the row's sequence, which is odd while they change.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <memory>

#include "capability/search_table.hpp"

namespace hanse {

constexpr uint32_t rows_in_block = 4096;
constexpr uint32_t words_in_block = rows_in_block / rows_in_word;
// What a scan takes at a time: its masks and lists stay in L1.
constexpr uint32_t rows_in_part = 1024;
constexpr uint32_t words_in_part = rows_in_part / rows_in_word;

enum RowFlag : uint8_t {
  row_found = 1,
  row_live = 2,
  row_has_room = 4,
  row_feasible = row_found | row_live | row_has_room
};

template <class T>
T peek(const T& cell) {
  return std::atomic_ref<T>(const_cast<T&>(cell)).load(std::memory_order_relaxed);
}
template <class T>
void poke(T& cell, std::type_identity_t<T> value) {
  std::atomic_ref<T>(cell).store(value, std::memory_order_relaxed);
}
inline void poke_bit(uint64_t& word, uint32_t bit, bool on) {
  if (on)
    std::atomic_ref<uint64_t>(word).fetch_or(uint64_t(1) << bit, std::memory_order_relaxed);
  else
    std::atomic_ref<uint64_t>(word).fetch_and(~(uint64_t(1) << bit), std::memory_order_relaxed);
}

// Columns of numbers that filters take as ranges.
enum class Numeric : uint8_t { price, updated, load, reputation };
constexpr uint32_t numeric_count = 4;

// Numbers as int64 in the same order: what ranges compare exactly.
inline int64_t order_key(int64_t value) { return value; }
inline int64_t order_key(float value) {
  const auto bits = std::bit_cast<int32_t>(value == 0 ? 0.0f : value);  // -0 is 0
  return bits >= 0 ? bits : int64_t(INT32_MIN) - bits;
}

// Integers from 0: eleven leading bits and where they stand; never falls as the value grows.
inline uint16_t code_of(int64_t value) {
  if (value <= 0) return 0;
  const auto shift = uint32_t(std::max(0, int(std::bit_width(uint64_t(value))) - 11));
  return uint16_t((shift << 10) + uint32_t(value >> shift));
}
// Floats: sign, exponent and seven bits of fraction, negative ones reversed.
inline uint16_t code_of(float value) {
  const auto top = uint16_t(std::bit_cast<uint32_t>(value == 0 ? 0.0f : value) >> 16);
  return top & 0x8000 ? uint16_t(~top) : uint16_t(top | 0x8000);
}
constexpr uint16_t tenant_code(uint32_t tenant) { return uint16_t(tenant); }

struct FreeDeleter {
  bool owned = true;
  void operator()(void* memory) const {
    if (owned) std::free(memory);
  }
};

// 64 sets of one bit a row, bit-major. Made when a block's first bit is set.
struct BitSlices {
  uint64_t words[64][words_in_block] = {};
};

// Never moves once made. Columns begin as zeros, so rows not yet there are infeasible.
struct RowBlock {
  RowBlock(uint32_t stride, float* mapped);
  ~RowBlock();
  RowBlock(const RowBlock&) = delete;
  RowBlock& operator=(const RowBlock&) = delete;

  uint64_t ready[words_in_block] = {};  // flags == row_feasible
  uint16_t codes[numeric_count][rows_in_block] = {};
  uint16_t tenant_codes[rows_in_block] = {};
  uint16_t region[rows_in_block] = {};
  uint8_t tier[rows_in_block] = {};
  uint8_t flags[rows_in_block] = {};
  std::atomic<BitSlices*> skill_slices{nullptr};  // null: no row of the block has any
  std::atomic<BitSlices*> policy_slices{nullptr};

  uint64_t pending[words_in_block] = {};  // written, but not yet known to the graph
  uint32_t pending_count = 0;
  uint32_t sequence[rows_in_block] = {};
  uint32_t agent[rows_in_block] = {};
  uint32_t offer[rows_in_block] = {};
  uint32_t version[rows_in_block] = {};
  uint32_t tenant[rows_in_block] = {};
  uint32_t open[rows_in_block] = {};
  uint16_t slots[rows_in_block] = {};
  int64_t price[rows_in_block] = {};
  int64_t updated[rows_in_block] = {};
  float load[rows_in_block] = {};
  float reputation[rows_in_block] = {};
  uint64_t skills[rows_in_block] = {};
  uint64_t policy_bits[rows_in_block] = {};
  uint64_t id[rows_in_block] = {};              // of the index alone
  std::unique_ptr<float, FreeDeleter> vectors;  // [rows_in_block, stride], 64-byte aligned

  int64_t key(Numeric column, uint32_t i) const {
    switch (column) {
      case Numeric::price:
        return peek(price[i]);
      case Numeric::updated:
        return peek(updated[i]);
      case Numeric::load:
        return order_key(peek(load[i]));
      case Numeric::reputation:
        return order_key(peek(reputation[i]));
    }
    return 0;
  }
};

// A row as it was at one moment, for those who read beside a writer.
//   do sequence = begin_read(cell); … while (!still(cell, sequence))
inline uint32_t begin_read(const uint32_t& sequence) {
  for (;;) {
    const uint32_t seen =
        std::atomic_ref<uint32_t>(const_cast<uint32_t&>(sequence)).load(std::memory_order_acquire);
    if ((seen & 1) == 0) return seen;
  }
}
// A read-modify-write that changes nothing, since only this keeps earlier reads before it (Boehm,
// Can Seqlocks Get Along with Programming Language Memory Models?, section 4).
inline bool still(const uint32_t& sequence, uint32_t seen) {
  return std::atomic_ref<uint32_t>(const_cast<uint32_t&>(sequence))
             .fetch_add(0, std::memory_order_acq_rel) == seen;
}

class RowChange {
 public:
  explicit RowChange(uint32_t& sequence) : sequence_(sequence) { step(); }
  ~RowChange() { step(); }
  RowChange(const RowChange&) = delete;
  RowChange& operator=(const RowChange&) = delete;

 private:
  void step() { std::atomic_ref<uint32_t>(sequence_).fetch_add(1, std::memory_order_acq_rel); }
  uint32_t& sequence_;
};

// How many rows that can be found have which values: what selectivity is estimated from. One
// writer; any reader.
struct Statistics {
  static constexpr uint32_t buckets = 256;

  uint64_t found = 0;
  std::array<std::array<uint32_t, buckets>, numeric_count> codes{};  // by the code's high byte
  std::array<uint32_t, 64> skills{}, policy{};
  std::array<uint32_t, buckets> tier{};
  std::array<uint32_t, 1024> region{}, tenant{};  // modulo 1,024: never too few

  void move(Numeric column, uint16_t from, uint16_t to);
  void count_row(const RowBlock& block, uint32_t i, int32_t change);
  void count_bits(std::array<uint32_t, 64>& counts, uint64_t bits, int32_t change);
};

}  // namespace hanse
