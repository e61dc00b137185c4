// A batch that came out of the log, as columns: what numpy can view without a loop.
#pragma once

#include <memory>
#include <vector>

#include "mailbox/bulk_arena.hpp"
#include "mailbox/message.hpp"

namespace hanse {

// All are of kind data, lane 0, without request, key, trace and latent. A column that is null holds
// the one value beside it in every row.
struct MessageColumns {
  size_t count = 0;
  const AgentId* to = nullptr;
  const uint64_t* sequences = nullptr;
  const uint8_t* rows = nullptr;  // 64 bytes each, zero behind the payload
  const AgentId* senders = nullptr;
  AgentId sender = id_none;
  const uint32_t* sizes = nullptr;
  uint32_t size = 0;
  const uint64_t* deadlines = nullptr;
  uint64_t deadline_ns = 0;  // 0: none

  Message message(size_t row) const;  // without its deadline
};

// The memory behind the columns, and the way back to its pool.
class ColumnStore {
 public:
  ColumnStore() = default;
  ColumnStore(const ColumnStore&) = delete;
  ColumnStore& operator=(const ColumnStore&) = delete;
  ~ColumnStore() { clear(); }

  void clear();
  // Room for `row_count` rows and no columns yet.
  BatchArena& begin(const std::shared_ptr<ArenaPool>& pool, size_t row_count);
  BatchArena& arena() { return *arena_; }
  bool empty() const { return columns.count == 0; }

  // One row; columns are written from the first row on that differs from those before it.
  void add(const EpochLog::Row& row, uint64_t sequence);

  MessageColumns columns;

 private:
  template <class T>
  void add_to(T* column, const T*& column_out, T& one, T value);

  std::shared_ptr<ArenaPool> pool_;
  std::unique_ptr<BatchArena> arena_;
};

}  // namespace hanse
