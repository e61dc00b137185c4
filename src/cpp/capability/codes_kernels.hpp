// What one instruction set gives to codes: sums of sign codes and int8 products, all of integers
// and therefore the same everywhere. Internal to this concept.
//
// The files that fill these tables are compiled with flags that the machine may not have, so this
// header holds plain data only.
#pragma once

#include <cstdint>

#include "base/cpu.hpp"

namespace hanse {

constexpr uint32_t query_bits = 4;  // bit planes of a query against sign codes

// Rows against a tile of queries, for batches. A panel holds 16 rows, four components of each row
// side by side: [dim / 4][16][4] bytes.
constexpr uint32_t panel_rows = 16;
constexpr uint32_t panels_in_tile = 4;
constexpr uint32_t queries_in_panel_tile = 6;

struct CodeKernels {
  CpuLevel level;
  const char* name;
  // For each record: sum over its set bits of the query's component, which is a signed number of
  // `query_bits` bits. planes [query_bits, words], records [count] of `words` words each.
  void (*sign_sums)(const uint64_t* planes, const uint64_t* const* records, uint32_t count,
                    uint32_t words, int32_t* sums_out);
  // Inner products of int8 `query` with rows stored with 128 added, less nothing: the caller takes
  // 128 * sum(query) away. dim is a multiple of 64, everything 64-byte aligned.
  void (*dots)(const int8_t* query, const uint8_t* const* rows, uint32_t count, uint32_t dim,
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
