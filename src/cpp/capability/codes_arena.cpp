#include "capability/codes_arena.hpp"

#include <sys/mman.h>

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

// Segments of at least a huge page are whole huge pages at their own boundaries; one more is mapped
// so that a boundary is there.
size_t segment_bytes(uint32_t segment, size_t stride) {
  const size_t bytes = size_t(count_of(segment)) * stride;
  return bytes < huge_page_bytes ? bytes : bytes + huge_page_bytes;
}

}  // namespace

SlotArena::~SlotArena() {
  for (uint32_t i = 0; i < segment_count_; ++i) munmap(mapped_[i], segment_bytes(i, stride_));
}

void SlotArena::grow(uint32_t count) {
  while (capacity_ < count) {
    HANSE_ASSERT(segment_count_ < segment_count_max);
    const uint32_t segment = segment_count_;
    const size_t bytes = segment_bytes(segment, stride_);
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    auto start = reinterpret_cast<uintptr_t>(memory);
    if (bytes > huge_page_bytes) {
      start = (start + huge_page_bytes - 1) / huge_page_bytes * huge_page_bytes;
      // Advice only: a walk touches another page at each step, and with small ones it waits for the
      // TLB more than for memory.
      static_cast<void>(
          madvise(reinterpret_cast<void*>(start), bytes - huge_page_bytes, MADV_HUGEPAGE));
    }
    mapped_[segment] = memory;
    biased_[segment] = start - size_t(first_of(segment)) * stride_;
    capacity_ = first_of(segment) + count_of(segment);
    ++segment_count_;
  }
}

}  // namespace hanse
