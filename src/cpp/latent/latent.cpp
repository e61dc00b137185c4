#include "latent/latent.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "latent/state.hpp"

namespace hanse {

namespace {

constexpr size_t grant_count_max = 1u << 16;  // of one handle

void check_tokens(std::span<const uint32_t> tokens, uint32_t token_count) {
  if (token_count == 0) throw Error(ErrorCode::empty, "token_count", "a latent has tokens");
  if (!tokens.empty() && tokens.size() != token_count)
    throw Error(ErrorCode::dimension_mismatch, "tokens",
                std::to_string(tokens.size()) + " ids where kv has " + std::to_string(token_count) +
                    " tokens");
}

void check_end(uint32_t position, uint32_t token_count) {
  if (token_count > UINT32_MAX - position)
    throw Error(ErrorCode::out_of_range, "position", uint64_t(position) + token_count, UINT32_MAX);
}

void check_compatible(const LatentSpec& want, const LatentSpec& have, LatentId latent) {
  const std::string difference = latent_difference(want, have);
  if (difference.empty()) return;
  const size_t colon = difference.find(": ");
  throw Error(ErrorCode::latent_incompatible, difference.substr(0, colon),
              difference.substr(colon + 2), latent);
}

}  // namespace

LatentPool::LatentPool(const LatentPoolOptions& options, std::shared_ptr<Clock> clock,
                       uint64_t seed)
    : state_(std::make_unique<State>(options, std::move(clock), seed)) {}
LatentPool::~LatentPool() = default;

LatentId LatentPool::put(AgentId owner, uint32_t tenant, const LatentSpec& spec, Bytes kv,
                         uint32_t token_count, std::span<const uint32_t> tokens, uint64_t step,
                         uint32_t position_base, uint64_t lease_ns) {
  State& state = *state_;
  const auto layout = std::make_shared<const LatentLayout>(spec);
  check_tokens(tokens, token_count);
  check_end(position_base, token_count);
  layout->check_size("kv", kv.size(), token_count);
  if (lease_ns != 0 && state.clock->now_ns() >= lease_ns)
    throw Error(ErrorCode::lease_expired, "lease_ns", "it has ended already");

  auto body = std::make_unique<LatentBody>();
  body->layout = layout;
  body->tenant = tenant;
  body->tokens = token_count;
  body->position_base = position_base;
  body->lease_ns = lease_ns;
  body->content = state.content_id("tokens", *layout, Digest{}, position_base, token_count, tokens,
                                   owner, step);
  body->token_ids.assign(tokens.begin(), tokens.end());

  State::Draft draft(state, *layout, latent_page_count(token_count));
  layout->scatter(kv.data(), token_count, draft.pages(), 0);
  return draft.publish(std::move(body), {}, owner, tenant);
}

LatentId LatentPool::fork(LatentId latent, AgentId owner, uint32_t tenant) {
  State& state = *state_;
  const State::Lock lock(state.mutex);
  LatentBody& body = state.readable(lock, latent, owner, tenant);
  return state.open(lock, state.take_handle(lock), owner, tenant, &body);
}

LatentId LatentPool::append(LatentId latent, AgentId owner, uint32_t tenant, Bytes kv,
                            uint32_t token_count, std::span<const uint32_t> tokens, uint64_t step,
                            uint32_t position) {
  State& state = *state_;
  const State::Pin old(state, latent, owner, tenant);
  const LatentLayout& layout = *old->layout;
  const uint32_t end = old->position_base + old->tokens;
  check_tokens(tokens, token_count);
  layout.check_size("kv", kv.size(), token_count);
  if (position != end)
    throw Error(ErrorCode::position_overlap, "position",
                "want " + std::to_string(end) + ", have " + std::to_string(position), latent);
  check_end(position, token_count);

  auto body = std::make_unique<LatentBody>();
  body->layout = old->layout;
  body->tenant = tenant;
  body->tokens = old->tokens + token_count;
  body->position_base = old->position_base;
  body->lease_ns = old->lease_ns;
  body->parent = old->content;
  body->content =
      state.content_id("tokens", layout, old->content, position, token_count, tokens, owner, step);
  if (!tokens.empty() && !old->token_ids.empty()) {
    body->token_ids = old->token_ids;
    body->token_ids.insert(body->token_ids.end(), tokens.begin(), tokens.end());
  }

  const uint32_t full = old->tokens / latent_page_tokens, rest = old->tokens % latent_page_tokens;
  State::Draft draft(state, layout, latent_page_count(body->tokens) - full);
  if (rest != 0) layout.copy_head(*old->pages[full], rest, *draft.pages()[0]);
  layout.scatter(kv.data(), token_count, draft.pages(), rest);
  return draft.publish(std::move(body), std::span(old->pages).first(full), owner, tenant);
}

LatentId LatentPool::slice(LatentId latent, AgentId owner, uint32_t tenant, uint32_t tokens) {
  State& state = *state_;
  const State::Lock lock(state.mutex);
  LatentBody& body = state.readable(lock, latent, owner, tenant);
  if (tokens == 0) throw Error(ErrorCode::empty, "tokens", "a latent has tokens", latent);
  if (tokens > body.tokens)
    throw Error(ErrorCode::out_of_range, "tokens", tokens, body.tokens, latent);
  const uint32_t index = state.take_handle(lock);
  return state.open(lock, index, owner, tenant,
                    tokens == body.tokens ? &body : state.cut(lock, body, tenant, tokens));
}

void LatentPool::release(LatentId latent) {
  State& state = *state_;
  LatentBody* body = nullptr;
  {
    const State::Lock lock(state.mutex);
    LatentHandle& handle = state.find(lock, latent);
    body = handle.body;
    --body->handles;
    body->home_handles -= handle.tenant == body->tenant;
    if (body->home_handles == 0) state.remove_from_index(lock, *body);
    handle.body = nullptr;
    handle.grants = {};
    --state.handle_count;
    // An index is retired when its generation would wrap: an id is never given out twice.
    if (++handle.generation != 0) state.free_handles.push_back(index_of(latent));
  }
  state.drop(body);
}

LatentInfo LatentPool::info(LatentId latent, AgentId reader, uint32_t reader_tenant) const {
  State& state = *state_;
  const State::Lock lock(state.mutex);
  const LatentBody& body = state.readable(lock, latent, reader, reader_tenant);
  const LatentHandle& handle = state.find(lock, latent);
  LatentInfo info;
  info.id = latent;
  info.owner = handle.owner;
  info.tenant = handle.tenant;
  info.content = body.content;
  info.fingerprint = body.layout->fingerprint;
  info.parent = body.parent;
  info.spec = body.layout->spec;
  info.tokens = body.tokens;
  info.position_base = body.position_base;
  info.size_bytes = body.layout->token_bytes() * body.tokens;
  info.lease_ns = body.lease_ns;
  info.readers = body.handles - 1 + uint32_t(handle.grants.size());
  return info;
}

void LatentPool::grant(LatentId latent, AgentId reader) {
  State& state = *state_;
  const State::Lock lock(state.mutex);
  std::vector<AgentId>& grants = state.find(lock, latent).grants;
  const auto at = std::lower_bound(grants.begin(), grants.end(), reader);
  if (at != grants.end() && *at == reader) return;
  if (grants.size() >= grant_count_max)
    throw Error(ErrorCode::quota_exceeded, "grants", grants.size() + 1, grant_count_max, latent);
  grants.insert(at, reader);
}

void LatentPool::read_into(LatentId latent, AgentId reader, uint32_t reader_tenant,
                           const LatentSpec* want, std::span<uint8_t> out) const {
  const State::Pin body(*state_, latent, reader, reader_tenant);
  if (want) check_compatible(*want, body->layout->spec, latent);
  body->layout->check_size("out", out.size(), body->tokens);
  body->layout->gather(body->pages, body->tokens, out.data());
}

std::vector<Bytes> LatentPool::pages(LatentId latent, AgentId reader,
                                     uint32_t reader_tenant) const {
  State& state = *state_;
  const State::Lock lock(state.mutex);
  const LatentBody& body = state.readable(lock, latent, reader, reader_tenant);
  std::vector<Bytes> pages;
  pages.reserve(body.pages.size());
  for (const Page* page : body.pages) pages.emplace_back(page->data, body.layout->page_bytes);
  return pages;
}

LatentPool::Prefix LatentPool::longest_prefix(AgentId reader, uint32_t tenant,
                                              const LatentSpec& spec,
                                              std::span<const uint32_t> tokens) {
  State& state = *state_;
  const Digest fingerprint = latent_fingerprint(spec);
  const State::Lock lock(state.mutex);
  const uint64_t now_ns = state.clock->now_ns();
  while (!state.leases.empty() && state.leases.begin()->first <= now_ns)
    state.remove_from_index(lock, *state.leases.begin()->second);

  const PrefixIndex::Match match = state.prefixes.longest(tenant, fingerprint, tokens);
  if (!match.entry) return {};
  auto& body = static_cast<LatentBody&>(*match.entry);
  const uint32_t index = state.take_handle(lock);
  LatentBody* found =
      match.matched == body.tokens ? &body : state.cut(lock, body, tenant, match.matched);
  return {state.open(lock, index, reader, tenant, found), match.matched};
}

LatentPoolStatus LatentPool::status() const {
  const State::Lock lock(state_->mutex);
  return {state_->arena.used_bytes(), state_->options.size_bytes_max, state_->handle_count,
          state_->arena.used_count()};
}

uint64_t LatentPool::memory_bytes() const {
  const State::Lock lock(state_->mutex);
  return state_->arena.mapped_bytes() + state_->prefixes.memory_bytes() +
         state_->handles.capacity() * sizeof(LatentHandle);
}

}  // namespace hanse
