// A seeded random rotation of vectors, so that no direction is special to a code made of signs.
// Internal to this concept.
#pragma once

#include <cstdint>
#include <vector>

#include "capability/codes_kernels.hpp"

namespace hanse {

// Three rounds of random signs, Walsh-Hadamard transforms of equal blocks and an interleaving of
// the blocks (the structured rotations of Ailon and Chazelle, "The fast Johnson-Lindenstrauss
// transform", 2009). Each butterfly adds in one order, so every instruction set gives the same
// bits.
class Rotation {
 public:
  static constexpr uint32_t unit = 64;  // the rotated dimension is a multiple of it
  static uint32_t padded(uint32_t dim) { return (dim + unit - 1) / unit * unit; }

  Rotation(uint32_t dim, uint64_t seed, const CodeKernels& kernels);

  uint32_t dim() const { return dim_; }
  uint32_t dim_padded() const { return padded_; }
  // in [dim], out [2 * dim_padded()], of which the first half holds the result; out is 64-byte
  // aligned.
  void rotate(const float* in, float* out) const;

 private:
  static constexpr uint32_t round_count = 3;

  uint32_t dim_, padded_, block_;
  const CodeKernels& kernels_;
  std::vector<float> signs_;      // [round_count, padded_]
  std::vector<uint32_t> places_;  // where the interleaving puts component i
  float scale_;
};

}  // namespace hanse
