// x86-64 with AVX2 and half-precision conversion.
#include <immintrin.h>

#include "latent/transform_kernel.hpp"

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

}  // namespace

const TransformTable transform_table_avx2 = table_of<Avx2>(CpuLevel::avx2);

}  // namespace hanse
