// Groups that move to another shard, and what can be seen of all shards.
//
// A migration is carried out between turns, in steps at which all shards meet: what is in rings
// enters boxes; each source packs what its leaving agents have; the places change; each destination
// unpacks. So a message is never overtaken by one that was sent after the move.
#include <algorithm>

#include "mailbox/shards_state.hpp"

namespace hanse {

void Shards::migrate(uint32_t group, uint32_t shard) {
  State& state = *state_;
  state.check_shard(shard);
  {
    const std::lock_guard lock(state.wanted_mutex);
    state.wanted.emplace_back(group, shard);
    state.migration_wanted.store(true, std::memory_order_release);
  }
  for (uint32_t i = 0; i < state.options.shard_count; ++i) state.wake(i);
}

void Shards::migrate_now(uint32_t shard) {
  state_->enter(shard);
  state_->migrate_here(shard);
}

// False: it was stopped before all shards had come.
bool Shards::State::migrate_here(uint32_t shard) {
  const auto never = [] { return false; };
  const auto nothing = [] {};
  publish(shard);
  const bool all_here = meeting.meet(
      [this] {
        const std::lock_guard lock(wanted_mutex);
        moving.swap(wanted);
        wanted.clear();
        migration_wanted.store(false, std::memory_order_relaxed);
      },
      [this] { return stopping.load(std::memory_order_acquire); });
  if (!all_here) return false;
  absorb(shard);
  meeting.meet(nothing, never);
  pack(shard);
  meeting.meet(
      [this] {
        for (const auto& [group, to] : moving) {
          if (group >= place_of.size()) place_of.resize(group + size_t{1});
          place_of[group] = uint16_t(to);
        }
        for (size_t i = 0; i < groups.size(); ++i) shard_of[i] = place_of[groups[i]];
        migrations.fetch_add(moving.size(), std::memory_order_relaxed);
        moving.clear();
      },
      never);
  unpack(shard);
  meeting.meet(nothing, never);
  return true;
}

void Shards::State::pack(uint32_t shard) {
  // The last wish for a group is the one that counts.
  std::vector<uint16_t> target = place_of;
  for (const auto& [group, to] : moving)
    if (group < target.size()) target[group] = uint16_t(to);
  Shard& from = *shards[shard];
  for (uint32_t i = 0; i < groups.size(); ++i) {
    const uint32_t to = target[groups[i]];
    if (shard_of[i] != shard || to == shard) continue;
    Moved moved{make_id(i, 1), {}, from.table.paused(make_id(i, 1)), {}, {}};
    moved.options = from.table.box_options(moved.agent);
    from.batch.clear();
    // Nothing expires on the way: whoever takes it out there will see.
    while (from.table.receive(moved.agent, from.batch, 0)) from.moved.add(1);
    for (uint8_t lane = 0; lane < lane_count; ++lane)
      moved.next_sequences[lane] = from.table.next_sequence(moved.agent, lane);
    for (const Message& message : from.batch.messages()) {
      --moved.next_sequences[message.lane];
      moved.messages.emplace_back(
          message.header(), std::vector<uint8_t>(message.payload.begin(), message.payload.end()));
    }
    from.batch.clear();
    from.leaving[to].push_back(std::move(moved));
  }
}

void Shards::State::unpack(uint32_t shard) {
  Shard& into = *shards[shard];
  for (const auto& from : shards) {
    for (const Moved& moved : from->leaving[shard]) {
      for (uint8_t lane = 0; lane < lane_count; ++lane)
        into.table.set_next_sequence(moved.agent, lane, moved.next_sequences[lane]);
      into.table.set_box(moved.agent, moved.options);
      into.table.set_paused(moved.agent, moved.paused);
      for (const auto& [header, payload] : moved.messages) put(into, header, payload);
    }
    from->leaving[shard].clear();
  }
}

// --- observation

MailboxCounters Shards::counters(uint32_t shard) const {
  state_->check_shard(shard);
  const State::Shard& of = *state_->shards[shard];
  // Moved is read before handled: what is on its way to another shard counts as handled for a
  // moment at most, and never as less than nothing.
  const uint64_t moved = of.moved.get();
  MailboxCounters counters = of.table.counters();
  counters.handled -= std::min(counters.handled, moved);
  counters.accepted = of.local.get() + of.pushed.get();
  counters.refused_full += of.ring_full.get();
  return counters;
}

MailboxCounters Shards::counters() const {
  MailboxCounters sum;
  std::vector<MailboxCounters> each;
  for (uint32_t shard = 0; shard < count(); ++shard) each.push_back(counters(shard));
  // What has ended is read for all shards before what was accepted is: it is seen as accepted.
  for (uint32_t shard = 0; shard < count(); ++shard) {
    const MailboxCounters& part = each[shard];
    sum.accepted += state_->shards[shard]->local.get() + state_->shards[shard]->pushed.get();
    sum.handled += part.handled;
    sum.expired += part.expired;
    sum.cancelled += part.cancelled;
    sum.dead += part.dead;
    sum.refused_full += part.refused_full;
    sum.refused_unknown += part.refused_unknown;
    sum.refused_too_large += part.refused_too_large;
    sum.refused_other += part.refused_other;
    sum.epochs += part.epochs;
    sum.switches += part.switches;
    sum.spills += part.spills;
  }
  sum.queued = sum.accepted - sum.handled - sum.expired - sum.cancelled - sum.dead;
  return sum;
}

uint64_t Shards::crossed() const {
  uint64_t crossed = 0;
  for (const auto& shard : state_->shards) crossed += shard->pushed.get();
  return crossed;
}

uint64_t Shards::wakes() const { return state_->wakes.load(std::memory_order_relaxed); }
uint64_t Shards::migrations() const { return state_->migrations.load(std::memory_order_relaxed); }

uint64_t Shards::memory_bytes() const {
  uint64_t bytes = state_->account->bytes();
  for (const auto& shard : state_->shards) bytes += shard->table.memory_bytes();
  for (const auto& ring : state_->rings)
    if (ring) bytes += ring->memory_bytes();
  return bytes;
}

}  // namespace hanse
