// How the tokens of one kind of latent lie in a page, and the copies between pages and a caller's
// planes.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/view.hpp"
#include "latent/page_arena.hpp"
#include "latent/spec.hpp"

namespace hanse {

class RopeTurn;

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

// A run of tokens of a latent as it is written elsewhere: one group of quantised ones with all of
// its page, or any number of others.
struct LatentImagePart {
  uint32_t first = 0, count = 0;
  bool packed = false;
};
using LatentImage = std::vector<LatentImagePart>;

struct LatentLayout {
  // Throws out_of_range (a field of `spec` is 0 or too large, or the dtype is none).
  explicit LatentLayout(const LatentSpec& spec);

  const LatentSpec spec;
  const Digest fingerprint;
  const uint64_t dim_bytes;    // of one head of one token
  const uint64_t row_bytes;    // of one token in one plane
  const uint64_t plane_count;  // layers, times two for keys and values
  const uint64_t page_bytes;   // of latent_page_tokens
  const uint64_t group_bytes;  // of a page of quantised tokens; 0: there are none

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
  // Pages of quantised tokens hold one group each, as `kivi_quantise` packs it: for each layer the
  // keys of each head, then the values. No others of such a spec have room for as many tokens.
  bool packed(const Page& page) const;
  // How many of the first of `tokens` tokens, all newer than what is packed already, are packed.
  uint32_t group_count(uint64_t tokens) const;
  // One group of tokens of `kv`. Throws bad_vector: a value is not finite.
  void pack(const LatentSides& kv, Page& to) const;

  LatentImage image_of(std::span<const Piece> pieces) const;
  uint64_t image_bytes(const LatentImage& image) const;
  // `out` has that size.
  void write_image(std::span<const Piece> pieces, std::span<uint8_t> out) const;
  // The pages that it needs, in order: how many of which size and capacity.
  struct PageDemand {
    uint64_t page_bytes = 0;
    uint32_t capacity = 0, count = 0;
  };
  std::vector<PageDemand> image_pages(const LatentImage& image) const;
  std::vector<Piece> read_image(const LatentImage& image, Bytes bytes,
                                std::span<Page* const> pages) const;

  // What lies behind the first `filled` tokens of a page becomes zero. What is known to be zero
  // (`Page::used`) isn't written again.
  void zero_tail(Page& page, uint32_t filled) const;

  // So many tokens of it may be other than zero.
  void note_used(Page& page, uint32_t tokens) const;

 private:
  uint64_t shape() const;
  void unpack(const Piece& piece, const LatentSides& kv_out, uint64_t at,
              const LatentReading& reading, const RopeTurn* turn) const;
  void gather_packed(std::span<const Piece> pieces, const LatentSides& kv_out,
                     const LatentReading& reading, const RopeTurn* turn) const;
  void gather_plain(std::span<const Piece> pieces, const LatentSides& kv_out,
                    const LatentReading& reading) const;
  void copy_out(std::span<const Piece> pieces, const LatentSides& kv_out) const;
};

// Throws as LatentLayout. Each thread remembers the last few: hashing a spec costs as much as
// looking a prefix up.
std::shared_ptr<const LatentLayout> latent_layout(const LatentSpec& spec);

constexpr uint32_t latent_page_count(uint32_t tokens) {
  return tokens / latent_page_tokens + (tokens % latent_page_tokens != 0);
}

}  // namespace hanse
