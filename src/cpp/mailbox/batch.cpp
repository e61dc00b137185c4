#include "mailbox/batch.hpp"

#include <algorithm>

namespace hanse {

MessageBatch::MessageBatch() : state_(std::make_unique<State>()) {}
MessageBatch::~MessageBatch() = default;

void MessageBatch::clear() {
  state_->messages.clear();
  state_->buffers.clear();
  state_->rares.clear();
  state_->store.clear();
}

size_t MessageBatch::count() const {
  return state_->store.empty() ? state_->messages.size() : state_->store.columns.count;
}

const std::vector<Message>& MessageBatch::messages() const {
  if (!state_->store.empty()) state_->make_messages();
  return state_->messages;
}

const MessageColumns* MessageBatch::columns() const {
  return state_->store.empty() ? nullptr : &state_->store.columns;
}

const uint8_t* MessageBatch::rows(size_t& stride_out) const {
  stride_out = sizeof(State::Row);
  if (!state_->store.empty()) return state_->store.columns.rows;
  if (!state_->buffers.empty() || state_->messages.empty()) return nullptr;
  return state_->rows[0].bytes;
}

void MessageBatch::State::make_messages() {
  const MessageColumns& columns = store.columns;
  if (messages.size() == columns.count) return;
  messages.clear();
  messages.reserve(columns.count);
  for (size_t i = 0; i < columns.count; ++i) {
    Message& message = messages.emplace_back(columns.message(i));
    const uint64_t deadline_ns = columns.deadlines ? columns.deadlines[i] : columns.deadline_ns;
    if (deadline_ns == 0) continue;
    rares.push_back({deadline_ns});
    message.rare = &rares.back();
  }
}

void MessageBatch::State::flatten() {
  if (store.empty()) return;
  make_messages();
  const size_t count = messages.size();
  if (row_count_max < count) {
    rows.reset(new Row[count]);
    row_count_max = count;
  }
  std::memcpy(rows.get(), store.columns.rows, count * sizeof(Row));
  for (size_t i = 0; i < count; ++i)
    messages[i].payload = {rows[i].bytes, messages[i].payload.size()};
  store.clear();
}

void MessageBatch::State::add(const EpochLog::Row& row, uint64_t sequence) {
  uint8_t* bytes = rows[messages.size()].bytes;
  std::memcpy(bytes, row.bytes, message_inline_bytes);
  Message& message = messages.emplace_back();
  message.to = make_id(row.receiver, 1);
  message.sender = row.sender;
  message.sequence = sequence;
  message.payload = {bytes, row.size};
  if (row.deadline_ns == 0) return;
  rares.push_back({row.deadline_ns});
  message.rare = &rares.back();
}

void MessageBatch::State::reserve(size_t count) {
  flatten();
  const size_t wanted = messages.size() + count;
  if (wanted > messages.capacity()) messages.reserve(std::max(wanted, 2 * messages.capacity()));
  if (wanted <= row_count_max) return;

  const size_t grown = std::max(wanted, 2 * row_count_max);
  std::unique_ptr<Row[]> moved(new Row[grown]);  // Not initialised: `add` writes whole rows.
  if (!messages.empty()) std::memcpy(moved.get(), rows.get(), messages.size() * sizeof(Row));
  for (size_t i = 0; i < messages.size(); ++i)
    if (!messages[i].buffer) messages[i].payload = {moved[i].bytes, messages[i].payload.size()};
  rows = std::move(moved);
  row_count_max = grown;
}

void MessageBatch::State::add(const Slot& slot, uint32_t index, uint64_t sequence,
                              const MessageRare& rare) {
  uint8_t* row = rows[messages.size()].bytes;
  PayloadBuffer* buffer = nullptr;
  if (slot.flags != 0) [[unlikely]] {
    if (slot.flags & Slot::extended) rares.push_back(rare);
    if (slot.flags & Slot::buffered) {
      buffers.emplace_back();  // First the room, so that the buffer has an owner at every moment.
      buffer = slot.buffer();
      buffers.back() = Payload::attach(buffer);
    }
  }
  // Slots are reused across tenants, and whole rows are handed out: nothing old may show.
  if (slot.size < message_inline_bytes) std::memset(row, 0, message_inline_bytes);
  if (!buffer) copy_inline(row, slot.payload, slot.size);
  Message& message = messages.emplace_back();
  message.to = make_id(index, slot.to_generation);
  message.sender = slot.sender;
  message.kind = slot.kind;
  message.lane = slot.lane;
  message.request = slot.request;
  message.sequence = sequence;
  message.payload = buffer ? Bytes{buffer->data, buffer->size} : Bytes{row, slot.size};
  message.buffer = buffer;
  if (slot.flags & Slot::extended) message.rare = &rares.back();
}

}  // namespace hanse
