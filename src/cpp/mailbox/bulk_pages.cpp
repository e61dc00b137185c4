#include "mailbox/bulk_pages.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace hanse {

namespace {

constexpr size_t huge_page_bytes = size_t(2) << 20;

}  // namespace

BulkPages::BulkPages(size_t size_bytes) {
  // Below one huge page the alignment would only waste memory.
  const size_t alignment = size_bytes < huge_page_bytes ? 4096 : huge_page_bytes;
  size_bytes_ = (size_bytes + alignment - 1) / alignment * alignment;
  storage_.reset(std::aligned_alloc(alignment, size_bytes_));
  if (!storage_) throw std::bad_alloc();
  // Advice: where it is refused, rows cost more, and nothing else changes.
  if (alignment == huge_page_bytes) (void)madvise(storage_.get(), size_bytes_, MADV_HUGEPAGE);
}

void BulkPages::Free::operator()(void* storage) const { std::free(storage); }

}  // namespace hanse
