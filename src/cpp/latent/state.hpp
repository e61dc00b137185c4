// The inside of a LatentPool.
#pragma once

#include <set>

#include "latent/latent.hpp"
#include "latent/layout.hpp"
#include "latent/page_arena.hpp"
#include "latent/prefix_index.hpp"

namespace hanse {

// What handles share. Immutable but for the counts, which the mutex guards.
struct LatentBody : PrefixEntry {
  std::shared_ptr<const LatentLayout> layout;
  uint32_t tenant = 0;  // in whose prefix index it is
  uint32_t tokens = 0, position_base = 0;
  uint64_t lease_ns = 0;  // of every handle: a fork can't outlive what it was forked from
  Digest content{}, parent{};
  std::vector<Page*> pages;
  std::vector<uint32_t> token_ids;  // all of them, or empty where some are not known

  uint32_t references = 0;  // handles, and reads that run
  uint32_t handles = 0;
  uint32_t home_handles = 0;  // of its own tenant: without one it leaves the index
};

struct LatentHandle {
  uint32_t generation = 1;
  uint32_t tenant = 0;
  AgentId owner = id_none;
  LatentBody* body = nullptr;   // null: free
  std::vector<AgentId> grants;  // ascending
};

struct LatentPool::State {
  State(const LatentPoolOptions& options, std::shared_ptr<Clock> clock, uint64_t seed);
  ~State();

  // Those that take a lock as argument expect the mutex held; the others take it.
  using Lock = std::unique_lock<std::mutex>;
  class Pin;
  class Draft;

  LatentHandle& find(const Lock&, LatentId latent);
  // The same error for released and for foreign ones.
  LatentHandle& visible(const Lock&, LatentId latent, AgentId reader, uint32_t reader_tenant);
  LatentBody& readable(const Lock&, LatentId latent, AgentId reader, uint32_t reader_tenant);
  uint32_t take_handle(const Lock&);  // throws quota_exceeded
  LatentId open(const Lock&, uint32_t index, AgentId owner, uint32_t tenant, LatentBody* body);
  // A body of `tenant`: the first `tokens` of `whole`, whose pages it shares.
  LatentBody* cut(const Lock&, const LatentBody& whole, uint32_t tenant, uint32_t tokens);
  void add_to_index(const Lock&, LatentBody& body);
  void remove_from_index(const Lock&, LatentBody& body);
  void drop(LatentBody* body);                // one reference; frees with the last one
  void free_pages(std::vector<Page*> pages);  // without references

  // `part` tells the ways of making a latent apart.
  Digest content_id(std::string_view part, const LatentLayout& layout, const Digest& parent,
                    uint32_t position, uint32_t token_count, std::span<const uint32_t> tokens,
                    AgentId producer, uint64_t step) const;

  const LatentPoolOptions options;
  const std::shared_ptr<Clock> clock;
  const uint64_t seed;

  mutable std::mutex mutex;
  PageArena arena;
  PrefixIndex prefixes;
  std::set<std::pair<uint64_t, LatentBody*>> leases;  // of what is in the index and ends
  std::vector<LatentHandle> handles;
  std::vector<uint32_t> free_handles;
  uint64_t handle_count = 0;
};

// A body that stays while this object lives, though its handles are released.
class LatentPool::State::Pin {
 public:
  Pin(State& state, LatentId latent, AgentId reader, uint32_t reader_tenant);
  ~Pin() { state_.drop(body_); }
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;

  const LatentBody& operator*() const { return *body_; }
  const LatentBody* operator->() const { return body_; }

 private:
  State& state_;
  LatentBody* body_;
};

// Pages and a handle that nobody can see yet; given back unless `publish` was reached.
class LatentPool::State::Draft {
 public:
  // Throws quota_exceeded, and nothing has changed.
  Draft(State& state, const LatentLayout& layout, uint32_t page_count);
  ~Draft();
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;

  const std::vector<Page*>& pages() const { return pages_; }
  // The body's pages are the `shared` ones and then the draft's.
  LatentId publish(std::unique_ptr<LatentBody> body, std::span<Page* const> shared, AgentId owner,
                   uint32_t tenant);

 private:
  State& state_;
  std::vector<Page*> pages_;
  uint32_t handle_ = index_none;
};

}  // namespace hanse
