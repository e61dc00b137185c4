#include "latent/spec.hpp"

#include "base/bytes.hpp"

namespace hanse {

uint32_t latent_dtype_bits(LatentDtype dtype) {
  switch (dtype) {
    case LatentDtype::float32:
      return 32;
    case LatentDtype::float16:
      return 16;
    case LatentDtype::bfloat16:
      return 16;
    case LatentDtype::int8:
      return 8;
    case LatentDtype::int4:
      return 4;
  }
  throw Error(ErrorCode::out_of_range, "dtype", uint64_t(dtype), uint64_t(LatentDtype::int4));
}

const char* latent_dtype_name(LatentDtype dtype) {
  switch (dtype) {
    case LatentDtype::float32:
      return "float32";
    case LatentDtype::float16:
      return "float16";
    case LatentDtype::bfloat16:
      return "bfloat16";
    case LatentDtype::int8:
      return "int8";
    case LatentDtype::int4:
      return "int4";
  }
  return "none";
}

LatentSpec LatentSpec::plain() const {
  LatentSpec spec = *this;
  spec.quantised = 0;
  return spec;
}

Digest latent_fingerprint(const LatentSpec& spec) {
  ByteWriter writer;
  writer.put_text("hanse latent spec");
  writer.put_text(spec.model);
  writer.put_text(spec.tokenizer);
  writer.put(spec.layers);
  writer.put(spec.kv_heads);
  writer.put(spec.head_dim);
  writer.put(spec.dtype);
  writer.put(spec.rope_base_micro);
  // Only what differs from the defaults, each under a number of its own: fingerprints of plain KV
  // stay what journals already hold.
  if (spec.kind != LatentKind::kv) writer.put(uint8_t(1)), writer.put(spec.kind);
  if (spec.order != LatentOrder::nhd) writer.put(uint8_t(2)), writer.put(spec.order);
  if (spec.rope_pairing != RopePairing::neox) writer.put(uint8_t(3)), writer.put(spec.rope_pairing);
  if (spec.rotary_dim != 0) writer.put(uint8_t(4)), writer.put(spec.rotary_dim);
  if (!spec.rope_scaling.empty()) writer.put(uint8_t(5)), writer.put_text(spec.rope_scaling);
  if (spec.position_max != 0) writer.put(uint8_t(6)), writer.put(spec.position_max);
  if (spec.quantised != 0)
    writer.put(uint8_t(7)), writer.put(spec.quantised), writer.put(spec.recent);
  return sha256(writer.bytes());
}

std::string latent_difference(const LatentSpec& want, const LatentSpec& have) {
  std::string found;
  const auto text = [&](const char* field, const std::string& a, const std::string& b) {
    if (found.empty() && a != b) found = std::string(field) + ": want " + a + ", have " + b;
  };
  const auto number = [&](const char* field, uint64_t a, uint64_t b) {
    text(field, std::to_string(a), std::to_string(b));
  };
  text("model", want.model, have.model);
  text("tokenizer", want.tokenizer, have.tokenizer);
  text("kind", want.kind == LatentKind::kv ? "kv" : "hidden",
       have.kind == LatentKind::kv ? "kv" : "hidden");
  number("layers", want.layers, have.layers);
  number("kv_heads", want.kv_heads, have.kv_heads);
  number("head_dim", want.head_dim, have.head_dim);
  text("dtype", latent_dtype_name(want.dtype), latent_dtype_name(have.dtype));
  text("order", want.order == LatentOrder::nhd ? "NHD" : "HND",
       have.order == LatentOrder::nhd ? "NHD" : "HND");
  number("rope_base_micro", want.rope_base_micro, have.rope_base_micro);
  text("rope_pairing", want.rope_pairing == RopePairing::neox ? "neox" : "gptj",
       have.rope_pairing == RopePairing::neox ? "neox" : "gptj");
  number("rotary_dim", want.rotary_dim, have.rotary_dim);
  text("rope_scaling", want.rope_scaling, have.rope_scaling);
  number("position_max", want.position_max, have.position_max);
  number("quantised", want.quantised, have.quantised);
  if (want.quantised != 0) number("recent", want.recent, have.recent);
  return found;
}

void check_compatible(const LatentSpec& want, const LatentSpec& have, LatentId latent) {
  const std::string difference = latent_difference(want, have);
  if (difference.empty()) return;
  const size_t colon = difference.find(": ");
  throw Error(ErrorCode::latent_incompatible, difference.substr(0, colon),
              difference.substr(colon + 2), latent);
}

}  // namespace hanse
