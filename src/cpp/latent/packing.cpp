// Quantised tokens in the pool: groups of 32, each a page of its own, and how latents are written
// elsewhere.
#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "latent/layout.hpp"
#include "latent/transform.hpp"
#include "latent/transform_table.hpp"

namespace hanse {

namespace {

constexpr uint32_t group_floats_max = quantise_group_tokens * quantise_dim_max;

// Where the parts of one head lie.
struct Packed {
  Packed(uint8_t* data, uint32_t scale_count)
      : scales(reinterpret_cast<float*>(data)),
        zeros(scales + scale_count),
        codes(reinterpret_cast<uint8_t*>(zeros + scale_count)) {}
  float *scales, *zeros;
  uint8_t* codes;
};

void load(const TransformTable& table, LatentDtype dtype, float* to, const uint8_t* from,
          uint64_t count) {
  const auto* narrow = reinterpret_cast<const uint16_t*>(from);
  if (dtype == LatentDtype::float32)
    std::memcpy(to, from, count * sizeof(float));
  else if (dtype == LatentDtype::float16)
    table.float_from_half(to, narrow, count);
  else
    table.float_from_brain(to, narrow, count);
}

void store(const TransformTable& table, LatentDtype dtype, uint8_t* to, const float* from,
           uint64_t count) {
  auto* narrow = reinterpret_cast<uint16_t*>(to);
  if (dtype == LatentDtype::float32)
    std::memcpy(to, from, count * sizeof(float));
  else if (dtype == LatentDtype::float16)
    table.half_from_float(narrow, from, count);
  else
    table.brain_from_float(narrow, from, count);
}

LatentSides from_token(LatentSides sides, uint64_t tokens) {
  for (uint8_t*& plane : sides.planes) plane += tokens * sides.token_stride;
  return sides;
}

}  // namespace

bool LatentLayout::packed(const Page& page) const {
  return group_bytes != 0 && page.capacity == quantise_group_tokens;
}

uint32_t LatentLayout::group_count(uint64_t tokens) const {
  if (group_bytes == 0 || tokens <= spec.recent) return 0;
  return uint32_t((tokens - spec.recent) / quantise_group_tokens);
}

void LatentLayout::pack(const LatentSides& kv, Page& to) const {
  const TransformTable& table = transform_table();
  const uint32_t levels = spec.quantised == 8 ? 255 : 15, dim = spec.head_dim;
  alignas(64) float scratch[group_floats_max];
  uint8_t* at = to.data;
  note_used(to, to.capacity);
  for (uint64_t plane = 0; plane < plane_count; ++plane) {
    const bool keys = plane % 2 == 0;
    const uint32_t scales = keys ? dim : quantise_group_tokens;
    for (uint32_t head = 0; head < spec.kv_heads; ++head) {
      const uint8_t* from = kv.planes[plane] + head * kv.head_stride;
      const bool direct = spec.dtype == LatentDtype::float32 && kv.token_stride % 4 == 0 &&
                          reinterpret_cast<uintptr_t>(from) % alignof(float) == 0;
      if (!direct)
        for (uint32_t t = 0; t < quantise_group_tokens; ++t)
          load(table, spec.dtype, scratch + t * dim, from + t * kv.token_stride, dim);
      const Packed parts(at, scales);
      const QuantiseJob job{direct ? reinterpret_cast<const float*>(from) : scratch,
                            quantise_group_tokens,
                            dim,
                            direct ? kv.token_stride / sizeof(float) : dim,
                            levels,
                            parts.scales,
                            parts.zeros,
                            parts.codes};
      if (!(keys ? table.quantise_channels : table.quantise_tokens)(job))
        throw Error(ErrorCode::bad_vector, "kv", "holds a value that is not finite");
      at += packed_bytes(spec, scales);
    }
  }
}

void LatentLayout::unpack(const Piece& piece, const LatentSides& kv_out, uint64_t at,
                          const LatentReading& reading, const RopeTurn* turn) const {
  const TransformTable& table = transform_table();
  const uint32_t levels = spec.quantised == 8 ? 255 : 15, dim = spec.head_dim;
  alignas(64) float scratch[group_floats_max];
  const uint64_t code_bytes = uint64_t(dim) * spec.quantised / 8;
  uint8_t* from = piece.page->data;
  for (uint64_t plane = 0; plane < plane_count; ++plane) {
    const bool keys = plane % 2 == 0;
    const uint32_t scales = keys ? dim : quantise_group_tokens, skipped = keys ? 0 : piece.first;
    const uint64_t head_bytes = packed_bytes(spec, scales);
    const auto dequantise = keys ? table.dequantise_channels : table.dequantise_tokens;
    uint8_t* to = kv_out.planes[plane] + at * kv_out.token_stride;
    const Packed parts(from, scales);
    DequantiseJob job{parts.codes + piece.first * code_bytes,
                      parts.scales + skipped,
                      parts.zeros + skipped,
                      piece.count,
                      dim,
                      levels,
                      kv_out.token_stride / sizeof(float),
                      reinterpret_cast<float*>(to),
                      spec.kv_heads,
                      kv_out.head_stride / sizeof(float),
                      head_bytes};
    from += head_bytes * spec.kv_heads;
    const bool aligned =
        (reinterpret_cast<uintptr_t>(to) | kv_out.token_stride | kv_out.head_stride) %
            alignof(float) ==
        0;
    if (aligned && reading.dtype == LatentDtype::float32 && !(keys && turn)) {
      dequantise(job);
      continue;
    }
    job.heads = 1;
    job.token_stride = dim;
    job.values_out = scratch;
    for (uint32_t head = 0; head < spec.kv_heads; ++head) {
      dequantise(job);
      job.codes += head_bytes;
      job.scales += head_bytes / sizeof(float);
      job.zeros += head_bytes / sizeof(float);
      if (keys && turn) turn->apply(table, scratch, piece.count);
      for (uint32_t t = 0; t < piece.count; ++t)
        store(table, reading.dtype, to + t * kv_out.token_stride + head * kv_out.head_stride,
              scratch + t * dim, dim);
    }
  }
}

void LatentLayout::gather_packed(std::span<const Piece> pieces, const LatentSides& kv_out,
                                 const LatentReading& reading, const RopeTurn* turn) const {
  uint64_t at = 0;
  for (const Piece& piece : pieces) {
    if (packed(*piece.page))
      unpack(piece, kv_out, at, reading, turn);
    else
      gather_plain({&piece, 1}, from_token(kv_out, at), reading);
    at += piece.count;
  }
}

LatentImage LatentLayout::image_of(std::span<const Piece> pieces) const {
  LatentImage image;
  for (const Piece& piece : pieces) {
    if (packed(*piece.page))
      image.push_back({piece.first, piece.count, true});
    else if (!image.empty() && !image.back().packed)
      image.back().count += piece.count;
    else
      image.push_back({0, piece.count, false});
  }
  return image;
}

uint64_t LatentLayout::image_bytes(const LatentImage& image) const {
  unsigned __int128 bytes = 0;
  for (const LatentImagePart& part : image)
    bytes += part.packed ? group_bytes : static_cast<unsigned __int128>(token_bytes()) * part.count;
  return uint64_t(std::min<unsigned __int128>(bytes, UINT64_MAX));
}

void LatentLayout::write_image(std::span<const Piece> pieces, std::span<uint8_t> out) const {
  uint8_t* to = out.data();
  for (size_t i = 0; i < pieces.size();) {
    if (packed(*pieces[i].page)) {
      std::memcpy(to, pieces[i++].page->data, group_bytes);
      to += group_bytes;
      continue;
    }
    size_t end = i;
    uint32_t count = 0;
    for (; end < pieces.size() && !packed(*pieces[end].page); ++end) count += pieces[end].count;
    gather_plain(pieces.subspan(i, end - i), contiguous(to, count), {spec.dtype, 0});
    to += token_bytes() * count;
    i = end;
  }
}

std::vector<LatentLayout::PageDemand> LatentLayout::image_pages(const LatentImage& image) const {
  std::vector<PageDemand> demands;
  for (const LatentImagePart& part : image) {
    if (!part.packed)
      demands.push_back({page_bytes, latent_page_tokens, latent_page_count(part.count)});
    else if (!demands.empty() && demands.back().capacity == quantise_group_tokens)
      ++demands.back().count;
    else
      demands.push_back({group_bytes, quantise_group_tokens, 1});
  }
  return demands;
}

std::vector<Piece> LatentLayout::read_image(const LatentImage& image, Bytes bytes,
                                            std::span<Page* const> pages) const {
  std::vector<Piece> pieces;
  const uint8_t* from = bytes.data();
  for (const LatentImagePart& part : image) {
    if (part.packed) {
      Page* page = pages.front();
      std::memcpy(page->data, from, group_bytes);
      note_used(*page, page->capacity);
      page->filled = quantise_group_tokens;
      pieces.push_back({page, part.first, part.count});
      pages = pages.subspan(1);
      from += group_bytes;
      continue;
    }
    const uint32_t count = latent_page_count(part.count);
    scatter(contiguous(const_cast<uint8_t*>(from), part.count), part.count, pages.first(count), 0);
    for (uint32_t left = part.count; left != 0; pages = pages.subspan(1)) {
      Page* page = pages.front();
      page->filled = std::min(left, page->capacity);
      pieces.push_back({page, 0, page->filled});
      left -= page->filled;
    }
    from += token_bytes() * part.count;
  }
  return pieces;
}

}  // namespace hanse
