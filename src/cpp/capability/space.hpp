// One space's rows: columns for the masks, row-major vectors for the scores. Internal to this
// concept.
//
// Row-major, because a row is read alone as often as in a scan: selective filters, the re-rank and
// a graph all touch single rows, which a layout interleaved by dimension spreads over `dim` cache
// lines.
#pragma once

#include <cstdlib>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/chunked_hash.hpp"
#include "capability/capability.hpp"
#include "capability/search_table.hpp"

namespace hanse {

constexpr uint32_t space_dim_max = 4096;
constexpr uint32_t rows_in_block = 4096;
constexpr uint32_t rows_in_part =
    1024;  // what a scan takes at a time: its masks and lists stay in L1
constexpr uint32_t words_in_part = rows_in_part / rows_in_word;

enum RowFlag : uint8_t {
  row_found = 1,
  row_live = 2,
  row_has_room = 4,
  row_feasible = row_found | row_live | row_has_room
};

struct FreeDeleter {
  void operator()(float* memory) const { std::free(memory); }
};

// Never moves once made. Columns begin as zeros, so rows not yet there are infeasible.
struct RowBlock {
  explicit RowBlock(uint32_t stride);

  uint8_t flags[rows_in_block] = {};
  uint8_t tier[rows_in_block] = {};
  uint16_t region[rows_in_block] = {};
  uint16_t slots[rows_in_block] = {};
  uint32_t open[rows_in_block] = {};
  uint32_t agent[rows_in_block] = {};
  uint32_t offer[rows_in_block] = {};
  uint32_t version[rows_in_block] = {};
  uint32_t tenant[rows_in_block] = {};
  int64_t price[rows_in_block] = {};
  uint64_t skills[rows_in_block] = {};
  uint64_t policy_bits[rows_in_block] = {};
  std::unique_ptr<float, FreeDeleter> vectors;  // [rows_in_block, stride], 64-byte aligned

  MaskColumns columns(uint32_t first) const {
    return {flags + first,  tier + first,  region + first, agent + first,
            tenant + first, price + first, skills + first, policy_bits + first};
  }
};

// (agent, offer) -> row. Offer 0, which nearly all have, is an array over agent indices in pages.
class OfferRows {
 public:
  uint32_t find(uint32_t agent, uint32_t offer) const;  // index_none
  void add(uint32_t agent, uint32_t offer, uint32_t row);
  uint64_t memory_bytes() const;

 private:
  static constexpr uint32_t page_size = 4096;

  std::vector<std::unique_ptr<uint32_t[]>> pages_;  // of offer 0
  uint64_t page_count_ = 0;
  std::unordered_map<uint64_t, uint32_t> others_;
};

struct CapabilitySpace {
  explicit CapabilitySpace(const SpaceSpec& spec_of_space);

  RowBlock& block(uint32_t row) { return *blocks[row / rows_in_block]; }
  const RowBlock& block(uint32_t row) const { return *blocks[row / rows_in_block]; }
  static uint32_t slot(uint32_t row) { return row % rows_in_block; }
  float* vector(uint32_t row) { return block(row).vectors.get() + size_t(slot(row)) * stride; }
  const float* vector(uint32_t row) const {
    return block(row).vectors.get() + size_t(slot(row)) * stride;
  }
  uint32_t append();  // -> a row with version 0 that can't be found yet
  void write_vector(uint32_t row, const float* given, double norm);
  uint64_t memory_bytes() const;
  // `open` or `slots` changed.
  void refresh_room(uint32_t row);

  SpaceSpec spec;
  uint32_t stride;  // floats a row: dim rounded up to lanes_max, zeros behind
  uint32_t row_count = 0;
  double norm_max = 0;  // no stored vector was ever longer; bounds the float32 error
  std::vector<std::unique_ptr<RowBlock>> blocks;
  OfferRows rows;
  ChunkedHash hash;
};

// The inner product in double, in one order everywhere: eight partial sums, component i in sum
// i mod 8, then ((0+4)+(2+6)) + ((1+5)+(3+7)). Products of two floats are exact in double, so fused
// and separate multiply-adds give the same bits.
double exact_dot(const float* a, const float* b, uint32_t count);

// Writes `stride` floats: vector / norm (cosine) or the vector itself, then zeros.
void store_vector(Metric metric, const float* vector, uint32_t dim, uint32_t stride, double norm,
                  float* out);

// Throws dimension_mismatch.
void check_dim(const char* field, size_t dim, uint32_t expected);

// The norm. Throws bad_vector, naming `field`, the row and the component at fault.
double checked_norm(const char* field, size_t row, const float* vector, uint32_t dim);

}  // namespace hanse
