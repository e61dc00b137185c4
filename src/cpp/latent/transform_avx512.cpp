// x86-64 with AVX-512 (F, BW, DQ, VL): a line is one register.
#include <immintrin.h>

#include "latent/wide_kernel.hpp"

namespace hanse {

extern const TransformTable transform_table_avx2;
extern const TransformTable transform_table_avx512;

namespace {

struct Avx512 {
  static void line(uint8_t* to, const uint8_t* from) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
  }
  static void four_lines(uint8_t* to, const uint8_t* from) {
    const __m512i a = _mm512_loadu_si512(from), b = _mm512_loadu_si512(from + 64);
    const __m512i c = _mm512_loadu_si512(from + 128), d = _mm512_loadu_si512(from + 192);
    auto* target = reinterpret_cast<__m512i*>(to);
    _mm512_stream_si512(target, a);
    _mm512_stream_si512(target + 1, b);
    _mm512_stream_si512(target + 2, c);
    _mm512_stream_si512(target + 3, d);
  }
  static void fence() { _mm_sfence(); }
  static void float_from_half(float* to, const uint16_t* from, uint64_t count) {
    uint64_t i = 0;
    for (; i + 16 <= count; i += 16)
      _mm512_storeu_ps(
          to + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i))));
    for (; i < count; ++i) to[i] = float_of_half(from[i]);
  }
  static void half_from_float(uint16_t* to, const float* from, uint64_t count) {
    uint64_t i = 0;
    for (; i + 16 <= count; i += 16)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i),
                          _mm512_cvtps_ph(_mm512_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT));
    for (; i < count; ++i) to[i] = half_of_float(from[i]);
  }
};

struct Sixteen {
  using Floats = __m512;
  using Ints = __m512i;
  using Bad = __mmask16;
  static constexpr uint32_t width = 16;
  static Floats load(const float* at) { return _mm512_loadu_ps(at); }
  static void store(float* at, Floats value) { _mm512_storeu_ps(at, value); }
  static void stream(float* at, Floats value) {
    if (reinterpret_cast<uintptr_t>(at) % 64 == 0) return _mm512_stream_ps(at, value);
    _mm_stream_ps(at, _mm512_castps512_ps128(value));
    _mm_stream_ps(at + 4, _mm512_extractf32x4_ps(value, 1));
    _mm_stream_ps(at + 8, _mm512_extractf32x4_ps(value, 2));
    _mm_stream_ps(at + 12, _mm512_extractf32x4_ps(value, 3));
  }
  static Floats set(float value) { return _mm512_set1_ps(value); }
  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats div(Floats a, Floats b) { return _mm512_div_ps(a, b); }
  static Floats div_or_zero(Floats a, Floats b) {
    return _mm512_maskz_div_ps(_mm512_cmp_ps_mask(b, _mm512_setzero_ps(), _CMP_GT_OQ), a, b);
  }
  static Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }
  static Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
  static float least(Floats a) { return _mm512_reduce_min_ps(a); }
  static float most(Floats a) { return _mm512_reduce_max_ps(a); }
  static Bad no_bad() { return 0; }
  static Bad bad(Floats a) {
    constexpr int not_finite = 0x01 | 0x08 | 0x10 | 0x80;  // quiet NaN, both infinities, NaN
    return _mm512_fpclass_ps_mask(a, not_finite);
  }
  static Bad join(Bad a, Bad b) { return Bad(a | b); }
  static bool any(Bad a) { return a != 0; }
  static Ints truncate(Floats a) { return _mm512_cvttps_epi32(a); }
  static Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(a); }
  static Ints nibbles(Ints low, Ints high) {
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 4));
  }
  static Ints low_nibble(Ints both) { return _mm512_and_si512(both, _mm512_set1_epi32(15)); }
  static Ints high_nibble(Ints both) { return _mm512_srli_epi32(both, 4); }
  static Ints load_codes(const uint8_t* at) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  }
  static void store_codes(uint8_t* at, Ints codes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(at), _mm512_cvtepi32_epi8(codes));
  }
};

}  // namespace

const TransformTable transform_table_avx512 = wide_table_of<Avx512, Sixteen>(CpuLevel::avx512);

const TransformTable* const transform_tables_native[] = {&transform_table_avx2,
                                                         &transform_table_avx512, nullptr};

}  // namespace hanse
