// Codes of vectors: 8-bit integers with a scale a row, or bfloat16.
#pragma once

#include <cstdint>

#include "base/device.hpp"
#include "capability/best_list.cuh"
#include "simt.cuh"

namespace hanse {
namespace {

constexpr float code_max = 127;

__device__ inline uint32_t code_s8(float value, float inverse) {
  return uint32_t(int32_t(rintf(__fmul_rn(value, inverse)))) & 0xffu;
}

// To the nearest, ties to even.
__device__ inline uint32_t code_bf16(float value) {
  const uint32_t bits = uint32_t(__float_as_int(value));
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

__device__ inline float warp_max(float value) {
  for (int step = warp_size / 2; step > 0; step /= 2)
    value = fmaxf(value, __shfl_xor_sync(full_warp, value, step));
  return value;
}

// One warp: the codes of one row, four elements a lane at a time, and its scale.
__device__ inline void encode_row(const float* vector, uint32_t stride, DeviceFormat format,
                                  void* codes, float* scale_out) {
  const uint32_t lane = threadIdx.x % warp_size;
  const float4* values = reinterpret_cast<const float4*>(vector);
  if (format == DeviceFormat::bfloat16) {
    uint32_t* words = static_cast<uint32_t*>(codes);
    for (uint32_t i = lane; i < stride / 4; i += warp_size) {
      const float4 v = values[i];
      words[2 * i] = code_bf16(v.x) | code_bf16(v.y) << 16;
      words[2 * i + 1] = code_bf16(v.z) | code_bf16(v.w) << 16;
    }
    if (lane == 0) *scale_out = 1;
    return;
  }
  float largest = 0;
  for (uint32_t i = lane; i < stride / 4; i += warp_size) {
    const float4 v = values[i];
    largest = fmaxf(largest, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))));
  }
  largest = warp_max(largest);
  const float inverse = largest > 0 ? __fdiv_rn(code_max, largest) : 0;
  uint32_t* words = static_cast<uint32_t*>(codes);
  for (uint32_t i = lane; i < stride / 4; i += warp_size) {
    const float4 v = values[i];
    words[i] = code_s8(v.x, inverse) | code_s8(v.y, inverse) << 8 | code_s8(v.z, inverse) << 16 |
               code_s8(v.w, inverse) << 24;
  }
  if (lane == 0) *scale_out = __fdiv_rn(largest, code_max);
}

__device__ inline uint32_t code_row_bytes(uint32_t stride, DeviceFormat format) {
  return format == DeviceFormat::bfloat16 ? 2 * stride : stride;
}

}  // namespace
}  // namespace hanse
