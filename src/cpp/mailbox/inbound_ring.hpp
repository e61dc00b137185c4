// How messages of other threads reach the owner: a bounded ring with many producers and one
// consumer, in the manner of D. Vyukov's bounded queue.
#pragma once

#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <thread>

#include "mailbox/mailbox.hpp"

namespace hanse {

class InboundRing {
 public:
  struct alignas(64) Cell {
    // Published when turn + cell index = position + 1. Kept relative to the index, so that zeroed
    // memory is an empty ring and pages that are never used cost nothing.
    std::atomic<uint64_t> turn;
    MessageHeader header;
    uint8_t size;
    bool buffered;
    uint8_t payload[message_inline_bytes];  // or a reference to a PayloadBuffer

    PayloadBuffer* buffer() const {
      PayloadBuffer* buffer;
      std::memcpy(&buffer, payload, sizeof buffer);
      return buffer;
    }
  };
  static_assert(sizeof(Cell) == 192);

  // `count_max` is rounded up to a power of two.
  explicit InboundRing(uint32_t count_max)
      : count_(std::bit_ceil(uint64_t(count_max))),
        storage_(std::calloc(count_ + 1, sizeof(Cell))) {
    if (!storage_) throw std::bad_alloc();
    void* start = storage_.get();
    size_t space = (count_ + 1) * sizeof(Cell);
    cells_ = static_cast<Cell*>(std::align(alignof(Cell), count_ * sizeof(Cell), start, space));
  }

  // Any thread. False: full. Without a buffer at most 64 bytes; with one its reference goes along.
  bool push(const MessageHeader& header, Bytes payload, PayloadBuffer* buffer) {
    uint64_t position = tail_.load(std::memory_order_relaxed);
    for (;;) {
      Cell& cell = cells_[position & (count_ - 1)];
      const uint64_t index = position & (count_ - 1);
      const uint64_t turn = cell.turn.load(std::memory_order_acquire);
      const auto ahead = int64_t(turn + index - position);
      if (ahead < 0) return false;
      if (ahead > 0) {
        position = tail_.load(std::memory_order_relaxed);
      } else if (tail_.compare_exchange_weak(position, position + 1, std::memory_order_relaxed)) {
        cell.header = header;
        cell.buffered = buffer != nullptr;
        cell.size = buffer ? 0 : uint8_t(payload.size());
        if (buffer)
          std::memcpy(cell.payload, &buffer, sizeof buffer);
        else if (!payload.empty())
          std::memcpy(cell.payload, payload.data(), payload.size());
        cell.turn.store(turn + 1, std::memory_order_release);
        return true;
      }
    }
  }

  // Owner. One load of a line that stays shared while no other thread sends.
  bool pending() const { return tail_.load(std::memory_order_relaxed) != head_; }

  // Owner. Hands each message that was in the ring at the start to `sink(Cell&)`. A cell that is
  // claimed but not yet published is waited for: its producer has only a copy of 64 bytes left to
  // do, and skipping it would let later sends overtake earlier ones.
  template <class Sink>
  void empty(Sink&& sink) {
    const uint64_t end = tail_.load(std::memory_order_acquire);
    while (head_ != end) {
      const uint64_t index = head_ & (count_ - 1);
      Cell& cell = cells_[index];
      while (cell.turn.load(std::memory_order_acquire) + index != head_ + 1)
        std::this_thread::yield();
      sink(cell);
      cell.turn.store(head_ + count_ - index, std::memory_order_release);
      ++head_;
    }
  }

  // Any thread: how many were ever accepted.
  uint64_t pushed() const { return tail_.load(std::memory_order_acquire); }
  uint64_t memory_bytes() const { return (count_ + 1) * sizeof(Cell); }

 private:
  struct Free {
    void operator()(void* storage) const { std::free(storage); }
  };

  uint64_t count_;
  std::unique_ptr<void, Free> storage_;
  Cell* cells_ = nullptr;
  alignas(64) std::atomic<uint64_t> tail_{0};
  alignas(64) uint64_t head_ = 0;
};

}  // namespace hanse
