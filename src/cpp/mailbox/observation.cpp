#include "mailbox/observation.hpp"

#include <algorithm>
#include <bit>

#include "base/hash_map.hpp"
#include "base/random.hpp"
#include "mailbox/state.hpp"

namespace hanse {

void MailboxTable::State::observe(const Slot& slot, uint32_t index, uint64_t sequence,
                                  uint64_t now_ns) {
  const AgentId to = make_id(index, slot.to_generation);
  if (options.digest) add_to_digest(header_of(slot, index), slot.bytes(), sequence);
  if (!(slot.flags & Slot::sampled)) return;

  const Extension& extension = extensions[slot.extension];
  const uint64_t age = now_ns > extension.sent_ns ? now_ns - extension.sent_ns : 0;
  add_age(age, 1);

  const std::lock_guard lock(traces_mutex);
  TraceRecord* record;
  if (traces.size() < trace_count_max) {
    record = &traces.emplace_back();
  } else {
    record = &traces[traces_oldest];
    traces_oldest = (traces_oldest + 1) % trace_count_max;
  }
  *record = {extension.rare.trace, to,    slot.sender, slot.kind, slot.lane, sequence,
             extension.sent_ns,    now_ns};
}

void MailboxTable::State::add_to_digest(const MessageHeader& header, Bytes payload,
                                        uint64_t sequence) {
  const uint64_t parties = mix64(header.to + mix64(header.sender + 0x9e3779b97f4a7c15));
  const uint64_t what = uint64_t(header.lane) << 8 | uint64_t(header.kind);
  const uint64_t content = hash_bytes(payload, mix64(parties ^ what));
  ++digest.count;
  digest.unordered += content;
  digest.ordered = mix64(digest.ordered + mix64(content + sequence));
}

void MailboxTable::State::add_age(uint64_t age_ns, uint64_t count) {
  const size_t bucket = age_ns == 0 ? 0 : size_t(std::bit_width(age_ns)) - 1;
  age_counts[std::min(bucket, QueueAges::bucket_count - 1)].add(count);
  age_sum_ns.add(age_ns * count);
  if (age_ns > age_max_ns.load(std::memory_order_relaxed))
    age_max_ns.store(age_ns, std::memory_order_relaxed);
}

MailboxCounters MailboxTable::counters() const {
  const State& state = *state_;
  MailboxCounters counters;
  // From the end of a message's life to its start: what is seen as ended is seen as accepted.
  const uint64_t failed = state.failed.load(std::memory_order_acquire);
  const uint64_t unqueued = state.unqueued.load(std::memory_order_acquire);
  const uint64_t buried = state.buried.get(), lost = state.lost.get();
  counters.expired = state.expired.get();
  counters.cancelled = state.cancelled.get();
  uint64_t taken = 0, entered = 0;
  for (size_t lane = 0; lane < lane_count; ++lane) {
    LaneCounters& of = counters.lanes[lane];
    of.ended = state.ended[lane].get();
    of.handled = state.taken[lane].get();
    const uint64_t here = state.entered_here[lane].get();
    of.entered = here + state.entered_by_ring[lane].get();
    of.queued = of.entered - of.handled - of.ended;
    taken += of.handled;
    entered += here;
  }
  counters.accepted = entered + state.ring.pushed() + unqueued;
  counters.handled = taken - failed;
  counters.dead = buried + lost + unqueued + failed;
  counters.queued =
      counters.accepted - taken - counters.expired - counters.cancelled - buried - lost - unqueued;
  counters.refused_full = state.refused_full.load(std::memory_order_relaxed);
  counters.refused_unknown = state.refused_unknown.load(std::memory_order_relaxed);
  counters.refused_too_large = state.refused_too_large.load(std::memory_order_relaxed);
  counters.refused_other = state.refused_other.load(std::memory_order_relaxed);
  for (size_t i = 0; i < outcome_count_max; ++i)
    counters.dead_by_reason[i] = state.dead_by_reason[i].load(std::memory_order_relaxed);
  counters.published = state.published.get();
  counters.form = state.bulk.form.load(std::memory_order_relaxed);
  counters.epochs = state.bulk.epochs.load(std::memory_order_relaxed);
  counters.switches = state.bulk.switches.load(std::memory_order_relaxed);
  counters.spills = state.bulk.spills.load(std::memory_order_relaxed);
  counters.resent = state.resent.load(std::memory_order_relaxed);
  return counters;
}

uint64_t MailboxTable::memory_bytes() const {
  return state_->table_bytes.load(std::memory_order_relaxed) + state_->account->bytes() +
         state_->bulk.arenas->memory_bytes();
}

uint64_t MailboxTable::held() const {
  state_->require_owner();
  return state_->waiting() + state_->ring.pushed() - sum_of(state_->entered_by_ring) -
         state_->lost.get();
}

QueueAges MailboxTable::ages() const {
  QueueAges ages;
  for (size_t i = 0; i < ages.counts.size(); ++i) ages.counts[i] = state_->age_counts[i].get();
  ages.sum_ns = state_->age_sum_ns.get();
  ages.max_ns = state_->age_max_ns.load(std::memory_order_relaxed);
  return ages;
}

std::vector<TraceRecord> MailboxTable::traces() const {
  const std::lock_guard lock(state_->traces_mutex);
  std::vector<TraceRecord> traces = state_->traces;
  std::rotate(traces.begin(), traces.begin() + ptrdiff_t(state_->traces_oldest), traces.end());
  return traces;
}

TraceDigest MailboxTable::digest() const {
  state_->require_owner();
  return state_->digest;
}

}  // namespace hanse
