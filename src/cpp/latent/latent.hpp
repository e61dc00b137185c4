// Latent state (KV caches, hidden states) as immutable, shared pages: handed over by handle, forked
// for nothing, readable only with matching fingerprint, permission and live lease.
//
// Flow plane: counted and bounded, not journaled (a dispatch records the manifests it names).
// Any thread; one mutex inside, never held while copying pages that no one else can see.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/clock.hpp"
#include "base/hash.hpp"
#include "base/ids.hpp"
#include "base/view.hpp"

namespace hanse {

enum class LatentDtype : uint8_t { float32 = 0, float16 = 1, bfloat16 = 2, int8 = 3 };
uint32_t latent_dtype_size(LatentDtype dtype);

// What makes two latents interchangeable. A mismatch is latent_incompatible naming the field.
struct LatentSpec {
  std::string model;      // "org/model@revision"
  std::string tokenizer;  // hash of the tokenizer, or empty
  uint32_t layers = 0, kv_heads = 0, head_dim = 0;
  LatentDtype dtype = LatentDtype::float32;
  uint64_t rope_base_micro = 0;  // RoPE base in millionths; 0: not said
};
Digest latent_fingerprint(const LatentSpec& spec);
// The first field that differs with both values, "head_dim: want 64, have 128"; empty: compatible.
std::string latent_difference(const LatentSpec& want, const LatentSpec& have);

constexpr uint32_t latent_page_tokens = 16;

struct LatentPoolOptions {
  uint64_t size_bytes_max = uint64_t(1) << 30;  // of page payload
  uint32_t handle_count_max = 1u << 20;
};

struct LatentInfo {
  LatentId id = id_none;
  AgentId owner = id_none;
  uint32_t tenant = 0;
  Digest content{}, fingerprint{}, parent{};
  LatentSpec spec;
  uint32_t tokens = 0, position_base = 0;
  uint64_t size_bytes = 0;  // of its tokens, shared ones included: what read_into needs
  uint64_t lease_ns = 0;    // absolute; 0: no end
  uint32_t readers = 0;     // other handles on the same pages, and grants
};

struct LatentPoolStatus {
  uint64_t page_bytes_used = 0;  // each page once, however many share it
  uint64_t size_bytes_max = 0;
  uint64_t handle_count = 0, page_count = 0;
};

class LatentPool {
 public:
  // `seed` keys the content hash, so that ids can't be guessed across kernels.
  LatentPool(const LatentPoolOptions& options, std::shared_ptr<Clock> clock, uint64_t seed);
  ~LatentPool();

  // `kv` is [layers, 2, tokens, kv_heads, head_dim], contiguous; its size must match the spec
  // (dimension_mismatch). tokens: ids of the tokens it stands for, or empty (then
  // (producer, step) makes the identity). Positions are position_base … + token_count - 1.
  // quota_exceeded when pages or handles run out: nothing changed. Also: out_of_range (a field of
  // the spec), empty (no token), lease_expired (lease_ns has passed).
  LatentId put(AgentId owner, uint32_t tenant, const LatentSpec& spec, Bytes kv,
               uint32_t token_count, std::span<const uint32_t> tokens, uint64_t step,
               uint32_t position_base, uint64_t lease_ns);
  // O(1) in the length: shares every page. The new handle is independent of the old one's life, but
  // has its lease, as slices and appended ones have.
  LatentId fork(LatentId latent, AgentId owner, uint32_t tenant);
  // A new handle whose pages are the old ones and then the new tokens; the last partial page is
  // copied, full pages are shared. `position` must be the end of the old one (position_overlap):
  // its position_base + tokens.
  LatentId append(LatentId latent, AgentId owner, uint32_t tenant, Bytes kv, uint32_t token_count,
                  std::span<const uint32_t> tokens, uint64_t step, uint32_t position);
  // The first `tokens` of it: 1 … all (empty, out_of_range). Shares the pages.
  LatentId slice(LatentId latent, AgentId owner, uint32_t tenant, uint32_t tokens);
  // Throws unknown_latent when already released (the generation in the handle tells). A page is
  // freed (and zeroed) with its last handle.
  void release(LatentId latent);

  // Throws unknown_latent (also for another tenant's: reader_tenant 0 is the root and sees all;
  // a latent handed to a reader by `grant` is visible to it), lease_expired, latent_incompatible.
  LatentInfo info(LatentId latent, AgentId reader, uint32_t reader_tenant) const;
  void grant(LatentId latent, AgentId reader);
  // Gathers into [layers, 2, tokens, kv_heads, head_dim]; out must have exactly that size.
  void read_into(LatentId latent, AgentId reader, uint32_t reader_tenant, const LatentSpec* want,
                 std::span<uint8_t> out) const;
  // The pages in order, for zero-copy views: each [layers, 2, latent_page_tokens, kv_heads,
  // head_dim], the last one partly filled. Valid while the handle (or a fork of it) lives.
  std::vector<Bytes> pages(LatentId latent, AgentId reader, uint32_t reader_tenant) const;

  // The longest stored prefix of `tokens` in (tenant, fingerprint), among latents whose token ids
  // are all known and whose position_base is 0 and whose lease runs: whole pages, token equality is
  // the proof (a hash only routes). Returns a new handle (a slice) and how many tokens it covers;
  // none: {id_none, 0}.
  struct Prefix {
    LatentId latent = id_none;
    uint32_t matched = 0;
  };
  Prefix longest_prefix(AgentId reader, uint32_t tenant, const LatentSpec& spec,
                        std::span<const uint32_t> tokens);

  LatentPoolStatus status() const;
  uint64_t memory_bytes() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hanse
