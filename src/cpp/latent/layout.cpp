#include "latent/layout.hpp"

#include <algorithm>
#include <cstring>

#include "base/bytes.hpp"

namespace hanse {

namespace {

constexpr uint32_t extent_max = 1u << 16;  // of layers, kv_heads, head_dim: no product overflows

uint64_t row_bytes_of(const LatentSpec& spec) {
  const auto within = [](const char* field, uint32_t value) {
    if (value == 0) throw Error(ErrorCode::out_of_range, field, "0 where at least 1 is needed");
    if (value > extent_max) throw Error(ErrorCode::out_of_range, field, value, extent_max);
  };
  within("layers", spec.layers);
  within("kv_heads", spec.kv_heads);
  within("head_dim", spec.head_dim);
  return uint64_t(spec.kv_heads) * spec.head_dim * latent_dtype_size(spec.dtype);
}

const char* dtype_name(LatentDtype dtype) {
  switch (dtype) {
    case LatentDtype::float32:
      return "float32";
    case LatentDtype::float16:
      return "float16";
    case LatentDtype::bfloat16:
      return "bfloat16";
    case LatentDtype::int8:
      return "int8";
  }
  return "none";
}

}  // namespace

uint32_t latent_dtype_size(LatentDtype dtype) {
  switch (dtype) {
    case LatentDtype::float32:
      return 4;
    case LatentDtype::float16:
      return 2;
    case LatentDtype::bfloat16:
      return 2;
    case LatentDtype::int8:
      return 1;
  }
  throw Error(ErrorCode::out_of_range, "dtype", uint64_t(dtype), uint64_t(LatentDtype::int8));
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
  return sha256(writer.bytes());
}

std::string latent_difference(const LatentSpec& want, const LatentSpec& have) {
  const auto differ = [](const char* field, const std::string& want, const std::string& have) {
    return std::string(field) + ": want " + want + ", have " + have;
  };
  const auto number = [](uint64_t value) { return std::to_string(value); };
  if (want.model != have.model) return differ("model", want.model, have.model);
  if (want.tokenizer != have.tokenizer) return differ("tokenizer", want.tokenizer, have.tokenizer);
  if (want.layers != have.layers) return differ("layers", number(want.layers), number(have.layers));
  if (want.kv_heads != have.kv_heads)
    return differ("kv_heads", number(want.kv_heads), number(have.kv_heads));
  if (want.head_dim != have.head_dim)
    return differ("head_dim", number(want.head_dim), number(have.head_dim));
  if (want.dtype != have.dtype)
    return differ("dtype", dtype_name(want.dtype), dtype_name(have.dtype));
  if (want.rope_base_micro != have.rope_base_micro)
    return differ("rope_base_micro", number(want.rope_base_micro), number(have.rope_base_micro));
  return {};
}

LatentLayout::LatentLayout(const LatentSpec& wanted)
    : spec(wanted),
      fingerprint(latent_fingerprint(wanted)),
      row_bytes(row_bytes_of(wanted)),
      plane_count(uint64_t(wanted.layers) * 2),
      page_bytes(row_bytes * plane_count * latent_page_tokens) {}

void LatentLayout::check_size(const char* field, uint64_t size_bytes, uint32_t tokens) const {
  const auto want = static_cast<unsigned __int128>(token_bytes()) * tokens;
  if (size_bytes == want) return;
  throw Error(ErrorCode::dimension_mismatch, field,
              std::to_string(size_bytes) + " bytes where " + std::to_string(tokens) +
                  " tokens of " + std::to_string(token_bytes()) + " bytes are needed");
}

void LatentLayout::scatter(const uint8_t* kv, uint32_t tokens, const std::vector<Page*>& pages,
                           uint32_t first) const {
  const uint64_t plane_bytes = row_bytes * latent_page_tokens;
  for (uint32_t done = 0; done < tokens;) {
    const uint32_t at = first + done, in_page = at % latent_page_tokens;
    const uint32_t count = std::min(latent_page_tokens - in_page, tokens - done);
    uint8_t* page = pages[at / latent_page_tokens]->data;
    for (uint64_t plane = 0; plane < plane_count; ++plane)
      std::memcpy(page + plane * plane_bytes + in_page * row_bytes,
                  kv + (plane * tokens + done) * row_bytes, count * row_bytes);
    done += count;
  }
}

void LatentLayout::gather(const std::vector<Page*>& pages, uint32_t tokens, uint8_t* kv_out) const {
  const uint64_t plane_bytes = row_bytes * latent_page_tokens;
  for (uint32_t done = 0; done < tokens; done += latent_page_tokens) {
    const uint32_t count = std::min(latent_page_tokens, tokens - done);
    const uint8_t* page = pages[done / latent_page_tokens]->data;
    for (uint64_t plane = 0; plane < plane_count; ++plane)
      std::memcpy(kv_out + (plane * tokens + done) * row_bytes, page + plane * plane_bytes,
                  count * row_bytes);
  }
}

void LatentLayout::copy_head(const Page& from, uint32_t tokens, Page& to) const {
  const uint64_t plane_bytes = row_bytes * latent_page_tokens;
  for (uint64_t plane = 0; plane < plane_count; ++plane)
    std::memcpy(to.data + plane * plane_bytes, from.data + plane * plane_bytes, tokens * row_bytes);
}

}  // namespace hanse
