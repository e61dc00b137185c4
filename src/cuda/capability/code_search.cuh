// Launches behind DeviceTable::write_rows and code_search; contract in base/device.hpp.
#pragma once

#include "base/device.hpp"

namespace hanse {

int32_t write_rows_cuda(const DeviceSpace* space, const DeviceRows* rows, void* stream);
uint64_t code_search_workspace_bytes(const DeviceCodeSearch* search);
int32_t code_search_cuda(const DeviceCodeSearch* search, void* stream);

}  // namespace hanse
