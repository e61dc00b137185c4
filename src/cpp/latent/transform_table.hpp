// What one instruction set gives to latents: copies past the caches, changes of dtype, rotation,
// quantisation. Internal to this concept.
//
// The files that fill these tables are compiled with flags that the machine may not have, so this
// header holds plain data only. All tables give the same bytes: sums have one order, and products
// are not fused with them.
#pragma once

#include <cstdint>

#include "base/cpu.hpp"

namespace hanse {

constexpr uint32_t quantise_group_tokens = 32;
constexpr uint32_t quantise_dim_max = 1024;

// One head of up to quantise_group_tokens tokens, `token_stride` floats apart.
struct QuantiseJob {
  const float* values;
  uint32_t tokens, dim;
  uint64_t token_stride;
  uint32_t levels;     // 255 or 15: codes of 8 or 4 bits
  float* scales_out;   // [dim] by channel, [tokens] by token
  float* zeros_out;    // likewise
  uint8_t* codes_out;  // [tokens, dim] bytes, or [tokens, dim / 2]: element i low, i + dim / 2 high
};
struct DequantiseJob {
  const uint8_t* codes;
  const float *scales, *zeros;
  uint32_t tokens, dim, levels;
  uint64_t token_stride;
  float* values_out;
  // Of several heads: how far apart they lie, in floats and, packed, in bytes.
  uint32_t heads = 1;
  uint64_t head_stride = 0, packed_stride = 0;
  bool streams = false;  // past the caches, where values_out is 16-byte aligned; the caller fences
};

struct TransformTable {
  CpuLevel level;
  // memcpy that leaves the caches as they are. The caller fences.
  void (*stream)(uint8_t* to, const uint8_t* from, uint64_t size_bytes);
  void (*fence)();
  void (*float_from_half)(float* to, const uint16_t* from, uint64_t count);
  void (*half_from_float)(uint16_t* to, const float* from, uint64_t count);
  void (*float_from_brain)(float* to, const uint16_t* from, uint64_t count);
  void (*brain_from_float)(uint16_t* to, const float* from, uint64_t count);
  // Turns the first 2 * half elements of each of `count` rows of `dim` by the given angles.
  void (*turn_halves)(float* rows, uint64_t count, uint32_t dim, const float* cosines,
                      const float* sines, uint32_t half);
  void (*turn_pairs)(float* rows, uint64_t count, uint32_t dim, const float* cosines,
                     const float* sines, uint32_t half);
  // `turn_halves` from one place to another. streams: past the caches; `to` is 16-byte aligned and
  // the caller fences.
  void (*turn_halves_to)(float* to, const float* from, uint64_t count, uint32_t dim,
                         const float* cosines, const float* sines, uint32_t half, bool streams);
  // False: a value is not finite.
  bool (*quantise_channels)(const QuantiseJob& job);
  bool (*quantise_tokens)(const QuantiseJob& job);
  void (*dequantise_channels)(const DequantiseJob& job);
  void (*dequantise_tokens)(const DequantiseJob& job);
};

extern const TransformTable transform_table_baseline;
// Those of this processor family beyond the baseline, ended by null. Each family links its own.
extern const TransformTable* const transform_tables_native[];

// The table of `level`; the caller answers for the machine having it. Throws out_of_range when this
// build has no such table.
const TransformTable& transform_table(CpuLevel level);
// The best of this machine. Chosen once; any thread.
const TransformTable& transform_table();

}  // namespace hanse
