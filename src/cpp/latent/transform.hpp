// Changes of the elements of latents on the CPU: dtype, RoPE position, KIVI quantisation.
#pragma once

#include <vector>

#include "base/view.hpp"
#include "latent/spec.hpp"

namespace hanse {

struct TransformTable;

// The rotation by `shift` positions of the heads of one spec. Angles are computed in double: the
// error of float32 angles grows with the position.
class RopeTurn {
 public:
  // Throws latent_incompatible (rope_base, rope_scaling) where the spec doesn't say how it turns.
  RopeTurn(const LatentSpec& spec, int64_t shift);
  // In place, `count` rows of head_dim.
  void apply(const TransformTable& table, float* rows, uint64_t count) const;
  // From one place to another; streams: past the caches, the caller fences. False: nothing was
  // done, since pairs lie side by side.
  bool apply_to(const TransformTable& table, float* to, const float* from, uint64_t count,
                bool streams) const;

 private:
  const RopePairing pairing_;
  const uint32_t dim_, half_;
  std::vector<float> cosines_, sines_;
};

// Turns the keys of `kv`, [layers, 2, tokens, kv_heads, head_dim] float32 contiguous (or in the
// order of the spec), in place by `shift` positions.
void rope_shift(const LatentSpec& spec, std::span<float> kv, uint32_t tokens, int64_t shift);

// KIVI (Liu et al., ICML 2024): keys by channel in groups of 32 tokens, values by token; the
// newest tokens, at least `recent` of them, stay as they are. bits: 8 or 4.
//
// A packed block holds, for each layer and group: for each head the scales and zeros of the keys
// (float32 [head_dim] each) and their codes, then for each head those of the values (float32 [32]
// each). Behind all groups lie the newest tokens, [layers, 2, tokens, kv_heads, head_dim] float32.
// Above this a copy would push everything else out of the caches, and reading the lines that it is
// about to overwrite would cost as much again. Measured: plain stores are faster up to 8 MiB,
// stores past the caches from 47 MB on, on a processor with 32 MiB of last-level cache.
constexpr uint64_t stream_size_bytes_min = uint64_t(24) << 20;
// Whether so many floats go past the caches, and can.
bool streams_floats(const float* to, uint64_t count);

// Of the keys or values of one head of a group: scales, zeros and codes.
uint64_t packed_bytes(const LatentSpec& spec, uint32_t scale_count);
uint64_t kivi_size_bytes(const LatentSpec& spec, uint32_t tokens, uint32_t bits, uint32_t recent);
// kv: float32 in NHD order. Throws dimension_mismatch, bad_vector (a value is not finite),
// out_of_range (bits, head_dim above 1,024 or odd).
void kivi_quantise(const LatentSpec& spec, std::span<const float> kv, uint32_t tokens,
                   uint32_t bits, uint32_t recent, std::span<uint8_t> packed_out);
void kivi_dequantise(const LatentSpec& spec, Bytes packed, uint32_t tokens, uint32_t bits,
                     uint32_t recent, std::span<float> kv_out);

}  // namespace hanse
