// AVX2 and FMA: 12 sums, 3 queries and 1 row fill the 16 registers.
#include <immintrin.h>

#include "capability/search_kernel.hpp"

namespace hanse {

extern const SearchTable search_table_avx2, search_table_avx512;

namespace {

struct Avx2 {
  using Wide = __m256;
  static constexpr uint32_t lanes = 8;
  static constexpr uint32_t queries_in_tile = 3;

  static Wide zero() { return _mm256_setzero_ps(); }
  static Wide load(const float* p) { return _mm256_load_ps(p); }
  static Wide multiply_add(Wide a, Wide b, Wide sum) { return _mm256_fmadd_ps(a, b, sum); }
  static __m128 reduce(Wide a, Wide b, Wide c, Wide d) {
    const Wide ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    const Wide cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    const Wide all = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(1, 0, 1, 0)),
                                   _mm256_shuffle_ps(ab, cd, _MM_SHUFFLE(3, 2, 3, 2)));
    return _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
  }
  static uint32_t above(__m128 scores, float threshold) {
    return uint32_t(_mm_movemask_ps(_mm_cmpgt_ps(scores, _mm_set1_ps(threshold))));
  }
  static void store(float* out, __m128 scores) { _mm_storeu_ps(out, scores); }
};

struct Avx2Words {
  static __m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static uint64_t bits8(__m256i x) { return uint32_t(_mm256_movemask_epi8(x)); }
  static uint64_t bits32(__m256i x) { return uint32_t(_mm256_movemask_ps(_mm256_castsi256_ps(x))); }
  static uint64_t bits64(__m256i x) { return uint32_t(_mm256_movemask_pd(_mm256_castsi256_pd(x))); }

  static uint64_t equal(const uint8_t* values, uint8_t wanted) {
    const __m256i want = _mm256_set1_epi8(char(wanted));
    return bits8(_mm256_cmpeq_epi8(load(values), want)) |
           bits8(_mm256_cmpeq_epi8(load(values + 32), want)) << 32;
  }
  static uint64_t equal(const uint16_t* values, uint16_t wanted) {
    const __m256i want = _mm256_set1_epi16(short(wanted));
    uint64_t word = 0;
    for (uint32_t i = 0; i < rows_in_word; i += 32) {
      const __m256i low = _mm256_cmpeq_epi16(load(values + i), want);
      const __m256i high = _mm256_cmpeq_epi16(load(values + i + 16), want);
      // The pack works on 128-bit halves; the permutation puts its quarters in order.
      const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0b11011000);
      word |= bits8(packed) << i;
    }
    return word;
  }
  static uint64_t equal(const uint32_t* values, uint32_t wanted) {
    const __m256i want = _mm256_set1_epi32(int(wanted));
    uint64_t word = 0;
    for (uint32_t i = 0; i < rows_in_word; i += 8)
      word |= bits32(_mm256_cmpeq_epi32(load(values + i), want)) << i;
    return word;
  }
  static uint64_t between(const uint8_t* values, uint8_t low, uint8_t high) {
    const __m256i lowest = _mm256_set1_epi8(char(low)), highest = _mm256_set1_epi8(char(high));
    uint64_t word = 0;
    for (uint32_t i = 0; i < rows_in_word; i += 32) {
      const __m256i x = load(values + i);
      const __m256i clamped = _mm256_min_epu8(_mm256_max_epu8(x, lowest), highest);
      word |= bits8(_mm256_cmpeq_epi8(x, clamped)) << i;
    }
    return word;
  }
  static uint64_t at_most(const int64_t* values, int64_t bound) {
    const __m256i most = _mm256_set1_epi64x(bound);
    uint64_t above = 0;
    for (uint32_t i = 0; i < rows_in_word; i += 4)
      above |= bits64(_mm256_cmpgt_epi64(load(values + i), most)) << i;
    return ~above;
  }
  static uint64_t match(const uint64_t* values, uint64_t mask, uint64_t want) {
    const __m256i masks = _mm256_set1_epi64x(int64_t(mask));
    const __m256i wants = _mm256_set1_epi64x(int64_t(want));
    uint64_t word = 0;
    for (uint32_t i = 0; i < rows_in_word; i += 4) {
      const __m256i kept = _mm256_and_si256(load(values + i), masks);
      word |= bits64(_mm256_cmpeq_epi64(kept, wants)) << i;
    }
    return word;
  }
};

}  // namespace

const SearchTable search_table_avx2 = {CpuLevel::avx2, Avx2::queries_in_tile, score_tile<Avx2>,
                                       mask_words<Avx2Words>};

const SearchTable* const search_tables_native[] = {&search_table_avx2, &search_table_avx512,
                                                   nullptr};

}  // namespace hanse
