// What one instruction set gives to the search: scores of rows against a few queries, and tests of
// columns. Internal to this concept.
//
// These loops read cells that a writer may change meanwhile. A cell is read whole, and what they
// find is looked up again before it is answered; so no thread sanitizer watches them.
//
// The files that fill these tables are compiled with flags that the machine may not have, so this
// header holds plain data only: no inline function of the standard library may end up in them.
#pragma once

#include <cstdint>

#include "base/cpu.hpp"

namespace hanse {

constexpr uint32_t rows_in_group = 4;  // rows scored together; row counts are multiples of it
constexpr uint32_t lanes_max = 16;     // rows and queries are padded with zeros to this
constexpr uint32_t queries_in_tile_max = 6;
constexpr uint32_t rows_in_word = 64;  // rows of one word of a mask

struct ScoreHit {
  uint32_t row;    // position in ScoreJob::rows
  uint32_t query;  // position in ScoreJob::queries
  float score;
};

// Inner products in float32, summed in an order of the instruction set's own.
struct ScoreJob {
  const float* const* rows;     // [row_count]
  uint32_t row_count;           // a multiple of rows_in_group
  const float* const* queries;  // [query_count]
  uint32_t query_count;         // 1 … SearchTable::queries_in_tile
  uint32_t stride;              // floats a row; a multiple of lanes_max
  const float* thresholds;      // [query_count]
  const float* ahead;           // [ahead_count] to be prefetched meanwhile, in this order
  uint32_t ahead_count;
  ScoreHit* hits_out;  // [row_count * query_count]: only scores above the threshold
};

struct SearchTable {
  CpuLevel level;
  uint32_t queries_in_tile;                // at most queries_in_tile_max
  uint32_t (*score)(const ScoreJob& job);  // -> number of hits
  // words &= least <= value <= most, for the 64 values of each word that is not 0 yet.
  // edges_out: values at either end of the range.
  void (*between16)(const uint16_t* values, uint32_t word_count, uint16_t least, uint16_t most,
                    uint64_t* words, uint64_t* edges_out);
  void (*between8)(const uint8_t* values, uint32_t word_count, uint8_t least, uint8_t most,
                   uint64_t* words);
  uint32_t (*count_bits)(const uint64_t* words, uint32_t word_count);
  // In double and in one order: the same bits everywhere, and those of hanse::exact_dot. stride is
  // a multiple of lanes_max.
  double (*exact_dot)(const float* a, const float* b, uint32_t stride);
};

extern const SearchTable search_table_baseline;
// Those of this processor family beyond the baseline, ended by null. Each family links its own.
extern const SearchTable* const search_tables_native[];

// The table of `level`; the caller answers for the machine having it. Throws out_of_range when this
// build has no such table.
const SearchTable& search_table(CpuLevel level);

}  // namespace hanse
