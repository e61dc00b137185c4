// The realignment product of LatentMAS: last hidden states to input embeddings of a given norm.
#include "errors.cuh"
#include "latent/pages_cuda.cuh"
#include "simt.cuh"

namespace hanse {
namespace {

constexpr uint32_t threads_in_block = 128;
constexpr uint32_t rows_in_block = 8;  // the matrix is read once for so many hidden states
constexpr uint32_t depth = 64;
constexpr float norm_min = 1e-6f;

// One block: 8 hidden states x 128 columns; a thread owns a column. Sums go on in the order of the
// matrix's rows, by fused steps, so that they don't depend on the shape of the launch.
__global__ void __launch_bounds__(threads_in_block) multiply_hidden(DeviceRealign job) {
  __shared__ float hidden[rows_in_block][depth];
  const uint32_t column = blockIdx.x * threads_in_block + threadIdx.x;
  const uint32_t first = blockIdx.y * rows_in_block;
  float sums[rows_in_block] = {};
  for (uint32_t d = 0; d < job.dim; d += depth) {
    __syncthreads();  // the last part has been read
    for (uint32_t i = threadIdx.x; i < rows_in_block * depth; i += threads_in_block) {
      const uint32_t row = i / depth, k = i % depth;
      const bool there = first + row < job.count && d + k < job.dim;
      hidden[row][k] = there ? job.device_hidden[uint64_t(first + row) * job.dim + d + k] : 0;
    }
    __syncthreads();  // this part is there
    for (uint32_t k = 0; k < depth && d + k < job.dim && column < job.dim; ++k) {
      const float weight = job.device_matrix[uint64_t(d + k) * job.dim + column];
#pragma unroll
      for (uint32_t row = 0; row < rows_in_block; ++row)
        sums[row] = __fmaf_rn(hidden[row][k], weight, sums[row]);
    }
  }
  if (column >= job.dim) return;
#pragma unroll
  for (uint32_t row = 0; row < rows_in_block; ++row)
    if (first + row < job.count)
      job.device_out[uint64_t(first + row) * job.dim + column] = sums[row];
}

// One warp a row: lane l sums the squares of elements l, l + 32, …, then lanes 16, 8, 4, 2, 1
// apart.
__global__ void __launch_bounds__(threads_in_block) rescale_rows(DeviceRealign job) {
  const uint32_t lane = threadIdx.x % warp_size;
  const uint32_t row = blockIdx.x * (threads_in_block / warp_size) + threadIdx.x / warp_size;
  if (row >= job.count) return;
  float* values = job.device_out + uint64_t(row) * job.dim;
  float squares = 0;
  for (uint32_t i = lane; i < job.dim; i += warp_size)
    squares = __fmaf_rn(values[i], values[i], squares);
  for (int step = warp_size / 2; step > 0; step /= 2)
    squares = __fadd_rn(squares, __shfl_xor_sync(full_warp, squares, step));
  const float factor = __fdiv_rn(job.norm, fmaxf(__fsqrt_rn(squares), norm_min));
  for (uint32_t i = lane; i < job.dim; i += warp_size) values[i] = __fmul_rn(values[i], factor);
}

}  // namespace

int32_t realign_cuda(const DeviceRealign* job, void* stream) {
  if (job->count == 0 || job->dim == 0) return 0;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  const uint32_t columns = (job->dim + threads_in_block - 1) / threads_in_block;
  const uint32_t rows = (job->count + rows_in_block - 1) / rows_in_block;
  if (rows > 65535) return int32_t(cudaErrorInvalidValue);
  HANSE_LAUNCH(multiply_hidden, dim3(columns, rows), threads_in_block, 0, cuda_stream, *job);
  HANSE_CUDA(cudaGetLastError());
  const uint32_t warps = threads_in_block / warp_size;
  HANSE_LAUNCH(rescale_rows, (job->count + warps - 1) / warps, threads_in_block, 0, cuda_stream,
               *job);
  HANSE_CUDA(cudaGetLastError());
  return 0;
}

}  // namespace hanse
