// Latent state (KV caches, hidden states) as immutable, shared pages: handed over by handle, forked
// for nothing, readable only with matching fingerprint, permission and live lease.
//
// Flow plane: counted and bounded, not journaled (a dispatch records the manifests it names).
// Any thread; one mutex inside, never held while copying pages that no one else can see.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/view.hpp"
#include "latent/layout.hpp"

namespace hanse {

struct LatentBody;
struct LatentGrant;

struct LatentPoolOptions {
  uint64_t size_bytes_max = uint64_t(1) << 30;  // of page payload
  uint32_t handle_count_max = 1u << 20;
  uint64_t kept_bytes_max = uint64_t(1) << 29;  // of each tenant, unless `set_quota` says otherwise
};

struct LatentSpillOptions {
  std::string directory;                            // made where it isn't there
  uint64_t size_bytes_max = uint64_t(4) << 30;      // of files
  uint64_t staging_bytes_max = uint64_t(64) << 20;  // of pages that wait to be written
};

// What is said of a latent when it is made.
struct LatentTerms {
  std::span<const uint32_t> tokens;  // ids of what it stands for; empty: (producer, step) names it
  uint64_t step = 0;
  uint32_t position_base = 0;
  uint64_t lease_ns = 0;             // absolute; 0: no end
  uint64_t label = 0;                // secrecy bits; what is made from it has them, too
  std::optional<std::string> gloss;  // for people, at most 4 KiB; nothing: said to have none
  uint64_t price = 0;                // per million tokens read: `shares` says to whom
  bool whole = false;                // one block instead of pages, so that a view shows all of it
};

// A run of tokens of a latent that one agent made, and what it asks for reading them.
struct LatentShare {
  AgentId producer = id_none;
  uint64_t price = 0;  // per million tokens
  uint32_t tokens = 0;
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
  uint64_t label = 0, price = 0, step = 0;
  uint64_t read_tokens = 0;  // how many were read through any handle of it
  std::optional<std::string> gloss;
  std::vector<LatentShare> shares;  // in the order of its tokens
  bool kept = false, pinned = false;
};

struct LatentPoolStatus {
  uint64_t page_bytes_used = 0;  // each page once, however many share it
  uint64_t size_bytes_max = 0;
  uint64_t handle_count = 0, page_count = 0;
  uint64_t mapped_bytes = 0, prefaulted_bytes = 0, adopted_bytes = 0;
  uint64_t kept_bytes = 0, evicted_count = 0, metadata_bytes = 0;
  // Of `spill_to`: files, and what waits to be written. Dropped: there was no room, no place in the
  // queue or no disk. Lost: a file was not there or not as it was written.
  uint64_t spilled_bytes = 0, spilled_count = 0, spilling_bytes = 0;
  uint64_t spill_written_count = 0, spill_loaded_count = 0;
  uint64_t spill_dropped_count = 0, spill_lost_count = 0;
  bool huge_pages = false;  // whether the system gives them to memory files
};

// Keeps what it names readable, whatever happens to handles, leases and the pool. Any thread.
class LatentHold {
 public:
  LatentHold() = default;
  LatentHold(LatentHold&& other) noexcept;
  LatentHold& operator=(LatentHold&& other) noexcept;
  ~LatentHold();

  const LatentLayout& layout() const;
  std::span<const Piece> pieces() const;
  const LatentBody& body() const { return *body_; }
  // A word that is `value` becomes 0 as soon as a grant that this rests on is revoked; `owner`
  // keeps it.
  void end_with(const std::shared_ptr<void>& owner, uint64_t* word, uint64_t value) const;
  explicit operator bool() const { return body_ != nullptr; }

 private:
  friend class LatentPool;
  std::shared_ptr<void> state_;
  LatentBody* body_ = nullptr;
  std::vector<std::shared_ptr<LatentGrant>> rights_;
};

class LatentPool {
 public:
  // `seed` keys the content hash, so that ids can't be guessed across kernels.
  LatentPool(const LatentPoolOptions& options, std::shared_ptr<Clock> clock, uint64_t seed);
  ~LatentPool();

  // Copies `kv` in. Positions are position_base … + token_count - 1. quota_exceeded when pages or
  // handles run out, after what is kept without a handle was evicted: nothing else changed. Also:
  // dimension_mismatch, out_of_range (a field of the spec, or positions past what the model was
  // made for), empty (no token), lease_expired (lease_ns has passed), too_large (the gloss).
  LatentId put(AgentId owner, uint32_t tenant, const LatentSpec& spec, const LatentSides& kv,
               uint32_t token_count, const LatentTerms& terms);
  // The same from [layers, 2, tokens, kv_heads, head_dim], contiguous.
  LatentId put(AgentId owner, uint32_t tenant, const LatentSpec& spec, Bytes kv,
               uint32_t token_count, std::span<const uint32_t> tokens, uint64_t step,
               uint32_t position_base, uint64_t lease_ns);
  // The same from what `LatentLayout::write_image` wrote, which the caller has checked.
  LatentId put_image(AgentId owner, uint32_t tenant, const LatentSpec& spec,
                     const LatentImage& image, Bytes bytes, uint32_t token_count,
                     const LatentTerms& terms);
  // No copy: `data`, contiguous in the order of the spec, stays the caller's, who must not write to
  // it any more; `release` is called once nothing refers to it, from any thread, without the mutex.
  // descriptor: a memory file that holds it from offset 0 on, or -1. counted: it is part of
  // size_bytes_max (quota_exceeded, as in `put`; `release` is not called then).
  LatentId adopt(AgentId owner, uint32_t tenant, const LatentSpec& spec, Bytes data,
                 uint32_t token_count, const LatentTerms& terms, int descriptor,
                 std::function<void()> release, bool counted = false);
  // O(1) in the length: shares every page. The new handle is independent of the old one's life, but
  // has its lease and its grant, as all that is derived has.
  LatentId fork(LatentId latent, AgentId owner, uint32_t tenant);
  // A new handle: the old tokens and then the new ones. Full pages are shared; room in the last one
  // is taken by the first who appends to it, and copied by the others. `position` must be the end
  // of the old one (position_overlap): its position_base + tokens.
  LatentId append(LatentId latent, AgentId owner, uint32_t tenant, const LatentSides& kv,
                  uint32_t token_count, std::span<const uint32_t> tokens, uint64_t step,
                  uint32_t position);
  LatentId append(LatentId latent, AgentId owner, uint32_t tenant, Bytes kv, uint32_t token_count,
                  std::span<const uint32_t> tokens, uint64_t step, uint32_t position);
  // `count` tokens from `first` on, at least one (empty, out_of_range). Shares the pages.
  LatentId slice(LatentId latent, AgentId owner, uint32_t tenant, uint32_t first, uint32_t count);
  LatentId slice(LatentId latent, AgentId owner, uint32_t tenant, uint32_t tokens) {
    return slice(latent, owner, tenant, 0, tokens);
  }
  // One after the other, sharing all pages. Each must begin where the one before ends
  // (position_overlap), and all have one spec (latent_incompatible). 1 … 4,096 of them.
  LatentId concat(std::span<const LatentId> latents, AgentId owner, uint32_t tenant);
  // Throws unknown_latent when already released (the generation in the handle tells). A page is
  // freed with its last handle.
  void release(LatentId latent);

  // Throws unknown_latent (also for another tenant's: reader_tenant 0 is the root and sees all;
  // a latent handed to a reader by `grant` is visible to it), lease_expired, revoked,
  // latent_incompatible.
  LatentInfo info(LatentId latent, AgentId reader, uint32_t reader_tenant) const;
  // Lets a reader of another tenant read it, if `clearance` has all bits of its label
  // (not_permitted). A second grant replaces the first one's clearance.
  void grant(LatentId latent, AgentId reader, uint64_t clearance = 0);
  // Ends a grant at once, for all that was derived by it too. False: there was none.
  bool revoke(LatentId latent, AgentId reader);
  // Gathers into [layers, 2, tokens, kv_heads, head_dim]; out must have exactly that size.
  void read_into(LatentId latent, AgentId reader, uint32_t reader_tenant, const LatentSpec* want,
                 std::span<uint8_t> out) const;
  // The same into any planes, on the way as `reading` says.
  void read_into(LatentId latent, AgentId reader, uint32_t reader_tenant, const LatentSpec* want,
                 const LatentSides& out, const LatentReading& reading) const;
  LatentHold hold(LatentId latent, AgentId reader, uint32_t reader_tenant) const;
  // The pages in order, for zero-copy views: each [layers, 2, capacity, kv_heads, head_dim], of
  // which `pieces` of the hold says the used part. Valid while the handle (or a fork) lives.
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
  Prefix longest_prefix(AgentId reader, uint32_t tenant, const Digest& fingerprint,
                        std::span<const uint32_t> tokens);
  // Only how many tokens; counts as a use of what was found.
  uint32_t match(uint32_t tenant, const Digest& fingerprint, std::span<const uint32_t> tokens);
  // A latent without tokens by what made it: a new handle, or id_none.
  LatentId find_step(AgentId reader, uint32_t tenant, const LatentSpec& spec, const Digest& parent,
                     AgentId producer, uint64_t step);

  // Keeps it without a handle until room is needed: then what is worth least goes first, worth
  // being cost × reuse ÷ bytes. cost: of computing it anew, any unit that the tenant uses for all;
  // 0: its tokens. quota_exceeded: it alone is larger than the tenant may keep. A pinned one stays.
  void keep(LatentId latent, AgentId actor, uint32_t tenant, uint64_t cost, bool pinned);
  void forget(LatentId latent, AgentId actor, uint32_t tenant);
  // Evicts until at least `bytes` are freed or nothing is left; returns the bytes freed.
  uint64_t evict(uint32_t tenant, uint64_t bytes);
  // The bound of all page payload; what is kept without a handle is evicted until it holds.
  void set_size(uint64_t size_bytes_max);
  void set_quota(uint32_t tenant, uint64_t quota_bytes);

  // What is evicted from now on goes to files before its pages are free, if it can be found by
  // tokens or step, and comes back as kept where it is missed. Once for a pool
  // (illegal_transition); unusable_directory, locked (another pool spills there), out_of_range.
  void spill_to(const LatentSpillOptions& options);
  // How many of these tokens will be in memory soon: what lies on disk is being read from now on.
  // `longest_prefix` does so, too, where the disk has more than memory.
  uint32_t expect(uint32_t tenant, const Digest& fingerprint, std::span<const uint32_t> tokens);
  // `longest_prefix` after that, once it is read, or after `timeout_ns`.
  Prefix fetch(AgentId reader, uint32_t tenant, const Digest& fingerprint,
               std::span<const uint32_t> tokens, uint64_t timeout_ns);
  // Faults in pages for `tokens` more tokens, so that the first copies are as fast as later ones.
  void reserve(uint32_t tenant, const LatentSpec& spec, uint32_t tokens);

  LatentPoolStatus status() const;
  uint64_t memory_bytes() const;

  struct State;
  State& state() { return *state_; }
  const std::shared_ptr<State>& shared_state() const { return state_; }

 private:
  const std::shared_ptr<State> state_;
};

}  // namespace hanse
