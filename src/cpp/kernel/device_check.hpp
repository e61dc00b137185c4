// Whether a device computes what the CPU does, and how long it takes: for `hanse doctor --gpu`.
#pragma once

#include <string>
#include <vector>

#include "base/device.hpp"

namespace hanse {

struct DeviceCheck {
  std::string name;
  bool equal;           // every answer as the CPU's, bit for bit
  uint64_t wrong;       // how many were not
  double microseconds;  // median of five runs, queued and waited for
  uint64_t bytes;       // that a run must read or write at least
};

// rows: of a space of 128 dimensions searched with 64 queries. tokens: of latents of 2 layers, 4
// heads of 64; a multiple of 32. Throws out_of_range (0, or above a million), device_failed.
std::vector<DeviceCheck> check_device_answers(const DeviceTable& table, uint32_t rows,
                                              uint32_t tokens);

}  // namespace hanse
