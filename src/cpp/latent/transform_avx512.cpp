// x86-64 with AVX-512 (F, BW, DQ, VL): a line is one register.
#include <immintrin.h>

#include "latent/transform_kernel.hpp"

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

}  // namespace

const TransformTable transform_table_avx512 = table_of<Avx512>(CpuLevel::avx512);

const TransformTable* const transform_tables_native[] = {&transform_table_avx2,
                                                         &transform_table_avx512, nullptr};

}  // namespace hanse
