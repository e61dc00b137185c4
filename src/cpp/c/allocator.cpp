// operator new and delete of this library alone: its symbols are hidden and the C++ runtime is
// linked in, so that no other library's memory comes here.
//
// Until the allocator is settled memory comes from a small reserve that is never given back, so
// that a block's address says where it belongs: what a host sets later never sees a block that it
// did not make.
#include <atomic>
#include <cstdlib>
#include <new>

#include "c/library.hpp"

namespace hanse::c {
namespace {

constexpr size_t least_alignment = 16;
constexpr size_t reserve_bytes = 64 << 10;

alignas(64) unsigned char reserve[reserve_bytes];
std::atomic<size_t> reserve_used{0};

enum class Source : int { reserve, system, host };
std::atomic<Source> source{Source::reserve};
hanse_allocator host{};

bool in_reserve(const void* memory) noexcept {
  const auto at = reinterpret_cast<uintptr_t>(memory), begin = reinterpret_cast<uintptr_t>(reserve);
  return at >= begin && at < begin + reserve_bytes;
}

void* system_allocate(size_t size, size_t alignment) noexcept {
  if (alignment <= least_alignment) return std::malloc(size);
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

// nullptr: it is used up.
void* reserve_allocate(size_t size, size_t alignment) noexcept {
  size_t used = reserve_used.load(std::memory_order_relaxed);
  for (;;) {
    const size_t begin = (used + alignment - 1) / alignment * alignment;
    if (alignment > 64 || size > reserve_bytes || begin > reserve_bytes - size) return nullptr;
    if (reserve_used.compare_exchange_weak(used, begin + size, std::memory_order_relaxed))
      return reserve + begin;
  }
}

void* allocate(size_t size, size_t alignment) noexcept {
  if (size == 0) size = 1;
  if (alignment < least_alignment) alignment = least_alignment;
  switch (source.load(std::memory_order_acquire)) {
    case Source::reserve:
      if (void* memory = reserve_allocate(size, alignment)) return memory;
      settle_allocator();
      return allocate(size, alignment);
    case Source::system:
      return system_allocate(size, alignment);
    case Source::host:
      return host.allocate(host.context, size, alignment);
  }
  return nullptr;
}

void* allocate_or_throw(size_t size, size_t alignment) {
  void* memory = allocate(size, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void release(void* memory, size_t alignment) noexcept {
  if (memory == nullptr || in_reserve(memory)) return;
  if (source.load(std::memory_order_relaxed) != Source::host) return std::free(memory);
  host.release(host.context, memory, alignment < least_alignment ? least_alignment : alignment);
}

}  // namespace

bool use_allocator(const hanse_allocator& allocator) noexcept {
  static std::atomic<bool> taken{false};
  if (source.load() != Source::reserve || taken.exchange(true)) return false;
  host = allocator;
  Source expected = Source::reserve;
  return source.compare_exchange_strong(expected, Source::host, std::memory_order_release);
}

void settle_allocator() noexcept {
  Source expected = Source::reserve;
  source.compare_exchange_strong(expected, Source::system, std::memory_order_release);
}

}  // namespace hanse::c

using hanse::c::allocate;
using hanse::c::allocate_or_throw;
using hanse::c::release;

namespace {
constexpr size_t plain = __STDCPP_DEFAULT_NEW_ALIGNMENT__;
}

void* operator new(size_t size) { return allocate_or_throw(size, plain); }
void* operator new[](size_t size) { return allocate_or_throw(size, plain); }
void* operator new(size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, size_t(alignment));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return allocate_or_throw(size, size_t(alignment));
}
void* operator new(size_t size, const std::nothrow_t&) noexcept { return allocate(size, plain); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return allocate(size, plain); }
void* operator new(size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(size, size_t(alignment));
}
void* operator new[](size_t size, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return allocate(size, size_t(alignment));
}

void operator delete(void* memory) noexcept { release(memory, plain); }
void operator delete[](void* memory) noexcept { release(memory, plain); }
void operator delete(void* memory, size_t) noexcept { release(memory, plain); }
void operator delete[](void* memory, size_t) noexcept { release(memory, plain); }
void operator delete(void* memory, std::align_val_t alignment) noexcept {
  release(memory, size_t(alignment));
}
void operator delete[](void* memory, std::align_val_t alignment) noexcept {
  release(memory, size_t(alignment));
}
void operator delete(void* memory, size_t, std::align_val_t alignment) noexcept {
  release(memory, size_t(alignment));
}
void operator delete[](void* memory, size_t, std::align_val_t alignment) noexcept {
  release(memory, size_t(alignment));
}
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory, plain); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { release(memory, plain); }
