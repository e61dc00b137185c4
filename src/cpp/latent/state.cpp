#include "latent/state.hpp"

#include <algorithm>
#include <cstring>

#include "base/bytes.hpp"
#include "base/random.hpp"
#include "latent/spill.hpp"
#include "latent/transform_table.hpp"

namespace hanse {

LatentPool::State::State(const LatentPoolOptions& wanted, std::shared_ptr<Clock> time, uint64_t key)
    : options(wanted),
      clock(std::move(time)),
      seed(key),
      arena(wanted.size_bytes_max),
      prefixes(mix64(key)),
      retention(wanted.kept_bytes_max) {}

LatentPool::State::~State() = default;

void LatentPool::State::Remains::finish() {
  bodies.clear();
  for (const auto& release : releases) release();
  releases.clear();
}

void LatentPool::State::close() {
  spill.reset();  // Its thread takes the mutex.
  Remains remains;
  const Lock lock(mutex);
  for (LatentHandle& handle : handles) {
    if (!handle.body) continue;
    LatentBody* body = handle.body;
    handle.body = nullptr;
    --body->handles;
    remove_from_index(lock, *body);
    drop(lock, body, remains);
  }
  handle_count = 0;
  while (!pinned.empty()) forget(lock, **pinned.begin(), remains);
  while (const auto victim = retention.victim(Retention::tenant_any).entry)
    forget(lock, static_cast<LatentBody&>(*victim), remains);
}

std::unique_ptr<LatentBody> LatentBody::shell() const {
  auto shell = std::make_unique<LatentBody>();
  shell->layout = layout;
  shell->tenant = tenant;
  shell->tokens = tokens;
  shell->position_base = position_base;
  shell->lease_ns = lease_ns;
  shell->label = label;
  shell->price = price;
  shell->gloss = gloss;
  shell->lineage = lineage;
  shell->shares = shares;
  shell->run = run;
  shell->cost = cost;
  shell->reuse = reuse;
  shell->step_hash = step_hash;
  return shell;
}

LatentHandle& LatentPool::State::find(const Lock&, LatentId latent) {
  const uint32_t index = index_of(latent);
  if (index >= handles.size() || !handles[index].body ||
      handles[index].generation != generation_of(latent))
    throw Error(ErrorCode::unknown_latent, "latent", "it was released or never was", latent);
  return handles[index];
}

LatentGrants LatentPool::State::Seen::rights() const {
  LatentGrants rights = handle->rights;
  if (grant) rights.push_back(grant);
  return rights;
}

LatentPool::State::Seen LatentPool::State::readable(const Lock& lock, LatentId latent,
                                                    AgentId reader, uint32_t reader_tenant) {
  Seen seen{&find(lock, latent), nullptr};
  const LatentBody& body = seen.body();
  if (reader_tenant != 0 && seen.handle->tenant != reader_tenant) {
    for (const auto& grant : seen.handle->grants)
      if (grant->reader == reader) seen.grant = grant;
    if (!seen.grant)
      throw Error(ErrorCode::unknown_latent, "latent", "it was released or never was", latent);
    if ((body.label & ~seen.grant->clearance) != 0)
      throw Error(ErrorCode::not_permitted, "label",
                  "want clearance " + std::to_string(body.label) + ", have " +
                      std::to_string(seen.grant->clearance),
                  latent);
  }
  for (const auto& right : seen.handle->rights)
    if (right->revoked)
      throw Error(ErrorCode::revoked, "latent", "a grant that it rests on was revoked", latent);
  if (body.lease_ns != 0 && clock->now_ns() >= body.lease_ns)
    throw Error(ErrorCode::lease_expired, "latent",
                "its lease ended at " + std::to_string(body.lease_ns) + " ns", latent);
  return seen;
}

uint32_t LatentPool::State::take_handle(const Lock&) {
  if (handle_count >= options.handle_count_max)
    throw Error(ErrorCode::quota_exceeded, "handle_count", handle_count + 1,
                options.handle_count_max);
  if (free_handles.empty()) {
    if (free_handles.capacity() <= handles.size())  // So that a release never allocates.
      free_handles.reserve(2 * handles.size() + 16);
    handles.emplace_back();
    free_handles.push_back(uint32_t(handles.size() - 1));
  }
  const uint32_t index = free_handles.back();
  free_handles.pop_back();
  ++handle_count;
  return index;
}

LatentId LatentPool::State::open(const Lock&, uint32_t index, AgentId owner, uint32_t tenant,
                                 LatentBody* body, LatentGrants rights) {
  LatentHandle& handle = handles[index];
  handle.tenant = tenant;
  handle.owner = owner;
  handle.body = body;
  handle.rights = std::move(rights);
  ++body->references;
  ++body->handles;
  body->home_handles += tenant == body->tenant;
  return make_id(index, handle.generation);
}

std::unique_ptr<LatentBody> LatentPool::State::derived(const LatentBody& from,
                                                       uint32_t tenant) const {
  auto body = std::make_unique<LatentBody>();
  body->layout = from.layout;
  body->tenant = tenant;
  body->position_base = from.position_base;
  body->lease_ns = from.lease_ns;
  body->label = from.label;
  body->price = from.price;
  body->gloss = from.gloss;
  return body;
}

LatentBody* LatentPool::State::cut(const Lock& lock, const LatentBody& whole, uint32_t tenant,
                                   uint32_t first, uint32_t count, bool indexed) {
  std::unique_ptr<LatentBody> body = derived(whole, tenant);
  body->tokens = count;
  body->position_base += first;
  add_shares(whole.shares, first, count, body->shares);
  body->lineage =
      std::make_shared<Lineage>(seed,
                                Lineage::Origin{"slice", whole.layout->fingerprint,
                                                body->position_base, count, nullptr, 0, id_none, 0},
                                std::vector{whole.lineage});
  if (first == 0) body->run = whole.run;
  body->pieces.reserve(whole.pieces.size());
  uint32_t at = 0;
  for (const Piece& piece : whole.pieces) {
    const uint32_t from = std::max(at, first), to = std::min(at + piece.count, first + count);
    if (from < to) body->pieces.push_back({piece.page, piece.first + (from - at), to - from});
    at += piece.count;
  }
  for (const Piece& piece : body->pieces) ++piece.page->references;
  if (indexed) add_to_index(lock, *body);
  return body.release();
}

// Keys are rotated by their position, so only what starts at 0 can be a prefix. What has no tokens
// is found by what made it.
void LatentPool::State::add_to_index(const Lock&, LatentBody& body) {
  if (body.run && body.position_base == 0) {
    prefixes.add(body.tenant, body.layout->fingerprint, body.run, body.tokens, body);
    if (body.lease_ns != 0) leases.emplace(body.lease_ns, &body);
  }
  if (body.run || body.lineage->producer() == id_none) return;
  body.step_hash = step_hash(body.tenant, body.layout->fingerprint, body.lineage->parent(),
                             body.lineage->producer(), body.lineage->step());
  if (free_steps.empty()) {
    free_steps.push_back(uint32_t(step_bodies.size()));
    step_bodies.push_back(nullptr);
  }
  body.step_slot = free_steps.back();
  free_steps.pop_back();
  step_bodies[body.step_slot] = &body;
  steps.insert(body.step_hash, body.step_slot);
}

void LatentPool::State::remove_from_index(const Lock&, LatentBody& body) {
  prefixes.remove(body.tenant, body.layout->fingerprint, body);
  if (body.lease_ns != 0) leases.erase({body.lease_ns, &body});
  if (body.step_slot == index_none) return;
  steps.erase(body.step_hash, body.step_slot);
  step_bodies[body.step_slot] = nullptr;
  free_steps.push_back(body.step_slot);
  body.step_slot = index_none;
}

uint64_t LatentPool::State::step_hash(uint32_t tenant, const Digest& fingerprint,
                                      const Digest& parent, AgentId producer, uint64_t step) const {
  struct Key {
    Digest fingerprint, parent;
    uint64_t producer, step, tenant;
  } key{fingerprint, parent, producer, step, tenant};
  return hash_bytes({reinterpret_cast<const uint8_t*>(&key), sizeof(key)}, seed);
}

PrefixIndex::Match LatentPool::State::match(const Lock& lock, uint32_t tenant,
                                            const Digest& fingerprint,
                                            std::span<const uint32_t> tokens) {
  if (!leases.empty()) {
    const uint64_t now_ns = clock->now_ns();
    while (!leases.empty() && leases.begin()->first <= now_ns)
      remove_from_index(lock, *leases.begin()->second);
  }
  const PrefixIndex::Match match = prefixes.longest(tenant, fingerprint, tokens);
  if (match.entry) retention.touch(tenant, static_cast<LatentBody&>(*match.entry));
  return match;
}

void LatentPool::State::drop_page(const Lock&, Page* page, Remains& remains_out) {
  if (--page->references != 0) return;
  if (auto release = arena.give_back(page)) remains_out.releases.push_back(std::move(release));
}

void LatentPool::State::drop(const Lock& lock, LatentBody* body, Remains& remains_out) {
  if (--body->references != 0) return;
  HANSE_ASSERT(body->handles == 0 && body->prefix_node == index_none && !body->kept);
  for (const Piece& piece : body->pieces) drop_page(lock, piece.page, remains_out);
  remains_out.bodies.emplace_back(body);
}

void LatentPool::State::drop(LatentBody* body) {
  Remains remains;
  const Lock lock(mutex);
  drop(lock, body, remains);
}

void LatentPool::State::forget(const Lock& lock, LatentBody& body, Remains& remains_out) {
  if (!body.kept) return;
  pinned.erase(&body);
  retention.drop(body.tenant, body);
  if (body.home_handles == 0) remove_from_index(lock, body);
  drop(lock, &body, remains_out);
}

void LatentPool::State::evict(const Lock& lock, LatentBody& body, Remains& remains_out) {
  if (spill) spill->offer(lock, body);
  forget(lock, body, remains_out);
  ++evicted_count;
}

bool LatentPool::State::make_quota(const Lock& lock, uint32_t tenant, uint64_t bytes,
                                   Remains& remains_out) {
  const uint64_t quota = retention.quota_bytes(tenant);
  if (bytes > quota) return false;
  while (retention.kept_bytes(tenant) + bytes > quota) {
    RetainedEntry* victim = retention.victim(tenant).entry;
    if (!victim) return false;
    evict(lock, static_cast<LatentBody&>(*victim), remains_out);
  }
  return true;
}

uint64_t LatentPool::State::evict(const Lock& lock, uint32_t tenant, uint64_t bytes,
                                  Remains& remains_out) {
  const uint64_t before = arena.used_bytes() + arena.adopted_bytes();
  const auto freed = [&] { return before - arena.used_bytes() - arena.adopted_bytes(); };
  while (freed() < bytes) {
    RetainedEntry* victim = retention.victim(tenant).entry;
    if (!victim) break;
    evict(lock, static_cast<LatentBody&>(*victim), remains_out);
  }
  return freed();
}

void LatentPool::State::make_room(const Lock& lock, uint32_t tenant, uint64_t bytes,
                                  Remains& remains_out) {
  if (arena.fits(bytes, 1)) return;
  for (const uint32_t whose : {tenant, Retention::tenant_any})
    while (bytes <= arena.size_bytes_max() && evict(lock, whose, 1, remains_out) != 0)
      if (arena.fits(bytes, 1)) return;
  throw Error(ErrorCode::quota_exceeded, "page_bytes", arena.used_bytes() + bytes,
              arena.size_bytes_max());
}

void LatentPool::State::take_pages(const Lock& lock, uint32_t tenant, uint64_t page_bytes,
                                   uint32_t count, uint32_t capacity, std::vector<Page*>& pages_out,
                                   Remains& remains_out) {
  const auto take = [&] { return arena.take(tenant, page_bytes, capacity, count, pages_out); };
  if (take()) return;
  for (const uint32_t whose : {tenant, Retention::tenant_any})
    while (page_bytes * count <= arena.size_bytes_max() && evict(lock, whose, 1, remains_out) != 0)
      if (take()) return;
  throw Error(ErrorCode::quota_exceeded, "page_bytes",
              std::to_string(count) + " pages of " + std::to_string(page_bytes) + " bytes where " +
                  std::to_string(arena.used_bytes()) + " of " +
                  std::to_string(arena.size_bytes_max()) + " bytes are used");
}

LatentPool::State::Pin::Pin(State& state, LatentId latent, AgentId reader, uint32_t reader_tenant)
    : state_(state) {
  const Lock lock(state.mutex);
  const Seen seen = state.readable(lock, latent, reader, reader_tenant);
  body_ = &seen.body();
  rights_ = seen.rights();
  ++body_->references;
}

LatentPool::State::Draft::Draft(State& state, uint32_t tenant, const LatentLayout& layout,
                                uint32_t page_count, uint32_t capacity)
    : state_(state) {
  Remains remains;
  const Lock lock(state.mutex);
  const uint32_t handle = state.take_handle(lock);
  try {
    if (page_count != 0)
      state.take_pages(lock, tenant, layout.token_bytes() * capacity, page_count, capacity, pages_,
                       remains);
  } catch (...) {
    state.free_handles.push_back(handle);
    --state.handle_count;
    throw;
  }
  handle_ = handle;
}

LatentPool::State::Draft::~Draft() {
  if (handle_ == index_none) return;
  Remains remains;
  const Lock lock(state_.mutex);
  state_.free_handles.push_back(handle_);
  --state_.handle_count;
  for (const auto* pages : {&pages_, &groups_})
    for (Page* page : *pages) state_.drop_page(lock, page, remains);
}

std::span<Page* const> LatentPool::State::Draft::take_groups(uint32_t tenant,
                                                             const LatentLayout& layout,
                                                             uint32_t count) {
  Remains remains;
  const Lock lock(state_.mutex);
  if (count != 0)
    state_.take_pages(lock, tenant, layout.group_bytes, count, quantise_group_tokens, groups_,
                      remains);
  for (Page* page : groups_) page->filled = quantise_group_tokens;
  return groups_;
}

void LatentPool::State::Draft::take(uint32_t tenant,
                                    std::span<const LatentLayout::PageDemand> demands) {
  Remains remains;
  const Lock lock(state_.mutex);
  for (const auto& [page_bytes, capacity, count] : demands)
    state_.take_pages(lock, tenant, page_bytes, count, capacity, pages_, remains);
}

std::vector<Piece> LatentPool::State::Draft::fill(uint32_t fresh) {
  std::vector<Piece> pieces;
  pieces.reserve(pages_.size());
  for (Page* page : pages_) {
    page->filled = std::min(page->capacity, fresh);
    pieces.push_back({page, 0, page->filled});
    fresh -= page->filled;
  }
  return pieces;
}

LatentId LatentPool::State::Draft::publish(std::unique_ptr<LatentBody> body,
                                           std::vector<Piece> pieces, AgentId owner,
                                           LatentGrants rights, bool fresh) {
  const uint32_t tenant = body->tenant;
  body->pieces = std::move(pieces);
  Remains remains;
  const Lock lock(state_.mutex);
  // What rests on a grant is found by its handle alone: the index would forget the grant.
  if (rights.empty()) state_.add_to_index(lock, *body);
  if (!fresh) {
    for (const Piece& piece : body->pieces) ++piece.page->references;
    for (const auto* pages : {&pages_, &groups_})
      for (Page* page : *pages) state_.drop_page(lock, page, remains);
  }
  const LatentId latent =
      state_.open(lock, handle_, owner, tenant, body.release(), std::move(rights));
  handle_ = index_none;
  return latent;
}

}  // namespace hanse
