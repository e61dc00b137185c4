// What the thread sanitizer is told where kernels are compiled for it: each CUDA thread is one of
// its fibers, and only barriers, __syncwarp, the begin and the end of a block put them in order.
// The emulator's own code is compiled without it. Elsewhere nothing happens here.
#pragma once

#include <cstddef>

#if defined(HANSE_SIMT_TSAN)
#include <sanitizer/tsan_interface.h>
extern "C" void __tsan_write_range(void* at, unsigned long size);
#endif

namespace simt::witness {

#if defined(HANSE_SIMT_TSAN)
inline void* here() { return __tsan_get_current_fiber(); }
inline void* another() { return __tsan_create_fiber(0); }
inline void go_to(void* fiber) { __tsan_switch_to_fiber(fiber, __tsan_switch_to_fiber_no_sync); }
inline void release(void* order) { __tsan_release(order); }
inline void acquire(void* order) { __tsan_acquire(order); }
inline void writes(void* at, size_t size_bytes) { __tsan_write_range(at, size_bytes); }
#else
inline void* here() { return nullptr; }
inline void* another() { return nullptr; }
inline void go_to(void*) {}
inline void release(void*) {}
inline void acquire(void*) {}
inline void writes(void*, size_t) {}
#endif

// Not memcpy, which the sanitizer would take for an access of the kernel.
inline void pass(void* to, const void* from, size_t size_bytes) {
  auto* out = static_cast<volatile unsigned char*>(to);
  const auto* in = static_cast<const volatile unsigned char*>(from);
  for (size_t i = 0; i < size_bytes; ++i) out[i] = in[i];
}

}  // namespace simt::witness
