// The table that the core finds by dlopen; contract in base/device.hpp.
#include <cstdio>

#include "base/device.hpp"
#include "capability/code_search.cuh"
#include "capability/search_cuda.cuh"
#include "errors.cuh"
#include "latent/pages_cuda.cuh"

namespace hanse {
namespace {

const char* error_name(int32_t code) { return cudaGetErrorName(cudaError_t(code)); }

int32_t device_count(int32_t* count_out) {
  HANSE_CUDA(cudaGetDeviceCount(count_out));
  return 0;
}

int32_t device_text(int32_t device, char* text_out, uint32_t size) {
  cudaDeviceProp properties;
  HANSE_CUDA(cudaGetDeviceProperties(&properties, device));
  std::snprintf(text_out, size, "%s, compute capability %d.%d, %.1f GiB", properties.name,
                properties.major, properties.minor, double(properties.totalGlobalMem) / (1 << 30));
  return 0;
}

int32_t allocate(uint64_t size_bytes, void** device_memory_out) {
  HANSE_CUDA(cudaMalloc(device_memory_out, size_bytes));
  return 0;
}

int32_t release(void* device_memory) {
  HANSE_CUDA(cudaFree(device_memory));
  return 0;
}

int32_t copy_to_device(void* device_to, const void* from, uint64_t size_bytes, void* stream) {
  HANSE_CUDA(cudaMemcpyAsync(device_to, from, size_bytes, cudaMemcpyHostToDevice,
                             static_cast<cudaStream_t>(stream)));
  return 0;
}

int32_t copy_from_device(void* to, const void* device_from, uint64_t size_bytes, void* stream) {
  HANSE_CUDA(cudaMemcpyAsync(to, device_from, size_bytes, cudaMemcpyDeviceToHost,
                             static_cast<cudaStream_t>(stream)));
  return 0;
}

int32_t fill(void* device_memory, uint8_t value, uint64_t size_bytes, void* stream) {
  HANSE_CUDA(cudaMemsetAsync(device_memory, value, size_bytes, static_cast<cudaStream_t>(stream)));
  return 0;
}

int32_t allocate_pinned(uint64_t size_bytes, void** memory_out) {
  HANSE_CUDA(cudaMallocHost(memory_out, size_bytes));
  return 0;
}

int32_t release_pinned(void* memory) {
  HANSE_CUDA(cudaFreeHost(memory));
  return 0;
}

int32_t synchronize(void* stream) {
  HANSE_CUDA(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)));
  return 0;
}

int32_t stream_create(void** stream_out) {
  cudaStream_t stream = nullptr;
  HANSE_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  *stream_out = stream;
  return 0;
}

int32_t stream_destroy(void* stream) {
  HANSE_CUDA(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)));
  HANSE_CUDA(cudaStreamDestroy(static_cast<cudaStream_t>(stream)));
  return 0;
}

int32_t stream_after(void* stream, void* before) {
  cudaEvent_t event = nullptr;
  HANSE_CUDA(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  cudaError_t error = cudaEventRecord(event, static_cast<cudaStream_t>(before));
  if (error == cudaSuccess)
    error = cudaStreamWaitEvent(static_cast<cudaStream_t>(stream), event, 0);
  // The device frees it when nobody waits for it any more.
  const cudaError_t destroyed = cudaEventDestroy(event);
  return int32_t(error != cudaSuccess ? error : destroyed);
}

constexpr DeviceTable table = {device_abi_version,
                               sizeof(DeviceTable),
                               error_name,
                               device_count,
                               device_text,
                               allocate,
                               release,
                               copy_to_device,
                               copy_from_device,
                               synchronize,
                               stream_create,
                               stream_destroy,
                               stream_after,
                               search_cuda_workspace_bytes,
                               search_cuda,
                               write_rows_cuda,
                               code_search_workspace_bytes,
                               code_search_cuda,
                               fill,
                               allocate_pinned,
                               release_pinned,
                               copy_pages_cuda,
                               quantise_pages_cuda,
                               realign_cuda};

}  // namespace
}  // namespace hanse

extern "C" __attribute__((visibility("default"))) const hanse::DeviceTable* hanse_device_table() {
  return &hanse::table;
}
