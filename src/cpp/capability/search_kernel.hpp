// The loops of the search, written once over a vector type; each instruction set's file includes
// this with its own. Everything is local to that file, so that no linker can pick another
// instruction set's copy. Internal to this concept.
#pragma once

#include "capability/search_table.hpp"

namespace hanse {
namespace {

// One query: memory is the limit, so rows are read one after another, as they lie.
template <class V>
void add_rows_in_turn(const float* const* rows, const float* query, uint32_t stride,
                      typename V::Wide* sums) {
#pragma GCC unroll 4
  for (uint32_t i = 0; i < rows_in_group; ++i)
    for (uint32_t d = 0; d < stride; d += V::lanes)
      sums[i] = V::multiply_add(V::load(rows[i] + d), V::load(query + d), sums[i]);
}

// Four rows and up to six queries share registers: per step of `lanes` dimensions, 4 + Q loads feed
// 4 * Q multiply-adds, so arithmetic and not the load ports is the limit from Q = 2 on. Sums are
// reduced to one 4-vector a query; only scores above the threshold leave the registers.
template <class V, uint32_t Q>
uint32_t score_rows(const ScoreJob& job) {
  // In steps as long as what is read meanwhile.
  constexpr uint32_t step = rows_in_group * V::lanes;
  const float* ahead = job.ahead;
  const float* ahead_end = ahead + job.ahead_count / step * step;
  uint32_t hit_count = 0;
  const float* queries[Q];
  for (uint32_t j = 0; j < Q; ++j) queries[j] = job.queries[j];

  for (uint32_t first = 0; first < job.row_count; first += rows_in_group) {
    const float* const* rows = job.rows + first;
    typename V::Wide sums[Q][rows_in_group];
#pragma GCC unroll 6
    for (uint32_t j = 0; j < Q; ++j)
#pragma GCC unroll 4
      for (uint32_t i = 0; i < rows_in_group; ++i) sums[j][i] = V::zero();

    if constexpr (Q == 1) {
      add_rows_in_turn<V>(rows, queries[0], job.stride, sums[0]);
    } else {
      for (uint32_t d = 0; d < job.stride; d += V::lanes) {
        if (ahead != ahead_end) {
#pragma GCC unroll 4
          for (uint32_t line = 0; line < step / lanes_max; ++line)
            __builtin_prefetch(ahead + line * lanes_max);
          ahead += step;
        }
        typename V::Wide query[Q];
#pragma GCC unroll 6
        for (uint32_t j = 0; j < Q; ++j) query[j] = V::load(queries[j] + d);
#pragma GCC unroll 4
        for (uint32_t i = 0; i < rows_in_group; ++i) {
          const typename V::Wide row = V::load(rows[i] + d);
#pragma GCC unroll 6
          for (uint32_t j = 0; j < Q; ++j) sums[j][i] = V::multiply_add(row, query[j], sums[j][i]);
        }
      }
    }

#pragma GCC unroll 6
    for (uint32_t j = 0; j < Q; ++j) {
      const auto scores = V::reduce(sums[j][0], sums[j][1], sums[j][2], sums[j][3]);
      uint32_t above = V::above(scores, job.thresholds[j]);
      if (above == 0) continue;
      float values[rows_in_group];
      V::store(values, scores);
      for (; above != 0; above &= above - 1) {
        const auto i = uint32_t(__builtin_ctz(above));
        job.hits_out[hit_count++] = {first + i, j, values[i]};
      }
    }
  }
  return hit_count;
}

template <class V>
uint32_t score_tile(const ScoreJob& job) {
  switch (job.query_count) {
    case 1:
      return score_rows<V, 1>(job);
    case 2:
      return score_rows<V, 2>(job);
    case 3:
      return score_rows<V, 3>(job);
  }
  if constexpr (V::queries_in_tile > 3) {
    switch (job.query_count) {
      case 4:
        return score_rows<V, 4>(job);
      case 5:
        return score_rows<V, 5>(job);
      case 6:
        return score_rows<V, 6>(job);
    }
  }
  return 0;
}

// A word of 64 rows at a time, and none for words that are 0 already.
template <class W>
void between16(const uint16_t* values, uint32_t word_count, uint16_t least, uint16_t most,
               uint64_t* words, uint64_t* edges_out) {
  for (uint32_t w = 0; w < word_count; ++w, values += rows_in_word) {
    edges_out[w] = 0;
    if (words[w] != 0) words[w] &= W::between(values, least, most, edges_out[w]);
  }
}

template <class W>
void between8(const uint8_t* values, uint32_t word_count, uint8_t least, uint8_t most,
              uint64_t* words) {
  for (uint32_t w = 0; w < word_count; ++w, values += rows_in_word)
    if (words[w] != 0) words[w] &= W::between(values, least, most);
}

// Here, because only these files may use the processor's own instruction for it.
inline uint32_t count_bits(const uint64_t* words, uint32_t word_count) {
  uint32_t count = 0;
  for (uint32_t w = 0; w < word_count; ++w) count += uint32_t(__builtin_popcountll(words[w]));
  return count;
}

inline double exact_dot_lanes(const float* a, const float* b, uint32_t stride) {
  double sums[8] = {};
  for (uint32_t i = 0; i < stride; i += 8)
    for (uint32_t lane = 0; lane < 8; ++lane)
      sums[lane] += double(a[i + lane]) * double(b[i + lane]);
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

// Without vector instructions: the reference, and what NEON uses.
struct PlainWords {
  static uint64_t between(const uint16_t* values, uint16_t least, uint16_t most, uint64_t& edges) {
    uint64_t word = 0;
    for (uint32_t i = 0; i < rows_in_word; ++i) {
      word |= uint64_t(values[i] >= least && values[i] <= most) << i;
      edges |= uint64_t(values[i] == least || values[i] == most) << i;
    }
    return word;
  }
  static uint64_t between(const uint8_t* values, uint8_t least, uint8_t most) {
    uint64_t word = 0;
    for (uint32_t i = 0; i < rows_in_word; ++i)
      word |= uint64_t(values[i] >= least && values[i] <= most) << i;
    return word;
  }
};

}  // namespace
}  // namespace hanse
