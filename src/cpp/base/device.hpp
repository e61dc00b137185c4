// The device plug-in, libhanse_cuda.so: one table of functions, found at run time. The core has no
// other way to a device and knows no CUDA header.
//
// Pointers named `device_…` are device memory. Work is queued on the given stream (nullptr: the
// default one) and nothing but `synchronize` waits for it. Functions return 0 or a CUDA error code,
// which `error_name` names.
#pragma once

#include <cstdint>
#include <string>

namespace hanse {

constexpr uint32_t device_abi_version = 1;
constexpr uint32_t device_search_k_max = 64;

// Top k of masked inner products in float32. A list is sorted by score, ties by row; short lists
// end with rows of UINT32_MAX and scores of -infinity. float32 sums differ from the CPU's in the
// last bits: who wants the kernel's exact scores asks for a few more and ranks them again.
struct DeviceSearch {
  const float* device_queries;  // [query_count, stride]
  const float* device_vectors;  // [row_count, stride]
  const uint64_t* device_mask;  // [1 or query_count, (row_count + 63) / 64] bits; nullptr: all rows
  uint64_t mask_stride_words;   // 0: one mask for all queries
  uint32_t query_count, row_count;
  uint32_t stride;            // floats a row; a multiple of 16, zeros behind the dimension
  uint32_t k;                 // 1 … device_search_k_max
  void* device_workspace;     // DeviceTable::search_workspace_bytes of it
  uint32_t* device_rows_out;  // [query_count, k]
  float* device_scores_out;   // [query_count, k]
};

struct DeviceTable {
  uint32_t abi_version;  // device_abi_version of the plug-in
  uint32_t size_bytes;   // of this struct
  const char* (*error_name)(int32_t code);
  int32_t (*device_count)(int32_t* count_out);
  // "name, compute capability, memory", cut to `size` bytes with the closing 0.
  int32_t (*device_text)(int32_t device, char* text_out, uint32_t size);
  int32_t (*allocate)(uint64_t size_bytes, void** device_memory_out);
  int32_t (*release)(void* device_memory);
  int32_t (*copy_to_device)(void* device_to, const void* from, uint64_t size_bytes, void* stream);
  int32_t (*copy_from_device)(void* to, const void* device_from, uint64_t size_bytes, void* stream);
  int32_t (*synchronize)(void* stream);
  uint64_t (*search_workspace_bytes)(const DeviceSearch* search);
  int32_t (*search)(const DeviceSearch* search, void* stream);
};

// The symbol that the plug-in exports.
constexpr const char* device_table_symbol = "hanse_device_table";
using DeviceTableFunction = const DeviceTable* (*)();

// Loads the plug-in named by HANSE_CUDA_PLUGIN, or the one beside this module or a folder above it.
// Throws no_device, saying why: not built, another ABI, no driver, no device. Any thread.
const DeviceTable& device_table();

// Throws device_failed with `what` and the error's name, unless `code` is 0.
void check_device(const DeviceTable& table, const char* what, int32_t code);

// One line for people: the first device, or why there is none. Never throws for want of a device.
std::string device_status();

}  // namespace hanse
