#include "latent/page_arena.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14; older kernels answer EINVAL
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010  // Linux 5.1
#endif

namespace hanse {

namespace {

constexpr uint64_t huge_page_bytes = uint64_t(2) << 20;
constexpr uint64_t small_step_bytes = uint64_t(64) << 10;
constexpr uint64_t growth_bytes_max = uint64_t(64) << 20;
constexpr uint64_t page_alignment = 64;

constexpr uint64_t round_up(uint64_t value, uint64_t step) {
  return (value + step - 1) / step * step;
}

// Nobody but this mapping can ever write to the file, and it keeps its size: a reader in another
// process can neither alter nor cut it.
int sealed_file(uint64_t size_bytes, uint8_t** start_out) {
  const int file = memfd_create("hanse-latents", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return -1;
  void* mapped = MAP_FAILED;
  if (ftruncate(file, off_t(size_bytes)) == 0)
    mapped = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (mapped == MAP_FAILED) {
    close(file);
    return -1;
  }
  *start_out = static_cast<uint8_t*>(mapped);
  if (fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) ==
      0)
    return file;
  // An unsealed file must not be handed to anyone: the memory stays, the descriptor goes.
  close(file);
  return -1;
}

// Faulted in ahead, because copies into fresh pages run at a tenth of the speed of warm ones.
// False: no memory.
bool map_extent(PageExtent& extent, uint64_t size_bytes) {
  extent.descriptor = sealed_file(size_bytes, &extent.start);
  if (!extent.start) {
    void* mapped = mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return false;
    extent.start = static_cast<uint8_t*>(mapped);
  }
  extent.size_bytes = size_bytes;
  madvise(extent.start, size_bytes, MADV_HUGEPAGE);  // Only a wish: a refusal costs speed.
  extent.prefaulted = madvise(extent.start, size_bytes, MADV_POPULATE_WRITE) == 0;
  return true;
}

}  // namespace

PageExtent::~PageExtent() {
  if (!start || release) return;
  munmap(start, size_bytes);
  if (descriptor >= 0) close(descriptor);
}

PageArena::PageArena(uint64_t size_bytes_max) : size_bytes_max_(size_bytes_max) {}

PageArena::~PageArena() {
  for (auto& [page, block] : adopted_)
    if (block->extent.release) block->extent.release();
}

bool PageArena::huge_pages() {
  char text[128] = {};
  std::FILE* file = std::fopen("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "re");
  if (!file) return false;
  const size_t size = std::fread(text, 1, sizeof(text) - 1, file);
  std::fclose(file);
  text[size] = 0;
  return size != 0 && !std::strstr(text, "[never]") && !std::strstr(text, "[deny]");
}

uint64_t PageArena::metadata_bytes() const { return page_count_ * (sizeof(Page) + sizeof(Page*)); }

bool PageArena::take(uint32_t tenant, uint64_t page_bytes, uint32_t capacity, uint32_t count,
                     std::vector<Page*>& pages_out) {
  if (!fits(page_bytes, count)) return false;
  SizeClass& pages = classes_[{tenant, page_bytes}];
  if (pages.free.size() < count && !grow(pages, tenant, page_bytes, count - pages.free.size()))
    return false;

  pages_out.reserve(pages_out.size() + count);
  for (uint32_t i = 0; i < count; ++i) {
    Page* page = pages.free.back();
    pages.free.pop_back();
    page->references = 1;
    page->capacity = capacity;
    page->filled = 0;
    ++page->extent->used;
    pages_out.push_back(page);
  }
  used_count_ += count;
  used_bytes_ += count * page_bytes;
  return true;
}

bool PageArena::reserve(uint32_t tenant, uint64_t page_bytes, uint32_t count) {
  if (!fits(page_bytes, count)) return false;
  SizeClass& pages = classes_[{tenant, page_bytes}];
  return pages.free.size() >= count || grow(pages, tenant, page_bytes, count - pages.free.size());
}

Page* PageArena::adopt(uint32_t tenant, uint8_t* data, uint64_t size_bytes, uint32_t capacity,
                       int descriptor, bool counted, std::function<void()> release) {
  auto block = std::make_unique<Adopted>();
  block->extent.start = data;
  block->extent.size_bytes = block->extent.page_bytes = size_bytes;
  block->extent.count = block->extent.used = 1;
  block->extent.descriptor = descriptor;
  block->extent.tenant = tenant;
  block->extent.number = next_extent_++;
  block->extent.counted = counted;
  block->extent.release = std::move(release);
  block->page = {data, &block->extent, 1, 1, capacity, capacity};
  Page* page = &block->page;
  adopted_.emplace(page, std::move(block));
  (counted ? used_bytes_ : adopted_bytes_) += size_bytes;
  ++used_count_;
  return page;
}

std::function<void()> PageArena::give_back(Page* page) {
  --used_count_;
  if (page->extent->release) {
    const auto found = adopted_.find(page);
    (page->extent->counted ? used_bytes_ : adopted_bytes_) -= page->extent->size_bytes;
    std::function<void()> release = std::move(found->second->extent.release);
    found->second->extent.start = nullptr;
    adopted_.erase(found);
    return release;
  }
  --page->extent->used;
  ++page->generation;
  used_bytes_ -= page->extent->page_bytes;
  // Within what `grow` reserved.
  classes_[{page->extent->tenant, page->extent->page_bytes}].free.push_back(page);
  return {};
}

bool PageArena::grow(SizeClass& pages, uint32_t tenant, uint64_t page_bytes, uint64_t count) {
  const uint64_t stride = round_up(page_bytes, page_alignment);
  uint64_t size_bytes = std::max(count * stride, std::min(pages.mapped_bytes, growth_bytes_max));
  size_bytes =
      round_up(size_bytes, size_bytes >= huge_page_bytes ? huge_page_bytes : small_step_bytes);
  if (mapped_bytes_ + size_bytes > size_bytes_max_) {
    trim();
    size_bytes = round_up(count * stride, small_step_bytes);
  }

  auto extent = std::make_unique<PageExtent>();
  if (!map_extent(*extent, size_bytes)) return false;
  extent->page_bytes = page_bytes;
  extent->count = size_bytes / stride;
  extent->tenant = tenant;
  extent->number = next_extent_++;
  auto fresh = std::make_unique<Page[]>(extent->count);

  uint64_t total = extent->count;
  for (const auto& other : pages.extents) total += other->count;
  pages.free.reserve(total);
  for (uint64_t i = extent->count; i-- > 0;) {
    fresh[i].data = extent->start + i * stride;
    fresh[i].extent = extent.get();
    pages.free.push_back(&fresh[i]);
  }
  page_count_ += extent->count;
  mapped_bytes_ += size_bytes;
  pages.mapped_bytes += size_bytes;
  if (extent->prefaulted) prefaulted_bytes_ += size_bytes;
  pages.extents.push_back(std::move(extent));
  pages.pages.push_back(std::move(fresh));
  return true;
}

// Free pages of one size or tenant don't serve another: extents without a used page go back to the
// system. What stays above size_bytes_max is the free part of extents that hold some page in use.
void PageArena::trim() {
  for (auto& [key, pages] : classes_) {
    std::erase_if(pages.free, [](const Page* page) { return page->extent->used == 0; });
    for (size_t i = pages.extents.size(); i-- > 0;) {
      const PageExtent& extent = *pages.extents[i];
      if (extent.used != 0) continue;
      mapped_bytes_ -= extent.size_bytes;
      pages.mapped_bytes -= extent.size_bytes;
      page_count_ -= extent.count;
      if (extent.prefaulted) prefaulted_bytes_ -= extent.size_bytes;
      pages.extents.erase(pages.extents.begin() + ptrdiff_t(i));
      pages.pages.erase(pages.pages.begin() + ptrdiff_t(i));
    }
  }
}

}  // namespace hanse
