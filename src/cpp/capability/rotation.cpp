#include "capability/rotation.hpp"

#include <algorithm>
#include <cmath>

#include "base/random.hpp"

namespace hanse {

Rotation::Rotation(uint32_t dim, uint64_t seed, const CodeKernels& kernels)
    : dim_(dim), padded_(padded(dim)), block_(padded_ & -padded_), kernels_(kernels) {
  Random random(seed);
  signs_.resize(size_t(round_count) * padded_);
  for (float& sign : signs_) sign = random.next() & 1 ? 1.0f : -1.0f;
  const uint32_t block_count = padded_ / block_;
  places_.resize(padded_);
  for (uint32_t i = 0; i < padded_; ++i) places_[i] = i % block_count * block_ + i / block_count;
  scale_ = float(std::pow(double(block_), -0.5 * round_count));
}

void Rotation::rotate(const float* in, float* out) const {
  float* now = out;
  float* next = out + padded_;
  for (uint32_t i = 0; i < dim_; ++i) now[i] = in[i] * signs_[i];
  std::fill(now + dim_, now + padded_, 0.0f);
  kernels_.hadamard(now, padded_, block_);
  for (uint32_t round = 1; round < round_count; ++round) {
    const float* signs = signs_.data() + size_t(round) * padded_;
    for (uint32_t i = 0; i < padded_; ++i) next[i] = now[places_[i]] * signs[i];
    kernels_.hadamard(next, padded_, block_);
    std::swap(now, next);
  }
  // After an even number of swaps the result lies in the first half.
  for (uint32_t i = 0; i < padded_; ++i) now[i] *= scale_;
}

}  // namespace hanse
