// Where mma.sync finds its operands, by the PTX ISA (m16n8k32 of 8-bit integers, m16n8k16 of
// bfloat16: the same bytes in the same lanes). tests/cuda/test_fragments.py holds these maps to
// CUTLASS's.
#pragma once

namespace simt {

struct FragmentByte {
  unsigned lane, word, byte;  // of the lane's words, and of that word's four bytes
};

// Byte `byte` of row `row`: of A, [16 rows][32 bytes], and of B, [8 rows][32 bytes], whose rows are
// the columns of the second factor.
constexpr FragmentByte fragment_of_a(unsigned row, unsigned byte) {
  return {row % 8 * 4 + byte % 16 / 4, row / 8 + byte / 16 * 2, byte % 4};
}
constexpr FragmentByte fragment_of_b(unsigned row, unsigned byte) {
  return {row * 4 + byte % 16 / 4, byte / 16, byte % 4};
}

// The sum that lane `lane` keeps as its word `word`: row of A, row of B.
constexpr unsigned fragment_sum_row(unsigned lane, unsigned word) {
  return lane / 4 + word / 2 * 8;
}
constexpr unsigned fragment_sum_column(unsigned lane, unsigned word) {
  return lane % 4 * 2 + word % 2;
}

}  // namespace simt
