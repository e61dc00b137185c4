// The loops behind TransformTable, for any instruction set `Isa` that gives streaming stores and
// half precision. Plain loops over restricted pointers: the compiler makes vectors of them, as wide
// as the flags of the including file allow.
//
// Everything here has internal linkage, since each including file has flags of its own.
#pragma once

#include "latent/transform_table.hpp"

namespace hanse {
namespace {

constexpr uint32_t dim_max = 1024;  // of the scratch rows below; larger heads go in parts

inline uint32_t bits_of(float value) { return __builtin_bit_cast(uint32_t, value); }
inline float float_of(uint32_t bits) { return __builtin_bit_cast(float, bits); }

void float_from_brain(float* __restrict to, const uint16_t* __restrict from, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) to[i] = float_of(uint32_t(from[i]) << 16);
}

// Nearest, ties to even; a NaN stays one.
void brain_from_float(uint16_t* __restrict to, const float* __restrict from, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    const uint32_t bits = bits_of(from[i]);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    const uint32_t quiet = bits >> 16 | 0x40;
    to[i] = uint16_t((bits & 0x7fffffff) > 0x7f800000 ? quiet : rounded);
  }
}

void turn_halves(float* rows, uint64_t count, uint32_t dim, const float* __restrict cosines,
                 const float* __restrict sines, uint32_t half) {
  for (uint64_t row = 0; row < count; ++row) {
    float* __restrict a = rows + row * dim;
    float* __restrict b = a + half;
    for (uint32_t i = 0; i < half; ++i) {
      const float x = a[i], y = b[i];
      a[i] = x * cosines[i] - y * sines[i];
      b[i] = y * cosines[i] + x * sines[i];
    }
  }
}

void turn_halves_to(float* to, const float* from, uint64_t count, uint32_t dim,
                    const float* cosines, const float* sines, uint32_t half, bool) {
  __builtin_memcpy(to, from, count * dim * sizeof(float));
  turn_halves(to, count, dim, cosines, sines, half);
}

void turn_pairs(float* rows, uint64_t count, uint32_t dim, const float* __restrict cosines,
                const float* __restrict sines, uint32_t half) {
  for (uint64_t row = 0; row < count; ++row) {
    float* __restrict a = rows + row * dim;
    for (uint32_t i = 0; i < half; ++i) {
      const float x = a[2 * i], y = a[2 * i + 1];
      a[2 * i] = x * cosines[i] - y * sines[i];
      a[2 * i + 1] = y * cosines[i] + x * sines[i];
    }
  }
}

// Codes of one row by the row's own scale and zero.
void encode(const float* __restrict row, uint32_t dim, const float* __restrict inverse,
            const float* __restrict zeros, uint32_t levels, uint8_t* __restrict codes) {
  if (levels == 255) {
    for (uint32_t i = 0; i < dim; ++i)
      codes[i] = uint8_t(int32_t((row[i] - zeros[i]) * inverse[i] + 0.5f));
    return;
  }
  const uint32_t half = dim / 2;
  for (uint32_t i = 0; i < half; ++i) {
    const auto low = int32_t((row[i] - zeros[i]) * inverse[i] + 0.5f);
    const auto high = int32_t((row[i + half] - zeros[i + half]) * inverse[i + half] + 0.5f);
    codes[i] = uint8_t(low | high << 4);
  }
}

void decode(const uint8_t* __restrict codes, uint32_t dim, const float* __restrict scales,
            const float* __restrict zeros, uint32_t levels, float* __restrict row) {
  if (levels == 255) {
    for (uint32_t i = 0; i < dim; ++i) row[i] = zeros[i] + scales[i] * float(int32_t(codes[i]));
    return;
  }
  const uint32_t half = dim / 2;
  for (uint32_t i = 0; i < half; ++i) {
    row[i] = zeros[i] + scales[i] * float(int32_t(codes[i] & 15));
    row[i + half] = zeros[i + half] + scales[i + half] * float(int32_t(codes[i] >> 4));
  }
}

// s = (max - min) / levels, and its inverse: 0 where all values are equal.
void scales_of(const float* __restrict low, const float* __restrict high, uint32_t count,
               uint32_t levels, float* __restrict scales, float* __restrict inverse) {
  const auto most = float(levels);
  for (uint32_t i = 0; i < count; ++i) {
    const float range = high[i] - low[i];
    scales[i] = range / most;
    inverse[i] = range > 0 ? most / range : 0.0f;
  }
}

bool all_finite(const float* __restrict values, uint32_t count) {
  float sum = 0;
  for (uint32_t i = 0; i < count; ++i) sum += values[i] * 0;
  return sum == 0;
}

// One scale a channel, over the tokens of the group (Liu et al., KIVI, ICML 2024: outliers of keys
// stay in their channels).
bool quantise_channels(const QuantiseJob& job) {
  float low[dim_max], high[dim_max], inverse[dim_max], spoiled[dim_max];
  const uint32_t dim = job.dim;
  for (uint32_t i = 0; i < dim; ++i) {
    low[i] = high[i] = job.values[i];
    spoiled[i] = 0;
  }
  for (uint32_t t = 0; t < job.tokens; ++t) {
    const float* __restrict row = job.values + t * job.token_stride;
    for (uint32_t i = 0; i < dim; ++i) {
      low[i] = row[i] < low[i] ? row[i] : low[i];
      high[i] = row[i] > high[i] ? row[i] : high[i];
      spoiled[i] += row[i] * 0;
    }
  }
  if (!all_finite(spoiled, dim)) return false;
  scales_of(low, high, dim, job.levels, job.scales_out, inverse);
  for (uint32_t i = 0; i < dim; ++i) job.zeros_out[i] = low[i];
  const uint32_t code_bytes = job.levels == 255 ? dim : dim / 2;
  for (uint32_t t = 0; t < job.tokens; ++t)
    encode(job.values + t * job.token_stride, dim, inverse, low, job.levels,
           job.codes_out + uint64_t(t) * code_bytes);
  return all_finite(job.scales_out, dim);
}

// One scale a token, over its channels. Eight partial extremes, so that the loop has no chain.
bool quantise_tokens(const QuantiseJob& job) {
  constexpr uint32_t lanes = 16;
  const uint32_t dim = job.dim, whole = dim - dim % lanes;
  const uint32_t code_bytes = job.levels == 255 ? dim : dim / 2;
  float zeros[dim_max], inverse[dim_max];
  for (uint32_t t = 0; t < job.tokens; ++t) {
    const float* __restrict row = job.values + t * job.token_stride;
    float lows[lanes], highs[lanes], spoiled[lanes];
    for (uint32_t j = 0; j < lanes; ++j) {
      lows[j] = highs[j] = row[0];
      spoiled[j] = 0;
    }
    for (uint32_t i = 0; i < whole; i += lanes)
      for (uint32_t j = 0; j < lanes; ++j) {
        const float value = row[i + j];
        lows[j] = value < lows[j] ? value : lows[j];
        highs[j] = value > highs[j] ? value : highs[j];
        spoiled[j] += value * 0;
      }
    for (uint32_t i = whole; i < dim; ++i) {
      lows[0] = row[i] < lows[0] ? row[i] : lows[0];
      highs[0] = row[i] > highs[0] ? row[i] : highs[0];
      spoiled[0] += row[i] * 0;
    }
    float low = lows[0], high = highs[0], bad = spoiled[0], scale, back;
    for (uint32_t j = 1; j < lanes; ++j) {
      low = lows[j] < low ? lows[j] : low;
      high = highs[j] > high ? highs[j] : high;
      bad += spoiled[j];
    }
    if (!(bad == 0)) return false;
    scales_of(&low, &high, 1, job.levels, &scale, &back);
    for (uint32_t i = 0; i < dim; ++i) {
      zeros[i] = low;
      inverse[i] = back;
    }
    job.scales_out[t] = scale;
    job.zeros_out[t] = low;
    encode(row, dim, inverse, zeros, job.levels, job.codes_out + uint64_t(t) * code_bytes);
  }
  return all_finite(job.scales_out, job.tokens);
}

DequantiseJob head_of(DequantiseJob job, uint32_t head) {
  job.codes += head * job.packed_stride;
  job.scales += head * job.packed_stride / sizeof(float);
  job.zeros += head * job.packed_stride / sizeof(float);
  job.values_out += head * job.head_stride;
  job.heads = 1;
  return job;
}

void dequantise_channels(const DequantiseJob& job) {
  for (uint32_t head = 1; head < job.heads; ++head) dequantise_channels(head_of(job, head));
  const uint32_t code_bytes = job.levels == 255 ? job.dim : job.dim / 2;
  for (uint32_t t = 0; t < job.tokens; ++t)
    decode(job.codes + uint64_t(t) * code_bytes, job.dim, job.scales, job.zeros, job.levels,
           job.values_out + t * job.token_stride);
}

void dequantise_tokens(const DequantiseJob& job) {
  for (uint32_t head = 1; head < job.heads; ++head) dequantise_tokens(head_of(job, head));
  float scales[dim_max], zeros[dim_max];
  const uint32_t code_bytes = job.levels == 255 ? job.dim : job.dim / 2;
  for (uint32_t t = 0; t < job.tokens; ++t) {
    for (uint32_t i = 0; i < job.dim; ++i) {
      scales[i] = job.scales[t];
      zeros[i] = job.zeros[t];
    }
    decode(job.codes + uint64_t(t) * code_bytes, job.dim, scales, zeros, job.levels,
           job.values_out + t * job.token_stride);
  }
}

// Whole lines past the caches, the ragged ends as usual. Lines are 64 bytes.
template <class Isa>
void stream(uint8_t* to, const uint8_t* from, uint64_t size_bytes) {
  constexpr uint64_t line = 64;
  const uint64_t before = (line - reinterpret_cast<uintptr_t>(to) % line) % line;
  if (size_bytes < before + line) {
    __builtin_memcpy(to, from, size_bytes);
    return;
  }
  __builtin_memcpy(to, from, before);
  uint64_t at = before;
  for (; at + 4 * line <= size_bytes; at += 4 * line) Isa::four_lines(to + at, from + at);
  for (; at + line <= size_bytes; at += line) Isa::line(to + at, from + at);
  __builtin_memcpy(to + at, from + at, size_bytes - at);
}

template <class Isa>
constexpr TransformTable table_of(CpuLevel level) {
  return {level,
          &stream<Isa>,
          &Isa::fence,
          &Isa::float_from_half,
          &Isa::half_from_float,
          &float_from_brain,
          &brain_from_float,
          &turn_halves,
          &turn_pairs,
          &turn_halves_to,
          &quantise_channels,
          &quantise_tokens,
          &dequantise_channels,
          &dequantise_tokens};
}

// Half precision in integers, for where the processor has no instruction for it: nearest, ties to
// even, subnormals kept, a NaN quiet and otherwise as it was.
inline float float_of_half(uint16_t half) {
  const uint32_t sign = uint32_t(half & 0x8000) << 16, rest = half & 0x7fff;
  if (rest >= 0x7c00)
    return float_of(sign | 0x7f800000 | (rest & 0x3ff) << 13 | (rest > 0x7c00 ? 0x400000 : 0));
  if (rest >= 0x400) return float_of(sign | ((rest << 13) + 0x38000000));
  return float_of(sign | bits_of(float(rest) * 0x1p-24f));
}

inline uint16_t half_of_float(float value) {
  const uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
  if (rest > 0x7f800000) return uint16_t(sign | 0x7e00 | (rest >> 13 & 0x3ff));
  if (rest >= 0x477ff000) return uint16_t(sign | 0x7c00);
  if (rest < 0x38800000) {
    // Adding 0.5 lines the value up so that the addition itself rounds to the subnormal's place.
    return uint16_t(sign | (bits_of(float_of(rest) + 0.5f) - bits_of(0.5f)));
  }
  return uint16_t(sign | ((rest + 0xfff + (rest >> 13 & 1) - 0x38000000) >> 13));
}

}  // namespace
}  // namespace hanse
