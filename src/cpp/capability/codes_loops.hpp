// The loops over codes, written once over a vector type; each instruction set's file includes this
// with its own. Everything is local to that file. Internal to this concept.
#pragma once

#include "capability/codes_kernels.hpp"

namespace hanse {
namespace {

constexpr uint32_t query_top = query_bits - 1;  // the plane of the sign

inline const uint64_t* bits_of(const uint8_t* record) {
  return reinterpret_cast<const uint64_t*>(record + sizeof(CodeFactors));
}

inline float sign_score(const SignJob& job, const uint8_t* record, int32_t sum) {
  const auto& of = *reinterpret_cast<const CodeFactors*>(record);
  return of.sign_scale * (job.plane_scale * float(sum) - job.plane_offset) +
         (job.centre_weight * of.centre_dot - job.square_weight * of.half_square);
}

// One word at a time, counted by `ones`.
template <class Ones>
void sign_scores_by_word(const SignJob& job, Ones ones) {
  for (uint32_t i = 0; i < job.count; ++i) {
    const uint64_t* bits = bits_of(job.records[i]);
    int32_t sums[query_bits] = {};
    for (uint32_t w = 0; w < job.words; ++w)
#pragma GCC unroll 4
      for (uint32_t bit = 0; bit < query_bits; ++bit)
        sums[bit] += int32_t(ones(bits[w] & job.planes[bit * job.words + w]));
    int32_t sum = -(sums[query_top] << query_top);
    for (uint32_t bit = 0; bit < query_top; ++bit) sum += sums[bit] << bit;
    job.scores_out[i] = sign_score(job, job.records[i], sum);
  }
}

inline void sign_scores_popcount(const SignJob& job) {
  sign_scores_by_word(job, [](uint64_t word) { return __builtin_popcountll(word); });
}

// No branch depends on where a key belongs: it could not be foretold.
inline uint32_t fill_pool_plain(const PoolJob& job) {
  PoolEntry* pool = job.pool;
  uint32_t best = job.size;
  for (uint32_t i = 0; i < job.count; ++i) {
    const PoolEntry entry = PoolEntry::of(job.scores[i], job.slots[i]);
    if (entry.key <= pool[job.size - 1].key) continue;
    uint32_t low = 0;
    for (uint32_t left = job.size; left > 0;) {
      const uint32_t half = (left + 1) / 2;
      low += pool[low + half - 1].key > entry.key ? half : 0;
      left -= half;
    }
    __builtin_memmove(pool + low + 1, pool + low, (job.size - 1 - low) * sizeof(PoolEntry));
    pool[low] = entry;
    best = low < best ? low : best;
  }
  return best;
}

inline void dots_plain(const int8_t* query, const uint8_t* const* rows, uint32_t count,
                       uint32_t dim, int32_t* dots_out) {
  for (uint32_t i = 0; i < count; ++i) {
    const uint8_t* row = rows[i];
    int32_t sum = 0;
    for (uint32_t d = 0; d < dim; ++d) sum += int32_t(row[d]) * int32_t(query[d]);
    dots_out[i] = sum;
  }
}

inline void row_dots_plain(const uint8_t* row, const int8_t* const* queries, uint32_t count,
                           uint32_t dim, int32_t* dots_out) {
  for (uint32_t i = 0; i < count; ++i) dots_plain(queries[i], &row, 1, dim, dots_out + i);
}

inline void panel_dots_plain(const uint8_t* panels, const int8_t* const* queries,
                             uint32_t query_count, uint32_t dim, int32_t* dots_out) {
  for (uint32_t q = 0; q < query_count; ++q)
    for (uint32_t panel = 0; panel < panels_in_tile; ++panel) {
      int32_t sums[panel_rows] = {};
      const uint8_t* at = panels + panel * panel_rows * dim;
      for (uint32_t d = 0; d < dim; d += 4, at += panel_rows * 4)
        for (uint32_t i = 0; i < panel_rows; ++i)
          for (uint32_t j = 0; j < 4; ++j)
            sums[i] += int32_t(at[i * 4 + j]) * int32_t(queries[q][d + j]);
      for (uint32_t i = 0; i < panel_rows; ++i) *dots_out++ = sums[i];
    }
}

// V::within does the steps inside a vector. Steps go from near to far everywhere, so that all
// instruction sets round alike.
template <class V>
void hadamard_blocks(float* values, uint32_t count, uint32_t block) {
  V::within(values, count);
  for (uint32_t half = V::lanes; half < block; half *= 2)
    for (uint32_t start = 0; start < count; start += 2 * half)
      for (uint32_t i = start; i < start + half; i += V::lanes) {
        const auto a = V::load(values + i), b = V::load(values + i + half);
        V::store(values + i, V::add(a, b));
        V::store(values + i + half, V::subtract(a, b));
      }
}

}  // namespace
}  // namespace hanse
