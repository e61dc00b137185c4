// The inside of a MessageBatch: one 64-byte row a message, in one piece, so that an array of n rows
// is a view and not a copy.
#pragma once

#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "mailbox/batch_columns.hpp"
#include "mailbox/mailbox.hpp"
#include "mailbox/slab.hpp"

namespace hanse {

struct MessageBatch::State {
  struct alignas(64) Row {
    uint8_t bytes[message_inline_bytes];
  };

  std::vector<Message> messages;
  std::unique_ptr<Row[]> rows;
  size_t row_count_max = 0;
  std::vector<Payload> buffers;
  std::deque<MessageRare> rares;  // of the messages that have any; they never move

  // What came out of the log as columns; then there are no rows and buffers here, and messages are
  // made of the columns when somebody wants them.
  ColumnStore store;

  bool empty() const { return messages.empty() && store.empty(); }
  void make_messages();
  // The columns become messages with rows of their own, so that others can be added.
  void flatten();
  void add(const EpochLog::Row& row, uint64_t sequence);

  // Room for `count` more, so that the loop over a drain neither allocates nor moves rows.
  void reserve(size_t count);
  // Takes over the slot's payload.
  void add(const Slot& slot, uint32_t index, uint64_t sequence, const MessageRare& rare);
};

}  // namespace hanse
