// Where queued messages lie: slots in blocks that never move, and the hot state of a box.
#pragma once

#include <memory>
#include <vector>

#include "base/error.hpp"
#include "mailbox/mailbox.hpp"

namespace hanse {

struct Slot {
  uint32_t next;
  uint32_t size_and_kind;  // kind in the low 3 bits
  uint32_t sequence;       // low half: enough to notice a lost or doubled message
  uint32_t to_generation;
  AgentId sender;
  uint64_t request;
  uint64_t deadline_ns;
  uint8_t payload[message_inline_bytes];  // or, above 64 bytes, the address of the buffer

  uint32_t size() const { return size_and_kind >> 3; }
  MessageKind kind() const { return MessageKind(size_and_kind & 7); }
  bool large() const { return size() > message_inline_bytes; }
};
static_assert(sizeof(Slot) == 104);
constexpr uint32_t slot_payload_size_max = (1u << 29) - 1;

struct Box {
  static constexpr uint8_t ready = 1;  // it is in the ready ring
  static constexpr uint8_t paused = 2;
  static constexpr uint8_t closed = 4;

  bool plain_and_empty() const { return count == 0 && (flags & ~ready) == 0; }

  uint32_t head = 0, tail = 0;  // slots, valid while count > 0
  uint32_t count = 0;
  uint8_t flags = 0;
  Outcome reason = Outcome::ok;  // why it was closed
  uint64_t next_sequence = 0;    // the oldest one queued has next_sequence - count
};
static_assert(sizeof(Box) == 24);

// Free slots are a stack of numbers, not a list through the slots: the next ones can be prefetched.
class Slab {
 public:
  static constexpr uint32_t block_bits = 14;
  static constexpr uint32_t block_count = 1u << block_bits;

  Slot& operator[](uint32_t slot) const {
    return blocks_[slot >> block_bits][slot & (block_count - 1)];
  }

  uint32_t used() const { return used_; }
  uint32_t take() {
    ++used_;
    if (!free_.empty()) {
      const uint32_t slot = free_.back();
      free_.pop_back();
      return slot;
    }
    return top_++;
  }
  void put_back(uint32_t slot) {
    free_.push_back(slot);  // Within what `grow` reserved.
    --used_;
  }
  void prefetch_free(size_t ahead) const {
    if (free_.size() > ahead) {
      const uint32_t slot = free_[free_.size() - 1 - ahead];
      const auto* lines =
          reinterpret_cast<const uint8_t*>(&blocks_[slot >> block_bits][slot & (block_count - 1)]);
      __builtin_prefetch(lines, 1);
      __builtin_prefetch(lines + 64, 1);
    }
  }

  bool needs_block() const { return free_.empty() && top_ == blocks_.size() << block_bits; }
  void grow() {
    free_.reserve((blocks_.size() + 1) << block_bits);
    blocks_.emplace_back(new Slot[block_count]);  // Not initialised: untouched pages cost nothing.
  }
  uint64_t memory_bytes() const {
    return blocks_.size() * block_count * sizeof(Slot) + free_.capacity() * sizeof(uint32_t);
  }

 private:
  std::vector<std::unique_ptr<Slot[]>> blocks_;
  std::vector<uint32_t> free_;
  uint32_t top_ = 0;
  uint32_t used_ = 0;
};

// Boxes that became non-empty, oldest first; a box is in it at most once.
class ReadyRing {
 public:
  bool empty() const { return head_ == tail_; }
  size_t count() const { return size_t(tail_ - head_); }
  void push(uint32_t box) { ring_[tail_++ & (ring_.size() - 1)] = box; }
  uint32_t pop() { return ring_[head_++ & (ring_.size() - 1)]; }
  uint32_t peek(size_t ahead) const { return ring_[(head_ + ahead) & (ring_.size() - 1)]; }

  // Room for `count_max` boxes, a power of two.
  void grow(size_t count_max) {
    std::vector<uint32_t> ring(count_max);
    size_t count = 0;
    while (!empty()) ring[count++] = pop();
    ring_.swap(ring);
    head_ = 0;
    tail_ = count;
  }
  size_t capacity() const { return ring_.size(); }

 private:
  std::vector<uint32_t> ring_;
  uint64_t head_ = 0, tail_ = 0;
};

}  // namespace hanse
