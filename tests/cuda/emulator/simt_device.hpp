// What a kernel's source needs when a C++ compiler reads it: CUDA's words, and its built-in
// functions on top of fibers.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <tuple>
#include <utility>

#include "cuda_runtime_api.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
// Blocks run one after another, so a static variable is one block's memory; the section tells the
// emulator where all of them lie.
#define __shared__ static __attribute__((section("simt_shared")))

struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace simt {

struct ThreadState {
  uint3 thread, block;
  dim3 block_size, grid_size;
  unsigned lane, warp, index;
};
extern ThreadState current;

struct Place {
  const char* file;
  int line;
};
enum class WarpOperation { sync, shuffle, ballot, multiply };
constexpr size_t slot_size_bytes = 32;

// All threads of the block.
void block_barrier(Place place);
// Every lane of the warp leaves `size_bytes` and gets what all 32 left.
const unsigned char* exchange(uint32_t mask, WarpOperation operation, const void* mine,
                              size_t size_bytes, Place place);
void order_warp();
void shuffle(uint32_t mask, const void* in, void* out, size_t size_bytes, unsigned source,
             Place place);
unsigned char* dynamic_shared();
uint32_t atomic_add(uint32_t* address, uint32_t value);
float atomic_add(float* address, float value);
void multiply_s8(int32_t (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place place);
void multiply_bf16(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place place);
void copy_async(void* shared_to, const void* from, size_t size_bytes, bool zeros, Place place);
void copy_async_commit();
void copy_async_wait(unsigned groups_left);

struct Call {
  virtual ~Call() = default;
  virtual void run() const = 0;
};
template <class Function, class... Arguments>
struct BoundCall final : Call {
  BoundCall(Function function, Arguments... arguments)
      : function_(function), arguments_(arguments...) {}
  void run() const override { std::apply(function_, arguments_); }
  Function function_;
  std::tuple<Arguments...> arguments_;
};
void launch(const char* name, dim3 grid, dim3 block, size_t shared_size_bytes, cudaStream_t stream,
            std::unique_ptr<const Call> call, size_t call_size_bytes);

// Arguments are copied when the kernel is launched, as CUDA does.
template <class... Parameters, class... Arguments>
void launch_bound(const char* name, dim3 grid, dim3 block, size_t shared_size_bytes,
                  cudaStream_t stream, void (*kernel)(Parameters...), Arguments... arguments) {
  using Bound = BoundCall<void (*)(Parameters...), Parameters...>;
  launch(name, grid, block, shared_size_bytes, stream,
         std::make_unique<const Bound>(kernel, Parameters(arguments)...), sizeof(Bound));
}

}  // namespace simt

#define threadIdx (::simt::current.thread)
#define blockIdx (::simt::current.block)
#define blockDim (::simt::current.block_size)
#define gridDim (::simt::current.grid_size)
#define SIMT_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(SIMT_PLACE) { simt::block_barrier({file, line}); }
inline void __syncwarp(uint32_t mask = UINT32_MAX, SIMT_PLACE) {
  simt::exchange(mask, simt::WarpOperation::sync, nullptr, 0, {file, line});
  simt::order_warp();
}
template <class T>
T __shfl_sync(uint32_t mask, T value, int source, SIMT_PLACE) {
  T out;
  simt::shuffle(mask, &value, &out, sizeof(T), unsigned(source) & 31, {file, line});
  return out;
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int bits, SIMT_PLACE) {
  T out;
  simt::shuffle(mask, &value, &out, sizeof(T), (simt::current.lane ^ unsigned(bits)) & 31,
                {file, line});
  return out;
}
uint32_t __ballot_sync(uint32_t mask, int predicate, SIMT_PLACE);

inline int __popc(uint32_t x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline float __int_as_float(int bits) {
  float out;
  std::memcpy(&out, &bits, sizeof(out));
  return out;
}
inline int __float_as_int(float value) {
  int out;
  std::memcpy(&out, &value, sizeof(out));
  return out;
}
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
template <class T>
inline T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
inline T max(T a, T b) {
  return a < b ? b : a;
}
inline uint32_t atomicAdd(uint32_t* address, uint32_t value) {
  return simt::atomic_add(address, value);
}
inline float atomicAdd(float* address, float value) { return simt::atomic_add(address, value); }
