// Arm: bytes are counted and multiplied 16 at a time.
#include <arm_neon.h>

#include "capability/codes_loops.hpp"

namespace hanse {

extern const CodeKernels code_kernels_neon;

namespace {

struct Neon {
  using Wide = float32x4_t;
  static constexpr uint32_t lanes = 4;
  static Wide load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Wide v) { vst1q_f32(p, v); }
  static Wide add(Wide a, Wide b) { return vaddq_f32(a, b); }
  static Wide subtract(Wide a, Wide b) { return vsubq_f32(a, b); }
  static void within(float* values, uint32_t count) {
    for (uint32_t i = 0; i < count; i += lanes) {
      float* v = values + i;
      const float a = v[0] + v[1], b = v[0] - v[1], c = v[2] + v[3], d = v[2] - v[3];
      v[0] = a + c;
      v[1] = b + d;
      v[2] = a - c;
      v[3] = b - d;
    }
  }
};

// Rows are taken back to signed bytes; the 128 that each lacks then is added at the end.
void dots_neon(const int8_t* query, const uint8_t* const* rows, uint32_t count, uint32_t dim,
               int32_t* dots_out) {
  int32_t query_sum = 0;
  for (uint32_t d = 0; d < dim; d += 16) query_sum += vaddlvq_s8(vld1q_s8(query + d));
  for (uint32_t i = 0; i < count; ++i) {
    int32x4_t sums = vdupq_n_s32(0);
    for (uint32_t d = 0; d < dim; d += 16) {
      const int8x16_t row = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(rows[i] + d), vdupq_n_u8(0x80)));
      const int8x16_t of = vld1q_s8(query + d);
      sums = vpadalq_s16(sums, vmull_s8(vget_low_s8(row), vget_low_s8(of)));
      sums = vpadalq_s16(sums, vmull_s8(vget_high_s8(row), vget_high_s8(of)));
    }
    dots_out[i] = vaddvq_s32(sums) + 128 * query_sum;
  }
}

void row_dots_neon(const uint8_t* row, const int8_t* const* queries, uint32_t count, uint32_t dim,
                   int32_t* dots_out) {
  for (uint32_t i = 0; i < count; ++i) dots_neon(queries[i], &row, 1, dim, dots_out + i);
}

}  // namespace

const CodeKernels code_kernels_neon = {
    CpuLevel::neon, "neon",        sign_scores_popcount, fill_pool_plain,
    dots_neon,      row_dots_neon, panel_dots_plain,     hadamard_blocks<Neon>};

const CodeKernels* const code_kernels_native[] = {&code_kernels_neon, nullptr};

}  // namespace hanse
