// Writes rows of a resident space in place: codes, vectors and columns.
#include "capability/code_search.cuh"
#include "capability/codes.cuh"
#include "errors.cuh"

namespace hanse {
namespace {

constexpr uint32_t threads_in_block = 256;
constexpr uint32_t warps_in_block = threads_in_block / warp_size;

// One warp a row.
__global__ void __launch_bounds__(threads_in_block) write_rows(DeviceSpace space, DeviceRows rows) {
  const uint32_t lane = threadIdx.x % warp_size;
  const uint32_t i = blockIdx.x * warps_in_block + threadIdx.x / warp_size;
  if (i >= rows.count) return;
  const uint32_t row = rows.device_rows[i];
  if (rows.device_vectors != nullptr) {
    const float* from = rows.device_vectors + size_t(i) * space.stride;
    float* to = space.device_vectors + size_t(row) * space.stride;
    for (uint32_t d = lane; d < space.stride; d += warp_size) to[d] = from[d];
    uint8_t* codes = static_cast<uint8_t*>(space.device_codes) +
                     size_t(row) * code_row_bytes(space.stride, space.format);
    encode_row(from, space.stride, space.format, codes, space.device_scales + row);
  }
  if (lane != 0) return;
  space.device_prices[row] = rows.device_prices[i];
  space.device_skills[row] = rows.device_skills[i];
  space.device_policy_bits[row] = rows.device_policy_bits[i];
  space.device_tenants[row] = rows.device_tenants[i];
  space.device_regions[row] = rows.device_regions[i];
  space.device_tiers[row] = rows.device_tiers[i];
  space.device_live[row] = rows.device_live[i];
}

}  // namespace

int32_t write_rows_cuda(const DeviceSpace* space, const DeviceRows* rows, void* stream) {
  if (space->stride == 0 || space->stride % device_stride_multiple != 0)
    return int32_t(cudaErrorInvalidValue);
  if (rows->count == 0) return 0;
  const uint32_t blocks = (rows->count + warps_in_block - 1) / warps_in_block;
  HANSE_LAUNCH(write_rows, blocks, threads_in_block, 0, static_cast<cudaStream_t>(stream), *space,
               *rows);
  HANSE_CUDA(cudaGetLastError());
  return 0;
}

}  // namespace hanse
