// Quantisation and rotation by hand, for any instruction set `V` whose registers are named: the
// same bytes as the plain loops of `transform_kernel.hpp`, which also do what fills no register.
//
// Everything here has internal linkage, since each including file has flags of its own.
#pragma once

#include "latent/transform_kernel.hpp"

namespace hanse {
namespace {

template <class V>
struct Wide {
  using Floats = typename V::Floats;
  static constexpr uint32_t width = V::width;
  static constexpr uint32_t block = 4;  // registers at a time: a head of 64 in 16 lanes

  static Floats code_of(Floats value, Floats zero, Floats inverse) {
    return V::add(V::mul(V::sub(value, zero), inverse), V::set(0.5f));
  }

  // Tokens follow each other at a stride that no hardware foresees. Measured on a Zen 4: asking for
  // what lies 16 tokens ahead gives 8.5 GB/s, 4 ahead 7.6, a whole group ahead or nothing 5.6.
  static constexpr uint32_t tokens_ahead = 16;
  static void foresee(const QuantiseJob& job, const float* row) {
    const float* later = row + tokens_ahead * job.token_stride;
    for (uint32_t i = 0; i < job.dim; i += 16) __builtin_prefetch(later + i, 0, 2);
  }

  // Extremes of `registers` registers of channels over all tokens. False: one is not finite.
  template <uint32_t registers>
  static bool extremes(const QuantiseJob& job, uint32_t at, Floats* low, Floats* high) {
    for (uint32_t r = 0; r < registers; ++r)
      low[r] = high[r] = V::load(job.values + at + r * width);
    auto bad = V::no_bad();
    for (uint32_t t = 0; t < job.tokens; ++t) {
      const float* row = job.values + t * job.token_stride + at;
      for (uint32_t r = 0; r < registers; ++r) {
        const Floats value = V::load(row + r * width);
        low[r] = V::min(value, low[r]);
        high[r] = V::max(value, high[r]);
        bad = V::join(bad, V::bad(value));
      }
    }
    return !V::any(bad);
  }

  template <uint32_t registers>
  static bool quantise_block(const QuantiseJob& job, uint32_t at, Floats* zeros, Floats* inverse) {
    Floats low[registers], high[registers];
    if (!extremes<registers>(job, at, low, high)) return false;
    const Floats most = V::set(float(job.levels));
    auto bad = V::no_bad();
    for (uint32_t r = 0; r < registers; ++r) {
      const Floats range = V::sub(high[r], low[r]), scale = V::div(range, most);
      bad = V::join(bad, V::bad(scale));
      V::store(job.scales_out + at + r * width, scale);
      V::store(job.zeros_out + at + r * width, low[r]);
      zeros[r] = low[r];
      inverse[r] = V::div_or_zero(most, range);
    }
    return !V::any(bad);
  }

  static bool quantise_channels(const QuantiseJob& job) {
    constexpr uint32_t span = block * width;
    if (job.dim % span != 0 || (job.levels == 15 && job.dim % (2 * span) != 0 && job.dim != span))
      return hanse::quantise_channels(job);
    for (uint32_t t = 0; t < job.tokens; ++t) foresee(job, job.values + t * job.token_stride);
    if (job.levels == 255) {
      for (uint32_t at = 0; at < job.dim; at += span) {
        Floats zeros[block], inverse[block];
        if (!quantise_block<block>(job, at, zeros, inverse)) return false;
        for (uint32_t t = 0; t < job.tokens; ++t) {
          const float* row = job.values + t * job.token_stride + at;
          uint8_t* codes = job.codes_out + uint64_t(t) * job.dim + at;
          for (uint32_t r = 0; r < block; ++r)
            V::store_codes(codes + r * width,
                           V::truncate(code_of(V::load(row + r * width), zeros[r], inverse[r])));
        }
      }
      return true;
    }
    // The channels of the low and the high halves of a byte together.
    constexpr uint32_t part = block / 2;
    const uint32_t half = job.dim / 2;
    for (uint32_t at = 0; at < half; at += part * width) {
      Floats zeros[block], inverse[block];
      if (!quantise_block<part>(job, at, zeros, inverse) ||
          !quantise_block<part>(job, at + half, zeros + part, inverse + part))
        return false;
      for (uint32_t t = 0; t < job.tokens; ++t) {
        const float* row = job.values + t * job.token_stride + at;
        uint8_t* codes = job.codes_out + uint64_t(t) * half + at;
        for (uint32_t r = 0; r < part; ++r) {
          const auto low = V::truncate(code_of(V::load(row + r * width), zeros[r], inverse[r]));
          const auto high = V::truncate(
              code_of(V::load(row + half + r * width), zeros[part + r], inverse[part + r]));
          V::store_codes(codes + r * width, V::nibbles(low, high));
        }
      }
    }
    return true;
  }

  static bool quantise_tokens(const QuantiseJob& job) {
    const uint32_t dim = job.dim, half = dim / 2;
    if (dim % (2 * width) != 0) return hanse::quantise_tokens(job);
    const uint32_t code_bytes = job.levels == 255 ? dim : half;
    const auto levels = float(job.levels);
    for (uint32_t t = 0; t < job.tokens; ++t) {
      const float* row = job.values + t * job.token_stride;
      foresee(job, row);
      Floats lows = V::load(row), highs = lows;
      auto bad = V::bad(lows);
      for (uint32_t i = width; i < dim; i += width) {
        const Floats value = V::load(row + i);
        lows = V::min(value, lows);
        highs = V::max(value, highs);
        bad = V::join(bad, V::bad(value));
      }
      if (V::any(bad)) return false;
      const float low = V::least(lows), range = V::most(highs) - low;
      // Which of two zeros comes first is the plain loop's to say.
      if (low == 0) {
        QuantiseJob one = job;
        one.values = row;
        one.tokens = 1;
        one.scales_out += t;
        one.zeros_out += t;
        one.codes_out += uint64_t(t) * code_bytes;
        if (!hanse::quantise_tokens(one)) return false;
        continue;
      }
      const float scale = range / levels;
      if (!(scale - scale == 0)) return false;
      job.scales_out[t] = scale;
      job.zeros_out[t] = low;
      const Floats zero = V::set(low), inverse = V::set(range > 0 ? levels / range : 0.0f);
      uint8_t* codes = job.codes_out + uint64_t(t) * code_bytes;
      if (job.levels == 255) {
        for (uint32_t i = 0; i < dim; i += width)
          V::store_codes(codes + i, V::truncate(code_of(V::load(row + i), zero, inverse)));
        continue;
      }
      for (uint32_t i = 0; i < half; i += width)
        V::store_codes(codes + i,
                       V::nibbles(V::truncate(code_of(V::load(row + i), zero, inverse)),
                                  V::truncate(code_of(V::load(row + half + i), zero, inverse))));
    }
    return true;
  }

  static Floats value_of(typename V::Ints code, Floats scale, Floats zero) {
    return V::add(zero, V::mul(scale, V::to_floats(code)));
  }

  static void put(float* at, Floats value, bool streams) {
    if (streams)
      V::stream(at, value);
    else
      V::store(at, value);
  }

  // `by_channel`: a scale and a zero for each element, else one of each for the row. Token by token
  // through all heads, so that what is written is one run.
  template <bool by_channel>
  static void dequantise(const DequantiseJob& job) {
    const uint32_t dim = job.dim, half = dim / 2;
    if (dim % (2 * width) != 0)
      return by_channel ? hanse::dequantise_channels(job) : hanse::dequantise_tokens(job);
    const uint32_t code_bytes = job.levels == 255 ? dim : half;
    const uint64_t scale_stride = job.packed_stride / sizeof(float);
    for (uint32_t t = 0; t < job.tokens; ++t)
      for (uint32_t head = 0; head < job.heads; ++head) {
        const uint8_t* codes = job.codes + head * job.packed_stride + uint64_t(t) * code_bytes;
        const float* scales = job.scales + head * scale_stride;
        const float* zeros = job.zeros + head * scale_stride;
        float* row = job.values_out + t * job.token_stride + head * job.head_stride;
        const auto scale_at = [&](uint32_t i) {
          return by_channel ? V::load(scales + i) : V::set(scales[t]);
        };
        const auto zero_at = [&](uint32_t i) {
          return by_channel ? V::load(zeros + i) : V::set(zeros[t]);
        };
        if (job.levels == 255) {
          for (uint32_t i = 0; i < dim; i += width)
            put(row + i, value_of(V::load_codes(codes + i), scale_at(i), zero_at(i)), job.streams);
          continue;
        }
        for (uint32_t i = 0; i < half; i += width) {
          const auto both = V::load_codes(codes + i);
          put(row + i, value_of(V::low_nibble(both), scale_at(i), zero_at(i)), job.streams);
          put(row + half + i, value_of(V::high_nibble(both), scale_at(half + i), zero_at(half + i)),
              job.streams);
        }
      }
  }

  // Rows of floats from one place to another, turned on the way. streams: past the caches; `to` is
  // 16-byte aligned then, and the caller fences.
  static void turn_halves_to(float* to, const float* from, uint64_t count, uint32_t dim,
                             const float* cosines, const float* sines, uint32_t half,
                             bool streams) {
    if (half % width != 0 || dim % width != 0) {
      __builtin_memcpy(to, from, count * dim * sizeof(float));
      return turn_halves(to, count, dim, cosines, sines, half);
    }
    for (uint64_t row = 0; row < count; ++row, to += dim, from += dim) {
      for (uint32_t i = 0; i < half; i += width) {
        const Floats x = V::load(from + i), y = V::load(from + half + i);
        const Floats c = V::load(cosines + i), s = V::load(sines + i);
        put(to + i, V::sub(V::mul(x, c), V::mul(y, s)), streams);
        put(to + half + i, V::add(V::mul(y, c), V::mul(x, s)), streams);
      }
      for (uint32_t i = 2 * half; i < dim; i += width) put(to + i, V::load(from + i), streams);
    }
  }
};

template <class V>
void turn_halves_wide(float* rows, uint64_t count, uint32_t dim, const float* cosines,
                      const float* sines, uint32_t half) {
  if (half % V::width != 0 || dim % V::width != 0)
    return turn_halves(rows, count, dim, cosines, sines, half);
  Wide<V>::turn_halves_to(rows, rows, count, dim, cosines, sines, half, false);
}

template <class Isa, class V>
constexpr TransformTable wide_table_of(CpuLevel level) {
  TransformTable table = table_of<Isa>(level);
  table.quantise_channels = &Wide<V>::quantise_channels;
  table.quantise_tokens = &Wide<V>::quantise_tokens;
  table.dequantise_channels = &Wide<V>::template dequantise<true>;
  table.dequantise_tokens = &Wide<V>::template dequantise<false>;
  table.turn_halves = &turn_halves_wide<V>;
  table.turn_halves_to = &Wide<V>::turn_halves_to;
  return table;
}

}  // namespace
}  // namespace hanse
