// Memory of latent pages: one free list for each page size, in extents mapped from the system.
//
// Not thread-safe: the pool's mutex guards it. `Page::data` never changes while the page is taken
// and may be read and written without the mutex.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace hanse {

struct PageExtent;

struct Page {
  uint8_t* data = nullptr;
  PageExtent* extent = nullptr;
  uint32_t references = 0;
};

class PageArena {
 public:
  explicit PageArena(uint64_t size_bytes_max);
  ~PageArena();

  // `count` zeroed pages with one reference each, appended to `pages_out`. False, and nothing
  // changed: they would pass size_bytes_max, or the system has no memory.
  bool take(uint64_t page_bytes, uint32_t count, std::vector<Page*>& pages_out);
  // A page with no reference left, zeroed by the caller.
  void give_back(Page* page);
  static uint64_t page_bytes(const Page& page);

  uint64_t used_bytes() const { return used_bytes_; }
  uint64_t used_count() const { return used_count_; }
  uint64_t mapped_bytes() const { return mapped_bytes_; }

 private:
  struct SizeClass {
    std::vector<Page*> free;
    std::vector<std::unique_ptr<PageExtent>> extents;
  };

  bool grow(SizeClass& pages, uint64_t page_bytes, uint64_t count);
  void trim();

  const uint64_t size_bytes_max_;
  uint64_t used_bytes_ = 0, used_count_ = 0, mapped_bytes_ = 0;
  std::map<uint64_t, SizeClass> classes_;
};

}  // namespace hanse
