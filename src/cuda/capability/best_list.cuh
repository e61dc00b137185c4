// The best so far of one query: a sorted list in shared memory that one warp keeps.
#pragma once

#include <cstdint>

#include "base/device.hpp"
#include "simt.cuh"

namespace hanse {
namespace {

constexpr uint32_t k_max = device_search_k_max;
constexpr uint32_t row_none = UINT32_MAX;

static_assert(k_max == 2 * warp_size, "a lane owns two places of a list");

__device__ inline bool goes_before(float score, uint32_t row, float other_score,
                                   uint32_t other_row) {
  return score > other_score || (score == other_score && row < other_row);
}

__device__ inline float lowest_score() { return -__int_as_float(0x7f800000); }

// One warp: puts (score, row) in its place and drops the last. All lanes give the same entry.
__device__ inline void insert(float* scores, uint32_t* rows, float score, uint32_t row) {
  const uint32_t lane = threadIdx.x % warp_size, upper = lane + warp_size;
  const float score0 = scores[lane], score1 = scores[upper];
  const uint32_t row0 = rows[lane], row1 = rows[upper];
  const uint32_t place =
      uint32_t(__popc(__ballot_sync(full_warp, goes_before(score0, row0, score, row)))) +
      uint32_t(__popc(__ballot_sync(full_warp, goes_before(score1, row1, score, row))));
  __syncwarp();  // every lane has read its places before any moves
  if (lane >= place) {
    scores[lane + 1] = score0;
    rows[lane + 1] = row0;
  }
  if (upper >= place && upper + 1 < k_max) {
    scores[upper + 1] = score1;
    rows[upper + 1] = row1;
  }
  if (lane == 0 && place < k_max) {
    scores[place] = score;
    rows[place] = row;
  }
  __syncwarp();
}

__device__ inline void clear(float* scores, uint32_t* rows) {
  const uint32_t lane = threadIdx.x % warp_size;
  for (uint32_t i = lane; i < k_max; i += warp_size) {
    scores[i] = lowest_score();
    rows[i] = row_none;
  }
  __syncwarp();
}

}  // namespace
}  // namespace hanse
