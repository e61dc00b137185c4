// Standing bitmaps: the answers of filters that recur, one bit a row, kept exact by each write.
// A bounded number of them; the one that was not used for longest makes room. Internal to this
// concept.
//
// One writer at a time (the space's mutex) builds and flips; any thread reads. A bitmap is taken
// down only when no one reads it.
#pragma once

#include <array>
#include <atomic>
#include <vector>

#include "capability/predicate.hpp"

namespace hanse {

class BlockDirectory;

class StandingBitmaps {
 public:
  static constexpr uint32_t slot_count = 16;

  // Copies the bitmap of `predicate` and returns true, if it stands.
  bool copy(const Predicate& predicate, uint64_t hash, uint32_t word_count,
            uint64_t* words_out) const;
  // Whether the filter was asked for lately: then it is worth a bitmap of its own.
  bool recurs(uint64_t hash);

  // The writer's part. `words` are its present answer. Does nothing where all slots are in use.
  void build(const Predicate& predicate, uint64_t hash, std::span<const uint64_t> words,
             uint32_t capacity_words);
  // Cells of `row` in `columns` (as Predicate::columns) have changed.
  void refresh(const RowBlock& block, uint32_t row, uint32_t columns) {
    for (uint32_t slots = dependents(columns); slots != 0; slots &= slots - 1)
      refresh_slot(uint32_t(std::countr_zero(slots)), block, row);
  }
  bool any() const { return standing_ != 0; }

  uint64_t memory_bytes() const;

 private:
  struct Slot {
    std::atomic<uint64_t> hash{0};    // 0: none
    std::atomic<int32_t> readers{0};  // -1: being built
    std::atomic<uint64_t> used{0};    // by the clock below
    Predicate predicate;
    std::vector<uint64_t> words;
  };
  static constexpr uint32_t remembered = 256;

  uint32_t dependents(uint32_t columns) const {
    uint32_t slots = 0;
    for (uint32_t rest = standing_ == 0 ? 0 : columns; rest != 0; rest &= rest - 1)
      slots |= by_column_[size_t(std::countr_zero(rest))];
    return slots;
  }
  void refresh_slot(uint32_t slot, const RowBlock& block, uint32_t row);
  void forget(uint32_t slot);

  mutable std::array<Slot, slot_count> slots_;
  std::array<uint32_t, 16> by_column_{};  // slots that look at a column
  uint32_t standing_ = 0;                 // slots, as bits
  mutable std::atomic<uint64_t> clock_{0};
  std::array<std::atomic<uint64_t>, remembered> seen_{};
};

}  // namespace hanse
