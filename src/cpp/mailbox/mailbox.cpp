#include "mailbox/mailbox.hpp"

#include <algorithm>

#include "mailbox/state.hpp"

namespace hanse {

MailboxTable::MailboxTable(const MailboxOptions& options)
    : state_(std::make_unique<State>(options, owner_)) {}
MailboxTable::~MailboxTable() = default;

const MailboxOptions& MailboxTable::options() const { return state_->options; }

void MailboxTable::resize(uint32_t agent_count) {
  State& state = *state_;
  uint32_t count = state.agent_count.load(std::memory_order_relaxed);
  while (count < agent_count &&
         !state.agent_count.compare_exchange_weak(count, agent_count, std::memory_order_release)) {
  }
  if (owner_.caller()) state.grow();
}

uint32_t MailboxTable::agent_count() const {
  return state_->agent_count.load(std::memory_order_acquire);
}

void MailboxTable::own() { state_->own(); }

void MailboxTable::disown() {
  state_->require_owner();
  state_->require_not_running();
  owner_.leave();
}

Outcome MailboxTable::send_payload(const MessageHeader& header, Payload&& payload) {
  State& state = *state_;
  if (!payload) return send(header, {});
  // A few bytes that nobody else refers to are cheaper in the slot.
  if (payload.size() <= message_inline_bytes && !payload.adopted()) {
    const Outcome outcome = send(header, payload.bytes());
    if (outcome == Outcome::ok || outcome == Outcome::dropped) payload = Payload();
    return outcome;
  }
  if (header.lane >= lane_count)
    throw Error(ErrorCode::out_of_range, "lane", header.lane, lane_count - 1);
  const bool owned = owner_.caller();
  if (payload.adopted() && !owned)
    throw Error(ErrorCode::wrong_thread, "payload", "an object may be sent by the owner only");
  if (payload.size() > state.options.payload_size_bytes_max)
    return state.refuse(Outcome::too_large);
  if (!state.exists(header.to)) return state.refuse(Outcome::unknown);

  const Content content(payload.buffer());
  if (owned && state.ring.pending()) state.empty_ring();
  const Outcome outcome = owned ? state.enter_here(header, content, --state.until_sample == 0)
                                : state.send_foreign(header, content);
  if (outcome == Outcome::ok || outcome == Outcome::dropped) (void)payload.detach();
  return outcome;
}

Payload MailboxTable::loan(size_t size) {
  if (size > state_->options.payload_size_bytes_max)
    throw Error(ErrorCode::payload_too_large, "size", size, state_->options.payload_size_bytes_max);
  return Payload::lent(*state_->account, size);
}

size_t MailboxTable::drain(MessageBatch& batch, size_t count_max, uint64_t now_ns, uint32_t quantum,
                           const WantedBoxes* wanted) {
  if (quantum == 0) throw Error(ErrorCode::out_of_range, "quantum", "0 where at least 1 is needed");
  State& state = *state_;
  state.require_not_running();
  state.own();
  state.settle();
  if (!wanted) state.unpark();
  MessageBatch::State& out = *batch.state_;
  EpochLog& log = state.bulk.log;
  size_t count = 0;
  do {
    // Who is not wanted keeps what it has in its box, where more may be added behind it.
    if (wanted && !log.empty() && !state.log_wanted(*wanted)) state.spill_log();
    count += state.drain_boxes(out, count_max, now_ns, quantum, wanted);
    if (!log.empty()) count += state.drain_log(out, count_max - count, now_ns, wanted);
  } while (count == 0 && count_max != 0 && !log.empty());
  state.credit_starved();
  return count;
}

size_t MailboxTable::State::drain_boxes(MessageBatch::State& out, size_t count_max, uint64_t now_ns,
                                        uint32_t quantum, const WantedBoxes* wanted) {
  out.reserve(std::min<size_t>(count_max, slab.used()));
  size_t count = 0;
  while (count < count_max && !ready.empty()) {
    prefetch_turns(ready);
    const uint32_t index = ready.pop();
    Box& box = boxes[index];
    box.flags &= uint16_t(~Box::ready);
    const bool open =
        (box.flags & (Box::paused | Box::native | Box::parked)) == 0 && box.has_messages();
    uint32_t turn = 0;
    if (open && wanted && !wanted->wants(wanted->context, make_id(index, 1)))
      park(box, index);
    else if (open)
      for (; turn < quantum && count < count_max && box.has_messages(); ++turn)
        count += take(box, index, out, now_ns);
    if (box.has_messages()) make_ready(box, index);
    ready.served(turn);
  }
  return count;
}

void MailboxTable::unpark() {
  State& state = *state_;
  if (owner_.caller()) {
    state.unpark();
    return;
  }
  const std::lock_guard lock(state.closes_mutex);
  state.unpark_wanted = true;
  state.closes_pending.store(true, std::memory_order_release);
}

bool MailboxTable::receive(AgentId agent, MessageBatch& batch, uint64_t now_ns) {
  State& state = *state_;
  state.require(agent);
  state.require_not_running();
  state.own();
  state.settle();
  Box& box = state.box(index_of(agent));
  state.leave_log(index_of(agent));
  batch.state_->reserve(box.has_messages() ? 1 : 0);
  while (box.has_messages())
    if (state.take(box, index_of(agent), *batch.state_, now_ns)) {
      state.credit_starved();
      return true;
    }
  return false;
}

bool MailboxTable::has_ready() const {
  state_->require_owner();
  return !state_->ready.empty() || state_->ring.pending() || !state_->bulk.log.empty();
}

bool MailboxTable::has_native_ready() const {
  state_->require_owner();
  return !state_->native_ready.empty() || state_->ring.pending();
}

void MailboxTable::dead(const Message& message, Outcome reason) {
  State& state = *state_;
  const uint64_t failed = state.failed.fetch_add(1, std::memory_order_acq_rel);
  if (failed >= sum_of(state.taken)) {
    state.failed.fetch_sub(1, std::memory_order_acq_rel);
    HANSE_ASSERT(!"a dead letter that nobody had taken");
  }
  const Content content = message.buffer ? Content(message.buffer) : Content(message.payload);
  state.bury(message.header(), reason, content);
}

void MailboxTable::bury(const MessageHeader& header, Outcome reason, Bytes payload) {
  state_->bury_unqueued(header, reason, payload);
}

void MailboxTable::bury_payload(const MessageHeader& header, Outcome reason,
                                const Payload& payload) {
  state_->bury_unqueued(header, reason, payload ? Content(payload.buffer()) : Content(Bytes{}));
}

std::vector<DeadLetter> MailboxTable::dead_letters() const { return state_->letters->list(); }

Outcome MailboxTable::resend(uint64_t number) {
  const Outcome outcome = state_->letters->resend(
      number, [this](const MessageHeader& header, Payload&& payload, Bytes bytes) {
        return payload ? send_payload(header, std::move(payload)) : send(header, bytes);
      });
  if (outcome == Outcome::ok || outcome == Outcome::dropped)
    state_->resent.fetch_add(1, std::memory_order_relaxed);
  return outcome;
}

void MailboxTable::take_undelivered(std::vector<Undelivered>& undelivered_out) {
  State& state = *state_;
  const std::lock_guard lock(state.undelivered_mutex);
  undelivered_out.insert(undelivered_out.end(), state.undelivered.begin(), state.undelivered.end());
  state.undelivered.clear();
  state.undelivered_any.store(false, std::memory_order_relaxed);
}

bool MailboxTable::has_undelivered() const {
  return state_->undelivered_any.load(std::memory_order_acquire);
}

}  // namespace hanse
