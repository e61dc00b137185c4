#include "mailbox/batch.hpp"

#include <algorithm>

namespace hanse {

MessageBatch::MessageBatch() : state_(std::make_unique<State>()) {}
MessageBatch::~MessageBatch() = default;

void MessageBatch::clear() {
  state_->messages.clear();
  state_->large.clear();
}

size_t MessageBatch::count() const { return state_->messages.size(); }
const std::vector<Message>& MessageBatch::messages() const { return state_->messages; }

const uint8_t* MessageBatch::rows(size_t& stride_out) const {
  stride_out = sizeof(State::Row);
  if (!state_->large.empty() || state_->messages.empty()) return nullptr;
  return state_->rows[0].bytes;
}

void MessageBatch::State::reserve(size_t count) {
  const size_t wanted = messages.size() + count;
  if (wanted > messages.capacity()) messages.reserve(std::max(wanted, 2 * messages.capacity()));
  if (wanted <= row_count_max) return;

  const size_t grown = std::max(wanted, 2 * row_count_max);
  std::unique_ptr<Row[]> moved(new Row[grown]);  // Not initialised: `add` writes whole rows.
  if (!messages.empty()) std::memcpy(moved.get(), rows.get(), messages.size() * sizeof(Row));
  for (size_t i = 0; i < messages.size(); ++i)
    if (messages[i].payload.size() <= message_inline_bytes)
      messages[i].payload = {moved[i].bytes, messages[i].payload.size()};
  rows = std::move(moved);
  row_count_max = grown;
}

void MessageBatch::State::add(const Slot& slot, uint32_t index, uint64_t sequence) {
  uint8_t* row = rows[messages.size()].bytes;
  const uint8_t* payload = row;
  if (slot.large()) {
    large.emplace_back();  // First the room, so that the buffer has an owner at every moment.
    large.back().reset(large_payload(slot.payload));
    payload = large.back().get();
    std::memset(row, 0, message_inline_bytes);
  } else {
    std::memcpy(row, slot.payload, message_inline_bytes);
  }
  Message& message = messages.emplace_back();
  message.to = make_id(index, slot.to_generation);
  message.sender = slot.sender;
  message.kind = slot.kind();
  message.request = slot.request;
  message.sequence = sequence;
  message.payload = {payload, slot.size()};
}

}  // namespace hanse
