#include <pybind11/pybind11.h>

#include "base/cpu.hpp"
#include "base/error.hpp"
#include "base/outcome.hpp"
#include "convert.hpp"
#include "handle.hpp"
#include "journal/simulated_disk.hpp"

namespace hanse::python {

namespace {

const char* class_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::invalid:
      return "InvalidError";
    case ErrorKind::not_found:
      return "NotFoundError";
    case ErrorKind::conflict:
      return "ConflictError";
    case ErrorKind::denied:
      return "DeniedError";
    case ErrorKind::budget:
      return "BudgetError";
    case ErrorKind::busy:
      return "BusyError";
    case ErrorKind::timeout:
      return "TimedOutError";
    case ErrorKind::storage:
      return "StorageError";
    case ErrorKind::latent:
      return "LatentError";
    case ErrorKind::device:
      return "DeviceError";
    case ErrorKind::internal:
      return "InternalError";
  }
  return "InternalError";
}

void set_error(const Error& error) {
  const ErrorCodeInfo& info = error_code_info(error.code());
  try {
    const py::object type = py::module_::import("hanse.errors").attr(class_name(info.kind));
    const py::object id = error.id() == 0 ? py::object(py::none()) : py::int_(error.id());
    const py::object value = type(static_cast<int32_t>(error.code()), info.name, error.field(),
                                  error.detail(), id, position_from(error.position()));
    PyErr_SetObject(type.ptr(), value.ptr());
  } catch (py::error_already_set& failure) {
    failure.restore();
  }
}

void translate(std::exception_ptr thrown) {
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const Error& error) {
    set_error(error);
  }
}

py::list error_codes() {
  py::list rows;
  const ErrorCodeTable table = error_code_table();
  for (size_t i = 0; i < table.count; ++i) {
    const ErrorCodeInfo& row = table.rows[i];
    rows.append(py::make_tuple(static_cast<int32_t>(row.code), row.name, class_name(row.kind)));
  }
  return rows;
}

[[noreturn]] void raise_error(int code, const std::string& field, const std::string& detail,
                              py::object id, py::object position) {
  throw Error(static_cast<ErrorCode>(code), field, detail, id.is_none() ? 0 : unsigned_of(id, "id"),
              position.is_none() ? Error::no_position : unsigned_of(position, "position"));
}

py::dict outcomes() {
  py::dict names;
#define HANSE_X(number, name) names[#name] = number;
  HANSE_OUTCOMES(HANSE_X)
#undef HANSE_X
  return names;
}

}  // namespace

void set_python_error() {
  try {
    throw;
  } catch (const Error& error) {
    set_error(error);
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const SimulatedCrash&) {
    set_simulated_crash();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
}

// Nothing here was tried without the global lock. (A second interpreter is refused by
// hanse/_interpreter.py, since loading this module there would wait for ever.)
void refuse_untried_interpreters() {
#ifdef Py_GIL_DISABLED
  throw py::import_error("hanse does not run on a free-threaded Python yet");
#endif
}

}  // namespace hanse::python

PYBIND11_MODULE(_core, module) {
  using namespace hanse::python;
  namespace py = pybind11;

  refuse_untried_interpreters();
  py::options options;
  options.disable_enum_members_docstring();
  py::register_local_exception_translator(translate);
  module.def("error_codes", &error_codes);
  module.def("raise_error", &raise_error);
  module.def("outcomes", &outcomes);
  module.def("cpu_level", [] { return hanse::cpu_level_name(hanse::cpu_level()); });

  KernelClass kernel = register_kernel(module);
  register_search(module);
  register_terms(module);
  register_agent(module, kernel);
  register_boxes(module, kernel);
  register_capability(module, kernel);
  register_durable(kernel);
  register_device(module);
  register_index(module);
  register_journal(module, kernel);
  register_latent(module, kernel);
  register_ledger(module, kernel);
  register_lifecycle(module, kernel);
  register_limits(module);
  register_native_timing(module);
  register_message(module);
  register_mailbox(module, kernel);
  register_payload(module, kernel);
  register_people(module, kernel);
  register_policy(module, kernel);
  register_reply(module);
  register_requests(module, kernel);
  register_sender(module);
  register_simulation(module);
  register_shards(kernel);
  register_task(module, kernel);
  register_topics(module, kernel);
  register_turns(module, kernel);
}
