// Elements of latents in memory and as float32. In integers, so that every device and the CPU
// round alike: to the nearest, ties to even, subnormals kept.
#pragma once

#include <cstdint>

#include "base/device.hpp"
#include "simt.cuh"

namespace hanse {
namespace {

__device__ inline uint32_t bits_of(float value) { return uint32_t(__float_as_int(value)); }
__device__ inline float float_of(uint32_t bits) { return __int_as_float(int(bits)); }

__device__ inline float float_of_half(uint32_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, rest = half & 0x7fffu;
  if (rest >= 0x7c00u)
    return float_of(sign | 0x7f800000u | (rest & 0x3ffu) << 13 | (rest > 0x7c00u ? 0x400000u : 0u));
  if (rest >= 0x400u) return float_of(sign | ((rest << 13) + 0x38000000u));
  return float_of(sign | bits_of(float(rest) * 0x1p-24f));
}

__device__ inline uint32_t half_of_float(float value) {
  const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u, rest = bits & 0x7fffffffu;
  if (rest > 0x7f800000u) return sign | 0x7e00u | (rest >> 13 & 0x3ffu);
  if (rest >= 0x477ff000u) return sign | 0x7c00u;
  // The addition itself rounds to the subnormal's place.
  if (rest < 0x38800000u) return sign | (bits_of(__fadd_rn(float_of(rest), 0.5f)) - bits_of(0.5f));
  return sign | ((rest + 0xfffu + (rest >> 13 & 1u) - 0x38000000u) >> 13);
}

__device__ inline uint32_t brain_of_float(float value) {
  const uint32_t bits = bits_of(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return bits >> 16 | 0x40u;
  return (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16;
}

__device__ inline float load_element(const uint8_t* row, uint32_t i, DeviceElement element) {
  if (element == DeviceElement::float32) return reinterpret_cast<const float*>(row)[i];
  const uint32_t narrow = reinterpret_cast<const uint16_t*>(row)[i];
  return element == DeviceElement::float16 ? float_of_half(narrow) : float_of(narrow << 16);
}

__device__ inline void store_element(uint8_t* row, uint32_t i, DeviceElement element, float value) {
  if (element == DeviceElement::float32) {
    reinterpret_cast<float*>(row)[i] = value;
    return;
  }
  reinterpret_cast<uint16_t*>(row)[i] =
      uint16_t(element == DeviceElement::float16 ? half_of_float(value) : brain_of_float(value));
}

__device__ inline uint32_t element_bytes(DeviceElement element) {
  return element == DeviceElement::float32 ? 4 : element == DeviceElement::byte ? 1 : 2;
}

// Where one head of one token of one plane lies.
__device__ inline uint8_t* page_row(const DevicePages& pages, uint32_t plane, uint32_t token,
                                    uint32_t head, uint32_t heads, uint64_t dim_bytes) {
  const uint32_t at = pages.first + token, slot = at % device_page_tokens;
  const uint64_t row = pages.heads_first != 0 ? uint64_t(head) * device_page_tokens + slot
                                              : uint64_t(slot) * heads + head;
  return pages.device_pages +
         uint64_t(pages.device_page_table[at / device_page_tokens]) * pages.page_bytes +
         (uint64_t(plane) * device_page_tokens * heads + row) * dim_bytes;
}

}  // namespace
}  // namespace hanse
