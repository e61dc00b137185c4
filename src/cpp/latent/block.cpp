#include "latent/block.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "latent/state.hpp"

namespace hanse {

struct LatentBlockState {
  std::shared_ptr<LatentPool::State> pool;
  std::shared_ptr<const LatentLayout> layout;
  AgentId owner = id_none;
  uint32_t tenant = 0;
  uint32_t position_base = 0;
  uint32_t begun = 0, written = 0;
  bool copied = false, shifted = false;
  Page* page = nullptr;

  // Of what it began with.
  std::shared_ptr<Lineage> parent;
  std::shared_ptr<TokenRun> run;
  LatentGrants rights;
  uint64_t lease_ns = 0, label = 0, price = 0;
  std::optional<std::string> gloss;
  std::vector<LatentShare> shares;
};

namespace {

// Nothing of what the page held before can be seen by whoever maps it.
void zero_from(const LatentLayout& layout, Page& page, uint32_t first) {
  if (first < page.capacity) layout.zero_tail(page, first);
  layout.note_used(page, page.capacity);  // The runtime will write where it likes.
}

void check_capacity(uint32_t capacity) {
  if (capacity == 0) throw Error(ErrorCode::empty, "capacity", "a block has room for tokens");
}

// A page that is all the block's: what nobody else may append to. Its first `count` tokens are
// there already.
Page* whole_page(LatentPool::State& state, uint32_t tenant, const LatentLayout& layout,
                 uint32_t capacity) {
  std::vector<Page*> pages;
  LatentPool::State::Remains remains;
  const LatentPool::State::Lock lock(state.mutex);
  state.take_pages(lock, tenant, layout.token_bytes() * capacity, 1, capacity, pages, remains);
  pages[0]->filled = capacity;
  return pages[0];
}

void drop_page(LatentPool::State& state, Page* page) {
  LatentPool::State::Remains remains;
  const LatentPool::State::Lock lock(state.mutex);
  state.drop_page(lock, page, remains);
}

// The page of a latent that lies in one run with room behind it that nobody has taken; null else.
// Only within a tenant: pages belong to one.
Page* take_room(LatentPool::State& state, const LatentBody& body, uint32_t tenant, uint32_t room) {
  if (body.pieces.size() != 1 || body.layout->group_bytes != 0) return nullptr;
  const Piece& piece = body.pieces[0];
  Page* page = piece.page;
  const LatentPool::State::Lock lock(state.mutex);
  if (piece.first != 0 || page->filled != piece.count || page->extent->release ||
      page->extent->tenant != tenant || page->capacity - piece.count < room)
    return nullptr;
  page->filled = page->capacity;
  ++page->references;
  return page;
}

}  // namespace

LatentBlock::LatentBlock(LatentPool& pool, AgentId owner, uint32_t tenant, const LatentSpec& spec,
                         uint32_t capacity, uint32_t position_base)
    : state_(std::make_unique<LatentBlockState>()) {
  LatentBlockState& block = *state_;
  block.layout = latent_layout(spec);
  check_plain(*block.layout, "block");
  check_capacity(capacity);
  check_end(spec, position_base, 0);
  block.owner = owner;
  block.tenant = tenant;
  block.position_base = position_base;
  block.pool = pool.shared_state();
  block.page = whole_page(*block.pool, tenant, *block.layout, capacity);
  zero_from(*block.layout, *block.page, 0);
}

LatentBlock::LatentBlock(LatentPool& pool, AgentId owner, uint32_t tenant, LatentId from,
                         const LatentSpec* want, uint32_t room, int64_t shift)
    : state_(std::make_unique<LatentBlockState>()) {
  LatentBlockState& block = *state_;
  block.pool = pool.shared_state();
  const LatentPool::State::Pin old(*block.pool, from, owner, tenant);
  if (want) check_compatible(*want, old->layout->spec, from);
  const LatentReading reading{old->layout->spec.dtype, shift};
  old->layout->check_reading(reading, from);
  const int64_t base = int64_t(old->position_base) + shift;
  if (base < 0 || base > UINT32_MAX)
    throw Error(ErrorCode::out_of_range, "shift",
                "want positions 0 … 4294967295, have " + std::to_string(base), from);
  check_end(old->layout->spec, uint32_t(base), old->tokens);
  if (room > UINT32_MAX - old->tokens)
    throw Error(ErrorCode::out_of_range, "room", room, UINT32_MAX - old->tokens, from);
  // What a runtime writes in place lies there as it writes it.
  block.layout =
      old->layout->group_bytes == 0 ? old->layout : latent_layout(old->layout->spec.plain());
  block.owner = owner;
  block.tenant = tenant;
  block.position_base = uint32_t(base);
  block.begun = block.written = old->tokens;
  block.parent = old->lineage;
  block.run = shift == 0 ? old->run : nullptr;
  block.rights = old.rights();
  block.lease_ns = old->lease_ns;
  block.label = old->label;
  block.price = old->price;
  block.gloss = old->gloss;
  block.shares = old->shares;

  if (shift == 0) block.page = take_room(*block.pool, *old, tenant, room);
  block.copied = block.page == nullptr;
  block.shifted = shift != 0;
  if (block.copied) {
    Page* page = whole_page(*block.pool, tenant, *block.layout, old->tokens + room);
    try {
      old->layout->gather(old->pieces, block.layout->contiguous(page->data, page->capacity),
                          reading);
    } catch (...) {
      drop_page(*block.pool, page);
      throw;
    }
    block.page = page;
  }
  zero_from(*block.layout, *block.page, old->tokens);
  old->read_tokens.fetch_add(old->tokens, std::memory_order_relaxed);
}

LatentBlock::~LatentBlock() {
  LatentBlockState& block = *state_;
  if (!block.page) return;
  LatentPool::State::Remains remains;
  const LatentPool::State::Lock lock(block.pool->mutex);
  block.page->filled = block.written;  // What nobody published the next one may write.
  block.pool->drop_page(lock, block.page, remains);
}

const LatentLayout& LatentBlock::layout() const { return *state_->layout; }
Piece LatentBlock::piece() const { return {state_->page, 0, state_->page->capacity}; }
uint32_t LatentBlock::capacity() const { return state_->page->capacity; }
uint32_t LatentBlock::begun() const { return state_->begun; }
uint32_t LatentBlock::written() const { return state_->written; }
uint32_t LatentBlock::position_base() const { return state_->position_base; }
bool LatentBlock::copied() const { return state_->copied; }

LatentId LatentBlock::publish(uint32_t count, const LatentTerms& terms) {
  LatentBlockState& block = *state_;
  LatentPool::State& pool = *block.pool;
  // What was only turned is a latent of its own, too.
  const uint32_t fewest = block.begun + (block.shifted ? 0 : 1);
  if (count < fewest || count > block.page->capacity)
    throw Error(ErrorCode::out_of_range, "count",
                "want " + std::to_string(fewest) + " … " + std::to_string(block.page->capacity) +
                    ", have " + std::to_string(count));
  const uint32_t fresh = count - block.begun;
  if (fresh != 0 || !terms.tokens.empty()) check_tokens(terms.tokens, fresh);
  check_end(block.layout->spec, block.position_base, count);
  check_gloss(terms.gloss);
  const uint64_t now_ns = pool.clock->now_ns();
  for (const uint64_t lease_ns : {terms.lease_ns, block.lease_ns})
    if (lease_ns != 0 && now_ns >= lease_ns)
      throw Error(ErrorCode::lease_expired, "lease_ns", "it has ended already");

  auto body = std::make_unique<LatentBody>();
  body->layout = block.layout;
  body->tenant = block.tenant;
  body->tokens = count;
  body->position_base = block.position_base;
  body->lease_ns = earlier_lease(terms.lease_ns, block.lease_ns);
  body->label = terms.label | block.label;
  body->price = terms.price != 0 ? terms.price : block.price;
  body->gloss = terms.gloss ? terms.gloss : block.gloss;
  body->shares = block.shares;
  const LatentShare added{block.owner, body->price, fresh};
  add_shares({&added, 1}, 0, fresh, body->shares);
  std::shared_ptr<TokenRun> named;
  if (!terms.tokens.empty() && (!block.parent || block.run)) {
    const std::span<const uint32_t> first =
        block.run ? std::span<const uint32_t>{block.run->ids.get(), block.begun}
                  : std::span<const uint32_t>{};
    named = body->run = token_run(first, terms.tokens, false);
  } else if (!terms.tokens.empty()) {
    named = token_run(terms.tokens, {}, false);
  }
  body->lineage = std::make_shared<Lineage>(
      pool.seed,
      Lineage::Origin{fresh == 0 ? "shift" : "tokens", block.layout->fingerprint,
                      block.position_base + block.begun, fresh, named, body->run ? block.begun : 0,
                      block.owner, terms.step},
      block.parent ? std::vector{block.parent} : std::vector<std::shared_ptr<Lineage>>{});

  const Piece piece{block.page, 0, count};
  LatentPool::State::Draft draft(pool, block.tenant, *block.layout, 0, 0);
  {
    const LatentPool::State::Lock lock(pool.mutex);
    for (const auto& right : block.rights)
      if (right->revoked)
        throw Error(ErrorCode::revoked, "latent", "a grant that it rests on was revoked");
  }
  const LatentId latent = draft.publish(std::move(body), {piece}, block.owner, block.rights);
  block.written = std::max(block.written, count);
  return latent;
}

}  // namespace hanse
