// What makes a latent longer, finds it again and keeps it: append, prefixes, retention.
#include <algorithm>

#include "base/error.hpp"
#include "latent/latent.hpp"
#include "latent/spill.hpp"
#include "latent/state.hpp"
#include "latent/transform_table.hpp"

namespace hanse {

namespace {

constexpr size_t gloss_bytes_max = 4096;

}  // namespace

void check_tokens(std::span<const uint32_t> tokens, uint32_t token_count) {
  if (token_count == 0) throw Error(ErrorCode::empty, "token_count", "a latent has tokens");
  if (!tokens.empty() && tokens.size() != token_count)
    throw Error(ErrorCode::dimension_mismatch, "tokens",
                std::to_string(tokens.size()) + " ids where kv has " + std::to_string(token_count) +
                    " tokens");
}

void check_end(const LatentSpec& spec, uint32_t position, uint32_t token_count) {
  const uint64_t most = spec.position_max == 0 ? UINT32_MAX : spec.position_max;
  if (uint64_t(position) + token_count > most)
    throw Error(ErrorCode::out_of_range, "position", uint64_t(position) + token_count, most);
}

void check_gloss(const std::optional<std::string>& gloss) {
  if (gloss && gloss->size() > gloss_bytes_max)
    throw Error(ErrorCode::too_large, "gloss", gloss->size(), gloss_bytes_max);
}

void add_shares(std::span<const LatentShare> from, uint32_t first, uint32_t count,
                std::vector<LatentShare>& shares_out) {
  uint32_t at = 0;
  for (const LatentShare& share : from) {
    const uint32_t begin = std::max(at, first), end = std::min(at + share.tokens, first + count);
    at += share.tokens;
    if (begin >= end) continue;
    const bool same = !shares_out.empty() && shares_out.back().producer == share.producer &&
                      shares_out.back().price == share.price;
    if (same)
      shares_out.back().tokens += end - begin;
    else
      shares_out.push_back({share.producer, share.price, end - begin});
  }
}

uint64_t earlier_lease(uint64_t a, uint64_t b) {
  return a == 0 || b == 0 ? std::max(a, b) : std::min(a, b);
}

std::shared_ptr<TokenRun> token_run(std::span<const uint32_t> first, std::span<const uint32_t> then,
                                    bool grows) {
  const auto count = uint32_t(first.size() + then.size());
  auto run = std::make_shared<TokenRun>(grows ? count + count / 2 + 64 : count);
  std::copy(first.begin(), first.end(), run->ids.get());
  std::copy(then.begin(), then.end(), run->ids.get() + first.size());
  run->filled = count;
  return run;
}

void check_plain(const LatentLayout& layout, const char* field) {
  if (layout.group_bytes != 0)
    throw Error(ErrorCode::latent_incompatible, field, "quantised tokens can only be read");
}

LatentSides behind(LatentSides sides, uint32_t tokens) {
  for (uint8_t*& plane : sides.planes) plane += tokens * sides.token_stride;
  return sides;
}

namespace {

// Room behind the last token of a latent, for the first who appends to it: given back unless kept.
class Claim {
 public:
  // Only within a tenant: pages can be mapped by other processes of the tenant that they belong to.
  Claim(LatentPool::State& state, const LatentBody& body, uint32_t tenant, uint32_t wanted)
      : state_(state) {
    const std::lock_guard lock(state.mutex);
    const Piece& last = body.pieces.back();
    Page& page = *last.page;
    const uint32_t end = last.first + last.count;
    if (page.filled != end || page.capacity != latent_page_tokens || page.extent->release ||
        page.extent->tenant != tenant)
      return;
    first = end;
    count = std::min(page.capacity - end, wanted);
    page.filled += count;
    page_ = &page;
  }
  ~Claim() {
    if (!page_ || kept) return;
    const std::lock_guard lock(state_.mutex);
    page_->filled -= count;
  }
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;

  uint32_t first = 0, count = 0;
  bool kept = false;

 private:
  LatentPool::State& state_;
  Page* page_ = nullptr;
};

// The old run where it has room for the new tokens, else a longer one.
std::shared_ptr<TokenRun> longer_run(LatentPool::State& state, const LatentBody& old,
                                     std::span<const uint32_t> tokens) {
  if (tokens.empty() || !old.run) return nullptr;
  TokenRun& run = *old.run;
  {
    const std::lock_guard lock(state.mutex);
    if (run.filled == old.tokens && run.capacity - run.filled >= tokens.size()) {
      std::copy(tokens.begin(), tokens.end(), run.ids.get() + run.filled);
      run.filled += uint32_t(tokens.size());
      return old.run;
    }
  }
  return token_run({run.ids.get(), old.tokens}, tokens, true);
}

// How many tokens lie behind the last group.
uint32_t unpacked_tokens(const LatentLayout& layout, std::span<const Piece> pieces) {
  uint32_t tokens = 0;
  for (size_t i = pieces.size(); i-- > 0 && !layout.packed(*pieces[i].page);)
    tokens += pieces[i].count;
  return tokens;
}

// The oldest of those tokens go into `groups`, and the pieces name these instead.
void pack_oldest(const LatentLayout& layout, std::span<Page* const> groups,
                 std::vector<Piece>& pieces) {
  size_t begin = pieces.size();
  while (begin != 0 && !layout.packed(*pieces[begin - 1].page)) --begin;
  const std::vector<Piece> plain(pieces.begin() + ptrdiff_t(begin), pieces.end());
  pieces.resize(begin);
  std::vector<uint8_t> group(layout.token_bytes() * quantise_group_tokens);
  const LatentSides sides = layout.contiguous(group.data(), quantise_group_tokens);
  size_t next = 0;
  uint32_t used = 0;  // of plain[next]
  for (Page* page : groups) {
    std::vector<Piece> parts;
    for (uint32_t left = quantise_group_tokens; left != 0;) {
      const Piece& piece = plain[next];
      const uint32_t count = std::min(left, piece.count - used);
      parts.push_back({piece.page, piece.first + used, count});
      left -= count;
      used += count;
      if (used == piece.count) ++next, used = 0;
    }
    layout.gather(parts, sides);
    layout.pack(sides, *page);
    pieces.push_back({page, 0, quantise_group_tokens});
  }
  for (; next < plain.size(); ++next, used = 0)
    pieces.push_back({plain[next].page, plain[next].first + used, plain[next].count - used});
}

}  // namespace

LatentId LatentPool::append(LatentId latent, AgentId owner, uint32_t tenant, Bytes kv,
                            uint32_t token_count, std::span<const uint32_t> tokens, uint64_t step,
                            uint32_t position) {
  const State::Pin old(*state_, latent, owner, tenant);
  const LatentLayout& layout = *old->layout;
  check_tokens(tokens, token_count);
  layout.check_size("kv", kv.size(), token_count);
  return append(latent, owner, tenant,
                layout.contiguous(const_cast<uint8_t*>(kv.data()), token_count), token_count,
                tokens, step, position);
}

LatentId LatentPool::append(LatentId latent, AgentId owner, uint32_t tenant, const LatentSides& kv,
                            uint32_t token_count, std::span<const uint32_t> tokens, uint64_t step,
                            uint32_t position) {
  State& state = *state_;
  const State::Pin old(state, latent, owner, tenant);
  const LatentLayout& layout = *old->layout;
  check_tokens(tokens, token_count);
  layout.check_sides("kv", kv);
  if (position != old->end())
    throw Error(ErrorCode::position_overlap, "position",
                "want " + std::to_string(old->end()) + ", have " + std::to_string(position),
                latent);
  check_end(layout.spec, position, token_count);

  std::vector<Piece> pieces = old->pieces;
  const Piece last = pieces.back();
  Claim claim(state, *old, tenant, token_count);
  const uint32_t left = token_count - claim.count;
  // Nobody may write where others read: a page whose room is taken is copied as far as it is ours.
  const bool copies = claim.count == 0 && last.first == 0 &&
                      last.page->capacity == latent_page_tokens && last.count < latent_page_tokens;
  const uint32_t head = copies ? last.count : 0;
  State::Draft draft(state, tenant, layout, latent_page_count(head + left), latent_page_tokens);
  const std::span<Page* const> groups = draft.take_groups(
      tenant, layout, layout.group_count(uint64_t(unpacked_tokens(layout, pieces)) + token_count));
  if (claim.count != 0) {
    layout.scatter(kv, claim.count, {&last.page, 1}, claim.first);
    pieces.back().count += claim.count;
  }
  if (copies) {
    layout.copy_head(last, *draft.pages()[0]);
    pieces.pop_back();
  }
  if (left != 0) layout.scatter(behind(kv, claim.count), left, draft.pages(), head);
  const std::vector<Piece> fresh = draft.fill(head + left);
  pieces.insert(pieces.end(), fresh.begin(), fresh.end());
  if (!groups.empty()) pack_oldest(layout, groups, pieces);

  std::unique_ptr<LatentBody> body = state.derived(*old, tenant);
  body->tokens = old->tokens + token_count;
  add_shares(old->shares, 0, old->tokens, body->shares);
  const LatentShare added{owner, old->price, token_count};
  add_shares({&added, 1}, 0, token_count, body->shares);
  body->run = longer_run(state, *old, tokens);
  const std::shared_ptr<TokenRun> named =
      body->run || tokens.empty() ? body->run : token_run(tokens, {}, false);
  body->lineage =
      std::make_shared<Lineage>(state.seed,
                                Lineage::Origin{"tokens", layout.fingerprint, position, token_count,
                                                named, body->run ? old->tokens : 0, owner, step},
                                std::vector{old->lineage});
  const LatentId longer = draft.publish(std::move(body), std::move(pieces), owner, old.rights());
  claim.kept = true;
  return longer;
}

LatentPool::Prefix LatentPool::longest_prefix(AgentId reader, uint32_t tenant,
                                              const LatentSpec& spec,
                                              std::span<const uint32_t> tokens) {
  return longest_prefix(reader, tenant, latent_layout(spec)->fingerprint, tokens);
}

LatentPool::Prefix LatentPool::longest_prefix(AgentId reader, uint32_t tenant,
                                              const Digest& fingerprint,
                                              std::span<const uint32_t> tokens) {
  State& state = *state_;
  const State::Lock lock(state.mutex);
  const PrefixIndex::Match match = state.match(lock, tenant, fingerprint, tokens);
  if (state.spill) state.spill->expect(lock, tenant, fingerprint, tokens, match.matched);
  if (!match.entry) return {};
  auto& body = static_cast<LatentBody&>(*match.entry);
  const uint32_t index = state.take_handle(lock);
  LatentBody* found =
      match.matched == body.tokens ? &body : state.cut(lock, body, tenant, 0, match.matched, true);
  return {state.open(lock, index, reader, tenant, found, {}), match.matched};
}

void LatentPool::spill_to(const LatentSpillOptions& options) {
  State& state = *state_;
  auto spill = std::make_unique<LatentSpill>(state, options);
  const State::Lock lock(state.mutex);
  if (!state.spill) {
    state.spill = std::move(spill);
    return;
  }
  throw Error(ErrorCode::illegal_transition, "directory", "this pool spills already");
}

uint32_t LatentPool::expect(uint32_t tenant, const Digest& fingerprint,
                            std::span<const uint32_t> tokens) {
  State& state = *state_;
  const State::Lock lock(state.mutex);
  const uint32_t matched = state.match(lock, tenant, fingerprint, tokens).matched;
  return state.spill
             ? std::max(matched, state.spill->expect(lock, tenant, fingerprint, tokens, matched))
             : matched;
}

LatentPool::Prefix LatentPool::fetch(AgentId reader, uint32_t tenant, const Digest& fingerprint,
                                     std::span<const uint32_t> tokens, uint64_t timeout_ns) {
  State& state = *state_;
  if (expect(tenant, fingerprint, tokens) != 0) {
    constexpr uint64_t longest_ns = uint64_t(24) * 3'600'000'000'000;
    State::Lock lock(state.mutex);
    if (state.spill)
      state.spill->wait(lock, std::chrono::steady_clock::now() +
                                  std::chrono::nanoseconds(std::min(timeout_ns, longest_ns)));
  }
  return longest_prefix(reader, tenant, fingerprint, tokens);
}

uint32_t LatentPool::match(uint32_t tenant, const Digest& fingerprint,
                           std::span<const uint32_t> tokens) {
  const State::Lock lock(state_->mutex);
  return state_->match(lock, tenant, fingerprint, tokens).matched;
}

LatentId LatentPool::find_step(AgentId reader, uint32_t tenant, const LatentSpec& spec,
                               const Digest& parent, AgentId producer, uint64_t step) {
  State& state = *state_;
  const Digest fingerprint = latent_layout(spec)->fingerprint;
  const uint64_t hash = state.step_hash(tenant, fingerprint, parent, producer, step);
  const State::Lock lock(state.mutex);
  const uint64_t now_ns = state.clock->now_ns();
  const uint32_t slot = state.steps.find(hash, [&](uint32_t at) {
    const LatentBody& body = *state.step_bodies[at];
    return body.tenant == tenant && body.layout->fingerprint == fingerprint &&
           body.lineage->parent() == parent && body.lineage->producer() == producer &&
           body.lineage->step() == step && (body.lease_ns == 0 || now_ns < body.lease_ns);
  });
  if (slot == index_none) {
    if (state.spill) state.spill->expect_step(lock, hash);
    return id_none;
  }
  LatentBody* body = state.step_bodies[slot];
  const uint32_t index = state.take_handle(lock);
  state.retention.touch(tenant, *body);
  return state.open(lock, index, reader, tenant, body, {});
}

void LatentPool::keep(LatentId latent, AgentId actor, uint32_t tenant, uint64_t cost, bool pinned) {
  State& state = *state_;
  State::Remains remains;
  const State::Lock lock(state.mutex);
  LatentBody& body = state.readable(lock, latent, actor, tenant).body();
  if (tenant != body.tenant)
    throw Error(ErrorCode::not_permitted, "latent", "only its own tenant keeps it", latent);
  const auto set_pinned = [&] {
    state.retention.pin(tenant, body, pinned);
    if (pinned)
      state.pinned.insert(&body);
    else
      state.pinned.erase(&body);
  };
  if (body.kept) return set_pinned();
  uint64_t bytes = 0;
  for (const Piece& piece : body.pieces) bytes += piece.page->extent->page_bytes;
  const uint64_t quota = state.retention.quota_bytes(tenant);
  if (bytes > quota) throw Error(ErrorCode::quota_exceeded, "kept_bytes", bytes, quota, latent);
  if (!state.make_quota(lock, tenant, bytes, remains))  // All that is kept is pinned.
    throw Error(ErrorCode::quota_exceeded, "kept_bytes", state.retention.kept_bytes(tenant) + bytes,
                quota, latent);
  state.retention.keep(tenant, body, bytes, cost == 0 ? body.tokens : cost);
  set_pinned();
  ++body.references;
}

void LatentPool::forget(LatentId latent, AgentId actor, uint32_t tenant) {
  State& state = *state_;
  State::Remains remains;
  const State::Lock lock(state.mutex);
  LatentBody& body = state.readable(lock, latent, actor, tenant).body();
  if (tenant != body.tenant)
    throw Error(ErrorCode::not_permitted, "latent", "only its own tenant forgets it", latent);
  state.forget(lock, body, remains);
}

uint64_t LatentPool::evict(uint32_t tenant, uint64_t bytes) {
  State::Remains remains;
  const State::Lock lock(state_->mutex);
  return state_->evict(lock, tenant, bytes, remains);
}

void LatentPool::set_size(uint64_t size_bytes_max) {
  State& state = *state_;
  State::Remains remains;
  const State::Lock lock(state.mutex);
  state.arena.set_size_bytes_max(size_bytes_max);
  while (state.arena.used_bytes() > size_bytes_max &&
         state.evict(lock, Retention::tenant_any, 1, remains) != 0) {
  }
}

void LatentPool::set_quota(uint32_t tenant, uint64_t quota_bytes) {
  State& state = *state_;
  State::Remains remains;
  const State::Lock lock(state.mutex);
  state.retention.set_quota(tenant, quota_bytes);
  while (state.retention.kept_bytes(tenant) > quota_bytes) {
    RetainedEntry* victim = state.retention.victim(tenant).entry;
    if (!victim) return;
    state.evict(lock, static_cast<LatentBody&>(*victim), remains);
  }
}

void LatentPool::reserve(uint32_t tenant, const LatentSpec& spec, uint32_t tokens) {
  const LatentLayout layout(spec);
  const State::Lock lock(state_->mutex);
  const uint32_t count = latent_page_count(tokens);
  if (!state_->arena.reserve(tenant, layout.page_bytes, count))
    throw Error(ErrorCode::quota_exceeded, "tokens", layout.page_bytes * count,
                state_->arena.size_bytes_max());
}

}  // namespace hanse
