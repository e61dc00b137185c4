#include "mailbox/mailbox.hpp"

#include <algorithm>
#include <thread>

#include "mailbox/state.hpp"

namespace hanse {

MailboxTable::MailboxTable(const MailboxOptions& options)
    : state_(std::make_unique<State>(options)) {}
MailboxTable::~MailboxTable() = default;

void MailboxTable::resize(uint32_t agent_count) {
  State& state = *state_;
  uint32_t count = state.agent_count.load(std::memory_order_relaxed);
  while (count < agent_count &&
         !state.agent_count.compare_exchange_weak(count, agent_count, std::memory_order_release)) {
  }
  if (state.owned_by_me()) state.grow();
}

bool MailboxTable::owned_here() const {
  return state_->owner.load(std::memory_order_acquire) == std::thread::id() ||
         state_->owned_by_me();
}

bool MailboxTable::owned_by_caller() const {
  return state_->owner.load(std::memory_order_acquire) == std::this_thread::get_id();
}

void MailboxTable::own() { state_->own(); }

Outcome MailboxTable::send(const MessageHeader& header, Bytes payload) {
  State& state = *state_;
  if (payload.size() > state.options.payload_size_bytes_max)
    return state.refuse(Outcome::too_large);
  if (!state.exists(header.to)) return state.refuse(Outcome::unknown);
  if (!state.owned_by_me()) return state.send_foreign(header, payload);

  // What another thread sent earlier must not be overtaken.
  if (state.ring.pending()) state.empty_ring();
  return state.send_owned(header, payload.data(), uint32_t(payload.size()));
}

size_t MailboxTable::drain(MessageBatch& batch, size_t count_max, uint64_t now_ns,
                           uint32_t quantum) {
  if (quantum == 0) throw Error(ErrorCode::out_of_range, "quantum", "0 where at least 1 is needed");
  State& state = *state_;
  state.own();
  state.settle();
  MessageBatch::State& out = *batch.state_;
  out.reserve(std::min<size_t>(count_max, state.slab.used()));

  size_t count = 0;
  while (count < count_max && !state.ready.empty()) {
    state.prefetch_turns();
    const uint32_t index = state.ready.pop();
    Box& box = state.boxes[index];
    box.flags &= uint8_t(~Box::ready);
    if (box.flags & Box::paused) continue;

    const uint32_t turn = std::min(box.count, quantum);
    for (uint32_t i = 0; i < turn && count < count_max; ++i)
      count += state.take(box, index, out, now_ns);
    if (box.count != 0) state.make_ready(box, index);
  }
  return count + state.drain_log(out, count_max - count, now_ns);
}

bool MailboxTable::receive(AgentId agent, MessageBatch& batch, uint64_t now_ns) {
  State& state = *state_;
  state.require(agent);
  state.own();
  state.settle();
  Box& box = state.box(index_of(agent));
  state.leave_log(index_of(agent));
  batch.state_->reserve(box.count == 0 ? 0 : 1);
  while (box.count != 0)
    if (state.take(box, index_of(agent), *batch.state_, now_ns)) return true;
  return false;
}

void MailboxTable::set_paused(AgentId agent, bool paused) {
  State& state = *state_;
  state.require(agent);
  state.own();
  Box& box = state.box(index_of(agent));
  state.leave_log(index_of(agent));
  if (paused) {
    box.flags |= Box::paused;
    return;
  }
  box.flags &= uint8_t(~Box::paused);
  if (box.count != 0) state.make_ready(box, index_of(agent));
}

bool MailboxTable::paused(AgentId agent) const {
  state_->require(agent);
  state_->require_owner();
  const uint32_t index = index_of(agent);
  return index < state_->boxes.size() && state_->boxes[index].flags & Box::paused;
}

void MailboxTable::dead(const Message& message, Outcome reason) {
  State& state = *state_;
  const uint64_t failed = state.failed.fetch_add(1, std::memory_order_acq_rel);
  HANSE_ASSERT(failed < state.taken.get());
  state.bury(message.header(), reason, message.payload);
}

std::vector<DeadLetter> MailboxTable::dead_letters() const {
  const std::lock_guard lock(state_->letters_mutex);
  std::vector<DeadLetter> letters = state_->letters;
  std::rotate(letters.begin(), letters.begin() + ptrdiff_t(state_->letters_oldest), letters.end());
  return letters;
}

void MailboxTable::close_box(AgentId agent, Outcome reason) {
  if (reason == Outcome::ok) throw Error(ErrorCode::out_of_range, "reason", "ok is none");
  State& state = *state_;
  state.require(agent);
  if (state.owned_by_me()) {
    state.settle();
    state.close(index_of(agent), reason);
    return;
  }
  const std::lock_guard lock(state.closes_mutex);
  state.closes.emplace_back(index_of(agent), reason);
  state.closes_pending.store(true, std::memory_order_release);
}

uint32_t MailboxTable::queued(AgentId agent) const {
  state_->require(agent);
  state_->require_owner();
  const uint32_t index = index_of(agent);
  return index < state_->boxes.size() ? state_->boxes[index].count + state_->bulk.log.count_of(index)
                                      : 0;
}

MailboxCounters MailboxTable::counters() const {
  const State& state = *state_;
  MailboxCounters counters;
  // From the end of a message's life to its start: what is seen as ended is seen as accepted.
  const uint64_t failed = state.failed.load(std::memory_order_acquire);
  const uint64_t buried = state.buried.get(), taken = state.taken.get();
  counters.expired = state.expired.get();
  counters.accepted = state.sent.get() + state.ring.pushed();
  counters.handled = taken - failed;
  counters.dead = buried + failed;
  counters.queued = counters.accepted - taken - buried - counters.expired;
  counters.refused_full = state.refused_full.load(std::memory_order_relaxed);
  counters.refused_unknown = state.refused_unknown.load(std::memory_order_relaxed);
  counters.refused_too_large = state.refused_too_large.load(std::memory_order_relaxed);
  counters.refused_other = state.refused_other.load(std::memory_order_relaxed);
  counters.form = state.bulk.form.load(std::memory_order_relaxed);
  counters.epochs = state.bulk.epochs.load(std::memory_order_relaxed);
  counters.switches = state.bulk.switches.load(std::memory_order_relaxed);
  counters.spills = state.bulk.spills.load(std::memory_order_relaxed);
  return counters;
}

uint64_t MailboxTable::memory_bytes() const {
  return state_->table_bytes.load(std::memory_order_relaxed) +
         state_->payload_bytes.load(std::memory_order_relaxed) +
         state_->bulk.arenas->memory_bytes();
}

}  // namespace hanse
