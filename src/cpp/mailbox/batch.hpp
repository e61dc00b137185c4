// The inside of a MessageBatch: one 64-byte row a message, in one piece, so that an array of n rows
// is a view and not a copy.
#pragma once

#include <cstring>
#include <memory>
#include <vector>

#include "mailbox/batch_columns.hpp"
#include "mailbox/slab.hpp"

namespace hanse {

struct MessageBatch::State {
  struct alignas(64) Row {
    uint8_t bytes[message_inline_bytes];
  };

  std::vector<Message> messages;
  std::unique_ptr<Row[]> rows;
  size_t row_count_max = 0;
  std::vector<std::unique_ptr<uint8_t[]>> large;

  // What came out of the log as columns; then there are no rows and large payloads here, and
  // messages are made of the columns when somebody wants them.
  ColumnStore store;
  std::vector<MessageRare> rare;

  bool empty() const { return messages.empty() && store.empty(); }
  void make_messages();
  // The columns become messages with rows of their own, so that others can be added.
  void flatten();
  void add(const EpochLog::Row& row, uint64_t sequence);

  // Room for `count` more, so that the loop over a drain neither allocates nor moves rows.
  void reserve(size_t count);
  // Takes over the slot's payload.
  void add(const Slot& slot, uint32_t index, uint64_t sequence);
};

// The buffer of a payload above 64 bytes; its address lies where the bytes would.
inline uint8_t* large_payload(const uint8_t* stored) {
  uint8_t* buffer;
  std::memcpy(&buffer, stored, sizeof buffer);
  return buffer;
}

}  // namespace hanse
