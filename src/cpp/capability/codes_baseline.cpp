// Any processor: plain C++, which the compiler turns into whatever vectors the family always has.
#include <cstring>

#include "base/error.hpp"
#include "capability/codes_loops.hpp"

namespace hanse {
namespace {

struct Plain {
  static constexpr uint32_t lanes = 1;
  static void within(float*, uint32_t) {}
  static float load(const float* p) { return *p; }
  static void store(float* p, float v) { *p = v; }
  static float add(float a, float b) { return a + b; }
  static float subtract(float a, float b) { return a - b; }
};

// __builtin_popcountll is a call here; counting in parallel within the word (Warren, Hacker's
// Delight, §5-1) is not.
uint32_t ones(uint64_t x) {
  x -= x >> 1 & 0x5555555555555555;
  x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
  return uint32_t(x * 0x0101010101010101 >> 56);
}

void sign_scores_plain(const SignJob& job) { sign_scores_by_word(job, ones); }

}  // namespace

const CodeKernels code_kernels_baseline = {
    CpuLevel::baseline, "baseline",     sign_scores_plain, fill_pool_plain,
    dots_plain,         row_dots_plain, panel_dots_plain,  hadamard_blocks<Plain>};

}  // namespace hanse
