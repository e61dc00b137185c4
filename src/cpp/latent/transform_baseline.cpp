// Any processor: plain C++, which the compiler turns into whatever vectors the family always has.
#include "latent/transform_kernel.hpp"

namespace hanse {
namespace {

struct Plain {
  static void line(uint8_t* to, const uint8_t* from) { __builtin_memcpy(to, from, 64); }
  static void four_lines(uint8_t* to, const uint8_t* from) { __builtin_memcpy(to, from, 256); }
  static void fence() {}
  static void float_from_half(float* to, const uint16_t* from, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) to[i] = float_of_half(from[i]);
  }
  static void half_from_float(uint16_t* to, const float* from, uint64_t count) {
    for (uint64_t i = 0; i < count; ++i) to[i] = half_of_float(from[i]);
  }
};

}  // namespace

const TransformTable transform_table_baseline = table_of<Plain>(CpuLevel::baseline);

}  // namespace hanse
