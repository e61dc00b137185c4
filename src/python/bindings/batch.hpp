// What one drain took out. Numpy views of its payloads keep it alive.
#pragma once

#include <vector>

#include "kernel/kernel.hpp"

namespace hanse::python {

struct Batch {
  MessageBatch messages;
  std::vector<Delivery> deliveries;
};

}  // namespace hanse::python
