// Where queued messages lie: slots that never move, and what hangs on few of them.
#pragma once

#include <memory>
#include <vector>

#include "base/error.hpp"
#include "mailbox/message.hpp"
#include "mailbox/paged.hpp"

namespace hanse {

// Half a cache line of header, one of payload. The link to the next message of the box is not in
// it: appending to a queue then touches 4 bytes of a dense array and not the last slot.
struct Slot {
  static constexpr uint8_t extended = 1;  // has an Extension
  static constexpr uint8_t buffered = 2;  // payload holds a reference to a PayloadBuffer
  static constexpr uint8_t keyed = 4;     // is in the key index of its box
  static constexpr uint8_t sampled = 8;   // is timed and traced

  uint32_t sequence;  // low half: enough to notice a lost or doubled message
  uint32_t to_generation;
  MessageKind kind;
  uint8_t lane;
  uint8_t flags;
  uint8_t size;  // of an inline payload
  uint32_t extension;
  AgentId sender;
  uint64_t request;
  uint8_t payload[message_inline_bytes];

  PayloadBuffer* buffer() const {
    PayloadBuffer* buffer;
    std::memcpy(&buffer, payload, sizeof buffer);
    return buffer;
  }
  Bytes bytes() const {
    return flags & buffered ? Bytes{buffer()->data, buffer()->size} : Bytes{payload, size};
  }
};
static_assert(sizeof(Slot) == 96);

// The fields that few messages have.
struct Extension {
  MessageRare rare;
  uint64_t sent_ns;  // of a sampled message
};

// Copies at most 64 bytes by two overlapping moves instead of a call.
inline void copy_inline(uint8_t* to, const uint8_t* from, size_t size) {
  const auto ends = [&]<size_t width>() {
    uint8_t first[width], last[width];
    std::memcpy(first, from, width);
    std::memcpy(last, from + size - width, width);
    std::memcpy(to, first, width);
    std::memcpy(to + size - width, last, width);
  };
  if (size >= 32) return ends.template operator()<32>();
  if (size >= 16) return ends.template operator()<16>();
  if (size >= 8) return ends.template operator()<8>();
  if (size >= 4) return ends.template operator()<4>();
  for (size_t i = 0; i < size; ++i) to[i] = from[i];
}

// Numbered places for T. Free ones are a stack of numbers, not a list through the places: the next
// ones can be prefetched.
template <class T>
class Slab {
 public:
  static constexpr uint32_t block_count = 4096;

  explicit Slab(uint32_t count_max) : count_max_(count_max), places_(count_max), free_(count_max) {}

  T& operator[](uint32_t number) const { return places_[number]; }
  uint32_t used() const { return top_ - free_count_; }

  // Only after needs_block() was seen to be false.
  uint32_t take() {
    if (free_count_ == 0) return top_++;
    const uint32_t number = free_[--free_count_];
    if (free_count_ > ahead) {
      const auto* place = reinterpret_cast<const uint8_t*>(&places_[free_[free_count_ - ahead]]);
      __builtin_prefetch(place, 1);
      __builtin_prefetch(place + 64, 1);
    }
    return number;
  }
  // Once nothing is in use, places are taken in order again: after a drain of many boxes the free
  // ones are in no order that the caches could follow.
  void put_back(uint32_t number) {
    free_[free_count_++] = number;
    if (free_count_ == top_) free_count_ = top_ = 0;
  }
  void prefetch(uint32_t number) const {
    const auto* place = reinterpret_cast<const uint8_t*>(&places_[number]);
    __builtin_prefetch(place);
    __builtin_prefetch(place + 64);
  }

  bool needs_block() const { return free_count_ == 0 && top_ == committed_; }
  // At most count_max. The first blocks are smaller, so that a small table stays small.
  void grow() {
    const uint32_t more = committed_ < block_count ? 256 : block_count;
    HANSE_ASSERT(committed_ < count_max_);
    const uint32_t committed = more < count_max_ - committed_ ? committed_ + more : count_max_;
    places_.commit(committed);
    free_.commit(committed);
    committed_ = committed;
  }
  uint64_t memory_bytes() const { return places_.memory_bytes() + free_.memory_bytes(); }
  uint32_t committed() const { return committed_; }

 private:
  static constexpr uint32_t ahead = 4;

  const uint32_t count_max_;
  uint32_t top_ = 0, free_count_ = 0, committed_ = 0;
  ReservedArray<T> places_;
  ReservedArray<uint32_t> free_;
};

}  // namespace hanse
