#include "mailbox/bulk_arena.hpp"

#include <algorithm>
#include <bit>

namespace hanse {

namespace {

constexpr size_t row_bytes =
    sizeof(LogChunk::Row) + 2 * sizeof(AgentId) + 2 * sizeof(uint64_t) + sizeof(uint32_t);

template <class T, class Before>
T* behind(Before* column, size_t count) {
  return reinterpret_cast<T*>(column + count);
}

}  // namespace

// Widest first, so that each column is aligned.
BatchArena::BatchArena(size_t row_count)
    : row_count_max(row_count),
      pages_(row_count * row_bytes),
      rows(static_cast<LogChunk::Row*>(pages_.data())),
      to(behind<AgentId>(rows, row_count)),
      sequences(behind<uint64_t>(to, row_count)),
      senders(behind<AgentId>(sequences, row_count)),
      deadlines(behind<uint64_t>(senders, row_count)),
      sizes(behind<uint32_t>(deadlines, row_count)) {}

std::unique_ptr<BatchArena> ArenaPool::take(size_t row_count) {
  {
    const std::lock_guard lock(mutex_);
    // The newest that is large enough: its lines are the ones that may still be in a cache.
    for (size_t i = free_.size(); i-- > 0;) {
      if (free_[i]->row_count_max < row_count) continue;
      std::unique_ptr<BatchArena> arena = std::move(free_[i]);
      free_.erase(free_.begin() + ptrdiff_t(i));
      return arena;
    }
  }
  return std::make_unique<BatchArena>(std::bit_ceil(std::max<size_t>(row_count, 1024)));
}

void ArenaPool::put_back(std::unique_ptr<BatchArena> arena) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(arena));
  if (free_.size() <= free_count_max) return;
  const auto smaller = [](const auto& a, const auto& b) {
    return a->row_count_max < b->row_count_max;
  };
  free_.erase(std::min_element(free_.begin(), free_.end(), smaller));
}

uint64_t ArenaPool::memory_bytes() const {
  const std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (const auto& arena : free_) bytes += arena->memory_bytes();
  return bytes;
}

}  // namespace hanse
