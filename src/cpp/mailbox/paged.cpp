#include "mailbox/paged.hpp"

#include <sys/mman.h>

namespace hanse {

namespace {

constexpr size_t huge_page_bytes = size_t(2) << 20;

size_t rounded_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

}  // namespace

Reservation::Reservation(size_t size_bytes)
    : size_bytes_(rounded_up(size_bytes + huge_page_bytes, huge_page_bytes)) {
  // No access: so it counts neither as memory nor against what the system will commit.
  void* space = mmap(nullptr, size_bytes_ + huge_page_bytes, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (space == MAP_FAILED) throw std::bad_alloc();
  auto* start = static_cast<uint8_t*>(space);
  const size_t lead = rounded_up(reinterpret_cast<uintptr_t>(start), huge_page_bytes) -
                      reinterpret_cast<uintptr_t>(start);
  if (lead != 0) munmap(start, lead);
  if (lead != huge_page_bytes) munmap(start + lead + size_bytes_, huge_page_bytes - lead);
  data_ = start + lead;
}

Reservation::~Reservation() { munmap(data_, size_bytes_); }

void Reservation::commit(size_t size_bytes) {
  // Small tables stay small; from the third huge page on, whole ones are taken.
  const size_t step = size_bytes > 2 * huge_page_bytes ? huge_page_bytes : size_t(4096);
  const size_t wanted = rounded_up(size_bytes, step);
  if (wanted <= committed_bytes_) return;
  uint8_t* from = data_ + committed_bytes_;
  const size_t more = wanted - committed_bytes_;
  if (mprotect(from, more, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  committed_bytes_ = wanted;
  // Both are wishes: without them each page faults when it is first written.
  if (step == huge_page_bytes) (void)madvise(from, more, MADV_HUGEPAGE);
#ifdef MADV_POPULATE_WRITE
  (void)madvise(from, more, MADV_POPULATE_WRITE);
#endif
}

}  // namespace hanse
