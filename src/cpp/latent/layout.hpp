// How the tokens of one kind of latent lie in a page, and the copies between pages and a caller's
// planes.
#pragma once

#include <vector>

#include "base/view.hpp"
#include "latent/page_arena.hpp"
#include "latent/spec.hpp"

namespace hanse {

constexpr uint32_t latent_page_tokens = 16;

// A run of tokens inside one page; a latent is a list of them.
struct Piece {
  Page* page = nullptr;
  uint32_t first = 0, count = 0;
};

// What happens to the elements on their way out, while they are in the first-level cache.
struct LatentReading {
  LatentDtype dtype = LatentDtype::float32;  // float32, float16 or bfloat16 where it differs
  int64_t shift = 0;                         // positions that keys are turned on by
};

struct LatentLayout {
  // Throws out_of_range (a field of `spec` is 0 or too large, or the dtype is none).
  explicit LatentLayout(const LatentSpec& spec);

  const LatentSpec spec;
  const Digest fingerprint;
  const uint64_t dim_bytes;    // of one head of one token
  const uint64_t row_bytes;    // of one token in one plane
  const uint64_t plane_count;  // layers, times two for keys and values
  const uint64_t page_bytes;   // of latent_page_tokens

  uint64_t token_bytes() const { return row_bytes * plane_count; }
  // Throws dimension_mismatch naming `field`.
  void check_size(const char* field, uint64_t size_bytes, uint32_t tokens) const;
  // Throws bad_array unless `sides` has a pointer for each plane.
  void check_sides(const char* field, const LatentSides& sides) const;
  // Throws latent_incompatible where this kind can't be read so.
  void check_reading(const LatentReading& reading, LatentId latent) const;

  // The planes of [planes, tokens, heads, dim] (NHD) or [planes, heads, tokens, dim] (HND).
  LatentSides contiguous(uint8_t* data, uint32_t tokens) const;
  LatentSides contiguous(uint8_t* data, uint32_t tokens, LatentDtype dtype) const;

  // Tokens [0, tokens) of `kv` to the positions from `first` on of `pages`, each of
  // latent_page_tokens; what the last one has left becomes zero.
  void scatter(const LatentSides& kv, uint32_t tokens, std::span<Page* const> pages,
               uint32_t first) const;
  void gather(std::span<const Piece> pieces, const LatentSides& kv_out) const;
  void gather(std::span<const Piece> pieces, const LatentSides& kv_out,
              const LatentReading& reading) const;
  // `piece` to the front of another page.
  void copy_head(const Piece& piece, Page& to) const;
  // What lies behind the first `filled` tokens of a page becomes zero.
  void zero_tail(Page& page, uint32_t filled) const;
};

constexpr uint32_t latent_page_count(uint32_t tokens) {
  return tokens / latent_page_tokens + (tokens % latent_page_tokens != 0);
}

}  // namespace hanse
