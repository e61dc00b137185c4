// Room for one run of tokens that a runtime fills where it lies, and of which it makes latents
// without a copy.
//
// The writer's promise is the one that makes latents immutable: tokens that were published, and
// those that the block began with, are never written again.
#pragma once

#include <memory>
#include <span>

#include "latent/latent.hpp"

namespace hanse {

struct LatentBlockState;

// One thread at a time. Its pages stay while it or a latent made of it lives, whatever happens to
// the pool.
class LatentBlock {
 public:
  // Empty room for `capacity` tokens, zeroed. Throws empty, out_of_range, quota_exceeded.
  LatentBlock(LatentPool& pool, AgentId owner, uint32_t tenant, const LatentSpec& spec,
              uint32_t capacity, uint32_t position_base);
  // Begins with the tokens of `from`, and has room for at least `room` more. Where they lie in one
  // block of the same tenant whose room nobody else has taken, that room is used: nothing is
  // copied. Else they are copied, keys turned on by `shift` positions on the way. What is published
  // has its label, lease and grants, and names it as its parent. Throws as LatentPool::read_into.
  LatentBlock(LatentPool& pool, AgentId owner, uint32_t tenant, LatentId from,
              const LatentSpec* want, uint32_t room, int64_t shift);
  ~LatentBlock();
  LatentBlock(const LatentBlock&) = delete;
  LatentBlock& operator=(const LatentBlock&) = delete;

  const LatentLayout& layout() const;
  // All of its room, [layers, 2, capacity, kv_heads, head_dim] in the order of the spec.
  Piece piece() const;
  uint32_t capacity() const;
  uint32_t begun() const;    // tokens that it began with
  uint32_t written() const;  // tokens that must not be written again
  uint32_t position_base() const;
  bool copied() const;  // false: it shares the pages of what it began with

  // A latent of its first `count` tokens, more than it began with (where they were turned, as many
  // will do). terms.tokens: ids of those
  // behind what it began with. position_base and whole of the terms are not looked at; its label
  // is joined with the terms', the earlier lease holds. Throws as LatentPool::put, and revoked or
  // lease_expired where what it began with can't be read any more.
  LatentId publish(uint32_t count, const LatentTerms& terms);

 private:
  std::unique_ptr<LatentBlockState> state_;
};

}  // namespace hanse
