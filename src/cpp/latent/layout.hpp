// How the tokens of one kind of latent lie in a page, and the copies between pages and the
// contiguous [layers, 2, tokens, kv_heads, head_dim] form.
#pragma once

#include <vector>

#include "latent/latent.hpp"
#include "latent/page_arena.hpp"

namespace hanse {

struct LatentLayout {
  // Throws out_of_range (a field of `spec` is 0 or too large, or the dtype is none).
  explicit LatentLayout(const LatentSpec& spec);

  const LatentSpec spec;
  const Digest fingerprint;
  const uint64_t row_bytes;    // of one token in one layer, K or V
  const uint64_t plane_count;  // layers * 2
  const uint64_t page_bytes;

  uint64_t token_bytes() const { return row_bytes * plane_count; }
  // Throws dimension_mismatch naming `field`.
  void check_size(const char* field, uint64_t size_bytes, uint32_t tokens) const;
  // Tokens [0, tokens) of `kv` to the positions from `first` on of `pages`.
  void scatter(const uint8_t* kv, uint32_t tokens, const std::vector<Page*>& pages,
               uint32_t first) const;
  void gather(const std::vector<Page*>& pages, uint32_t tokens, uint8_t* kv_out) const;
  // The first `tokens` of one page to another.
  void copy_head(const Page& from, uint32_t tokens, Page& to) const;
};

constexpr uint32_t latent_page_count(uint32_t tokens) {
  return tokens / latent_page_tokens + (tokens % latent_page_tokens != 0);
}

}  // namespace hanse
