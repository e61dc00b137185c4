// Where a batch that came out of the log lies: columns in one piece of memory, lent by a pool to
// one batch at a time, so that a view of them stays valid until the batch is gone.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "mailbox/bulk_pages.hpp"
#include "mailbox/epoch_log.hpp"

namespace hanse {

class BatchArena {
 public:
  explicit BatchArena(size_t row_count_max);

  const size_t row_count_max;

 private:
  BulkPages pages_;

 public:
  LogChunk::Row* const rows;
  AgentId* const to;
  uint64_t* const sequences;
  // Written where rows differ.
  AgentId* const senders;
  uint64_t* const deadlines;
  uint32_t* const sizes;

  uint64_t memory_bytes() const { return pages_.size_bytes(); }
};

// Any thread: the last view of a batch may be dropped anywhere, and after the table.
class ArenaPool {
 public:
  std::unique_ptr<BatchArena> take(size_t row_count);
  void put_back(std::unique_ptr<BatchArena> arena);
  uint64_t memory_bytes() const;  // of those that no batch has

 private:
  static constexpr size_t free_count_max = 4;
  mutable std::mutex mutex_;
  std::vector<std::unique_ptr<BatchArena>> free_;
};

}  // namespace hanse
