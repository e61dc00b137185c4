#include "latent/state.hpp"

#include <algorithm>
#include <cstring>

#include "base/bytes.hpp"
#include "base/random.hpp"

namespace hanse {

LatentPool::State::State(const LatentPoolOptions& wanted, std::shared_ptr<Clock> time, uint64_t key)
    : options(wanted),
      clock(std::move(time)),
      seed(key),
      arena(wanted.size_bytes_max),
      prefixes(mix64(key)) {}

LatentPool::State::~State() {
  for (LatentHandle& handle : handles)
    if (handle.body && --handle.body->handles == 0) delete handle.body;
}

LatentHandle& LatentPool::State::find(const Lock&, LatentId latent) {
  const uint32_t index = index_of(latent);
  if (index >= handles.size() || !handles[index].body ||
      handles[index].generation != generation_of(latent))
    throw Error(ErrorCode::unknown_latent, "latent", "it was released or never was", latent);
  return handles[index];
}

LatentHandle& LatentPool::State::visible(const Lock& lock, LatentId latent, AgentId reader,
                                         uint32_t reader_tenant) {
  LatentHandle& handle = find(lock, latent);
  if (reader_tenant != 0 && handle.tenant != reader_tenant &&
      !std::binary_search(handle.grants.begin(), handle.grants.end(), reader))
    throw Error(ErrorCode::unknown_latent, "latent", "it was released or never was", latent);
  return handle;
}

LatentBody& LatentPool::State::readable(const Lock& lock, LatentId latent, AgentId reader,
                                        uint32_t reader_tenant) {
  LatentBody& body = *visible(lock, latent, reader, reader_tenant).body;
  if (body.lease_ns != 0 && clock->now_ns() >= body.lease_ns)
    throw Error(ErrorCode::lease_expired, "latent",
                "its lease ended at " + std::to_string(body.lease_ns) + " ns", latent);
  return body;
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
                                 LatentBody* body) {
  LatentHandle& handle = handles[index];
  handle.tenant = tenant;
  handle.owner = owner;
  handle.body = body;
  ++body->references;
  ++body->handles;
  body->home_handles += tenant == body->tenant;
  return make_id(index, handle.generation);
}

LatentBody* LatentPool::State::cut(const Lock& lock, const LatentBody& whole, uint32_t tenant,
                                   uint32_t tokens) {
  auto body = std::make_unique<LatentBody>();
  body->layout = whole.layout;
  body->tenant = tenant;
  body->tokens = tokens;
  body->position_base = whole.position_base;
  body->lease_ns = whole.lease_ns;
  body->parent = whole.content;
  body->content = content_id("slice", *whole.layout, whole.content, whole.position_base, tokens, {},
                             id_none, 0);
  body->pages.assign(whole.pages.begin(), whole.pages.begin() + latent_page_count(tokens));
  if (!whole.token_ids.empty())
    body->token_ids.assign(whole.token_ids.begin(), whole.token_ids.begin() + tokens);
  for (Page* page : body->pages) ++page->references;
  add_to_index(lock, *body);
  return body.release();
}

// Keys are rotated by their position, so only what starts at 0 can be a prefix.
void LatentPool::State::add_to_index(const Lock&, LatentBody& body) {
  if (body.token_ids.empty() || body.position_base != 0) return;
  prefixes.add(body.tenant, body.layout->fingerprint, body.token_ids, body);
  if (body.lease_ns != 0) leases.emplace(body.lease_ns, &body);
}

void LatentPool::State::remove_from_index(const Lock&, LatentBody& body) {
  prefixes.remove(body.tenant, body.layout->fingerprint, body);
  if (body.lease_ns != 0) leases.erase({body.lease_ns, &body});
}

void LatentPool::State::drop(LatentBody* body) {
  std::vector<Page*> unused;
  {
    Lock lock(mutex);
    if (--body->references != 0) return;
    HANSE_ASSERT(body->handles == 0 && body->prefix_node == index_none);
    for (Page* page : body->pages)
      if (--page->references == 0) unused.push_back(page);
  }
  delete body;
  free_pages(std::move(unused));
}

// Zeroed before anyone else can take them, and not under the mutex: nobody sees them.
void LatentPool::State::free_pages(std::vector<Page*> pages) {
  if (pages.empty()) return;
  for (Page* page : pages) std::memset(page->data, 0, PageArena::page_bytes(*page));
  Lock lock(mutex);
  for (Page* page : pages) arena.give_back(page);
}

Digest LatentPool::State::content_id(std::string_view part, const LatentLayout& layout,
                                     const Digest& parent, uint32_t position, uint32_t token_count,
                                     std::span<const uint32_t> tokens, AgentId producer,
                                     uint64_t step) const {
  ByteWriter writer;
  writer.put_text("hanse latent");
  writer.put(seed);
  writer.put_text(part);
  writer.put_digest(layout.fingerprint);
  writer.put_digest(parent);
  writer.put(position);
  writer.put(token_count);
  if (tokens.empty()) {
    writer.put(uint8_t(0));
    writer.put(producer);
    writer.put(step);
  } else {
    writer.put(uint8_t(1));
    writer.put_raw({reinterpret_cast<const uint8_t*>(tokens.data()), tokens.size_bytes()});
  }
  return sha256(writer.bytes());
}

LatentPool::State::Pin::Pin(State& state, LatentId latent, AgentId reader, uint32_t reader_tenant)
    : state_(state) {
  const Lock lock(state.mutex);
  body_ = &state.readable(lock, latent, reader, reader_tenant);
  ++body_->references;
}

LatentPool::State::Draft::Draft(State& state, const LatentLayout& layout, uint32_t page_count)
    : state_(state) {
  const Lock lock(state.mutex);
  const uint32_t handle = state.take_handle(lock);
  if (!state.arena.take(layout.page_bytes, page_count, pages_)) {
    state.free_handles.push_back(handle);
    --state.handle_count;
    throw Error(ErrorCode::quota_exceeded, "page_bytes",
                std::to_string(page_count) + " pages of " + std::to_string(layout.page_bytes) +
                    " bytes where " + std::to_string(state.arena.used_bytes()) + " of " +
                    std::to_string(state.options.size_bytes_max) + " bytes are used");
  }
  handle_ = handle;
}

LatentPool::State::Draft::~Draft() {
  if (handle_ == index_none) return;
  {
    const Lock lock(state_.mutex);
    state_.free_handles.push_back(handle_);
    --state_.handle_count;
  }
  state_.free_pages(std::move(pages_));
}

LatentId LatentPool::State::Draft::publish(std::unique_ptr<LatentBody> body,
                                           std::span<Page* const> shared, AgentId owner,
                                           uint32_t tenant) {
  body->pages.assign(shared.begin(), shared.end());
  body->pages.insert(body->pages.end(), pages_.begin(), pages_.end());
  const Lock lock(state_.mutex);
  state_.add_to_index(lock, *body);
  for (Page* page : shared) ++page->references;
  const LatentId latent = state_.open(lock, handle_, owner, tenant, body.release());
  handle_ = index_none;
  return latent;
}

}  // namespace hanse
