// AVX2, and popcount of 64-bit words, which every processor with AVX2 has.
#include <immintrin.h>

#include "capability/codes_loops.hpp"

namespace hanse {

extern const CodeKernels code_kernels_avx2, code_kernels_vnni;

namespace {

struct Avx2 {
  using Wide = __m256;
  static constexpr uint32_t lanes = 8;
  static Wide load(const float* p) { return _mm256_load_ps(p); }
  static void store(float* p, Wide v) { _mm256_store_ps(p, v); }
  static Wide add(Wide a, Wide b) { return _mm256_add_ps(a, b); }
  static Wide subtract(Wide a, Wide b) { return _mm256_sub_ps(a, b); }
  static void within(float* values, uint32_t count) {
    const Wide odd1 = _mm256_setr_ps(0, -0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f);
    const Wide odd2 = _mm256_setr_ps(0, 0, -0.0f, -0.0f, 0, 0, -0.0f, -0.0f);
    const Wide odd4 = _mm256_setr_ps(0, 0, 0, 0, -0.0f, -0.0f, -0.0f, -0.0f);
    for (uint32_t i = 0; i < count; i += lanes) {
      Wide v = load(values + i);
      v = add(_mm256_permute_ps(v, 0b10110001), _mm256_xor_ps(v, odd1));
      v = add(_mm256_permute_ps(v, 0b01001110), _mm256_xor_ps(v, odd2));
      v = add(_mm256_permute2f128_ps(v, v, 1), _mm256_xor_ps(v, odd4));
      store(values + i, v);
    }
  }
};

__m256i widen_row(const uint8_t* p) {
  return _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
__m256i widen_query(const int8_t* p) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
int32_t total(__m256i sums) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0b01001110));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0b10110001));
  return _mm_cvtsi128_si32(s);
}

// Bytes are widened first: _mm256_maddubs_epi16 would saturate.
void dots_avx2(const int8_t* query, const uint8_t* const* rows, uint32_t count, uint32_t dim,
               int32_t* dots_out) {
  for (uint32_t i = 0; i < count; ++i) {
    __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
    for (uint32_t d = 0; d < dim; d += 32)
#pragma GCC unroll 2
      for (uint32_t j = 0; j < 2; ++j)
        sums[j] = _mm256_add_epi32(sums[j], _mm256_madd_epi16(widen_row(rows[i] + d + 16 * j),
                                                              widen_query(query + d + 16 * j)));
    dots_out[i] = total(_mm256_add_epi32(sums[0], sums[1]));
  }
}

void row_dots_avx2(const uint8_t* row, const int8_t* const* queries, uint32_t count, uint32_t dim,
                   int32_t* dots_out) {
  for (uint32_t i = 0; i < count; ++i) dots_avx2(queries[i], &row, 1, dim, dots_out + i);
}

// Four rows of four components a vector: two sums a row, folded at the end.
void panel_dots_avx2(const uint8_t* panels, const int8_t* const* queries, uint32_t query_count,
                     uint32_t dim, int32_t* dots_out) {
  for (uint32_t q = 0; q < query_count; ++q)
    for (uint32_t panel = 0; panel < panels_in_tile; ++panel) {
      const uint8_t* at = panels + panel * panel_rows * dim;
      __m256i sums[4];
      for (__m256i& sum : sums) sum = _mm256_setzero_si256();
      for (uint32_t d = 0; d < dim; d += 4, at += panel_rows * 4) {
        int32_t four;
        __builtin_memcpy(&four, queries[q] + d, sizeof four);
        const __m256i query = _mm256_broadcastq_epi64(_mm_cvtepi8_epi16(_mm_cvtsi32_si128(four)));
#pragma GCC unroll 4
        for (uint32_t i = 0; i < 4; ++i)
          sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(widen_row(at + 16 * i), query));
      }
      for (uint32_t i = 0; i < 4; ++i) {
        const __m256i pairs = _mm256_hadd_epi32(sums[i], sums[i]);
        const __m256i four = _mm256_permute4x64_epi64(pairs, 0b00001000);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(dots_out + 4 * i),
                         _mm256_castsi256_si128(four));
      }
      dots_out += panel_rows;
    }
}

}  // namespace

const CodeKernels code_kernels_avx2 = {
    CpuLevel::avx2, "avx2",        sign_scores_popcount, fill_pool_plain,
    dots_avx2,      row_dots_avx2, panel_dots_avx2,      hadamard_blocks<Avx2>};

const CodeKernels* const code_kernels_native[] = {&code_kernels_avx2, &code_kernels_vnni, nullptr};

}  // namespace hanse
