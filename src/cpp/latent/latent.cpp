#include "latent/latent.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "latent/spill.hpp"
#include "latent/state.hpp"
#include "latent/transform_table.hpp"

namespace hanse {

namespace {

constexpr size_t grant_count_max = 1u << 16;  // of one handle
constexpr size_t concat_count_max = 4096;

// A caller's bytes, which are only read.
LatentSides readable_sides(const LatentLayout& layout, Bytes kv, uint32_t tokens) {
  return layout.contiguous(const_cast<uint8_t*>(kv.data()), tokens);
}

// Throws what LatentPool::put says.
std::unique_ptr<LatentBody> new_body(LatentPool::State& state,
                                     const std::shared_ptr<const LatentLayout>& layout,
                                     AgentId owner, uint32_t tenant, uint32_t token_count,
                                     const LatentTerms& terms) {
  check_tokens(terms.tokens, token_count);
  check_end(layout->spec, terms.position_base, token_count);
  check_gloss(terms.gloss);
  if (terms.lease_ns != 0 && state.clock->now_ns() >= terms.lease_ns)
    throw Error(ErrorCode::lease_expired, "lease_ns", "it has ended already");
  auto body = std::make_unique<LatentBody>();
  body->layout = layout;
  body->tenant = tenant;
  body->tokens = token_count;
  body->position_base = terms.position_base;
  body->lease_ns = terms.lease_ns;
  body->label = terms.label;
  body->price = terms.price;
  body->gloss = terms.gloss;
  body->shares = {{owner, terms.price, token_count}};
  if (!terms.tokens.empty()) body->run = token_run(terms.tokens, {}, false);
  body->lineage =
      std::make_shared<Lineage>(state.seed,
                                Lineage::Origin{"tokens", layout->fingerprint, terms.position_base,
                                                token_count, body->run, 0, owner, terms.step},
                                std::vector<std::shared_ptr<Lineage>>{});
  return body;
}

}  // namespace

LatentPool::LatentPool(const LatentPoolOptions& options, std::shared_ptr<Clock> clock,
                       uint64_t seed)
    : state_(std::make_shared<State>(options, std::move(clock), seed)) {}
LatentPool::~LatentPool() { state_->close(); }

LatentId LatentPool::put(AgentId owner, uint32_t tenant, const LatentSpec& spec,
                         const LatentSides& kv, uint32_t token_count, const LatentTerms& terms) {
  State& state = *state_;
  const auto layout = latent_layout(spec);
  layout->check_sides("kv", kv);
  std::unique_ptr<LatentBody> body = new_body(state, layout, owner, tenant, token_count, terms);
  if (terms.whole) {
    check_plain(*layout, "whole");
    State::Draft draft(state, tenant, *layout, 1, token_count);
    layout->scatter(kv, token_count, draft.pages(), 0);
    return draft.publish(std::move(body), draft.fill(token_count), owner, {});
  }
  const uint32_t groups = layout->group_count(token_count);
  const uint32_t packed = groups * quantise_group_tokens, left = token_count - packed;
  State::Draft draft(state, tenant, *layout, latent_page_count(left), latent_page_tokens);
  std::vector<Piece> pieces;
  for (Page* page : draft.take_groups(tenant, *layout, groups)) {
    const auto at = uint32_t(pieces.size()) * quantise_group_tokens;
    layout->pack(behind(kv, at), *page);
    pieces.push_back({page, 0, quantise_group_tokens});
  }
  if (packed == 0)
    layout->scatter(kv, left, draft.pages(), 0);
  else if (left != 0)
    layout->scatter(behind(kv, packed), left, draft.pages(), 0);
  std::vector<Piece> fresh = draft.fill(left);
  fresh.insert(fresh.begin(), pieces.begin(), pieces.end());
  return draft.publish(std::move(body), std::move(fresh), owner, {}, true);
}

LatentId LatentPool::put(AgentId owner, uint32_t tenant, const LatentSpec& spec, Bytes kv,
                         uint32_t token_count, std::span<const uint32_t> tokens, uint64_t step,
                         uint32_t position_base, uint64_t lease_ns) {
  const LatentLayout layout(spec);
  check_tokens(tokens, token_count);
  check_end(spec, position_base, token_count);
  layout.check_size("kv", kv.size(), token_count);
  LatentTerms terms;
  terms.tokens = tokens;
  terms.step = step;
  terms.position_base = position_base;
  terms.lease_ns = lease_ns;
  return put(owner, tenant, spec, readable_sides(layout, kv, token_count), token_count, terms);
}

LatentId LatentPool::put_image(AgentId owner, uint32_t tenant, const LatentSpec& spec,
                               const LatentImage& image, Bytes bytes, uint32_t token_count,
                               const LatentTerms& terms) {
  State& state = *state_;
  const auto layout = latent_layout(spec);
  std::unique_ptr<LatentBody> body = new_body(state, layout, owner, tenant, token_count, terms);
  State::Draft draft(state, tenant, *layout, 0, 0);
  draft.take(tenant, layout->image_pages(image));
  std::vector<Piece> pieces = layout->read_image(image, bytes, draft.pages());
  return draft.publish(std::move(body), std::move(pieces), owner, {});
}

LatentId LatentPool::adopt(AgentId owner, uint32_t tenant, const LatentSpec& spec, Bytes data,
                           uint32_t token_count, const LatentTerms& terms, int descriptor,
                           std::function<void()> release, bool counted) {
  State& state = *state_;
  const auto layout = latent_layout(spec);
  check_plain(*layout, "adopt");
  layout->check_size("kv", data.size(), token_count);
  std::unique_ptr<LatentBody> body = new_body(state, layout, owner, tenant, token_count, terms);
  State::Draft draft(state, tenant, *layout, 0, 0);
  Piece piece{nullptr, 0, token_count};
  {
    State::Remains remains;
    const State::Lock lock(state.mutex);
    if (counted) state.make_room(lock, tenant, data.size(), remains);
    piece.page = state.arena.adopt(tenant, const_cast<uint8_t*>(data.data()), data.size(),
                                   token_count, descriptor, counted, std::move(release));
    piece.page->references = 0;  // `publish` counts the body's
  }
  return draft.publish(std::move(body), {piece}, owner, {});
}

LatentId LatentPool::fork(LatentId latent, AgentId owner, uint32_t tenant) {
  State& state = *state_;
  const State::Lock lock(state.mutex);
  const uint32_t index = state.take_handle(lock);
  try {
    const State::Seen seen = state.readable(lock, latent, owner, tenant);
    return state.open(lock, index, owner, tenant, &seen.body(), seen.rights());
  } catch (...) {
    state.free_handles.push_back(index);
    --state.handle_count;
    throw;
  }
}

LatentId LatentPool::slice(LatentId latent, AgentId owner, uint32_t tenant, uint32_t first,
                           uint32_t count) {
  State& state = *state_;
  const State::Pin whole(state, latent, owner, tenant);
  if (count == 0) throw Error(ErrorCode::empty, "tokens", "a latent has tokens", latent);
  if (first > whole->tokens || count > whole->tokens - first)
    throw Error(ErrorCode::out_of_range, "tokens", uint64_t(first) + count, whole->tokens, latent);
  const State::Lock lock(state.mutex);
  const uint32_t index = state.take_handle(lock);
  LatentBody* body = count == whole->tokens
                         ? &*whole
                         : state.cut(lock, *whole, tenant, first, count, whole.rights().empty());
  return state.open(lock, index, owner, tenant, body, whole.rights());
}

LatentId LatentPool::concat(std::span<const LatentId> latents, AgentId owner, uint32_t tenant) {
  State& state = *state_;
  if (latents.empty()) throw Error(ErrorCode::empty, "latents", "nothing to join");
  if (latents.size() > concat_count_max)
    throw Error(ErrorCode::too_large, "latents", latents.size(), concat_count_max);
  std::vector<std::unique_ptr<State::Pin>> parts;
  for (const LatentId latent : latents)
    parts.push_back(std::make_unique<State::Pin>(state, latent, owner, tenant));

  std::unique_ptr<LatentBody> body = state.derived(**parts.front(), tenant);
  std::vector<std::shared_ptr<Lineage>> parents;
  std::vector<Piece> pieces;
  LatentGrants rights;
  for (size_t i = 0; i < parts.size(); ++i) {
    const LatentBody& part = **parts[i];
    check_compatible(body->layout->spec, part.layout->spec, latents[i]);
    if (i != 0 && part.position_base != body->end())
      throw Error(
          ErrorCode::position_overlap, "position",
          "want " + std::to_string(body->end()) + ", have " + std::to_string(part.position_base),
          latents[i]);
    body->tokens += part.tokens;
    body->label |= part.label;
    add_shares(part.shares, 0, part.tokens, body->shares);
    body->lease_ns = earlier_lease(body->lease_ns, part.lease_ns);
    pieces.insert(pieces.end(), part.pieces.begin(), part.pieces.end());
    parents.push_back(part.lineage);
    rights.insert(rights.end(), parts[i]->rights().begin(), parts[i]->rights().end());
  }
  // Its tokens are not said to the index: parts that were computed without each other are not what
  // computing the whole would give.
  body->lineage = std::make_shared<Lineage>(
      state.seed,
      Lineage::Origin{"concat", body->layout->fingerprint, body->position_base, body->tokens,
                      nullptr, 0, id_none, 0},
      std::move(parents));
  State::Draft draft(state, tenant, *body->layout, 0, 0);
  return draft.publish(std::move(body), std::move(pieces), owner, std::move(rights));
}

void LatentPool::release(LatentId latent) {
  State& state = *state_;
  State::Remains remains;
  const State::Lock lock(state.mutex);
  LatentHandle& handle = state.find(lock, latent);
  LatentBody* body = handle.body;
  --body->handles;
  body->home_handles -= handle.tenant == body->tenant;
  if (body->home_handles == 0 && !body->kept) state.remove_from_index(lock, *body);
  handle.body = nullptr;
  handle.grants = {};
  handle.rights = {};
  --state.handle_count;
  // An index is retired when its generation would wrap: an id is never given out twice.
  if (++handle.generation != 0) state.free_handles.push_back(index_of(latent));
  state.drop(lock, body, remains);
}

LatentInfo LatentPool::info(LatentId latent, AgentId reader, uint32_t reader_tenant) const {
  State& state = *state_;
  const State::Pin pin(state, latent, reader, reader_tenant);
  const LatentBody& body = *pin;
  LatentInfo info;
  info.id = latent;
  info.content = body.lineage->content();
  info.parent = body.lineage->parent();
  info.step = body.lineage->step();
  info.fingerprint = body.layout->fingerprint;
  info.spec = body.layout->spec;
  info.tokens = body.tokens;
  info.position_base = body.position_base;
  info.size_bytes = body.size_bytes();
  info.lease_ns = body.lease_ns;
  info.label = body.label;
  info.price = body.price;
  info.shares = body.shares;
  info.gloss = body.gloss;
  info.read_tokens = body.read_tokens.load(std::memory_order_relaxed);
  const State::Lock lock(state.mutex);
  const LatentHandle& handle = state.find(lock, latent);
  info.owner = handle.owner;
  info.tenant = handle.tenant;
  info.readers = body.handles - 1 + uint32_t(handle.grants.size());
  info.kept = body.kept;
  info.pinned = body.pinned;
  return info;
}

void LatentPool::grant(LatentId latent, AgentId reader, uint64_t clearance) {
  State& state = *state_;
  const State::Lock lock(state.mutex);
  LatentHandle& handle = state.find(lock, latent);
  if ((handle.body->label & ~clearance) != 0)
    throw Error(
        ErrorCode::not_permitted, "clearance",
        "want " + std::to_string(handle.body->label) + ", have " + std::to_string(clearance),
        latent);
  const auto at = std::lower_bound(
      handle.grants.begin(), handle.grants.end(), reader,
      [](const std::shared_ptr<LatentGrant>& a, AgentId b) { return a->reader < b; });
  if (at != handle.grants.end() && (*at)->reader == reader) {
    (*at)->clearance = clearance;
    return;
  }
  if (handle.grants.size() >= grant_count_max)
    throw Error(ErrorCode::quota_exceeded, "grants", handle.grants.size() + 1, grant_count_max,
                latent);
  handle.grants.insert(at,
                       std::make_shared<LatentGrant>(LatentGrant{reader, clearance, false, {}}));
}

bool LatentPool::revoke(LatentId latent, AgentId reader) {
  State& state = *state_;
  const State::Lock lock(state.mutex);
  LatentGrants& grants = state.find(lock, latent).grants;
  const auto at = std::find_if(grants.begin(), grants.end(),
                               [&](const auto& grant) { return grant->reader == reader; });
  if (at == grants.end()) return false;
  (*at)->revoked = true;
  for (const LatentGrant::Word& word : (*at)->words) word.end();
  grants.erase(at);
  return true;
}

void LatentPool::read_into(LatentId latent, AgentId reader, uint32_t reader_tenant,
                           const LatentSpec* want, std::span<uint8_t> out) const {
  const State::Pin body(*state_, latent, reader, reader_tenant);
  if (want) check_compatible(*want, body->layout->spec, latent);
  body->layout->check_size("out", out.size(), body->tokens);
  body->layout->gather(body->pieces, body->layout->contiguous(out.data(), body->tokens));
  body->read_tokens.fetch_add(body->tokens, std::memory_order_relaxed);
}

void LatentPool::read_into(LatentId latent, AgentId reader, uint32_t reader_tenant,
                           const LatentSpec* want, const LatentSides& out,
                           const LatentReading& reading) const {
  const State::Pin body(*state_, latent, reader, reader_tenant);
  if (want) check_compatible(*want, body->layout->spec, latent);
  body->layout->check_sides("out", out);
  body->layout->check_reading(reading, latent);
  body->layout->gather(body->pieces, out, reading);
  body->read_tokens.fetch_add(body->tokens, std::memory_order_relaxed);
}

std::vector<Bytes> LatentPool::pages(LatentId latent, AgentId reader,
                                     uint32_t reader_tenant) const {
  const State::Pin body(*state_, latent, reader, reader_tenant);
  check_plain(*body->layout, "pages");
  std::vector<Bytes> pages;
  pages.reserve(body->pieces.size());
  for (const Piece& piece : body->pieces)
    pages.emplace_back(piece.page->data, body->layout->token_bytes() * piece.page->capacity);
  return pages;
}

LatentPoolStatus LatentPool::status() const {
  static const bool huge_pages = PageArena::huge_pages();
  const State& state = *state_;
  const State::Lock lock(state.mutex);
  LatentPoolStatus status;
  status.page_bytes_used = state.arena.used_bytes();
  status.size_bytes_max = state.arena.size_bytes_max();
  status.handle_count = state.handle_count;
  status.page_count = state.arena.used_count();
  status.mapped_bytes = state.arena.mapped_bytes();
  status.prefaulted_bytes = state.arena.prefaulted_bytes();
  status.adopted_bytes = state.arena.adopted_bytes();
  status.kept_bytes = state.retention.kept_bytes();
  status.evicted_count = state.evicted_count;
  status.metadata_bytes = state.arena.metadata_bytes();
  status.huge_pages = huge_pages;
  if (state.spill) state.spill->fill(lock, status);
  return status;
}

uint64_t LatentPool::memory_bytes() const {
  const State& state = *state_;
  const State::Lock lock(state.mutex);
  return state.arena.mapped_bytes() + state.arena.metadata_bytes() + state.prefixes.memory_bytes() +
         state.steps.memory_bytes() + state.handles.capacity() * sizeof(LatentHandle);
}

LatentHold LatentPool::hold(LatentId latent, AgentId reader, uint32_t reader_tenant) const {
  LatentHold hold;
  const State::Lock lock(state_->mutex);
  const State::Seen seen = state_->readable(lock, latent, reader, reader_tenant);
  ++seen.body().references;
  seen.body().read_tokens.fetch_add(seen.body().tokens, std::memory_order_relaxed);
  hold.body_ = &seen.body();
  hold.rights_ = seen.rights();
  hold.state_ = state_;
  return hold;
}

LatentHold::LatentHold(LatentHold&& other) noexcept
    : state_(std::move(other.state_)),
      body_(std::exchange(other.body_, nullptr)),
      rights_(std::move(other.rights_)) {}

LatentHold& LatentHold::operator=(LatentHold&& other) noexcept {
  std::swap(state_, other.state_);
  std::swap(body_, other.body_);
  std::swap(rights_, other.rights_);
  return *this;
}

LatentHold::~LatentHold() {
  if (body_) static_cast<LatentPool::State*>(state_.get())->drop(body_);
}

// Only where it is still this hand-off's: the place may have been given to another one.
void LatentGrant::Word::end() const {
  const std::shared_ptr<void> alive = owner.lock();
  uint64_t expected = value;
  if (alive) std::atomic_ref<uint64_t>(*word).compare_exchange_strong(expected, 0);
}

void LatentHold::end_with(const std::shared_ptr<void>& owner, uint64_t* word,
                          uint64_t value) const {
  const LatentPool::State::Lock lock(static_cast<LatentPool::State*>(state_.get())->mutex);
  for (const auto& right : rights_) {
    std::erase_if(right->words, [](const auto& known) { return known.owner.expired(); });
    right->words.push_back({owner, word, value});
    if (right->revoked) right->words.back().end();
  }
}

const LatentLayout& LatentHold::layout() const { return *body_->layout; }
std::span<const Piece> LatentHold::pieces() const { return body_->pieces; }

}  // namespace hanse
