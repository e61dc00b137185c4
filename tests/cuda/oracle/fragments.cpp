// Prints each disagreement of emulator/fragments.hpp with CUTLASS's MMA_Traits; compiled by
// test_fragments.py where CUTLASS's headers are.
#include <cstdint>
#include <cstdio>
#include <cute/atom/mma_traits_sm80.hpp>

#include "fragments.hpp"

namespace {

int wrong = 0, compared = 0;

// CuTe numbers an element of a matrix by row + column * rows.
template <class Layout>
void compare_operand(const char* name, unsigned rows, unsigned element_bytes,
                     simt::FragmentByte (*ours)(unsigned, unsigned)) {
  const Layout layout{};
  const unsigned values = unsigned(cute::size<1>(layout)), in_word = 4 / element_bytes;
  for (unsigned lane = 0; lane < 32; ++lane) {
    for (unsigned value = 0; value < values; ++value) {
      const unsigned index = unsigned(layout(lane, value));
      const simt::FragmentByte at = ours(index % rows, index / rows * element_bytes);
      ++compared;
      if (at.lane == lane && at.word == value / in_word &&
          at.byte == value % in_word * element_bytes)
        continue;
      ++wrong;
      std::printf("%s: lane %u value %u\n", name, lane, value);
    }
  }
}

template <class Layout>
void compare_sums(const char* name) {
  const Layout layout{};
  for (unsigned lane = 0; lane < 32; ++lane) {
    for (unsigned word = 0; word < 4; ++word) {
      ++compared;
      const unsigned index = unsigned(layout(lane, word));
      if (simt::fragment_sum_row(lane, word) == index % 16 &&
          simt::fragment_sum_column(lane, word) == index / 16)
        continue;
      ++wrong;
      std::printf("%s: lane %u sum %u\n", name, lane, word);
    }
  }
}

template <class Operation>
void compare(const char* name, unsigned element_bytes) {
  using Traits = cute::MMA_Traits<Operation>;
  compare_operand<typename Traits::ALayout>(name, 16, element_bytes, simt::fragment_of_a);
  compare_operand<typename Traits::BLayout>(name, 8, element_bytes, simt::fragment_of_b);
  compare_sums<typename Traits::CLayout>(name);
}

}  // namespace

int main() {
  compare<cute::SM80_16x8x32_S32S8S8S32_TN>("s8", 1);
  compare<cute::SM80_16x8x16_F32BF16BF16F32_TN>("bf16", 2);
  std::printf("%d compared, %d wrong\n", compared, wrong);
  return wrong != 0;
}
