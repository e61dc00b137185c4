// Every CUDA call goes through HANSE_CUDA: the first failure is returned as its code. It is
// forgotten by the runtime, too, which else would tell it again after the next launch.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#define HANSE_CUDA(call)                                          \
  do {                                                            \
    if (const cudaError_t error = (call); error != cudaSuccess) { \
      (void)cudaGetLastError();                                   \
      return int32_t(error);                                      \
    }                                                             \
  } while (false)
