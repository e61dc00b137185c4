// One message to many.
#include <algorithm>

#include "mailbox/state.hpp"

namespace hanse {

namespace {

void check_bits(uint32_t bits) {
  if (bits > 64) throw Error(ErrorCode::out_of_range, "bits", bits, 64);
}

}  // namespace

// References are counted once for all: an atomic add a message would cost as much as the message.
size_t MailboxTable::State::send_to_all(MessageHeader header, std::span<const AgentId> to,
                                        const Payload& payload, std::span<Outcome> outcomes) {
  constexpr size_t ahead = 8;
  const bool shared = payload && (payload.adopted() || payload.size() > message_inline_bytes);
  PayloadBuffer* buffer = payload.buffer();
  if (shared) buffer->references.fetch_add(to.size(), std::memory_order_relaxed);
  size_t accepted = 0, used = 0;
  for (size_t i = 0; i < to.size(); ++i) {
    if (i + ahead < to.size() && index_of(to[i + ahead]) < boxes.size())
      __builtin_prefetch(&boxes[index_of(to[i + ahead])], 1);
    if (!outcomes.empty() && outcomes[i] != Outcome::ok) continue;
    header.to = to[i];
    Outcome outcome = Outcome::unknown;
    if (!exists(to[i]))
      refuse(outcome);
    else if (shared)
      outcome = enter_here(header, buffer, --until_sample == 0);
    else
      outcome = send_owned(header, payload.bytes().data(), payload.size());
    accepted += outcome == Outcome::ok;
    used += outcome == Outcome::ok || outcome == Outcome::dropped;
    if (!outcomes.empty()) outcomes[i] = outcome;
  }
  if (shared && used != to.size()) Payload::drop(buffer, to.size() - used);
  return accepted;
}

void MailboxTable::send_shared(const MessageHeader& header, std::span<const AgentId> to,
                               const Payload& payload, std::span<Outcome> outcomes_in_out) {
  if (outcomes_in_out.size() != to.size())
    throw Error(ErrorCode::dimension_mismatch, "outcomes", outcomes_in_out.size(), to.size());
  if (header.lane >= lane_count)
    throw Error(ErrorCode::out_of_range, "lane", header.lane, lane_count - 1);
  if (payload.size() > state_->options.payload_size_bytes_max)
    throw Error(ErrorCode::payload_too_large, "payload", payload.size(),
                state_->options.payload_size_bytes_max);
  state_->own();
  state_->settle();
  state_->grow();
  state_->send_to_all(header, to, payload, outcomes_in_out);
}

bool MailboxTable::subscribe(AgentId agent, uint64_t topic) {
  state_->require(agent);
  state_->own();
  return state_->topics.subscribe(agent, topic);
}

bool MailboxTable::subscribe_prefix(AgentId agent, uint64_t prefix, uint32_t bits) {
  check_bits(bits);
  state_->require(agent);
  state_->own();
  return state_->topics.subscribe_prefix(agent, prefix, bits);
}

bool MailboxTable::unsubscribe(AgentId agent, uint64_t topic) {
  state_->require(agent);
  state_->own();
  return state_->topics.unsubscribe(agent, topic);
}

bool MailboxTable::unsubscribe_prefix(AgentId agent, uint64_t prefix, uint32_t bits) {
  check_bits(bits);
  state_->require(agent);
  state_->own();
  return state_->topics.unsubscribe_prefix(agent, prefix, bits);
}

void MailboxTable::unsubscribe_all(AgentId agent) {
  state_->require(agent);
  state_->own();
  state_->topics.unsubscribe_all(agent);
}

bool MailboxTable::join_group(AgentId agent, uint64_t topic, uint64_t group) {
  state_->require(agent);
  state_->own();
  return state_->consumer_groups.join(agent, topic, group);
}

bool MailboxTable::leave_group(AgentId agent, uint64_t topic, uint64_t group) {
  state_->require(agent);
  state_->own();
  return state_->consumer_groups.leave(agent, topic, group);
}

ConsumerGroups& MailboxTable::consumer_groups() {
  state_->own();
  return state_->consumer_groups;
}

std::span<const AgentId> MailboxTable::subscribers(uint64_t topic) {
  state_->own();
  return state_->topics.subscribers(topic);
}

size_t MailboxTable::publish(uint64_t topic, const MessageHeader& header, Bytes payload,
                             std::span<Outcome> outcomes_in_out) {
  Payload buffer = loan(payload.size());
  if (!buffer) {
    for (Outcome& outcome : outcomes_in_out)
      if (outcome == Outcome::ok) outcome = state_->refuse(Outcome::full);
    return 0;
  }
  if (!payload.empty()) std::memcpy(buffer.writable(), payload.data(), payload.size());
  return publish_payload(topic, header, buffer, outcomes_in_out);
}

size_t MailboxTable::publish_payload(uint64_t topic, const MessageHeader& header,
                                     const Payload& payload, std::span<Outcome> outcomes_in_out) {
  State& state = *state_;
  const std::span<const AgentId> to = subscribers(topic);
  std::vector<Outcome> own;
  if (outcomes_in_out.empty()) {
    own.resize(to.size());
    outcomes_in_out = own;
  }
  send_shared(header, to, payload, outcomes_in_out);
  state.published.add(1);

  std::vector<AgentId> gone;
  size_t accepted = 0;
  for (size_t i = 0; i < to.size(); ++i) {
    accepted += outcomes_in_out[i] == Outcome::ok;
    const uint32_t index = index_of(to[i]);
    if (index < state.boxes.size() && (state.boxes[index].flags & Box::closed))
      gone.push_back(to[i]);
  }
  for (const AgentId agent : gone) state.topics.remove(agent, topic);
  return accepted;
}

}  // namespace hanse
