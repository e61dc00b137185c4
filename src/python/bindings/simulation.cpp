#include <pybind11/pybind11.h>

#include "convert.hpp"
#include "handle.hpp"
#include "journal/simulated_disk.hpp"

namespace hanse::python {

namespace {

using Disk = std::shared_ptr<SimulatedDisk>;

uint64_t operation_of(py::handle value, const char* field) {
  return value.is_none() ? UINT64_MAX : unsigned_of(value, field);
}

Unsynced unsynced_of(py::handle value) {
  const std::string name = text_of(value, "unsynced");
  if (name == "none") return Unsynced::none;
  if (name == "all") return Unsynced::all;
  if (name == "random") return Unsynced::random;
  if (name == "torn") return Unsynced::torn;
  throw Error(ErrorCode::out_of_range, "unsynced", "want none, all, random or torn, have " + name);
}

void set_faults(SimulatedDisk& disk, py::object crash_at, py::object fail_sync_at,
                py::object full_at) {
  DiskFaults faults;
  faults.crash_at = operation_of(crash_at, "crash_at");
  faults.fail_sync_at = operation_of(fail_sync_at, "fail_sync_at");
  faults.full_at = operation_of(full_at, "full_at");
  disk.set_faults(faults);
}

Disk recover(const SimulatedDisk& disk, py::object unsynced, py::object seed) {
  return Disk(disk.recover(unsynced_of(unsynced), unsigned_of(seed, "seed")));
}

py::bytes read_file(SimulatedDisk& disk, py::object path) {
  const std::unique_ptr<File> file = disk.open(text_of(path, "path"), OpenMode::read);
  std::vector<uint8_t> content(file->size());
  file->read(0, content);
  return bytes_from(content);
}

void translate_crash(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const SimulatedCrash&) {
    set_simulated_crash();
  }
}

}  // namespace

// Not a std::exception: nothing in the core may catch a crash as if it were an error.
void set_simulated_crash() {
  try {
    const py::object type = py::module_::import("hanse.simulation").attr("SimulatedCrash");
    PyErr_SetString(type.ptr(), "the machine died");
  } catch (py::error_already_set& failure) {
    failure.restore();
  }
}

void register_simulation(py::module_& module) {
  py::register_local_exception_translator(translate_crash);
  py::class_<SimulatedDisk, Disk>(module, "SimulatedDisk")
      .def(py::init<>())
      .def("set_faults", &set_faults)
      .def("operations", &SimulatedDisk::operations)
      .def("recover", &recover)
      .def("restart", [](const SimulatedDisk& disk) { return Disk(disk.restart()); })
      .def("flip_bit",
           [](SimulatedDisk& disk, py::object path, py::object bit) {
             disk.flip_bit(text_of(path, "path"), unsigned_of(bit, "bit"));
           })
      .def("names",
           [](SimulatedDisk& disk, py::object directory) {
             py::list names;
             for (const std::string& name : disk.list(text_of(directory, "directory")))
               names.append(name);
             return names;
           })
      .def("read", &read_file);
}

}  // namespace hanse::python
