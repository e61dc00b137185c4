// The inside of a LatentPool.
#pragma once

#include <atomic>
#include <mutex>
#include <set>

#include "base/hash_map.hpp"
#include "latent/latent.hpp"
#include "latent/lineage.hpp"
#include "latent/prefix_index.hpp"
#include "latent/retention.hpp"

namespace hanse {

// A permission of one reader of another tenant. What is derived by it holds it, too.
struct LatentGrant {
  AgentId reader = id_none;
  uint64_t clearance = 0;
  bool revoked = false;
  // Of hand-offs to other processes, which look at them before each read.
  struct Word {
    std::weak_ptr<void> owner;
    uint64_t* word;
    uint64_t value;
    void end() const;
  };
  std::vector<Word> words;
};
using LatentGrants = std::vector<std::shared_ptr<LatentGrant>>;

// What handles share. Immutable but for the counts, which the mutex guards.
struct LatentBody : PrefixEntry, RetainedEntry {
  std::shared_ptr<const LatentLayout> layout;
  uint32_t tenant = 0;  // in whose prefix index it is
  uint32_t tokens = 0, position_base = 0;
  uint64_t lease_ns = 0;  // of every handle: a fork can't outlive what it was forked from
  uint64_t label = 0, price = 0;
  std::optional<std::string> gloss;
  std::shared_ptr<Lineage> lineage;
  std::vector<LatentShare> shares;
  std::vector<Piece> pieces;
  std::shared_ptr<TokenRun> run;  // the first `tokens` of it; null where some are not known
  uint64_t step_hash = 0;
  uint32_t step_slot = index_none;  // in State::step_bodies

  uint32_t references = 0;  // handles, reads that run, and one where it is kept
  uint32_t handles = 0;
  uint32_t home_handles = 0;  // of its own tenant: without one, or being kept, it isn't indexed
  mutable std::atomic<uint64_t> read_tokens{0};

  uint64_t size_bytes() const { return layout->token_bytes() * tokens; }
  std::unique_ptr<LatentBody> shell() const;  // what is known of it, without its pages
  uint32_t end() const { return position_base + tokens; }
};

struct LatentHandle {
  uint32_t generation = 1;
  uint32_t tenant = 0;
  AgentId owner = id_none;
  LatentBody* body = nullptr;  // null: free
  LatentGrants grants;         // that its owner gave, by reader
  LatentGrants rights;         // that it rests on
};

// Throws empty, dimension_mismatch.
void check_tokens(std::span<const uint32_t> tokens, uint32_t token_count);
// Throws out_of_range: past what a position can be, or past what the model was made for.
void check_end(const LatentSpec& spec, uint32_t position, uint32_t token_count);
// Throws latent_incompatible: quantised tokens can't be shown where they lie, nor be one block.
void check_plain(const LatentLayout& layout, const char* field);
// `sides` without the first tokens.
LatentSides behind(LatentSides sides, uint32_t tokens);
// Throws too_large.
void check_gloss(const std::optional<std::string>& gloss);
// Behind what `shares_out` has: `count` of the tokens of `from`, from `first` on.
void add_shares(std::span<const LatentShare> from, uint32_t first, uint32_t count,
                std::vector<LatentShare>& shares_out);
// Of two leases, 0 being one without an end.
uint64_t earlier_lease(uint64_t a, uint64_t b);
// `first` and then `then`. grows: room is left behind for the next ones.
std::shared_ptr<TokenRun> token_run(std::span<const uint32_t> first, std::span<const uint32_t> then,
                                    bool grows);

class LatentSpill;

struct LatentPool::State {
  State(const LatentPoolOptions& options, std::shared_ptr<Clock> clock, uint64_t seed);
  ~State();

  // Those that take a lock as argument expect the mutex held; the others take it.
  using Lock = std::unique_lock<std::mutex>;
  class Pin;
  class Draft;

  LatentHandle& find(const Lock&, LatentId latent);
  // A handle that `reader` may read. Throws the same error for released and for foreign ones.
  struct Seen {
    LatentHandle* handle;
    std::shared_ptr<LatentGrant> grant;  // by which it is seen; null: its own tenant's, or the root
    LatentBody& body() const { return *handle->body; }
    LatentGrants rights() const;
  };
  Seen readable(const Lock&, LatentId latent, AgentId reader, uint32_t reader_tenant);
  uint32_t take_handle(const Lock&);  // throws quota_exceeded
  LatentId open(const Lock&, uint32_t index, AgentId owner, uint32_t tenant, LatentBody* body,
                LatentGrants rights);
  // A body of `tenant`: `count` tokens of `whole` from `first` on, whose pages it shares.
  LatentBody* cut(const Lock&, const LatentBody& whole, uint32_t tenant, uint32_t first,
                  uint32_t count, bool indexed);
  std::unique_ptr<LatentBody> derived(const LatentBody& from, uint32_t tenant) const;
  void add_to_index(const Lock&, LatentBody& body);
  void remove_from_index(const Lock&, LatentBody& body);
  // An indexed body that is kept or has a handle at home, and whose lease runs.
  PrefixIndex::Match match(const Lock&, uint32_t tenant, const Digest& fingerprint,
                           std::span<const uint32_t> tokens);

  // What dropped bodies leave to be done without the mutex: declared before the lock, it ends
  // after it.
  struct Remains {
    ~Remains() { finish(); }
    void finish();
    std::vector<std::unique_ptr<LatentBody>> bodies;
    std::vector<std::function<void()>> releases;
  };
  void drop(const Lock&, LatentBody* body, Remains& remains_out);  // one reference
  void drop(LatentBody* body);
  void drop_page(const Lock&, Page* page, Remains& remains_out);
  uint64_t step_hash(uint32_t tenant, const Digest& fingerprint, const Digest& parent,
                     AgentId producer, uint64_t step) const;
  void forget(const Lock&, LatentBody& body, Remains& remains_out);
  void close();  // drops all handles; what is held stays until it is let go
  void evict(const Lock&, LatentBody& body, Remains& remains_out);
  uint64_t evict(const Lock&, uint32_t tenant, uint64_t bytes, Remains& remains_out);
  // Evicts until `tenant` may keep `bytes` more. False: it may not, whatever is evicted.
  bool make_quota(const Lock&, uint32_t tenant, uint64_t bytes, Remains& remains_out);
  // Evicts until `bytes` fit. Throws quota_exceeded.
  void make_room(const Lock&, uint32_t tenant, uint64_t bytes, Remains& remains_out);
  // Pages for `tenant`, evicting where there is no room. Throws quota_exceeded.
  void take_pages(const Lock&, uint32_t tenant, uint64_t page_bytes, uint32_t count,
                  uint32_t capacity, std::vector<Page*>& pages_out, Remains& remains_out);

  const LatentPoolOptions options;
  const std::shared_ptr<Clock> clock;
  const uint64_t seed;

  mutable std::mutex mutex;
  PageArena arena;
  PrefixIndex prefixes;
  Retention retention;
  std::set<LatentBody*> pinned;  // of what is kept
  HashMap steps;  // of latents without tokens: hash of what made them -> slot in step_bodies
  std::vector<LatentBody*> step_bodies;
  std::vector<uint32_t> free_steps;
  std::set<std::pair<uint64_t, LatentBody*>> leases;  // of what is in the index and ends
  std::vector<LatentHandle> handles;
  std::vector<uint32_t> free_handles;
  uint64_t handle_count = 0, evicted_count = 0;
  std::unique_ptr<LatentSpill> spill;  // null: what is evicted is gone
};

// A body that stays while this object lives, though its handles are released.
class LatentPool::State::Pin {
 public:
  Pin(State& state, LatentId latent, AgentId reader, uint32_t reader_tenant);
  ~Pin() { state_.drop(body_); }
  Pin(const Pin&) = delete;
  Pin& operator=(const Pin&) = delete;

  LatentBody& operator*() const { return *body_; }
  LatentBody* operator->() const { return body_; }
  const LatentGrants& rights() const { return rights_; }

 private:
  State& state_;
  LatentBody* body_;
  LatentGrants rights_;
};

// Pages and a handle that nobody can see yet; given back unless `publish` was reached.
class LatentPool::State::Draft {
 public:
  // Throws quota_exceeded, and nothing has changed. capacity: tokens of a page.
  Draft(State& state, uint32_t tenant, const LatentLayout& layout, uint32_t page_count,
        uint32_t capacity);
  ~Draft();
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;

  const std::vector<Page*>& pages() const { return pages_; }
  // More pages, for groups of quantised tokens. Throws quota_exceeded.
  std::span<Page* const> take_groups(uint32_t tenant, const LatentLayout& layout, uint32_t count);
  // The pages in the order of an image. Throws quota_exceeded.
  void take(uint32_t tenant, std::span<const LatentLayout::PageDemand> demands);
  // Gives each of the draft's pages the next of `fresh` tokens.
  std::vector<Piece> fill(uint32_t fresh);
  // Pages of the draft that are in none of the pieces are given back. `fresh`: each of its pages is
  // in one of the pieces, and no others are.
  LatentId publish(std::unique_ptr<LatentBody> body, std::vector<Piece> pieces, AgentId owner,
                   LatentGrants rights, bool fresh = false);

 private:
  State& state_;
  std::vector<Page*> pages_, groups_;
  uint32_t handle_ = index_none;
};

}  // namespace hanse
