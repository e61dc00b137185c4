// Finds entries of a dense table by key: open addressing, linear probing, a power of two of slots.
//
// A slot holds half a hash and an index (8 bytes). The keys stay with their entries, and the caller
// compares them, so one map serves keys of any type and no key is stored twice.
#pragma once

#include <cstring>
#include <vector>

#include "base/ids.hpp"
#include "base/random.hpp"
#include "base/view.hpp"

namespace hanse {

inline uint64_t hash_bytes(Bytes bytes, uint64_t seed = 0) {
  uint64_t hash = mix64(seed + bytes.size() + 1);
  size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + at, 8);
    hash = mix64((hash + 0x9e3779b97f4a7c15) ^ word);
  }
  if (at < bytes.size()) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, bytes.size() - at);
    hash = mix64((hash + 0x9e3779b97f4a7c15) ^ word);
  }
  return hash;
}

class HashMap {
 public:
  // The entry with that hash for which same(index) holds; index_none.
  template <class Same>
  uint32_t find(uint64_t hash, Same&& same) const {
    if (slots_.empty()) return index_none;
    const auto tag = uint32_t(hash >> 32);
    for (size_t at = tag & mask(); slots_[at].index != index_none; at = (at + 1) & mask())
      if (slots_[at].tag == tag && same(slots_[at].index)) return slots_[at].index;
    return index_none;
  }

  // Fetches what `find` will look at, for those who have many keys to find.
  void prefetch(uint64_t hash) const {
    if (!slots_.empty()) __builtin_prefetch(&slots_[uint32_t(hash >> 32) & mask()]);
  }

  // The caller knows that the key is not there yet.
  void insert(uint64_t hash, uint32_t index) {
    if ((count_ + 1) * 8 > slots_.size() * 5) grow(slots_.empty() ? 16 : slots_.size() * 2);
    place({uint32_t(hash >> 32), index});
    ++count_;
  }

  // The entry must be there. Slots behind it move up, so that no probe stops at the gap.
  void erase(uint64_t hash, uint32_t index) {
    size_t gap = uint32_t(hash >> 32) & mask();
    while (slots_[gap].index != index) gap = (gap + 1) & mask();
    for (size_t at = (gap + 1) & mask(); slots_[at].index != index_none; at = (at + 1) & mask()) {
      const size_t home = slots_[at].tag & mask();
      if (((at - home) & mask()) < ((at - gap) & mask())) continue;
      slots_[gap] = slots_[at];
      gap = at;
    }
    slots_[gap] = {};
    --count_;
  }

  // Room for `count` entries without growing again.
  void reserve(size_t count) {
    size_t size = slots_.empty() ? 16 : slots_.size();
    while (count * 8 > size * 5) size *= 2;
    if (size > slots_.size()) grow(size);
  }

  size_t count() const { return count_; }
  uint64_t memory_bytes() const { return slots_.capacity() * sizeof(Slot); }

 private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t index = index_none;  // index_none: free
  };

  size_t mask() const { return slots_.size() - 1; }
  void place(Slot slot) {
    size_t at = slot.tag & mask();
    while (slots_[at].index != index_none) at = (at + 1) & mask();
    slots_[at] = slot;
  }
  void grow(size_t size) {
    std::vector<Slot> old(size);
    old.swap(slots_);
    for (const Slot& slot : old)
      if (slot.index != index_none) place(slot);
  }

  std::vector<Slot> slots_;
  size_t count_ = 0;
};

}  // namespace hanse
