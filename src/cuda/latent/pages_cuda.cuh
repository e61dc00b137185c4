// Launches behind DeviceTable::copy_pages, quantise_pages and realign; contract in base/device.hpp.
#pragma once

#include "base/device.hpp"

namespace hanse {

int32_t copy_pages_cuda(const DevicePageCopy* copy, void* stream);
int32_t quantise_pages_cuda(const DeviceQuantise* job, void* stream);
int32_t realign_cuda(const DeviceRealign* job, void* stream);

}  // namespace hanse
