// Every CUDA call goes through HANSE_CUDA: the first failure is returned as its code.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#define HANSE_CUDA(call)                                                               \
  do {                                                                                 \
    if (const cudaError_t error = (call); error != cudaSuccess) return int32_t(error); \
  } while (false)
