// AVX-512: 24 sums, 6 queries and 1 row in 31 of the 32 registers.
#include <immintrin.h>

#include "capability/search_kernel.hpp"

namespace hanse {

extern const SearchTable search_table_avx512;

namespace {

struct Avx512 {
  using Wide = __m512;
  static constexpr uint32_t lanes = 16;
  static constexpr uint32_t queries_in_tile = 6;

  static Wide zero() { return _mm512_setzero_ps(); }
  static Wide load(const float* p) { return _mm512_load_ps(p); }
  static Wide multiply_add(Wide a, Wide b, Wide sum) { return _mm512_fmadd_ps(a, b, sum); }
  static __m128 reduce(Wide a, Wide b, Wide c, Wide d) {
    const Wide ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const Wide cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    const Wide all = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, _MM_SHUFFLE(1, 0, 1, 0)),
                                   _mm512_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 2, 3, 2)));
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  }
  static uint32_t above(__m128 scores, float threshold) {
    return _mm_cmp_ps_mask(scores, _mm_set1_ps(threshold), _CMP_GT_OQ);
  }
  static void store(float* out, __m128 scores) { _mm_storeu_ps(out, scores); }
};

struct Avx512Words {
  static uint64_t between(const uint16_t* values, uint16_t least, uint16_t most, uint64_t& edges) {
    const __m512i low = _mm512_set1_epi16(short(least)), high = _mm512_set1_epi16(short(most));
    uint64_t word = 0;
    for (uint32_t i = 0; i < rows_in_word; i += 32) {
      const __m512i x = _mm512_loadu_si512(values + i);
      word |= uint64_t(_mm512_cmpge_epu16_mask(x, low) & _mm512_cmple_epu16_mask(x, high)) << i;
      edges |= uint64_t(_mm512_cmpeq_epi16_mask(x, low) | _mm512_cmpeq_epi16_mask(x, high)) << i;
    }
    return word;
  }
  static uint64_t between(const uint8_t* values, uint8_t least, uint8_t most) {
    const __m512i x = _mm512_loadu_si512(values);
    return _mm512_cmpge_epu8_mask(x, _mm512_set1_epi8(char(least))) &
           _mm512_cmple_epu8_mask(x, _mm512_set1_epi8(char(most)));
  }
};

}  // namespace

const SearchTable search_table_avx512 = {CpuLevel::avx512,      Avx512::queries_in_tile,
                                         score_tile<Avx512>,    between16<Avx512Words>,
                                         between8<Avx512Words>, count_bits,
                                         exact_dot_lanes};

}  // namespace hanse
