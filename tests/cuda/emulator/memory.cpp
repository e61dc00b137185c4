#include "memory.hpp"

#include <link.h>

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "scheduler.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

extern "C" unsigned char __start_simt_shared[], __stop_simt_shared[];

namespace simt {

namespace {

constexpr size_t dynamic_size_bytes_max = 227 << 10;  // the most that a block of an H100 can have
constexpr unsigned char poison = 0xff;                // as a float: not a number
constexpr size_t page_size_bytes = 4096;

struct Cell {
  Moment write, read, other_read;  // other_read: the newest by another thread than `read`
  bool many_warps_read = false;    // since the last barrier
  bool owed = false;               // by an asynchronous copy
};
using CellPage = std::array<Cell, page_size_bytes>;

struct Range {
  uintptr_t begin, end;
  bool writable;
  bool holds(uintptr_t at, size_t size_bytes) const {
    return at >= begin && at + size_bytes <= end;
  }
};

struct Work {
  uint32_t stream, number;
  std::vector<uint32_t> known;
};

std::unordered_map<uintptr_t, std::unique_ptr<CellPage>> pages;
std::map<uintptr_t, Range> allocations;
std::vector<Range> allowed;
std::vector<Work> works;              // 0 is nothing
std::vector<uint32_t> work_of = {0};  // by serial
size_t dynamic_in_use;
unsigned char* dynamic_base;

Cell& cell_at(uintptr_t at) {
  std::unique_ptr<CellPage>& page = pages[at / page_size_bytes];
  if (page == nullptr) page = std::make_unique<CellPage>();
  return (*page)[at % page_size_bytes];
}

Range range_of(const void* memory, size_t size_bytes, bool writable) {
  const auto begin = reinterpret_cast<uintptr_t>(memory);
  return {begin, begin + size_bytes, writable};
}

Range static_shared() {
  return range_of(__start_simt_shared, size_t(__stop_simt_shared - __start_simt_shared), true);
}
Range dynamic_shared_range() { return range_of(dynamic_base, dynamic_in_use, true); }
bool is_shared(uintptr_t at, size_t size_bytes) {
  return static_shared().holds(at, size_bytes) || dynamic_shared_range().holds(at, size_bytes);
}

const Range* allocation_of(uintptr_t at, size_t size_bytes) {
  auto next = allocations.upper_bound(at);
  if (next == allocations.begin()) return nullptr;
  const Range& range = std::prev(next)->second;
  return range.holds(at, size_bytes) ? &range : nullptr;
}

bool same_warp(const Moment& a, const Moment& b) { return a.thread / 32 == b.thread / 32; }

bool ordered(const Moment& before, const Moment& now) {
  if (before.serial == 0) return true;
  if (before.atomic && now.atomic) return true;
  if (before.serial == now.serial)
    return before.thread == now.thread || before.barrier < now.barrier ||
           (same_warp(before, now) && before.warp_sync < now.warp_sync);
  const Work& then = works[work_of[before.serial]];
  const Work& here = works[work_of[now.serial]];
  if (&then == &here) return false;  // two blocks of one launch
  return then.stream < here.known.size() && then.number <= here.known[then.stream];
}

void conflict(const Moment& before, const Moment& now, bool writes, bool shared) {
  const bool one_work = work_of[before.serial] == work_of[now.serial];
  std::string text = writes ? "a write" : "a read";
  text += shared ? " of shared memory" : " of device memory";
  text += ", which thread " + std::to_string(before.thread);
  text += before.serial == now.serial ? " of this block"
          : one_work                  ? " of another block"
                                      : " of other work";
  text += " touched without a barrier between";
  violate(one_work ? Check::data_race : Check::stream_order, text);
}

// The two newest readers of different threads are enough: what is ordered after both of them is
// ordered after all, unless several warps read, and then only a barrier of the block orders.
void note_read(Cell& cell, const Moment& now) {
  if (cell.read.serial == now.serial && cell.read.barrier == now.barrier) {
    if (!same_warp(cell.read, now)) cell.many_warps_read = true;
    if (cell.read.thread != now.thread) cell.other_read = cell.read;
  } else {
    cell.many_warps_read = false;
    cell.other_read = cell.read.serial != now.serial ? cell.read : Moment{};
  }
  cell.read = now;
}

void touch_cell(Cell& cell, const Moment& now, bool writes, bool shared) {
  if (shared && cell.write.serial != now.serial) cell = {};  // what another block left
  if (cell.owed)
    violate(Check::unfinished_copy, "a byte that an asynchronous copy has yet to bring");
  if (shared && !writes && cell.write.serial != now.serial)
    violate(Check::uninitialised, "a read of shared memory that this block never wrote");
  if (!ordered(cell.write, now)) conflict(cell.write, now, writes, shared);
  if (!writes) {
    note_read(cell, now);
    return;
  }
  if (!ordered(cell.read, now)) conflict(cell.read, now, writes, shared);
  if (!ordered(cell.other_read, now)) conflict(cell.other_read, now, writes, shared);
  if (cell.many_warps_read && cell.read.serial == now.serial && cell.read.barrier == now.barrier)
    conflict(cell.read, now, writes, shared);
  cell.write = now;
}

Moment now_of(const Moment& thread) {
  Moment now = thread;
  now.serial = uint32_t(work_of.size() - 1);
  return now;
}

void touch_cells(uintptr_t at, size_t size_bytes, const Moment& now, bool writes, bool shared) {
  for (size_t i = 0; i < size_bytes; ++i) touch_cell(cell_at(at + i), now, writes, shared);
}

// The sanitizer's own marks lie between the variables of the section, so it mustn't look here.
__attribute__((no_sanitize("address"), noinline)) void poison_static_shared() {
  for (volatile unsigned char* at = __start_simt_shared; at != __stop_simt_shared; ++at)
    *at = poison;
}

// Whether it lies in a part of this program or library that can't be written.
bool is_constant(uintptr_t at) {
  static const std::vector<Range> ranges = [] {
    std::vector<Range> found;
    dl_iterate_phdr(
        [](dl_phdr_info* module, size_t, void* into) {
          for (int i = 0; i < module->dlpi_phnum; ++i) {
            const ElfW(Phdr) & part = module->dlpi_phdr[i];
            const uintptr_t begin = module->dlpi_addr + part.p_vaddr;
            if (part.p_type == PT_LOAD && (part.p_flags & PF_W) == 0)
              static_cast<std::vector<Range>*>(into)->push_back(
                  {begin, begin + part.p_memsz, false});
          }
          return 0;
        },
        &found);
    return found;
  }();
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const Range& range) { return range.holds(at, 1); });
}

}  // namespace

void begin_work(uint32_t stream, uint32_t number, const uint32_t* known, uint32_t stream_count) {
  works.push_back({stream, number, {known, known + stream_count}});
  work_of.push_back(uint32_t(works.size() - 1));
}

void begin_block(size_t dynamic_size_bytes) {
  if (dynamic_base == nullptr)
    dynamic_base = static_cast<unsigned char*>(
        std::aligned_alloc(1024, (dynamic_size_bytes_max + 1023) / 1024 * 1024));
  if (dynamic_size_bytes > dynamic_size_bytes_max)
    violate(Check::out_of_bounds,
            "a block wants " + std::to_string(dynamic_size_bytes) + " bytes of shared memory");
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(dynamic_base, dynamic_size_bytes_max);
#endif
  dynamic_in_use = dynamic_size_bytes;
  work_of.push_back(uint32_t(works.size() - 1));
  std::fill_n(dynamic_base, dynamic_size_bytes, poison);
  poison_static_shared();
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(dynamic_base + dynamic_size_bytes,
                              dynamic_size_bytes_max - dynamic_size_bytes);
#endif
}

void allow(const void* memory, size_t size_bytes, bool writable) {
  allowed.push_back(range_of(memory, size_bytes, writable));
}
void disallow_all() { allowed.clear(); }

void register_memory(void* memory, size_t size_bytes) {
  const Range range = range_of(memory, size_bytes, true);
  allocations[range.begin] = range;
}

void unregister_memory(void* memory) {
  const auto found = allocations.find(reinterpret_cast<uintptr_t>(memory));
  const Range range = found->second;
  for (uintptr_t at = range.begin; at < range.end; ++at) {
    const auto page = pages.find(at / page_size_bytes);
    if (page == pages.end())
      at = (at / page_size_bytes + 1) * page_size_bytes - 1;
    else
      (*page->second)[at % page_size_bytes] = {};
  }
  allocations.erase(found);
}

bool is_device_memory(const void* memory, size_t size_bytes) {
  return allocation_of(reinterpret_cast<uintptr_t>(memory), size_bytes) != nullptr;
}

void touch_range(const void* memory, size_t size_bytes, bool writes) {
  if (!is_device_memory(memory, size_bytes))
    violate(Check::out_of_bounds,
            "a copy of " + std::to_string(size_bytes) + " bytes leaves its allocation");
  if (accesses_are_seen())
    touch_cells(reinterpret_cast<uintptr_t>(memory), size_bytes, now_of({}), writes, false);
}

void touch(const void* memory, size_t size_bytes, bool writes, bool atomic) {
  const Moment* thread = running_moment();
  if (thread == nullptr || !accesses_are_seen() || on_running_stack(memory)) return;
  count_accesses(1);
  const auto at = reinterpret_cast<uintptr_t>(memory);
  const bool shared = is_shared(at, size_bytes);
  if (!shared && allocation_of(at, size_bytes) == nullptr) {
    for (const Range& range : allowed)
      if (range.holds(at, size_bytes) && (range.writable || !writes)) return;
    if (range_of(&current, sizeof(current), false).holds(at, size_bytes) && !writes) return;
    if (is_constant(at))
      return writes ? violate(Check::read_only_memory, "a write to a constant") : void();
    violate(Check::out_of_bounds, std::string(writes ? "a write" : "a read") + " of " +
                                      std::to_string(size_bytes) +
                                      " bytes outside of shared and device memory");
  }
  if (size_bytes <= 16 && at % size_bytes != 0)
    violate(Check::misaligned, "an access of " + std::to_string(size_bytes) + " bytes");
  Moment now = now_of(*thread);
  now.atomic = atomic;
  touch_cells(at, size_bytes, now, writes, shared);
}

void begin_copy(void* to, size_t size_bytes) {
  touch(to, size_bytes, true, false);
  std::fill_n(static_cast<volatile unsigned char*>(to), size_bytes, poison);
  if (!accesses_are_seen()) return;
  for (size_t i = 0; i < size_bytes; ++i) cell_at(reinterpret_cast<uintptr_t>(to) + i).owed = true;
}

void end_copy(void* to, size_t size_bytes) {
  if (!accesses_are_seen()) return;
  for (size_t i = 0; i < size_bytes; ++i) cell_at(reinterpret_cast<uintptr_t>(to) + i).owed = false;
  touch(to, size_bytes, true, false);
}

unsigned char* dynamic_memory() { return dynamic_base; }

}  // namespace simt
