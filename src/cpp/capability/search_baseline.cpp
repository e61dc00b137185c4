// Any processor: plain C++, which the compiler turns into whatever vectors the family always has.
#include "capability/search_kernel.hpp"

namespace hanse {
namespace {

struct Plain {
  struct Wide {
    float lane[4];
  };
  static constexpr uint32_t lanes = 4;
  static constexpr uint32_t queries_in_tile = 3;

  static Wide zero() { return {}; }
  static Wide load(const float* p) { return {{p[0], p[1], p[2], p[3]}}; }
  static Wide multiply_add(Wide a, Wide b, Wide sum) {
    for (uint32_t i = 0; i < lanes; ++i) sum.lane[i] += a.lane[i] * b.lane[i];
    return sum;
  }
  static float total(Wide a) { return (a.lane[0] + a.lane[2]) + (a.lane[1] + a.lane[3]); }
  static Wide reduce(Wide a, Wide b, Wide c, Wide d) {
    return {{total(a), total(b), total(c), total(d)}};
  }
  static uint32_t above(Wide scores, float threshold) {
    uint32_t bits = 0;
    for (uint32_t i = 0; i < lanes; ++i) bits |= uint32_t(scores.lane[i] > threshold) << i;
    return bits;
  }
  static void store(float* out, Wide scores) {
    for (uint32_t i = 0; i < lanes; ++i) out[i] = scores.lane[i];
  }
};

}  // namespace

const SearchTable search_table_baseline = {CpuLevel::baseline,   Plain::queries_in_tile,
                                           score_tile<Plain>,    between16<PlainWords>,
                                           between8<PlainWords>, count_bits,
                                           exact_dot_lanes};

}  // namespace hanse
