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
  // The pack works on 128-bit halves; the permutation puts its quarters in order.
  static uint64_t bits16(__m256i low, __m256i high) {
    const __m256i packed = _mm256_packs_epi16(low, high);
    return uint32_t(_mm256_movemask_epi8(_mm256_permute4x64_epi64(packed, 0b11011000)));
  }

  static uint64_t between(const uint16_t* values, uint16_t least, uint16_t most, uint64_t& edges) {
    const __m256i lowest = _mm256_set1_epi16(short(least)),
                  highest = _mm256_set1_epi16(short(most));
    const auto inside = [&](__m256i x) {
      return _mm256_cmpeq_epi16(x, _mm256_min_epu16(_mm256_max_epu16(x, lowest), highest));
    };
    const auto edge = [&](__m256i x) {
      return _mm256_or_si256(_mm256_cmpeq_epi16(x, lowest), _mm256_cmpeq_epi16(x, highest));
    };
    uint64_t word = 0;
    for (uint32_t i = 0; i < rows_in_word; i += 32) {
      const __m256i a = load(values + i), b = load(values + i + 16);
      word |= bits16(inside(a), inside(b)) << i;
      edges |= bits16(edge(a), edge(b)) << i;
    }
    return word;
  }
  static uint64_t between(const uint8_t* values, uint8_t least, uint8_t most) {
    const __m256i low = _mm256_set1_epi8(char(least)), high = _mm256_set1_epi8(char(most));
    uint64_t word = 0;
    for (uint32_t i = 0; i < rows_in_word; i += 32) {
      const __m256i x = load(values + i);
      const __m256i clamped = _mm256_min_epu8(_mm256_max_epu8(x, low), high);
      word |= uint64_t(uint32_t(_mm256_movemask_epi8(_mm256_cmpeq_epi8(x, clamped)))) << i;
    }
    return word;
  }
};

}  // namespace

const SearchTable search_table_avx2 = {CpuLevel::avx2,      Avx2::queries_in_tile,
                                       score_tile<Avx2>,    between16<Avx2Words>,
                                       between8<Avx2Words>, count_bits,
                                       exact_dot_lanes};

const SearchTable* const search_tables_native[] = {&search_table_avx2, &search_table_avx512,
                                                   nullptr};

}  // namespace hanse
