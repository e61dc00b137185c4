// Gather and scatter between pages and planes, with the rotation of keys on the way.
#include "errors.cuh"
#include "latent/elements.cuh"
#include "latent/pages_cuda.cuh"

namespace hanse {
namespace {

constexpr uint32_t threads_in_block = 256;
constexpr uint32_t warps_in_block = threads_in_block / warp_size;
constexpr uint32_t blocks_max = 4096;  // each warp goes on with the next rows

// One warp: one head of one token as it is, 16 bytes a lane where both sides allow it.
__device__ void copy_row(uint8_t* to, const uint8_t* from, uint32_t size_bytes) {
  const uint32_t lane = threadIdx.x % warp_size;
  const uint64_t places = reinterpret_cast<uint64_t>(to) | reinterpret_cast<uint64_t>(from);
  if ((places | size_bytes) % 16 == 0) {
    for (uint32_t i = lane; i < size_bytes / 16; i += warp_size)
      reinterpret_cast<uint4*>(to)[i] = reinterpret_cast<const uint4*>(from)[i];
  } else if ((places | size_bytes) % 4 == 0) {
    for (uint32_t i = lane; i < size_bytes / 4; i += warp_size)
      reinterpret_cast<uint32_t*>(to)[i] = reinterpret_cast<const uint32_t*>(from)[i];
  } else {
    for (uint32_t i = lane; i < size_bytes; i += warp_size) to[i] = from[i];
  }
}

// One warp: the same, turned. Products are not fused with sums, as on the CPU.
__device__ void turn_row(uint8_t* to, const uint8_t* from, const DevicePageCopy& copy) {
  const uint32_t lane = threadIdx.x % warp_size, half = copy.turn.half;
  for (uint32_t i = lane; i < half; i += warp_size) {
    const uint32_t a = copy.turn.pairs != 0 ? 2 * i : i;
    const uint32_t b = copy.turn.pairs != 0 ? 2 * i + 1 : i + half;
    const float x = load_element(from, a, copy.element), y = load_element(from, b, copy.element);
    const float c = copy.turn.device_cosines[i], s = copy.turn.device_sines[i];
    store_element(to, a, copy.element, __fsub_rn(__fmul_rn(x, c), __fmul_rn(y, s)));
    store_element(to, b, copy.element, __fadd_rn(__fmul_rn(y, c), __fmul_rn(x, s)));
  }
  for (uint32_t i = 2 * half + lane; i < copy.dim; i += warp_size)
    store_element(to, i, copy.element, load_element(from, i, copy.element));
}

// One warp a row: one head of one token of one plane.
__global__ void __launch_bounds__(threads_in_block) copy_pages(DevicePageCopy copy) {
  const uint64_t rows = uint64_t(copy.planes) * copy.tokens * copy.heads;
  const uint64_t dim_bytes = uint64_t(copy.dim) * element_bytes(copy.element);
  const uint64_t step = uint64_t(gridDim.x) * warps_in_block;
  for (uint64_t row = uint64_t(blockIdx.x) * warps_in_block + threadIdx.x / warp_size; row < rows;
       row += step) {
    const uint32_t head = uint32_t(row % copy.heads);
    const uint32_t token = uint32_t(row / copy.heads % copy.tokens);
    const uint32_t plane = uint32_t(row / copy.heads / copy.tokens);
    uint8_t* paged = page_row(copy.pages, plane, token, head, copy.heads, dim_bytes);
    uint8_t* flat = copy.device_planes + plane * copy.plane_stride + token * copy.token_stride +
                    head * copy.head_stride;
    uint8_t* to = copy.to_pages != 0 ? paged : flat;
    const uint8_t* from = copy.to_pages != 0 ? flat : paged;
    if (copy.turn.half != 0 && plane % 2 == 0)
      turn_row(to, from, copy);
    else
      copy_row(to, from, uint32_t(dim_bytes));
  }
}

}  // namespace

int32_t copy_pages_cuda(const DevicePageCopy* copy, void* stream) {
  const bool turned = copy->turn.half != 0;
  if (uint32_t(copy->element) > uint32_t(DeviceElement::byte) || copy->turn.half > copy->dim / 2 ||
      (turned && copy->element == DeviceElement::byte))
    return int32_t(cudaErrorInvalidValue);
  const uint64_t rows = uint64_t(copy->planes) * copy->tokens * copy->heads;
  if (rows == 0 || copy->dim == 0) return 0;
  const uint64_t blocks = (rows + warps_in_block - 1) / warps_in_block;
  HANSE_LAUNCH(copy_pages, uint32_t(blocks < blocks_max ? blocks : blocks_max), threads_in_block, 0,
               static_cast<cudaStream_t>(stream), *copy);
  HANSE_CUDA(cudaGetLastError());
  return 0;
}

}  // namespace hanse
