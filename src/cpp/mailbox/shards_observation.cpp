// What can be seen of all shards: counters, ages, traces, dead letters.
#include <algorithm>

#include "mailbox/shards_state.hpp"

namespace hanse {

namespace {

void subtract(uint64_t& from, uint64_t count) { from -= std::min(from, count); }

void add(MailboxCounters& sum, const MailboxCounters& part) {
  sum.accepted += part.accepted, sum.handled += part.handled, sum.expired += part.expired;
  sum.cancelled += part.cancelled, sum.dead += part.dead;
  sum.refused_full += part.refused_full, sum.refused_unknown += part.refused_unknown;
  sum.refused_too_large += part.refused_too_large, sum.refused_other += part.refused_other;
  for (size_t lane = 0; lane < lane_count; ++lane) {
    sum.lanes[lane].entered += part.lanes[lane].entered;
    sum.lanes[lane].handled += part.lanes[lane].handled;
    sum.lanes[lane].ended += part.lanes[lane].ended;
    sum.lanes[lane].queued += part.lanes[lane].queued;
  }
  for (size_t i = 0; i < outcome_count_max; ++i) sum.dead_by_reason[i] += part.dead_by_reason[i];
  sum.published += part.published, sum.resent += part.resent;
  sum.epochs += part.epochs, sum.switches += part.switches, sum.spills += part.spills;
  if (part.form == MailboxForm::log) sum.form = part.form;
}

}  // namespace

// What was taken in, or moved in, was accepted elsewhere. It is read before what the table has
// accepted: a message on its way is seen as queued twice for a moment, and never as less than
// nothing.
MailboxCounters Shards::counters(uint32_t shard) const {
  state_->check_shard(shard);
  const State::Shard& of = *state_->shards[shard];
  const uint64_t came = of.taken_in.get() + of.moved_in.get();
  const uint64_t moved_out = of.moved_out.get();
  MailboxCounters counters = of.table.counters();
  subtract(counters.accepted, came);
  counters.accepted += of.pushed.get();
  subtract(counters.handled, moved_out);
  counters.refused_full += of.ring_full.get();
  return counters;
}

MailboxCounters Shards::counters() const {
  // What has ended is read for all shards before what was accepted is: it is seen as accepted.
  MailboxCounters sum;
  uint64_t came = 0;
  for (const auto& shard : state_->shards) came += shard->taken_in.get() + shard->moved_in.get();
  for (uint32_t shard = 0; shard < count(); ++shard) add(sum, counters(shard));
  uint64_t accepted = 0;
  for (const auto& shard : state_->shards)
    accepted += shard->table.counters().accepted + shard->pushed.get();
  subtract(accepted, came);
  sum.published += state_->published.load(std::memory_order_relaxed);
  sum.resent += state_->resent.load(std::memory_order_relaxed);
  const uint64_t ended = sum.handled + sum.expired + sum.cancelled + sum.dead;
  sum.accepted = std::max(accepted, ended);
  sum.queued = sum.accepted - ended;
  return sum;
}

QueueAges Shards::ages() const {
  QueueAges sum;
  for (const auto& shard : state_->shards) {
    const QueueAges part = shard->table.ages();
    for (size_t i = 0; i < sum.counts.size(); ++i) sum.counts[i] += part.counts[i];
    sum.sum_ns += part.sum_ns;
    sum.max_ns = std::max(sum.max_ns, part.max_ns);
  }
  return sum;
}

std::vector<TraceRecord> Shards::traces() const {
  constexpr size_t trace_count_max = 1024;
  std::vector<TraceRecord> all;
  for (const auto& shard : state_->shards) {
    const std::vector<TraceRecord> part = shard->table.traces();
    all.insert(all.end(), part.begin(), part.end());
  }
  std::ranges::stable_sort(all, {}, &TraceRecord::taken_ns);
  if (all.size() > trace_count_max) all.erase(all.begin(), all.end() - trace_count_max);
  return all;
}

std::vector<DeadLetter> Shards::dead_letters() const {
  return state_->options.mailboxes.letters->list();
}

TraceDigest Shards::digest() const {
  TraceDigest sum;
  for (uint32_t shard = 0; shard < count(); ++shard) {
    const TraceDigest part = state_->shards[shard]->table.digest();
    sum.count += part.count;
    sum.unordered += part.unordered;
    sum.ordered = count() == 1 ? part.ordered : 0;
  }
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
