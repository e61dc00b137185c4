#include "capability/bitmaps.hpp"

#include <algorithm>

namespace hanse {

bool StandingBitmaps::copy(const Predicate& predicate, uint64_t hash, uint32_t word_count,
                           uint64_t* words_out) const {
  for (Slot& slot : slots_) {
    if (slot.hash.load(std::memory_order_relaxed) != hash) continue;
    int32_t readers = slot.readers.load(std::memory_order_relaxed);
    do {
      if (readers < 0) return false;
    } while (!slot.readers.compare_exchange_weak(readers, readers + 1, std::memory_order_acquire,
                                                 std::memory_order_relaxed));
    // The slot may have been given to another filter before it was held.
    const bool stands = slot.hash.load(std::memory_order_relaxed) == hash &&
                        slot.predicate == predicate && slot.words.size() >= word_count;
    if (stands) {
      for (uint32_t w = 0; w < word_count; ++w) words_out[w] = peek(slot.words[w]);
      slot.used.store(clock_.fetch_add(1, std::memory_order_relaxed) + 1,
                      std::memory_order_relaxed);
    }
    slot.readers.fetch_sub(1, std::memory_order_release);
    return stands;
  }
  return false;
}

bool StandingBitmaps::recurs(uint64_t hash) {
  return seen_[hash % remembered].exchange(hash, std::memory_order_relaxed) == hash;
}

void StandingBitmaps::forget(uint32_t slot) {
  slots_[slot].hash.store(0, std::memory_order_relaxed);
  for (uint32_t& slots : by_column_) slots &= ~(1u << slot);
  standing_ &= ~(1u << slot);
}

void StandingBitmaps::build(const Predicate& predicate, uint64_t hash,
                            std::span<const uint64_t> words, uint32_t capacity_words) {
  const auto oldest =
      std::min_element(slots_.begin(), slots_.end(), [](const Slot& a, const Slot& b) {
        return a.used.load(std::memory_order_relaxed) < b.used.load(std::memory_order_relaxed);
      });
  for (const Slot& slot : slots_)
    if (slot.hash.load(std::memory_order_relaxed) == hash) return;
  const auto number = uint32_t(oldest - slots_.begin());
  forget(number);
  int32_t none = 0;
  if (!oldest->readers.compare_exchange_strong(none, -1, std::memory_order_acq_rel)) return;
  oldest->predicate = predicate;
  oldest->words.assign(capacity_words, 0);
  std::copy(words.begin(), words.end(), oldest->words.begin());
  oldest->used.store(clock_.fetch_add(1, std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  oldest->hash.store(hash, std::memory_order_relaxed);
  oldest->readers.store(0, std::memory_order_release);
  standing_ |= 1u << number;
  for (uint32_t columns = predicate.columns(); columns != 0; columns &= columns - 1)
    by_column_[size_t(std::countr_zero(columns))] |= 1u << number;
}

void StandingBitmaps::refresh_slot(uint32_t number, const RowBlock& block, uint32_t row) {
  Slot& slot = slots_[number];
  const uint32_t word = row / rows_in_word;
  if (word >= slot.words.size()) return forget(number);
  poke_bit(slot.words[word], row % rows_in_word,
           passes(slot.predicate, block, row % rows_in_block));
}

uint64_t StandingBitmaps::memory_bytes() const {
  uint64_t bytes = sizeof(*this);
  for (const Slot& slot : slots_) bytes += slot.words.capacity() * sizeof(uint64_t);
  return bytes;
}

}  // namespace hanse
