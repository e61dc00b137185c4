// Batched masked top-k of inner products in float32: tiles of queries and rows meet in shared
// memory, each query keeps its best k so far, and a second device kernel merges what the splits of
// the rows found.
#include <cstdint>

#include "capability/best_list.cuh"
#include "capability/search_cuda.cuh"
#include "errors.cuh"
#include "simt.cuh"

namespace hanse {
namespace {

constexpr uint32_t threads_in_block = 256;
constexpr uint32_t warps_in_block = threads_in_block / warp_size;
constexpr uint32_t queries_in_block = 32;
constexpr uint32_t rows_in_tile = 128;
constexpr uint32_t depth = 16;          // dimensions in shared memory at a time
constexpr uint32_t thread_queries = 4;  // a thread owns 4 x 4 scores
constexpr uint32_t thread_rows = 4;
constexpr uint32_t query_pitch = queries_in_block + 4;  // keeps float4 aligned, spreads the banks
constexpr uint32_t row_pitch = rows_in_tile + 4;
constexpr uint32_t score_pitch = rows_in_tile + 1;
constexpr uint32_t splits_max = 64;
constexpr uint32_t blocks_wanted = 512;  // some for each multiprocessor of the devices we build for

static_assert(queries_in_block / thread_queries * (rows_in_tile / thread_rows) == threads_in_block);

// A query's best so far, sorted: higher score first, then lower row.
struct Lists {
  float scores[queries_in_block][k_max];
  uint32_t rows[queries_in_block][k_max];
};

struct Tiles {
  alignas(16) float queries[depth][query_pitch];
  alignas(16) float rows[depth][row_pitch];
  float scores[queries_in_block][score_pitch];
};

// Copies `depth` dimensions of `count` rows, transposed; rows past `limit` are zeros. One thread
// moves one float4 at a time.
template <uint32_t count, uint32_t pitch>
__device__ void load_tile(const float* source, uint32_t first, uint32_t limit, uint32_t stride,
                          uint32_t d, float (*tile)[pitch]) {
  for (uint32_t i = threadIdx.x; i < count * depth / 4; i += threads_in_block) {
    const uint32_t row = i / (depth / 4), part = i % (depth / 4) * 4;
    float4 value = make_float4(0, 0, 0, 0);
    if (first + row < limit)
      value = *reinterpret_cast<const float4*>(source + size_t(first + row) * stride + d + part);
    tile[part][row] = value.x;
    tile[part + 1][row] = value.y;
    tile[part + 2][row] = value.z;
    tile[part + 3][row] = value.w;
  }
}

// One block: the scores of its queries and one tile of rows, into shared memory. One thread owns 4
// queries x 4 rows.
__device__ void score_tile(const DeviceSearch& search, uint32_t first_query, uint32_t first_row,
                           Tiles& tiles) {
  const uint32_t query = threadIdx.x / (rows_in_tile / thread_rows) * thread_queries;
  const uint32_t row = threadIdx.x % (rows_in_tile / thread_rows) * thread_rows;
  float sums[thread_queries][thread_rows] = {};
  for (uint32_t d = 0; d < search.stride; d += depth) {
    __syncthreads();  // the last depth, or the last tile's scores, have been read
    load_tile<queries_in_block>(search.device_queries, first_query, search.query_count,
                                search.stride, d, tiles.queries);
    load_tile<rows_in_tile>(search.device_vectors, first_row, search.row_count, search.stride, d,
                            tiles.rows);
    __syncthreads();
    for (uint32_t i = 0; i < depth; ++i) {
      const float4 q = *reinterpret_cast<const float4*>(&tiles.queries[i][query]);
      const float4 r = *reinterpret_cast<const float4*>(&tiles.rows[i][row]);
      const float qs[thread_queries] = {q.x, q.y, q.z, q.w};
      const float rs[thread_rows] = {r.x, r.y, r.z, r.w};
#pragma unroll
      for (uint32_t a = 0; a < thread_queries; ++a)
#pragma unroll
        for (uint32_t b = 0; b < thread_rows; ++b) sums[a][b] += qs[a] * rs[b];
    }
  }
#pragma unroll
  for (uint32_t a = 0; a < thread_queries; ++a)
#pragma unroll
    for (uint32_t b = 0; b < thread_rows; ++b) tiles.scores[query + a][row + b] = sums[a][b];
  __syncthreads();
}

__device__ bool feasible(const DeviceSearch& search, uint32_t query, uint32_t row) {
  if (row >= search.row_count) return false;
  if (search.device_mask == nullptr) return true;
  const uint64_t word = search.device_mask[query * search.mask_stride_words + row / 64];
  return (word >> row % 64 & 1) != 0;
}

// One warp, one query: takes those of a tile's scores that belong to the best k.
__device__ void keep_best(const DeviceSearch& search, uint32_t query, uint32_t first_row,
                          const float* scores, float* best_scores, uint32_t* best_rows) {
  for (uint32_t i = threadIdx.x % warp_size; i < rows_in_tile; i += warp_size) {
    const uint32_t row = first_row + i;
    const bool better =
        goes_before(scores[i], row, best_scores[search.k - 1], best_rows[search.k - 1]) &&
        feasible(search, query, row);
    for (uint32_t left = __ballot_sync(full_warp, better); left != 0; left &= left - 1) {
      const int lane = __ffs(int(left)) - 1;
      insert(best_scores, best_rows, __shfl_sync(full_warp, scores[i], lane),
             __shfl_sync(full_warp, row, lane));
    }
  }
}

// One block: 32 queries (blockIdx.x) against one split of the rows (blockIdx.y). One warp keeps the
// lists of 4 queries. Writes lists of k to the workspace, [split][query][k].
__global__ void __launch_bounds__(threads_in_block)
    search_split(DeviceSearch search, uint32_t rows_in_split, float* scores_out,
                 uint32_t* rows_out) {
  __shared__ Tiles tiles;
  __shared__ Lists lists;
  const uint32_t warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const uint32_t first_query = blockIdx.x * queries_in_block;
  for (uint32_t q = warp; q < queries_in_block; q += warps_in_block)
    clear(lists.scores[q], lists.rows[q]);

  const uint32_t split_first = blockIdx.y * rows_in_split;
  const uint32_t split_end = min(search.row_count, split_first + rows_in_split);
  for (uint32_t first = split_first; first < split_end; first += rows_in_tile) {
    score_tile(search, first_query, first, tiles);
    for (uint32_t q = warp; q < queries_in_block; q += warps_in_block)
      if (first_query + q < search.query_count)
        keep_best(search, first_query + q, first, tiles.scores[q], lists.scores[q], lists.rows[q]);
  }

  for (uint32_t q = warp; q < queries_in_block; q += warps_in_block) {
    if (first_query + q >= search.query_count) continue;
    const size_t out = (size_t(blockIdx.y) * search.query_count + first_query + q) * search.k;
    for (uint32_t i = lane; i < search.k; i += warp_size) {
      scores_out[out + i] = lists.scores[q][i];
      rows_out[out + i] = lists.rows[q][i];
    }
  }
}

// One warp a query, 8 queries a block: merges the lists of all splits.
__global__ void __launch_bounds__(threads_in_block)
    merge_splits(DeviceSearch search, uint32_t split_count, const float* scores,
                 const uint32_t* rows) {
  __shared__ float best_scores[warps_in_block][k_max];
  __shared__ uint32_t best_rows[warps_in_block][k_max];
  const uint32_t warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const uint32_t query = blockIdx.x * warps_in_block + warp;
  if (query >= search.query_count) return;  // whole warps, and no block-wide barrier follows

  clear(best_scores[warp], best_rows[warp]);
  for (uint32_t split = 0; split < split_count; ++split) {
    const size_t list = (size_t(split) * search.query_count + query) * search.k;
    for (uint32_t i = 0; i < search.k; ++i) {
      const float score = scores[list + i];
      const uint32_t row = rows[list + i];
      if (!goes_before(score, row, best_scores[warp][search.k - 1], best_rows[warp][search.k - 1]))
        break;  // the list is sorted
      insert(best_scores[warp], best_rows[warp], score, row);
    }
  }
  for (uint32_t i = lane; i < search.k; i += warp_size) {
    search.device_scores_out[size_t(query) * search.k + i] = best_scores[warp][i];
    search.device_rows_out[size_t(query) * search.k + i] = best_rows[warp][i];
  }
}

struct Shape {
  uint32_t query_blocks, rows_in_split, split_count;
};

// Enough blocks to fill the device; a split is whole tiles.
Shape shape_of(const DeviceSearch& search) {
  const uint32_t query_blocks = (search.query_count + queries_in_block - 1) / queries_in_block;
  const uint32_t tiles = (search.row_count + rows_in_tile - 1) / rows_in_tile;
  uint32_t splits = (blocks_wanted + query_blocks - 1) / query_blocks;
  if (splits > splits_max) splits = splits_max;
  if (splits > tiles) splits = tiles == 0 ? 1 : tiles;
  const uint32_t tiles_in_split = (tiles + splits - 1) / splits;
  const uint32_t used = tiles == 0 ? 1 : (tiles + tiles_in_split - 1) / tiles_in_split;
  return {query_blocks, tiles_in_split * rows_in_tile, used};
}

}  // namespace

uint64_t search_cuda_workspace_bytes(const DeviceSearch* search) {
  return uint64_t(shape_of(*search).split_count) * search->query_count * search->k *
         (sizeof(float) + sizeof(uint32_t));
}

int32_t search_cuda(const DeviceSearch* search, void* stream) {
  // The host checks what it passes; this keeps a mistake there from reading out of bounds here.
  if (search->k == 0 || search->k > k_max || search->stride % depth != 0)
    return int32_t(cudaErrorInvalidValue);
  if (search->query_count == 0) return 0;
  const Shape shape = shape_of(*search);
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  auto* scores = static_cast<float*>(search->device_workspace);
  auto* rows = reinterpret_cast<uint32_t*>(scores + size_t(shape.split_count) *
                                                        search->query_count * search->k);

  HANSE_LAUNCH(search_split, dim3(shape.query_blocks, shape.split_count), threads_in_block, 0,
               cuda_stream, *search, shape.rows_in_split, scores, rows);
  HANSE_CUDA(cudaGetLastError());
  const uint32_t merge_blocks = (search->query_count + warps_in_block - 1) / warps_in_block;
  HANSE_LAUNCH(merge_splits, merge_blocks, threads_in_block, 0, cuda_stream, *search,
               shape.split_count, scores, rows);
  HANSE_CUDA(cudaGetLastError());
  return 0;
}

}  // namespace hanse
