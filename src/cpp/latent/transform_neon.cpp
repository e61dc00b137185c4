// Arm: the family's own conversions. Stores are not hinted, since there is no hint that all cores
// follow.
#include <arm_neon.h>

#include "latent/transform_kernel.hpp"

namespace hanse {

extern const TransformTable transform_table_neon;

namespace {

struct Neon {
  static void line(uint8_t* to, const uint8_t* from) { __builtin_memcpy(to, from, 64); }
  static void four_lines(uint8_t* to, const uint8_t* from) { __builtin_memcpy(to, from, 256); }
  static void fence() {}
  static void float_from_half(float* to, const uint16_t* from, uint64_t count) {
    uint64_t i = 0;
    for (; i + 4 <= count; i += 4)
      vst1q_f32(to + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + i))));
    for (; i < count; ++i) to[i] = float_of_half(from[i]);
  }
  static void half_from_float(uint16_t* to, const float* from, uint64_t count) {
    uint64_t i = 0;
    for (; i + 4 <= count; i += 4)
      vst1_u16(to + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(from + i))));
    for (; i < count; ++i) to[i] = half_of_float(from[i]);
  }
};

}  // namespace

const TransformTable transform_table_neon = table_of<Neon>(CpuLevel::neon);

const TransformTable* const transform_tables_native[] = {&transform_table_neon, nullptr};

}  // namespace hanse
