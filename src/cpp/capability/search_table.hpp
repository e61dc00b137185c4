// What one instruction set gives to the search: scores of rows against a few queries, and
// feasibility masks over columns. Internal to this concept.
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

// Columns of one block of rows, padded to whole words.
struct MaskColumns {
  const uint8_t* flags;
  const uint8_t* tier;
  const uint16_t* region;
  const uint32_t* agent;
  const uint32_t* tenant;
  const int64_t* price;
  const uint64_t* skills;
  const uint64_t* policy_bits;
};

// A conjunction; a test whose switch is off is not evaluated.
struct MaskTests {
  int64_t price_max;
  uint64_t skills_mask, skills_want, skills_any;  // (x & mask) == want, (x & any) != 0
  uint64_t policy_mask, policy_want;
  uint32_t tenant, exclude_agent;
  uint16_t region;
  uint8_t tier_min, tier_max, flags;
  bool never;  // contradictory: nothing is feasible
  bool test_price, test_tier, test_skills, test_skills_any, test_policy, test_tenant, test_exclude,
      test_region;

  bool operator==(const MaskTests&) const = default;
};

struct SearchTable {
  CpuLevel level;
  uint32_t queries_in_tile;                // at most queries_in_tile_max
  uint32_t (*score)(const ScoreJob& job);  // -> number of hits
  void (*mask)(const MaskColumns& columns, const MaskTests& tests, uint32_t word_count,
               uint64_t* words_out);
};

extern const SearchTable search_table_baseline;
// Those of this processor family beyond the baseline, ended by null. Each family links its own.
extern const SearchTable* const search_tables_native[];

// The table of `level`; the caller answers for the machine having it. Throws out_of_range when this
// build has no such table.
const SearchTable& search_table(CpuLevel level);

}  // namespace hanse
