// What kernels use beyond CUDA C++ itself, in two readings: nvcc's, with the PTX of each
// instruction, and that of a plain C++ compiler, for which tests/cuda/emulator gives the meaning.
#pragma once

#include <cstdint>

namespace hanse {
constexpr uint32_t warp_size = 32;
constexpr uint32_t full_warp = UINT32_MAX;
}  // namespace hanse

#if defined(__CUDACC__)

#include <cuda_runtime.h>

#define HANSE_LAUNCH(kernel, grid, block, shared_size_bytes, stream, ...) \
  kernel<<<(grid), (block), (shared_size_bytes), (stream)>>>(__VA_ARGS__)
// Shared memory of the size that the launch names.
#define HANSE_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

namespace hanse {

// sums[16 x 8] += a[16 x 32] * transposed b[8 x 32], 8-bit integers; fragments as the PTX ISA lays
// them: lane l holds row l / 4, bytes 4 * (l % 4) and 16 behind; `a` also row l / 4 + 8.
__device__ __forceinline__ void multiply_s8(int32_t (&sums)[4], const uint32_t (&a)[4],
                                            const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+r"(sums[0]), "+r"(sums[1]), "+r"(sums[2]), "+r"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same over a[16 x 16] and b[8 x 16] in bfloat16: the same bytes in the same lanes.
__device__ __forceinline__ void multiply_bf16(float (&sums)[4], const uint32_t (&a)[4],
                                              const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// 16 bytes into shared memory, past the registers; zeros where `from` does not count. They are
// there for this thread after copy_async_wait, for others after a barrier behind that.
__device__ __forceinline__ void copy_async_16(void* shared_to, const void* from, bool zeros) {
  const uint32_t to = uint32_t(__cvta_generic_to_shared(shared_to));
  const uint32_t size_bytes = zeros ? 0 : 16;
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(size_bytes)
               : "memory");
}
__device__ __forceinline__ void copy_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int groups_left>
__device__ __forceinline__ void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(groups_left) : "memory");
}

}  // namespace hanse

#else

#include "simt_device.hpp"

#define HANSE_LAUNCH(kernel, grid, block, shared_size_bytes, stream, ...)                 \
  ::simt::launch_bound(#kernel, (grid), (block), (shared_size_bytes), (stream), (kernel), \
                       __VA_ARGS__)
#define HANSE_DYNAMIC_SHARED(name) unsigned char* const name = ::simt::dynamic_shared()

namespace hanse {

inline void multiply_s8(int32_t (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                        SIMT_PLACE) {
  ::simt::multiply_s8(sums, a, b, {file, line});
}
inline void multiply_bf16(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                          SIMT_PLACE) {
  ::simt::multiply_bf16(sums, a, b, {file, line});
}
inline void copy_async_16(void* shared_to, const void* from, bool zeros, SIMT_PLACE) {
  ::simt::copy_async(shared_to, from, 16, zeros, {file, line});
}
inline void copy_async_commit() { ::simt::copy_async_commit(); }
template <int groups_left>
void copy_async_wait() {
  ::simt::copy_async_wait(groups_left);
}

}  // namespace hanse

#endif
