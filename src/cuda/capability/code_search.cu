// Batched masked top-k with tensor cores. Tiles of query codes and row codes come into shared
// memory by asynchronous copies, two stages in turn; their products become scores, each query keeps
// its best, and the best are ranked again by their exact float32 products in a fixed order.
#include "capability/code_search.cuh"

#include "capability/codes.cuh"
#include "errors.cuh"

namespace hanse {
namespace {

constexpr uint32_t threads_in_block = 256;
constexpr uint32_t warps_in_block = threads_in_block / warp_size;
constexpr uint32_t queries_in_block = 64;
constexpr uint32_t rows_in_tile = 64;
constexpr uint32_t depth_bytes = 64;                // of each row in shared memory at a time
constexpr uint32_t depth_pitch = depth_bytes + 16;  // rows 20 words apart: no bank is asked twice
constexpr uint32_t score_pitch = rows_in_tile + 1;
constexpr uint32_t product_bytes = 32;  // of each row in one product
constexpr uint32_t product_queries = 16, product_rows = 8;
constexpr uint32_t warp_rows = 32;  // a warp owns 16 queries x 32 rows of a tile
constexpr uint32_t warp_products = warp_rows / product_rows;
constexpr uint32_t splits_max = 64;
constexpr uint32_t blocks_wanted = 512;
// Shared memory lets three blocks stand on a multiprocessor of 228 KiB. Left alone ptxas goes for
// six on sm_100 and spills.
constexpr uint32_t blocks_at_once = 3;

static_assert(queries_in_block / product_queries * (rows_in_tile / warp_rows) == warps_in_block);
static_assert(queries_in_block * depth_bytes / 16 == threads_in_block, "a thread copies 16 bytes");
static_assert(rows_in_tile * depth_bytes / 16 == threads_in_block, "a thread copies 16 bytes");

struct Stage {
  uint8_t queries[queries_in_block][depth_pitch];
  uint8_t rows[rows_in_tile][depth_pitch];
};

struct alignas(16) BlockMemory {
  Stage stages[2];
  float scores[queries_in_block][score_pitch];
  float best_scores[queries_in_block][k_max];
  uint32_t best_rows[queries_in_block][k_max];
};

static_assert((sizeof(BlockMemory) + 1024) * blocks_at_once <= 228 << 10,
              "a block takes 1 KiB more");

struct Int8 {
  using Sum = int32_t;
  static __device__ void multiply(Sum (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    multiply_s8(sums, a, b);
  }
};
struct Bfloat16 {
  using Sum = float;
  static __device__ void multiply(Sum (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    multiply_bf16(sums, a, b);
  }
};

// What every kernel here gets.
struct Job {
  DeviceSpace space;
  DeviceCodeSearch search;  // its `space` is of the host
  const uint8_t* query_codes;
  uint32_t row_bytes;
  uint32_t rows_in_split, split_count;
  float* split_scores;   // [split][query][candidates]
  uint32_t* split_rows;  // the same
};

// One block asks for one stage: 64 bytes each of its queries and of the tile's rows.
__device__ void ask_stage(const Job& job, uint32_t first_query, uint32_t first_row, uint32_t offset,
                          Stage& stage) {
  const uint32_t line = threadIdx.x / (depth_bytes / 16),
                 part = threadIdx.x % (depth_bytes / 16) * 16;
  const uint32_t query = first_query + line, row = first_row + line;
  const bool no_query = query >= job.search.query_count, no_row = row >= job.space.row_count;
  copy_async_16(&stage.queries[line][part],
                job.query_codes + size_t(no_query ? 0 : query) * job.row_bytes + offset + part,
                no_query);
  copy_async_16(&stage.rows[line][part],
                static_cast<const uint8_t*>(job.space.device_codes) +
                    size_t(no_row ? 0 : row) * job.row_bytes + offset + part,
                no_row);
}

__device__ uint32_t word_at(const uint8_t* bytes) {
  return *reinterpret_cast<const uint32_t*>(bytes);
}

// One warp: its 16 queries x 32 rows over the 64 bytes of a stage.
template <class Format>
__device__ void multiply_stage(const Stage& stage, typename Format::Sum (&sums)[warp_products][4]) {
  const uint32_t warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const uint32_t query = warp % 4 * product_queries + lane / 4,
                 row = warp / 4 * warp_rows + lane / 4;
#pragma unroll
  for (uint32_t first = 0; first < depth_bytes; first += product_bytes) {
    const uint32_t byte = first + lane % 4 * 4;
    const uint32_t a[4] = {
        word_at(&stage.queries[query][byte]), word_at(&stage.queries[query + 8][byte]),
        word_at(&stage.queries[query][byte + 16]), word_at(&stage.queries[query + 8][byte + 16])};
#pragma unroll
    for (uint32_t j = 0; j < warp_products; ++j) {
      const uint32_t b[2] = {word_at(&stage.rows[row + j * product_rows][byte]),
                             word_at(&stage.rows[row + j * product_rows][byte + 16])};
      Format::multiply(sums[j], a, b);
    }
  }
}

// A query's own scale is left out: it changes no order.
template <class Sum>
__device__ void store_scores(const Job& job, uint32_t first_row,
                             const Sum (&sums)[warp_products][4], BlockMemory& memory) {
  const uint32_t warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const uint32_t query = warp % 4 * product_queries + lane / 4;
#pragma unroll
  for (uint32_t j = 0; j < warp_products; ++j) {
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t row = warp / 4 * warp_rows + j * product_rows + lane % 4 * 2 + i % 2;
      const bool there = first_row + row < job.space.row_count;
      const float scale = there ? job.space.device_scales[first_row + row] : 0;
      memory.scores[query + i / 2 * 8][row] = __fmul_rn(float(sums[j][i]), scale);
    }
  }
}

__device__ bool passes(const DeviceSpace& space, const DeviceFilter& filter, uint32_t row) {
  if (space.device_live[row] == 0 || space.device_prices[row] > filter.price_max) return false;
  const uint64_t skills = space.device_skills[row], policy = space.device_policy_bits[row];
  if ((skills & filter.skills_all) != filter.skills_all || (skills & filter.skills_none) != 0)
    return false;
  if (filter.skills_any != 0 && (skills & filter.skills_any) == 0) return false;
  if ((policy & filter.policy_all) != filter.policy_all || (policy & filter.policy_none) != 0)
    return false;
  const uint32_t tier = space.device_tiers[row];
  if (tier < filter.tier_min || tier > filter.tier_max) return false;
  if (filter.region != UINT32_MAX && space.device_regions[row] != filter.region) return false;
  return filter.tenant == UINT32_MAX || space.device_tenants[row] == filter.tenant;
}

__device__ bool feasible(const Job& job, uint32_t query, uint32_t row) {
  if (row >= job.space.row_count) return false;
  if (job.search.device_mask != nullptr) {
    const uint64_t word = job.search.device_mask[query * job.search.mask_stride_words + row / 64];
    if ((word >> row % 64 & 1) == 0) return false;
  }
  return passes(job.space, job.search.device_filters[query * job.search.filter_stride], row);
}

// One warp, one query. The filter is asked only of rows that would enter the list: few after the
// first tiles, so that the columns cost next to nothing beside the codes.
__device__ void keep_best(const Job& job, uint32_t query, uint32_t first_row, const float* scores,
                          float* best_scores, uint32_t* best_rows) {
  const uint32_t last = job.search.candidates - 1;
  for (uint32_t i = threadIdx.x % warp_size; i < rows_in_tile; i += warp_size) {
    const uint32_t row = first_row + i;
    const bool better = goes_before(scores[i], row, best_scores[last], best_rows[last]) &&
                        feasible(job, query, row);
    for (uint32_t left = __ballot_sync(full_warp, better); left != 0; left &= left - 1) {
      const int lane = __ffs(int(left)) - 1;
      insert(best_scores, best_rows, __shfl_sync(full_warp, scores[i], lane),
             __shfl_sync(full_warp, row, lane));
    }
  }
}

// One warp writes the lists of its queries to the workspace.
__device__ void store_lists(const Job& job, uint32_t first_query, const BlockMemory& memory) {
  const uint32_t warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  for (uint32_t q = warp; q < queries_in_block; q += warps_in_block) {
    if (first_query + q >= job.search.query_count) continue;
    const size_t out =
        (size_t(blockIdx.y) * job.search.query_count + first_query + q) * job.search.candidates;
    for (uint32_t i = lane; i < job.search.candidates; i += warp_size) {
      job.split_scores[out + i] = memory.best_scores[q][i];
      job.split_rows[out + i] = memory.best_rows[q][i];
    }
  }
}

// One block: 64 queries (blockIdx.x) against one split of the rows (blockIdx.y).
template <class Format>
__global__ void __launch_bounds__(threads_in_block, blocks_at_once) score_split(Job job) {
  HANSE_DYNAMIC_SHARED(bytes);
  BlockMemory& memory = *reinterpret_cast<BlockMemory*>(bytes);
  const uint32_t warp = threadIdx.x / warp_size;
  const uint32_t first_query = blockIdx.x * queries_in_block;
  for (uint32_t q = warp; q < queries_in_block; q += warps_in_block)
    clear(memory.best_scores[q], memory.best_rows[q]);

  const uint32_t split_first = blockIdx.y * job.rows_in_split;
  const uint32_t split_end = min(job.space.row_count, split_first + job.rows_in_split);
  const uint32_t steps_in_tile = job.row_bytes / depth_bytes;
  const uint32_t tiles = (split_end - split_first + rows_in_tile - 1) / rows_in_tile;
  typename Format::Sum sums[warp_products][4] = {};
  if (tiles > 0) ask_stage(job, first_query, split_first, 0, memory.stages[0]);
  copy_async_commit();
  for (uint32_t step = 0; step < tiles * steps_in_tile; ++step) {
    const uint32_t next = step + 1, first_row = split_first + step / steps_in_tile * rows_in_tile;
    if (next < tiles * steps_in_tile)
      ask_stage(job, first_query, split_first + next / steps_in_tile * rows_in_tile,
                next % steps_in_tile * depth_bytes, memory.stages[next % 2]);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();  // what all threads asked for this step is there
    multiply_stage<Format>(memory.stages[step % 2], sums);
    if (next % steps_in_tile == 0) {
      store_scores(job, first_row, sums, memory);
      for (auto& product : sums)
        for (auto& sum : product) sum = 0;
      __syncthreads();  // all scores of the tile are there
      for (uint32_t q = warp; q < queries_in_block; q += warps_in_block)
        if (first_query + q < job.search.query_count)
          keep_best(job, first_query + q, first_row, memory.scores[q], memory.best_scores[q],
                    memory.best_rows[q]);
    }
    __syncthreads();  // this stage, and the scores, may be written again
  }
  store_lists(job, first_query, memory);
}

// One warp a query: its codes.
__global__ void __launch_bounds__(threads_in_block)
    encode_queries(const float* queries, uint32_t query_count, uint32_t stride, DeviceFormat format,
                   uint8_t* codes, float* scales) {
  const uint32_t query = blockIdx.x * warps_in_block + threadIdx.x / warp_size;
  if (query >= query_count) return;
  encode_row(queries + size_t(query) * stride, stride, format,
             codes + size_t(query) * code_row_bytes(stride, format), scales + query);
}

// One warp: the inner product in the order that every device and the CPU follow: lane l sums
// elements 4 l … 4 l + 3 of every 128 by fused steps, then lanes 16, 8, 4, 2, 1 apart are added.
__device__ float exact_score(const float* query, const float* vector, uint32_t stride) {
  const float4* a = reinterpret_cast<const float4*>(query);
  const float4* b = reinterpret_cast<const float4*>(vector);
  float sum = 0;
  for (uint32_t i = threadIdx.x % warp_size; i < stride / 4; i += warp_size) {
    const float4 x = a[i], y = b[i];
    sum = __fmaf_rn(x.w, y.w, __fmaf_rn(x.z, y.z, __fmaf_rn(x.y, y.y, __fmaf_rn(x.x, y.x, sum))));
  }
  for (int step = warp_size / 2; step > 0; step /= 2)
    sum = __fadd_rn(sum, __shfl_xor_sync(full_warp, sum, step));
  return sum;
}

// One warp a query, 8 a block: merges the lists of all splits, ranks what is left anew.
__global__ void __launch_bounds__(threads_in_block) rank_candidates(Job job) {
  __shared__ float best_scores[warps_in_block][k_max], exact_scores[warps_in_block][k_max];
  __shared__ uint32_t best_rows[warps_in_block][k_max], exact_rows[warps_in_block][k_max];
  const uint32_t warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  const uint32_t query = blockIdx.x * warps_in_block + warp;
  const uint32_t kept = job.search.candidates;
  if (query >= job.search.query_count) return;  // whole warps, and no block-wide barrier follows

  clear(best_scores[warp], best_rows[warp]);
  for (uint32_t split = 0; split < job.split_count; ++split) {
    const size_t list = (size_t(split) * job.search.query_count + query) * kept;
    for (uint32_t i = 0; i < kept; ++i) {
      const float score = job.split_scores[list + i];
      const uint32_t row = job.split_rows[list + i];
      if (!goes_before(score, row, best_scores[warp][kept - 1], best_rows[warp][kept - 1]))
        break;  // the list is sorted
      insert(best_scores[warp], best_rows[warp], score, row);
    }
  }
  clear(exact_scores[warp], exact_rows[warp]);
  for (uint32_t i = 0; i < kept; ++i) {
    const uint32_t row = best_rows[warp][i];
    if (row == row_none) break;
    insert(exact_scores[warp], exact_rows[warp],
           exact_score(job.search.device_queries + size_t(query) * job.space.stride,
                       job.space.device_vectors + size_t(row) * job.space.stride, job.space.stride),
           row);
  }
  for (uint32_t i = lane; i < job.search.k; i += warp_size) {
    job.search.device_scores_out[size_t(query) * job.search.k + i] = exact_scores[warp][i];
    job.search.device_rows_out[size_t(query) * job.search.k + i] = exact_rows[warp][i];
  }
}

uint64_t aligned(uint64_t size_bytes) { return (size_bytes + 255) / 256 * 256; }
uint32_t row_bytes_of(const DeviceSpace& space) {
  return space.stride * (space.format == DeviceFormat::bfloat16 ? 2 : 1);
}

struct Shape {
  uint32_t query_blocks, rows_in_split, split_count;
};

// Enough blocks to fill the device; a split is whole tiles.
Shape shape_of(const DeviceCodeSearch& search) {
  const uint32_t query_blocks = (search.query_count + queries_in_block - 1) / queries_in_block;
  const uint32_t tiles = (search.space->row_count + rows_in_tile - 1) / rows_in_tile;
  if (query_blocks == 0 || tiles == 0) return {query_blocks, rows_in_tile, 1};
  uint32_t splits = (blocks_wanted + query_blocks - 1) / query_blocks;
  if (splits > splits_max) splits = splits_max;
  if (splits > tiles) splits = tiles;
  const uint32_t tiles_in_split = (tiles + splits - 1) / splits;
  return {query_blocks, tiles_in_split * rows_in_tile,
          (tiles + tiles_in_split - 1) / tiles_in_split};
}

template <class Format>
cudaError_t launch_score(const Job& job, const Shape& shape, cudaStream_t stream) {
  if (const cudaError_t error =
          cudaFuncSetAttribute(score_split<Format>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               int(sizeof(BlockMemory)));
      error != cudaSuccess)
    return error;
  HANSE_LAUNCH(score_split<Format>, dim3(shape.query_blocks, shape.split_count), threads_in_block,
               sizeof(BlockMemory), stream, job);
  return cudaGetLastError();
}

}  // namespace

uint64_t code_search_workspace_bytes(const DeviceCodeSearch* search) {
  const uint64_t queries = search->query_count;
  return aligned(queries * row_bytes_of(*search->space)) + aligned(queries * sizeof(float)) +
         2 * aligned(shape_of(*search).split_count * queries * search->candidates * 4);
}

int32_t code_search_cuda(const DeviceCodeSearch* search, void* stream) {
  const DeviceSpace& space = *search->space;
  if (search->k == 0 || search->k > search->candidates || search->candidates > k_max ||
      space.stride == 0 || space.stride % device_stride_multiple != 0)
    return int32_t(cudaErrorInvalidValue);
  if (search->query_count == 0) return 0;
  const Shape shape = shape_of(*search);
  const uint64_t queries = search->query_count;
  auto* workspace = static_cast<uint8_t*>(search->device_workspace);
  auto* scales = reinterpret_cast<float*>(workspace + aligned(queries * row_bytes_of(space)));
  auto* lists = reinterpret_cast<uint8_t*>(scales) + aligned(queries * sizeof(float));
  Job job{space,
          *search,
          workspace,
          row_bytes_of(space),
          shape.rows_in_split,
          shape.split_count,
          reinterpret_cast<float*>(lists),
          reinterpret_cast<uint32_t*>(
              lists + aligned(shape.split_count * queries * search->candidates * 4))};
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const uint32_t query_warps = (search->query_count + warps_in_block - 1) / warps_in_block;
  HANSE_LAUNCH(encode_queries, query_warps, threads_in_block, 0, cuda_stream,
               search->device_queries, search->query_count, space.stride, space.format, workspace,
               scales);
  HANSE_CUDA(cudaGetLastError());
  HANSE_CUDA(space.format == DeviceFormat::bfloat16
                 ? launch_score<Bfloat16>(job, shape, cuda_stream)
                 : launch_score<Int8>(job, shape, cuda_stream));
  HANSE_LAUNCH(rank_candidates, query_warps, threads_in_block, 0, cuda_stream, job);
  HANSE_CUDA(cudaGetLastError());
  return 0;
}

}  // namespace hanse
