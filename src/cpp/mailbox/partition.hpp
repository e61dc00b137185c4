// The rows of one bucket of the log, put in order of their receivers: stable, so that each receiver
// finds its messages in the order in which they were sent.
//
// Distribution counting where a bucket is well filled, else two passes of radix exchange over half
// of the bits each (Knuth, The Art of Computer Programming 3, 5.2 algorithm D and 5.2.5 algorithm
// R). What is moved is a key of four bytes; the payload of a row is a cache line of its own, so
// moving it in several passes would gain no locality, and it is fetched once, in its final order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hanse {

class Partition {
 public:
  static constexpr uint32_t receiver_bits = 14, row_bits = 18;
  static constexpr uint32_t receiver_count = 1u << receiver_bits;
  static constexpr uint32_t row_count_max = 1u << row_bits;

  static uint32_t receiver_of(uint32_t key) { return key >> row_bits; }
  static uint32_t row_of(uint32_t key) { return key & (row_count_max - 1); }

  // Begins anew. Rows are added in the order of their numbers, from 0, at most row_count_max.
  void clear() { keys_.clear(); }
  void add(std::span<const uint16_t> receivers);
  // Ascending keys: by receiver, then by row. Valid until the next call of another function.
  std::span<const uint32_t> sort();
  uint64_t memory_bytes() const;

 private:
  void sort_by_counting();
  void sort_by_radix();

  std::vector<uint32_t> keys_, sorted_;
  std::vector<uint32_t> starts_;
};

}  // namespace hanse
