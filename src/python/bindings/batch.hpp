// What one drain took out. Numpy views of its payloads keep it alive.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

#include "kernel/kernel.hpp"

namespace hanse::python {

struct Batch {
  MessageBatch messages;
  std::vector<Delivery> deliveries;
  pybind11::object kernel;  // a _core.Kernel, for the acknowledgement of durable messages
};

}  // namespace hanse::python
