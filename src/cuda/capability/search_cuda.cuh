// Launches behind DeviceTable::search; contract in base/device.hpp.
#pragma once

#include "base/device.hpp"

namespace hanse {

uint64_t search_cuda_workspace_bytes(const DeviceSearch* search);
int32_t search_cuda(const DeviceSearch* search, void* stream);

}  // namespace hanse
