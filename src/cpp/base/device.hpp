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

constexpr uint32_t device_abi_version = 2;
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

enum class DeviceFormat : uint32_t { int8 = 0, bfloat16 = 1 };
constexpr uint32_t device_stride_multiple = 64;

// A space that stays on the device. Everything is [row_capacity] or [row_capacity, stride].
struct DeviceSpace {
  uint32_t row_count;
  uint32_t stride;  // elements a row; a multiple of device_stride_multiple, zeros behind the dim
  DeviceFormat format;
  uint32_t zero;
  void* device_codes;     // int8 or bfloat16
  float* device_scales;   // of int8 codes: element = code * scale
  float* device_vectors;  // what the last ranking reads
  int64_t* device_prices;
  uint64_t* device_skills;
  uint64_t* device_policy_bits;
  uint32_t* device_tenants;
  uint16_t* device_regions;
  uint8_t* device_tiers;
  uint8_t* device_live;  // 1: the row can be found
};

// New contents of `count` different rows, from device memory.
struct DeviceRows {
  uint32_t count, zero;
  const uint32_t* device_rows;   // [count], below the space's capacity
  const float* device_vectors;   // [count, stride], finite; nullptr: only columns change
  const int64_t* device_prices;  // [count], as all that follow
  const uint64_t* device_skills;
  const uint64_t* device_policy_bits;
  const uint32_t* device_tenants;
  const uint16_t* device_regions;
  const uint8_t* device_tiers;
  const uint8_t* device_live;
};

// What a row must satisfy, all of it.
struct DeviceFilter {
  int64_t price_max;
  uint64_t skills_all, skills_any, skills_none;  // skills_any 0: no test
  uint64_t policy_all, policy_none;
  uint32_t tenant;  // UINT32_MAX: any
  uint32_t region;  // UINT32_MAX: any
  uint32_t tier_min, tier_max;
};

// Top k by codes with tensor cores, then the exact order. The pass over the codes keeps the best
// `candidates` of each query; their inner products are computed again in float32 by a fixed order
// of operations (`device_exact_score`), and the best k of those are answered.
struct DeviceCodeSearch {
  const DeviceSpace* space;            // host memory
  const float* device_queries;         // [query_count, stride]
  const DeviceFilter* device_filters;  // [1 or query_count]
  const uint64_t* device_mask;         // as in DeviceSearch; nullptr: all rows
  uint64_t mask_stride_words;          // 0: one mask for all queries
  uint32_t filter_stride;              // 0: one filter for all queries, 1: one for each
  uint32_t query_count;
  uint32_t k, candidates;     // 1 <= k <= candidates <= device_search_k_max
  void* device_workspace;     // DeviceTable::code_search_workspace_bytes of it
  uint32_t* device_rows_out;  // [query_count, k]
  float* device_scores_out;   // [query_count, k]
};

enum class DeviceElement : uint32_t { float32 = 0, float16 = 1, bfloat16 = 2, byte = 3 };
constexpr uint32_t device_page_tokens = 16;
constexpr uint32_t device_group_tokens = 32;  // of one scale
constexpr uint32_t device_quantise_dim_max = 256;

// Tokens in pages: [plane][16][heads][dim], or [plane][heads][16][dim] where `heads_first`.
// Token t lies at slot (first + t) % 16 of page device_page_table[(first + t) / 16].
struct DevicePages {
  uint8_t* device_pages;  // [page_count][page_bytes]
  const uint32_t* device_page_table;
  uint64_t page_bytes;
  uint32_t first, heads_first;
};

// Rotation of the first 2 * half elements of each head, of planes 0, 2, 4 …
struct DeviceTurn {
  const float* device_cosines;  // [half]
  const float* device_sines;
  uint32_t half;   // 0: nothing is turned
  uint32_t pairs;  // 1: elements 2 i and 2 i + 1 turn together, 0: i and i + half
};

// Between pages and planes that lie contiguous or strided. Elements of one head are contiguous.
struct DevicePageCopy {
  DevicePages pages;
  uint8_t* device_planes;
  uint64_t plane_stride, token_stride, head_stride;  // bytes
  uint32_t planes, tokens, heads, dim;
  DeviceElement element;
  uint32_t to_pages;  // 1: from the planes into the pages
  DeviceTurn turn;    // on the way, in float32; not of bytes
};

// KIVI of whole groups of 32 tokens: for each layer and group, for each head the scales and zeros
// of the keys (float32 [dim] each) and their codes, then for each head those of the values
// (float32 [32] each), as latent/transform.hpp packs them. Float32 pages.
struct DeviceQuantise {
  DevicePages pages;
  uint8_t* device_packed;
  uint32_t layers, groups, heads, dim;  // dim: even, at most device_quantise_dim_max
  uint32_t bits;                        // 8 or 4
  uint32_t to_pages;                    // 1: from codes into the pages
  uint32_t* device_not_finite;          // [1], raised by 1 for each head of a group that can't be
};

// e = h W, scaled to `norm` (LatentMAS).
struct DeviceRealign {
  const float* device_hidden;  // [count, dim]
  const float* device_matrix;  // [dim, dim]
  float* device_out;           // [count, dim]; other memory than hidden
  uint32_t count, dim;
  float norm;
  uint32_t zero;
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
  // A stream that the default one doesn't wait for. destroy waits for its work.
  int32_t (*stream_create)(void** stream_out);
  int32_t (*stream_destroy)(void* stream);
  // What `stream` does from now on comes after everything that `before` was given so far.
  int32_t (*stream_after)(void* stream, void* before);
  uint64_t (*search_workspace_bytes)(const DeviceSearch* search);
  int32_t (*search)(const DeviceSearch* search, void* stream);
  int32_t (*write_rows)(const DeviceSpace* space, const DeviceRows* rows, void* stream);
  uint64_t (*code_search_workspace_bytes)(const DeviceCodeSearch* search);
  int32_t (*code_search)(const DeviceCodeSearch* search, void* stream);
  int32_t (*fill)(void* device_memory, uint8_t value, uint64_t size_bytes, void* stream);
  // Host memory that copies reach past the processor: they read or write it when their turn comes.
  int32_t (*allocate_pinned)(uint64_t size_bytes, void** memory_out);
  int32_t (*release_pinned)(void* memory);
  int32_t (*copy_pages)(const DevicePageCopy* copy, void* stream);
  int32_t (*quantise_pages)(const DeviceQuantise* job, void* stream);
  int32_t (*realign)(const DeviceRealign* job, void* stream);
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
