#include "mailbox/batch_columns.hpp"

#include <algorithm>

namespace hanse {

Message MessageColumns::message(size_t row) const {
  Message message;
  message.to = to[row];
  message.sender = senders ? senders[row] : sender;
  message.sequence = sequences[row];
  message.payload = {rows + row * message_inline_bytes, sizes ? sizes[row] : size};
  return message;
}

void ColumnStore::clear() {
  columns = {};
  if (arena_) pool_->put_back(std::move(arena_));
}

BatchArena& ColumnStore::begin(const std::shared_ptr<ArenaPool>& pool, size_t row_count) {
  clear();
  pool_ = pool;
  arena_ = pool->take(row_count);
  columns.to = arena_->to;
  columns.sequences = arena_->sequences;
  columns.rows = arena_->rows[0].bytes;
  return *arena_;
}

template <class T>
void ColumnStore::add_to(T* column, const T*& column_out, T& one, T value) {
  if (columns.count == 0) one = value;
  if (!column_out) {
    if (one == value) return;
    std::fill_n(column, columns.count, one);
    column_out = column;
  }
  column[columns.count] = value;
}

void ColumnStore::add(const EpochLog::Row& row, uint64_t sequence) {
  const size_t at = columns.count;
  std::memcpy(arena_->rows[at].bytes, row.bytes, message_inline_bytes);
  arena_->to[at] = make_id(row.receiver, 1);
  arena_->sequences[at] = sequence;
  add_to(arena_->senders, columns.senders, columns.sender, row.sender);
  add_to(arena_->sizes, columns.sizes, columns.size, row.size);
  add_to(arena_->deadlines, columns.deadlines, columns.deadline_ns, row.deadline_ns);
  ++columns.count;
}

}  // namespace hanse
