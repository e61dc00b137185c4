#include "latent/page_arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <memory>

namespace hanse {

namespace {

constexpr uint64_t huge_page_bytes = uint64_t(2) << 20;
constexpr uint64_t page_alignment = 64;

constexpr uint64_t round_up(uint64_t value, uint64_t step) {
  return (value + step - 1) / step * step;
}

// Aligned to huge pages, zero, not yet resident; null where the system refuses. Huge pages are
// asked for because page faults, not copying, are what a fresh extent costs.
uint8_t* map_extent(uint64_t size_bytes) {
  void* mapped = mmap(nullptr, size_bytes + huge_page_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  auto* start = static_cast<uint8_t*>(mapped);
  const uint64_t address = reinterpret_cast<uintptr_t>(start);
  const uint64_t before = round_up(address, huge_page_bytes) - address;
  if (before != 0) munmap(start, before);
  munmap(start + before + size_bytes, huge_page_bytes - before);
  madvise(start + before, size_bytes, MADV_HUGEPAGE);  // Only a wish: a refusal costs speed.
  return start + before;
}

}  // namespace

struct PageExtent {
  uint8_t* start = nullptr;
  uint64_t size_bytes = 0, page_bytes = 0;
  uint64_t count = 0, used = 0;
  std::unique_ptr<Page[]> pages;

  ~PageExtent() {
    if (start) munmap(start, size_bytes);
  }
};

PageArena::PageArena(uint64_t size_bytes_max) : size_bytes_max_(size_bytes_max) {}
PageArena::~PageArena() = default;

uint64_t PageArena::page_bytes(const Page& page) { return page.extent->page_bytes; }

bool PageArena::take(uint64_t page_bytes, uint32_t count, std::vector<Page*>& pages_out) {
  if (page_bytes > size_bytes_max_ || count > (size_bytes_max_ - used_bytes_) / page_bytes)
    return false;
  SizeClass& pages = classes_[page_bytes];
  if (pages.free.size() < count && !grow(pages, page_bytes, count - pages.free.size()))
    return false;

  pages_out.reserve(pages_out.size() + count);
  for (uint32_t i = 0; i < count; ++i) {
    Page* page = pages.free.back();
    pages.free.pop_back();
    page->references = 1;
    ++page->extent->used;
    pages_out.push_back(page);
  }
  used_count_ += count;
  used_bytes_ += count * page_bytes;
  return true;
}

void PageArena::give_back(Page* page) {
  --page->extent->used;
  --used_count_;
  used_bytes_ -= page->extent->page_bytes;
  classes_[page->extent->page_bytes].free.push_back(page);  // Within what `grow` reserved.
}

bool PageArena::grow(SizeClass& pages, uint64_t page_bytes, uint64_t count) {
  const uint64_t stride = round_up(page_bytes, page_alignment);
  const uint64_t size_bytes = round_up(count * stride, huge_page_bytes);
  if (mapped_bytes_ + size_bytes > size_bytes_max_) trim();

  auto extent = std::make_unique<PageExtent>();
  extent->start = map_extent(size_bytes);
  if (!extent->start) return false;
  extent->size_bytes = size_bytes;
  extent->page_bytes = page_bytes;
  extent->count = size_bytes / stride;
  extent->pages = std::make_unique<Page[]>(extent->count);

  uint64_t total = extent->count;
  for (const auto& other : pages.extents) total += other->count;
  pages.free.reserve(total);
  for (uint64_t i = extent->count; i-- > 0;) {
    extent->pages[i] = {extent->start + i * stride, extent.get(), 0};
    pages.free.push_back(&extent->pages[i]);
  }
  mapped_bytes_ += size_bytes;
  pages.extents.push_back(std::move(extent));
  return true;
}

// Free pages of one size don't serve another: extents without a used page go back to the system.
// What stays above size_bytes_max is the free part of extents that hold some page in use.
void PageArena::trim() {
  for (auto& [page_bytes, pages] : classes_) {
    std::erase_if(pages.free, [](const Page* page) { return page->extent->used == 0; });
    std::erase_if(pages.extents, [this](const std::unique_ptr<PageExtent>& extent) {
      if (extent->used != 0) return false;
      mapped_bytes_ -= extent->size_bytes;
      return true;
    });
  }
}

}  // namespace hanse
