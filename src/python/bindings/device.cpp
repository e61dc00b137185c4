#include "base/device.hpp"

#include "convert.hpp"
#include "dlpack.hpp"
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

// A stream as CUDA's interfaces write it: 0 and 1 are the legacy default stream.
void* stream_of(py::handle value, const char* field) {
  const uint64_t handle = unsigned_of(value, field);
  return handle <= 1 ? nullptr : reinterpret_cast<void*>(static_cast<uintptr_t>(handle));
}

// What `stream` does from now on comes after what the array's own stream was given.
void follow(const DeviceTable& table, void* stream, py::handle after) {
  if (after.is_none()) return;
  if (void* before = stream_of(after, "stream"); before != stream)
    hanse::check_device(table, "stream_after", table.stream_after(stream, before));
}

struct HostBytes {
  py::array array;
  void* data;
  uint64_t size_bytes;
};

HostBytes host_bytes_of(py::handle value, const char* field, bool writes) {
  if (!py::isinstance<py::array>(value)) wrong_type(field, "a numpy array", value);
  py::array array = py::reinterpret_borrow<py::array>(value);
  if ((array.flags() & py::array::c_style) == 0 || (writes && !array.writeable()))
    throw Error(ErrorCode::bad_array, field, "want a C-contiguous, writable array");
  auto* data = const_cast<void*>(array.data());
  return {array, data, static_cast<uint64_t>(array.nbytes())};
}

void read_device(py::object address, py::object host, py::object stream, py::object after) {
  const HostBytes to = host_bytes_of(host, "host", true);
  const auto from = reinterpret_cast<const void*>(uintptr_t(unsigned_of(address, "address")));
  void* on = stream_of(stream, "stream");
  if (to.size_bytes == 0) return;
  const DeviceTable& table = device_table();
  follow(table, on, after);
  unlocked([&] {
    hanse::check_device(table, "copy_from_device",
                        table.copy_from_device(to.data, from, to.size_bytes, on));
    hanse::check_device(table, "synchronize", table.synchronize(on));
  });
}

// Waits as well: the host's memory may go when this returns.
void write_device(py::object address, py::object host, py::object stream, py::object after) {
  const HostBytes from = host_bytes_of(host, "host", false);
  const auto to = reinterpret_cast<void*>(uintptr_t(unsigned_of(address, "address")));
  void* on = stream_of(stream, "stream");
  if (from.size_bytes == 0) return;
  const DeviceTable& table = device_table();
  follow(table, on, after);
  unlocked([&] {
    hanse::check_device(table, "copy_to_device",
                        table.copy_to_device(to, from.data, from.size_bytes, on));
    hanse::check_device(table, "synchronize", table.synchronize(on));
  });
}

// What a DLPack capsule shows, which stays its owner's: (address, shape, strides or None, type
// code, bits, lanes, device type, read only).
py::tuple dlpack_terms(py::object given) {
  if (!PyCapsule_CheckExact(given.ptr())) wrong_type("array", "a DLPack capsule", given);
  const DlTensor* tensor = nullptr;
  bool read_only = false;
  if (void* plain = PyCapsule_IsValid(given.ptr(), "dltensor")
                        ? PyCapsule_GetPointer(given.ptr(), "dltensor")
                        : nullptr) {
    tensor = &static_cast<const DlManagedTensor*>(plain)->tensor;
  } else if (PyCapsule_IsValid(given.ptr(), "dltensor_versioned")) {
    const auto* managed = static_cast<const DlManagedTensorVersioned*>(
        PyCapsule_GetPointer(given.ptr(), "dltensor_versioned"));
    if (managed->major != 1)
      throw Error(ErrorCode::bad_array, "array",
                  "DLPack version " + std::to_string(managed->major) + " is not known here");
    tensor = &managed->tensor;
    read_only = (managed->flags & 1) != 0;
  } else {
    throw Error(ErrorCode::bad_array, "array", "want a DLPack capsule that nobody took yet");
  }
  py::tuple shape(tensor->dimensions), strides(tensor->strides == nullptr ? 0 : tensor->dimensions);
  for (int32_t i = 0; i < tensor->dimensions; ++i) {
    shape[size_t(i)] = tensor->shape[i];
    if (tensor->strides != nullptr) strides[size_t(i)] = tensor->strides[i];
  }
  return py::make_tuple(reinterpret_cast<uintptr_t>(tensor->data) + tensor->byte_offset, shape,
                        tensor->strides == nullptr ? py::object(py::none()) : py::object(strides),
                        tensor->dtype.code, tensor->dtype.bits, tensor->dtype.lanes,
                        tensor->device.type, read_only);
}

}  // namespace

void register_device(py::module_& module) {
  module.def("device_status", [] { return unlocked([] { return hanse::device_status(); }); });
  module.def("device_check", &check_device, py::arg("rows"), py::arg("tokens"),
             "device_check(rows, tokens) -> list of (name, equal, wrong, microseconds, bytes)\n\n"
             "Kernels of the device against the CPU. Raises DeviceError without a device.");
  module.def("device_read", &read_device);
  module.def("device_write", &write_device);
  module.def("dlpack_terms", &dlpack_terms);
}

}  // namespace hanse::python
