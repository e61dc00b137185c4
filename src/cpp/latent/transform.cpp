#include "latent/transform.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.hpp"
#include "latent/transform_table.hpp"

namespace hanse {

const TransformTable& transform_table(CpuLevel level) {
  if (level == CpuLevel::baseline) return transform_table_baseline;
  for (const TransformTable* const* table = transform_tables_native; *table; ++table)
    if ((*table)->level == level) return **table;
  throw Error(ErrorCode::out_of_range, "cpu_level", cpu_level_name(level));
}

const TransformTable& transform_table() {
  static const TransformTable& table = transform_table(cpu_level());
  return table;
}

namespace {

uint32_t rotary_half(const LatentSpec& spec) {
  return (spec.rotary_dim == 0 ? spec.head_dim : spec.rotary_dim) / 2;
}

// Where the parts of a packed block lie.
struct KiviShape {
  KiviShape(const LatentSpec& spec, uint32_t token_count, uint32_t bits, uint32_t recent)
      : layers(spec.layers), heads(spec.kv_heads), dim(spec.head_dim), tokens(token_count) {
    if (bits != 8 && bits != 4) throw Error(ErrorCode::out_of_range, "bits", bits, 8);
    if (dim > quantise_dim_max || dim % 2 != 0 || dim == 0)
      throw Error(ErrorCode::out_of_range, "head_dim",
                  "want an even number up to 1024, have " + std::to_string(dim));
    if (spec.kind != LatentKind::kv || spec.order != LatentOrder::nhd)
      throw Error(ErrorCode::latent_incompatible, "order", "want KV in NHD order");
    levels = bits == 8 ? 255 : 15;
    groups = tokens > recent ? (tokens - recent) / quantise_group_tokens : 0;
    packed = groups * quantise_group_tokens;
    code_bytes = uint64_t(quantise_group_tokens) * dim * bits / 8;
    key_bytes = 2 * dim * sizeof(float) + code_bytes;
    value_bytes = 2 * quantise_group_tokens * sizeof(float) + code_bytes;
    row = uint64_t(heads) * dim;
  }
  uint64_t group_bytes() const { return heads * (key_bytes + value_bytes); }
  uint64_t tail_at() const { return group_bytes() * groups * layers; }
  uint64_t size_bytes() const {
    return tail_at() + 2 * layers * row * (tokens - packed) * sizeof(float);
  }
  uint64_t plane_at(uint32_t plane) const { return plane * row * tokens; }

  uint64_t layers, heads;
  uint32_t dim, tokens, levels, groups, packed;
  uint64_t code_bytes, key_bytes, value_bytes, row;
};

void check_sizes(const KiviShape& shape, uint64_t kv_count, uint64_t packed_bytes) {
  const uint64_t want = 2 * shape.layers * shape.row * shape.tokens;
  if (kv_count != want)
    throw Error(ErrorCode::dimension_mismatch, "kv",
                "want " + std::to_string(want) + " values, have " + std::to_string(kv_count));
  if (packed_bytes != shape.size_bytes())
    throw Error(ErrorCode::dimension_mismatch, "packed",
                "want " + std::to_string(shape.size_bytes()) + " bytes, have " +
                    std::to_string(packed_bytes));
}

}  // namespace

RopeTurn::RopeTurn(const LatentSpec& spec, int64_t shift)
    : pairing_(spec.rope_pairing), dim_(spec.head_dim), half_(rotary_half(spec)) {
  if (spec.rope_base_micro == 0)
    throw Error(ErrorCode::latent_incompatible, "rope_base",
                "is not said, so keys can't be turned");
  if (!spec.rope_scaling.empty())
    throw Error(ErrorCode::latent_incompatible, "rope_scaling",
                "keys of " + spec.rope_scaling + " can't be turned");
  const double base = double(spec.rope_base_micro) / 1e6;
  for (uint32_t i = 0; i < half_; ++i) {
    const double angle = double(shift) * std::pow(base, -double(i) / half_);
    cosines_.push_back(float(std::cos(angle)));
    sines_.push_back(float(std::sin(angle)));
  }
}

void RopeTurn::apply(const TransformTable& table, float* rows, uint64_t count) const {
  const auto turn = pairing_ == RopePairing::neox ? table.turn_halves : table.turn_pairs;
  turn(rows, count, dim_, cosines_.data(), sines_.data(), half_);
}

bool RopeTurn::apply_to(const TransformTable& table, float* to, const float* from, uint64_t count,
                        bool streams) const {
  if (pairing_ != RopePairing::neox) return false;
  table.turn_halves_to(to, from, count, dim_, cosines_.data(), sines_.data(), half_, streams);
  return true;
}

void rope_shift(const LatentSpec& spec, std::span<float> kv, uint32_t tokens, int64_t shift) {
  const uint64_t plane = uint64_t(tokens) * spec.kv_heads * spec.head_dim;
  if (spec.kind != LatentKind::kv)
    throw Error(ErrorCode::latent_incompatible, "kind", "hidden states have no positions");
  if (kv.size() != plane * 2 * spec.layers)
    throw Error(ErrorCode::dimension_mismatch, "kv", kv.size(), plane * 2 * spec.layers);
  const RopeTurn turn(spec, shift);
  for (uint64_t layer = 0; layer < spec.layers; ++layer)
    turn.apply(transform_table(), kv.data() + 2 * layer * plane, uint64_t(tokens) * spec.kv_heads);
}

bool streams_floats(const float* to, uint64_t count) {
  return count * sizeof(float) >= stream_size_bytes_min &&
         reinterpret_cast<uintptr_t>(to) % 16 == 0;
}

uint64_t packed_bytes(const LatentSpec& spec, uint32_t scale_count) {
  return 2 * sizeof(float) * scale_count +
         uint64_t(quantise_group_tokens) * spec.head_dim * spec.quantised / 8;
}

uint64_t kivi_size_bytes(const LatentSpec& spec, uint32_t tokens, uint32_t bits, uint32_t recent) {
  return KiviShape(spec, tokens, bits, recent).size_bytes();
}

void kivi_quantise(const LatentSpec& spec, std::span<const float> kv, uint32_t tokens,
                   uint32_t bits, uint32_t recent, std::span<uint8_t> packed_out) {
  const KiviShape shape(spec, tokens, bits, recent);
  check_sizes(shape, kv.size(), packed_out.size());
  const TransformTable& table = transform_table();
  uint8_t* at = packed_out.data();
  const auto pack = [&](const float* values, uint32_t scale_count, auto quantise) {
    auto* scales = reinterpret_cast<float*>(at);
    float* zeros = scales + scale_count;
    auto* codes = reinterpret_cast<uint8_t*>(zeros + scale_count);
    if (!quantise(QuantiseJob{values, quantise_group_tokens, shape.dim, shape.row, shape.levels,
                              scales, zeros, codes}))
      throw Error(ErrorCode::bad_vector, "kv", "holds a value that is not finite");
    at = codes + shape.code_bytes;
  };
  for (uint32_t layer = 0; layer < shape.layers; ++layer)
    for (uint32_t group = 0; group < shape.groups; ++group) {
      const uint64_t first = uint64_t(group) * quantise_group_tokens * shape.row;
      for (uint32_t head = 0; head < shape.heads; ++head)
        pack(&kv[shape.plane_at(2 * layer) + first + head * shape.dim], shape.dim,
             table.quantise_channels);
      for (uint32_t head = 0; head < shape.heads; ++head)
        pack(&kv[shape.plane_at(2 * layer + 1) + first + head * shape.dim], quantise_group_tokens,
             table.quantise_tokens);
    }
  const uint64_t left = (shape.tokens - shape.packed) * shape.row;
  for (uint32_t plane = 0; left != 0 && plane < 2 * shape.layers; ++plane) {
    std::memcpy(at, &kv[shape.plane_at(plane) + shape.packed * shape.row], left * sizeof(float));
    at += left * sizeof(float);
  }
}

void kivi_dequantise(const LatentSpec& spec, Bytes packed, uint32_t tokens, uint32_t bits,
                     uint32_t recent, std::span<float> kv_out) {
  const KiviShape shape(spec, tokens, bits, recent);
  check_sizes(shape, kv_out.size(), packed.size());
  const TransformTable& table = transform_table();
  const bool streams = streams_floats(kv_out.data(), kv_out.size());
  const uint8_t* at = packed.data();
  const auto unpack = [&](float* values, uint32_t scale_count, uint64_t packed_stride,
                          auto dequantise) {
    const auto* scales = reinterpret_cast<const float*>(at);
    const float* zeros = scales + scale_count;
    const auto* codes = reinterpret_cast<const uint8_t*>(zeros + scale_count);
    dequantise(DequantiseJob{codes, scales, zeros, quantise_group_tokens, shape.dim, shape.levels,
                             shape.row, values, uint32_t(shape.heads), shape.dim, packed_stride,
                             streams});
    at += packed_stride * shape.heads;
  };
  for (uint32_t layer = 0; layer < shape.layers; ++layer)
    for (uint32_t group = 0; group < shape.groups; ++group) {
      const uint64_t first = uint64_t(group) * quantise_group_tokens * shape.row;
      unpack(&kv_out[shape.plane_at(2 * layer) + first], shape.dim, shape.key_bytes,
             table.dequantise_channels);
      unpack(&kv_out[shape.plane_at(2 * layer + 1) + first], quantise_group_tokens,
             shape.value_bytes, table.dequantise_tokens);
    }
  if (streams) table.fence();
  const uint64_t left = (shape.tokens - shape.packed) * shape.row;
  for (uint32_t plane = 0; left != 0 && plane < 2 * shape.layers; ++plane) {
    std::memcpy(&kv_out[shape.plane_at(plane) + shape.packed * shape.row], at,
                left * sizeof(float));
    at += left * sizeof(float);
  }
}

}  // namespace hanse
