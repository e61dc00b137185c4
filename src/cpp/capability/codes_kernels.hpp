// What one instruction set gives to codes: sums of sign codes and int8 products, all of integers
// and therefore the same everywhere. Internal to this concept.
//
// The files that fill these tables are compiled with flags that the machine may not have, so this
// header holds plain data only.
#pragma once

#include <bit>
#include <cstdint>

#include "base/cpu.hpp"

namespace hanse {

constexpr uint32_t query_bits = 4;  // bit planes of a query against sign codes

// Rows against a tile of queries, for batches. A panel holds 16 rows, four components of each row
// side by side: [dim / 4][16][4] bytes.
constexpr uint32_t panel_rows = 16;
constexpr uint32_t panels_in_tile = 4;
constexpr uint32_t queries_in_panel_tile = 6;

// What precedes the bits of a code, all about the vector less the centre.
struct CodeFactors {
  float sign_scale;   // of the sum over signs
  float int8_scale;   // of one unit of int8
  float centre_dot;   // inner product with the centre
  float half_square;  // half the squared norm, for distances between rows
};

// Scores of records, each of which is CodeFactors and `words` words of bits. With s the sum over
// the set bits of the query's components, signed numbers of `query_bits` bits:
//   sign_scale * (plane_scale * s - plane_offset) + centre_weight * centre_dot
//                                                 - square_weight * half_square
// rounded after each operation, so that all instruction sets agree bit for bit.
struct SignJob {
  const uint64_t* planes;         // [query_bits, words]
  const uint8_t* const* records;  // [count]
  uint32_t count, words;
  float plane_scale, plane_offset, centre_weight, square_weight;
  float* scores_out;  // [count]
};

// A place of the pool of a walk, ordered by one comparison: the score, then the slot, then whether
// its edges were followed. 0 is an empty place.
struct PoolEntry {
  uint64_t key;

  static PoolEntry of(float score, uint32_t slot) {
    auto bits = std::bit_cast<uint32_t>(score);
    bits ^= bits >> 31 ? UINT32_MAX : uint32_t(1) << 31;
    return {uint64_t(bits) << 32 | slot << 1};
  }
  bool empty() const { return key == 0; }
  uint32_t slot() const { return uint32_t(key) >> 1; }
  bool followed() const { return (key & 1) != 0; }
  float score() const {
    auto bits = uint32_t(key >> 32);
    bits ^= bits >> 31 ? uint32_t(1) << 31 : UINT32_MAX;
    return std::bit_cast<float>(bits);
  }
};

constexpr uint32_t pool_unit = 8;  // the size of a pool is a multiple of it

// Puts `count` slots into a pool that is sorted best first; what falls over its end is lost.
struct PoolJob {
  PoolEntry* pool;  // [size], 64-byte aligned, empty places last
  uint32_t size;
  const float* scores;    // [count]
  const uint32_t* slots;  // [count], none of which is in the pool
  uint32_t count;
};

struct CodeKernels {
  CpuLevel level;
  const char* name;
  // Estimates from sign codes.
  void (*sign_scores)(const SignJob& job);
  // -> the best place that one of them took; job.size if none did.
  uint32_t (*fill_pool)(const PoolJob& job);
  // Inner products of int8 `query` with rows stored with 128 added, less nothing: the caller takes
  // 128 * sum(query) away. dim is a multiple of 64, everything 64-byte aligned.
  void (*dots)(const int8_t* query, const uint8_t* const* rows, uint32_t count, uint32_t dim,
               int32_t* dots_out);
  // The same of one row with several queries.
  void (*row_dots)(const uint8_t* row, const int8_t* const* queries, uint32_t count, uint32_t dim,
                   int32_t* dots_out);
  // dots_out [query_count][panels_in_tile * panel_rows]; query_count <= queries_in_panel_tile.
  void (*panel_dots)(const uint8_t* panels, const int8_t* const* queries, uint32_t query_count,
                     uint32_t dim, int32_t* dots_out);
  // In place, unscaled Walsh-Hadamard transforms of [count / block] blocks; block is a power of
  // two, 64 or more.
  void (*hadamard)(float* values, uint32_t count, uint32_t block);
};

extern const CodeKernels code_kernels_baseline;
// Those of this processor family beyond the baseline, the best of a level last, ended by null.
extern const CodeKernels* const code_kernels_native[];

// The best table of `level` that this machine can run.
const CodeKernels& code_kernels(CpuLevel level);

}  // namespace hanse
