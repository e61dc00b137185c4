// x86-64 with AVX2 and half-precision conversion.
#include <immintrin.h>

#include "latent/wide_kernel.hpp"

namespace hanse {

extern const TransformTable transform_table_avx2;

namespace {

struct Avx2 {
  static void line(uint8_t* to, const uint8_t* from) {
    const auto* source = reinterpret_cast<const __m256i*>(from);
    auto* target = reinterpret_cast<__m256i*>(to);
    const __m256i a = _mm256_loadu_si256(source), b = _mm256_loadu_si256(source + 1);
    _mm256_stream_si256(target, a);
    _mm256_stream_si256(target + 1, b);
  }
  static void four_lines(uint8_t* to, const uint8_t* from) {
    for (int i = 0; i < 4; ++i) line(to + 64 * i, from + 64 * i);
  }
  static void fence() { _mm_sfence(); }
  static void float_from_half(float* to, const uint16_t* from, uint64_t count) {
    uint64_t i = 0;
    for (; i + 8 <= count; i += 8)
      _mm256_storeu_ps(
          to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
    for (; i < count; ++i) to[i] = float_of_half(from[i]);
  }
  static void half_from_float(uint16_t* to, const float* from, uint64_t count) {
    uint64_t i = 0;
    for (; i + 8 <= count; i += 8)
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                       _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < count; ++i) to[i] = half_of_float(from[i]);
  }
};

struct Eight {
  using Floats = __m256;
  using Ints = __m256i;
  using Bad = __m256;
  static constexpr uint32_t width = 8;
  static Floats load(const float* at) { return _mm256_loadu_ps(at); }
  static void store(float* at, Floats value) { _mm256_storeu_ps(at, value); }
  static void stream(float* at, Floats value) {
    if (reinterpret_cast<uintptr_t>(at) % 32 == 0) return _mm256_stream_ps(at, value);
    _mm_stream_ps(at, _mm256_castps256_ps128(value));
    _mm_stream_ps(at + 4, _mm256_extractf128_ps(value, 1));
  }
  static Floats set(float value) { return _mm256_set1_ps(value); }
  static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats div(Floats a, Floats b) { return _mm256_div_ps(a, b); }
  static Floats div_or_zero(Floats a, Floats b) {
    const Floats positive = _mm256_cmp_ps(b, _mm256_setzero_ps(), _CMP_GT_OQ);
    return _mm256_and_ps(_mm256_div_ps(a, b), positive);
  }
  static Floats min(Floats a, Floats b) { return _mm256_min_ps(a, b); }
  static Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
  static float least(Floats a) {
    __m128 four = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    four = _mm_min_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_min_ss(four, _mm_movehdup_ps(four)));
  }
  static float most(Floats a) {
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
  }
  static Bad no_bad() { return _mm256_setzero_ps(); }
  static Bad bad(Floats a) {
    const Floats size = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
    return _mm256_cmp_ps(size, _mm256_set1_ps(__FLT_MAX__), _CMP_NLE_UQ);
  }
  static Bad join(Bad a, Bad b) { return _mm256_or_ps(a, b); }
  static bool any(Bad a) { return _mm256_movemask_ps(a) != 0; }
  static Ints truncate(Floats a) { return _mm256_cvttps_epi32(a); }
  static Floats to_floats(Ints a) { return _mm256_cvtepi32_ps(a); }
  static Ints nibbles(Ints low, Ints high) {
    return _mm256_or_si256(low, _mm256_slli_epi32(high, 4));
  }
  static Ints low_nibble(Ints both) { return _mm256_and_si256(both, _mm256_set1_epi32(15)); }
  static Ints high_nibble(Ints both) { return _mm256_srli_epi32(both, 4); }
  static Ints load_codes(const uint8_t* at) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
  }
  static void store_codes(uint8_t* at, Ints codes) {
    codes = _mm256_and_si256(codes, _mm256_set1_epi32(255));  // Packing saturates.
    const __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256(codes, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(at), _mm_packus_epi16(words, words));
  }
};

}  // namespace

const TransformTable transform_table_avx2 = wide_table_of<Avx2, Eight>(CpuLevel::avx2);

}  // namespace hanse
