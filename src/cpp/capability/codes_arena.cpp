#include "capability/codes_arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/error.hpp"

namespace hanse {
namespace {

constexpr size_t huge_page_bytes = size_t(2) << 20;

// First slot of a segment, and how many it has.
uint32_t first_of(uint32_t segment) {
  return segment == 0 ? 0 : SlotArena::first_slots << (segment - 1);
}
uint32_t count_of(uint32_t segment) {
  return segment == 0 ? SlotArena::first_slots : first_of(segment);
}

}  // namespace

SlotArena::~SlotArena() {
  for (uint32_t i = 0; i < segment_count_; ++i)
    std::free(reinterpret_cast<void*>(biased_[i] + size_t(first_of(i)) * stride_));
}

void SlotArena::grow(uint32_t count) {
  while (capacity_ < count) {
    HANSE_ASSERT(segment_count_ < segment_count_max);
    const uint32_t segment = segment_count_;
    const size_t bytes = size_t(count_of(segment)) * stride_;
    const bool huge = bytes >= huge_page_bytes;
    const size_t unit = huge ? huge_page_bytes : 64;
    const size_t rounded = (bytes + unit - 1) / unit * unit;
    void* memory = std::aligned_alloc(unit, rounded);
    if (memory == nullptr) throw std::bad_alloc();
    // Advice only: a walk touches a new page at each step, and misses the TLB with small ones.
    if (huge) static_cast<void>(madvise(memory, rounded, MADV_HUGEPAGE));
    std::memset(memory, 0, bytes);
    biased_[segment] = reinterpret_cast<uintptr_t>(memory) - size_t(first_of(segment)) * stride_;
    capacity_ = first_of(segment) + count_of(segment);
    ++segment_count_;
  }
}

}  // namespace hanse
