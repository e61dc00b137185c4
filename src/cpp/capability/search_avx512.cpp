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
  static uint64_t equal(const uint8_t* values, uint8_t wanted) {
    return _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(values), _mm512_set1_epi8(char(wanted)));
  }
  static uint64_t equal(const uint16_t* values, uint16_t wanted) {
    const __m512i want = _mm512_set1_epi16(short(wanted));
    return uint64_t(_mm512_cmpeq_epi16_mask(_mm512_loadu_si512(values), want)) |
           uint64_t(_mm512_cmpeq_epi16_mask(_mm512_loadu_si512(values + 32), want)) << 32;
  }
  static uint64_t equal(const uint32_t* values, uint32_t wanted) {
    const __m512i want = _mm512_set1_epi32(int(wanted));
    uint64_t word = 0;
    for (uint32_t i = 0; i < rows_in_word; i += 16)
      word |= uint64_t(_mm512_cmpeq_epi32_mask(_mm512_loadu_si512(values + i), want)) << i;
    return word;
  }
  static uint64_t between(const uint8_t* values, uint8_t low, uint8_t high) {
    const __m512i x = _mm512_loadu_si512(values);
    return _mm512_cmpge_epu8_mask(x, _mm512_set1_epi8(char(low))) &
           _mm512_cmple_epu8_mask(x, _mm512_set1_epi8(char(high)));
  }
  static uint64_t at_most(const int64_t* values, int64_t bound) {
    const __m512i most = _mm512_set1_epi64(bound);
    uint64_t word = 0;
    for (uint32_t i = 0; i < rows_in_word; i += 8)
      word |= uint64_t(_mm512_cmple_epi64_mask(_mm512_loadu_si512(values + i), most)) << i;
    return word;
  }
  static uint64_t match(const uint64_t* values, uint64_t mask, uint64_t want) {
    const __m512i masks = _mm512_set1_epi64(int64_t(mask));
    const __m512i wants = _mm512_set1_epi64(int64_t(want));
    uint64_t word = 0;
    for (uint32_t i = 0; i < rows_in_word; i += 8) {
      const __m512i kept = _mm512_and_si512(_mm512_loadu_si512(values + i), masks);
      word |= uint64_t(_mm512_cmpeq_epi64_mask(kept, wants)) << i;
    }
    return word;
  }
};

}  // namespace

const SearchTable search_table_avx512 = {CpuLevel::avx512, Avx512::queries_in_tile,
                                         score_tile<Avx512>, mask_words<Avx512Words>};

}  // namespace hanse
