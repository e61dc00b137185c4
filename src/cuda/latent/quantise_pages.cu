// KIVI (Liu et al., ICML 2024) fused with the copy out of pages or back: keys by channel, values by
// token, 32 tokens a group. The same bytes as the CPU's packed blocks.
#include "errors.cuh"
#include "latent/elements.cuh"
#include "latent/pages_cuda.cuh"

namespace hanse {
namespace {

constexpr uint32_t threads_in_block = 256;
constexpr uint32_t warps_in_block = threads_in_block / warp_size;
constexpr uint32_t dim_max = device_quantise_dim_max;
constexpr uint32_t value_pitch = dim_max + 1;

static_assert(dim_max <= threads_in_block, "a thread owns a channel");

// One head of one group.
struct GroupMemory {
  float values[device_group_tokens][value_pitch];
  float scales[dim_max], zeros[dim_max], inverses[dim_max];  // by channel, or by token
};

// Where one block works, and where its codes lie.
struct Place {
  uint32_t layer, group, head, plane, scale_count;
  bool keys;
  uint32_t code_bytes;  // of one token
  uint8_t* packed;
};

__device__ Place place_of(const DeviceQuantise& job) {
  Place place{};
  place.head = blockIdx.x % job.heads;
  place.group = blockIdx.x / job.heads % job.groups;
  place.layer = blockIdx.x / job.heads / job.groups;
  place.keys = blockIdx.y == 0;
  place.plane = 2 * place.layer + blockIdx.y;
  place.scale_count = place.keys ? job.dim : device_group_tokens;
  place.code_bytes = job.dim * job.bits / 8;
  const uint64_t codes = uint64_t(device_group_tokens) * place.code_bytes;
  const uint64_t key_bytes = 8ull * job.dim + codes,
                 value_bytes = 8ull * device_group_tokens + codes;
  place.packed =
      job.device_packed +
      (uint64_t(place.layer) * job.groups + place.group) * job.heads * (key_bytes + value_bytes) +
      (place.keys ? place.head * key_bytes : job.heads * key_bytes + place.head * value_bytes);
  return place;
}

__device__ float* row_of(const DeviceQuantise& job, const Place& place, uint32_t token) {
  return reinterpret_cast<float*>(page_row(job.pages, place.plane,
                                           place.group * device_group_tokens + token, place.head,
                                           job.heads, uint64_t(job.dim) * sizeof(float)));
}

// The extremes of `count` values `step` apart; the scale, its inverse and the zero of them.
__device__ void measure(const float* values, uint32_t count, uint32_t step, float levels,
                        uint32_t slot, GroupMemory& memory, uint32_t* not_finite) {
  float low = values[0], high = values[0], spoiled = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const float value = values[i * step];
    low = value < low ? value : low;
    high = value > high ? value : high;
    spoiled = __fadd_rn(spoiled, __fmul_rn(value, 0.0f));
  }
  const float range = __fsub_rn(high, low);
  memory.scales[slot] = __fdiv_rn(range, levels);
  memory.inverses[slot] = range > 0 ? __fdiv_rn(levels, range) : 0;
  memory.zeros[slot] = low;
  if (!(spoiled == 0) || !(memory.scales[slot] * 0 == 0)) atomicAdd(not_finite, 1u);
}

__device__ uint32_t code_of(const GroupMemory& memory, const Place& place, uint32_t token,
                            uint32_t i) {
  const uint32_t slot = place.keys ? i : token;
  return uint32_t(int32_t(__fadd_rn(
      __fmul_rn(__fsub_rn(memory.values[token][i], memory.zeros[slot]), memory.inverses[slot]),
      0.5f)));
}

// One block: one head of the keys (blockIdx.y 0) or values of one group.
__global__ void __launch_bounds__(threads_in_block) quantise_group(DeviceQuantise job) {
  __shared__ GroupMemory memory;
  const Place place = place_of(job);
  const uint32_t warp = threadIdx.x / warp_size, lane = threadIdx.x % warp_size;
  for (uint32_t token = warp; token < device_group_tokens; token += warps_in_block) {
    const float* row = row_of(job, place, token);
    for (uint32_t i = lane; i < job.dim; i += warp_size) memory.values[token][i] = row[i];
  }
  __syncthreads();  // the whole group is there
  const float levels = job.bits == 8 ? 255.0f : 15.0f;
  if (threadIdx.x < place.scale_count) {
    if (place.keys)
      measure(&memory.values[0][threadIdx.x], device_group_tokens, value_pitch, levels, threadIdx.x,
              memory, job.device_not_finite);
    else
      measure(memory.values[threadIdx.x], job.dim, 1, levels, threadIdx.x, memory,
              job.device_not_finite);
  }
  __syncthreads();  // all scales are there
  float* scales = reinterpret_cast<float*>(place.packed);
  if (threadIdx.x < place.scale_count) {
    scales[threadIdx.x] = memory.scales[threadIdx.x];
    scales[place.scale_count + threadIdx.x] = memory.zeros[threadIdx.x];
  }
  uint8_t* codes = place.packed + 8ull * place.scale_count;
  for (uint32_t token = warp; token < device_group_tokens; token += warps_in_block) {
    for (uint32_t i = lane; i < place.code_bytes; i += warp_size) {
      const uint32_t low = code_of(memory, place, token, i);
      codes[uint64_t(token) * place.code_bytes + i] =
          uint8_t(job.bits == 8 ? low : low | code_of(memory, place, token, i + job.dim / 2) << 4);
    }
  }
}

// One block: the same, back into the pages.
__global__ void __launch_bounds__(threads_in_block) dequantise_group(DeviceQuantise job) {
  const Place place = place_of(job);
  const float* scales = reinterpret_cast<const float*>(place.packed);
  const float* zeros = scales + place.scale_count;
  const uint8_t* codes = place.packed + 8ull * place.scale_count;
  for (uint32_t token = threadIdx.x / warp_size; token < device_group_tokens;
       token += warps_in_block) {
    float* row = row_of(job, place, token);
    for (uint32_t i = threadIdx.x % warp_size; i < job.dim; i += warp_size) {
      const uint32_t half = job.dim / 2, slot = place.keys ? i : token;
      const uint32_t code =
          job.bits == 8
              ? codes[uint64_t(token) * place.code_bytes + i]
              : codes[uint64_t(token) * place.code_bytes + i % half] >> (i < half ? 0 : 4) & 15;
      row[i] = __fadd_rn(zeros[slot], __fmul_rn(scales[slot], float(int32_t(code))));
    }
  }
}

}  // namespace

int32_t quantise_pages_cuda(const DeviceQuantise* job, void* stream) {
  if ((job->bits != 8 && job->bits != 4) || job->dim == 0 || job->dim % 2 != 0 ||
      job->dim > dim_max)
    return int32_t(cudaErrorInvalidValue);
  const uint64_t blocks = uint64_t(job->layers) * job->groups * job->heads;
  if (blocks == 0) return 0;
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if (job->to_pages != 0)
    HANSE_LAUNCH(dequantise_group, dim3(uint32_t(blocks), 2), threads_in_block, 0, cuda_stream,
                 *job);
  else
    HANSE_LAUNCH(quantise_group, dim3(uint32_t(blocks), 2), threads_in_block, 0, cuda_stream, *job);
  HANSE_CUDA(cudaGetLastError());
  return 0;
}

}  // namespace hanse
