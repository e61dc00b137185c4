// Memory of latent pages: extents of one tenant and one page size each, every extent a memory file
// whose descriptor other processes can map read-only.
//
// A page never passes from one tenant to another: an extent without a used page goes back to the
// system, which hands memory out zeroed. Within a tenant the taker writes all of a page, or zeroes
// what it leaves (`LatentLayout::zero_tail`). Not thread-safe: the pool's mutex guards it.
// `Page::data` never changes while the page is taken and may be read and written without the mutex.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

namespace hanse {

// Memory of someone else, given back by `release`; or of the arena (then `release` is empty).
struct PageExtent {
  uint8_t* start = nullptr;
  uint64_t size_bytes = 0, page_bytes = 0;
  uint64_t count = 0, used = 0;
  int descriptor = -1;  // of the memory file; -1: no other process can map it
  uint32_t tenant = 0, number = 0;
  bool prefaulted = false;
  bool counted = false;  // memory of someone else that is part of size_bytes_max
  std::function<void()> release;

  PageExtent() = default;
  ~PageExtent();
  PageExtent(const PageExtent&) = delete;
  PageExtent& operator=(const PageExtent&) = delete;
};

struct Page {
  uint8_t* data = nullptr;
  PageExtent* extent = nullptr;
  uint32_t references = 0;
  uint32_t generation = 1;  // grows when the page is given back, so that a stale reader can tell
  uint32_t capacity = 0;    // tokens that it has room for
  uint32_t filled = 0;      // tokens that someone has claimed
  // Tokens, in the shape of whoever wrote last, behind which all is zero.
  uint32_t used = 0, used_capacity = 0;
  uint64_t used_shape = 0;
};
static_assert(sizeof(Page) <= 64);

class PageArena {
 public:
  explicit PageArena(uint64_t size_bytes_max);
  ~PageArena();

  // `count` pages with one reference each, appended to `pages_out`. False, and nothing changed:
  // they would pass size_bytes_max, or the system has no memory.
  bool take(uint32_t tenant, uint64_t page_bytes, uint32_t capacity, uint32_t count,
            std::vector<Page*>& pages_out);
  // One page in memory that stays someone else's. counted: it is part of size_bytes_max, where it
  // `fits`.
  Page* adopt(uint32_t tenant, uint8_t* data, uint64_t size_bytes, uint32_t capacity,
              int descriptor, bool counted, std::function<void()> release);
  // A page with no reference left. What is returned the caller runs without the mutex: it gives an
  // adopted block back to its owner. Empty for the arena's own.
  std::function<void()> give_back(Page* page);
  // Maps and faults in what `count` more pages need. False: as in `take`.
  bool reserve(uint32_t tenant, uint64_t page_bytes, uint32_t count);

  // Pages that are taken but on their way out don't count as used.
  void lend(uint64_t bytes) { used_bytes_ -= bytes; }
  void unlend(uint64_t bytes) { used_bytes_ += bytes; }

  uint64_t size_bytes_max() const { return size_bytes_max_; }
  void set_size_bytes_max(uint64_t size_bytes) { size_bytes_max_ = size_bytes; }
  uint64_t used_bytes() const { return used_bytes_; }
  uint64_t used_count() const { return used_count_; }
  uint64_t mapped_bytes() const { return mapped_bytes_; }
  uint64_t prefaulted_bytes() const { return prefaulted_bytes_; }
  uint64_t adopted_bytes() const { return adopted_bytes_; }
  uint64_t metadata_bytes() const;
  bool fits(uint64_t page_bytes, uint32_t count) const {
    return page_bytes <= size_bytes_max_ && used_bytes_ <= size_bytes_max_ &&
           count <= (size_bytes_max_ - used_bytes_) / page_bytes;
  }
  // Whether this system backs memory files with huge pages where they are asked for.
  static bool huge_pages();

 private:
  struct SizeClass {
    std::vector<Page*> free;
    std::vector<std::unique_ptr<PageExtent>> extents;
    std::vector<std::unique_ptr<Page[]>> pages;  // of the extent at the same place
    uint64_t mapped_bytes = 0;
  };
  struct Adopted {
    PageExtent extent;
    Page page;
  };

  bool grow(SizeClass& pages, uint32_t tenant, uint64_t page_bytes, uint64_t count);
  void trim();

  uint64_t size_bytes_max_;
  uint64_t used_bytes_ = 0, used_count_ = 0, mapped_bytes_ = 0, prefaulted_bytes_ = 0;
  uint64_t adopted_bytes_ = 0, page_count_ = 0;
  uint32_t next_extent_ = 1;
  std::map<std::pair<uint32_t, uint64_t>, SizeClass> classes_;  // by (tenant, page_bytes)
  std::map<Page*, std::unique_ptr<Adopted>> adopted_;
};

}  // namespace hanse
