// Arm: 24 sums, 6 queries and 1 row in 31 of the 32 registers.
#include <arm_neon.h>

#include "capability/search_kernel.hpp"

namespace hanse {

extern const SearchTable search_table_neon;

namespace {

struct Neon {
  using Wide = float32x4_t;
  static constexpr uint32_t lanes = 4;
  static constexpr uint32_t queries_in_tile = 6;

  static Wide zero() { return vdupq_n_f32(0); }
  static Wide load(const float* p) { return vld1q_f32(p); }
  static Wide multiply_add(Wide a, Wide b, Wide sum) { return vfmaq_f32(sum, a, b); }
  static Wide reduce(Wide a, Wide b, Wide c, Wide d) {
    return vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d));
  }
  static uint32_t above(Wide scores, float threshold) {
    const uint32x4_t bit = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcgtq_f32(scores, vdupq_n_f32(threshold)), bit));
  }
  static void store(float* out, Wide scores) { vst1q_f32(out, scores); }
};

}  // namespace

const SearchTable search_table_neon = {CpuLevel::neon,       Neon::queries_in_tile,
                                       score_tile<Neon>,     between16<PlainWords>,
                                       between8<PlainWords>, count_bits,
                                       exact_dot_lanes};

const SearchTable* const search_tables_native[] = {&search_table_neon, nullptr};

}  // namespace hanse
