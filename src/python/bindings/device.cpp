#include "base/device.hpp"

#include "convert.hpp"
#include "handle.hpp"
#include "kernel/device_check.hpp"

namespace hanse::python {

namespace {

// One tuple a check: (name, equal, wrong answers, microseconds, bytes).
py::list check_device(py::object rows, py::object tokens) {
  const uint32_t row_count = unsigned_of<uint32_t>(rows, "rows");
  const uint32_t token_count = unsigned_of<uint32_t>(tokens, "tokens");
  const std::vector<DeviceCheck> checks =
      unlocked([&] { return check_device_answers(device_table(), row_count, token_count); });
  py::list found;
  for (const DeviceCheck& check : checks)
    found.append(
        py::make_tuple(check.name, check.equal, check.wrong, check.microseconds, check.bytes));
  return found;
}

}  // namespace

void register_device(py::module_& module) {
  module.def("device_status", [] { return unlocked([] { return hanse::device_status(); }); });
  module.def("device_check", &check_device, py::arg("rows"), py::arg("tokens"),
             "device_check(rows, tokens) -> list of (name, equal, wrong, microseconds, bytes)\n\n"
             "Kernels of the device against the CPU. Raises DeviceError without a device.");
}

}  // namespace hanse::python
