// What a latent is made of: the fields that make two of them interchangeable.
#pragma once

#include <string>
#include <vector>

#include "base/hash.hpp"
#include "base/ids.hpp"

namespace hanse {

enum class LatentDtype : uint8_t { float32 = 0, float16 = 1, bfloat16 = 2, int8 = 3, int4 = 4 };
// kv: keys and values of each layer. hidden: one plane a layer (hidden states, embeddings).
enum class LatentKind : uint8_t { kv = 0, hidden = 1 };
// How a plane lies: [tokens, heads, dim] or [heads, tokens, dim].
enum class LatentOrder : uint8_t { nhd = 0, hnd = 1 };
// Which elements RoPE turns together: (i, i + d/2) or (2i, 2i + 1).
enum class RopePairing : uint8_t { neox = 0, gptj = 1 };

uint32_t latent_dtype_bits(LatentDtype dtype);
const char* latent_dtype_name(LatentDtype dtype);

// A mismatch is latent_incompatible naming the field.
struct LatentSpec {
  std::string model;      // "org/model@revision"
  std::string tokenizer;  // hash of the tokenizer, or empty
  uint32_t layers = 0, kv_heads = 0, head_dim = 0;
  LatentDtype dtype = LatentDtype::float32;
  uint64_t rope_base_micro =
      0;  // RoPE base in millionths; 0: not said, and then nothing is shifted
  LatentKind kind = LatentKind::kv;
  LatentOrder order = LatentOrder::nhd;
  RopePairing rope_pairing = RopePairing::neox;
  uint32_t rotary_dim = 0;    // elements of a head that RoPE turns; 0: all of head_dim
  std::string rope_scaling;   // "yarn:4" …, as the model says it; not empty: nothing is shifted
  uint32_t position_max = 0;  // positions that the model was made for; 0: not said
  // Bits of an element while it lies in the pool: 0 (as `dtype` says), 8 or 4 (KIVI). Arrays that
  // are put and read have `dtype` all the same.
  uint32_t quantised = 0;
  uint32_t recent = 32;  // the newest tokens, so many at least, lie there as they were put

  bool operator==(const LatentSpec&) const = default;
  uint32_t plane_count() const { return layers * (kind == LatentKind::kv ? 2 : 1); }
  // The same in `dtype` while it lies in the pool, too.
  LatentSpec plain() const;
};
Digest latent_fingerprint(const LatentSpec& spec);
// The first field that differs with both values, "head_dim: want 64, have 128"; empty: compatible.
std::string latent_difference(const LatentSpec& want, const LatentSpec& have);
void check_compatible(const LatentSpec& want, const LatentSpec& have, LatentId latent);

// A caller's KV, where it lies: one pointer for each plane (layer 0 K, layer 0 V, layer 1 K, …),
// the same strides in bytes for all. The elements of one head are contiguous.
struct LatentSides {
  std::vector<uint8_t*> planes;
  uint64_t token_stride = 0, head_stride = 0;
};

}  // namespace hanse
