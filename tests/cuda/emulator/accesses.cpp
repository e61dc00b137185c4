// What the compiler calls before each access where it compiles kernels with -fsanitize=thread: that
// switch brings the calls, and this file stands in for the sanitizer's library, which is not
// linked. So each access of each CUDA thread is seen, with barriers as the only order.
#include "memory.hpp"
#include "simt_device.hpp"

#if defined(__SANITIZE_ADDRESS__) || defined(HANSE_SIMT_UNSEEN)

namespace simt {
bool accesses_are_seen() { return false; }
}  // namespace simt

#else

namespace simt {
bool accesses_are_seen() { return true; }
}  // namespace simt

#define HANSE_ACCESS(size)                                                           \
  void __tsan_read##size(void* at) { simt::touch(at, size, false, false); }          \
  void __tsan_write##size(void* at) { simt::touch(at, size, true, false); }          \
  void __tsan_volatile_read##size(void* at) { simt::touch(at, size, false, false); } \
  void __tsan_volatile_write##size(void* at) { simt::touch(at, size, true, false); }
#define HANSE_UNALIGNED(size)                                                         \
  void __tsan_unaligned_read##size(void* at) { simt::touch(at, size, false, false); } \
  void __tsan_unaligned_write##size(void* at) { simt::touch(at, size, true, false); }

extern "C" {
HANSE_ACCESS(1)
HANSE_ACCESS(2)
HANSE_ACCESS(4)
HANSE_ACCESS(8)
HANSE_ACCESS(16)
HANSE_UNALIGNED(2)
HANSE_UNALIGNED(4)
HANSE_UNALIGNED(8)
HANSE_UNALIGNED(16)
void __tsan_read_range(void* at, unsigned long size) { simt::touch(at, size, false, false); }
void __tsan_write_range(void* at, unsigned long size) { simt::touch(at, size, true, false); }
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}

#endif
