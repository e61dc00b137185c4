#include "base/limits.hpp"

#include "convert.hpp"
#include "handle.hpp"
#include "mailbox/partition_bare.hpp"

namespace hanse::python {

namespace {

void copy_by(py::object receivers, uint32_t receiver_count, py::object rows, py::object rows_out) {
  const py::array receiver_array = array_of<uint32_t>(receivers, "receivers", 1);
  const py::array row_array = array_of<uint8_t>(rows, "rows", 2);
  py::array out_array = array_of<uint8_t>(rows_out, "rows_out", 2);
  const std::span<uint8_t> out(static_cast<uint8_t*>(out_array.mutable_data()),
                               static_cast<size_t>(out_array.size()));
  copy_by_receiver(span_of<uint32_t>(receiver_array), receiver_count, span_of<uint8_t>(row_array),
                   out);
}

PyObject* nothing(PyObject*, PyObject* const*, Py_ssize_t) { Py_RETURN_NONE; }
PyMethodDef nothing_definition = {
    "nothing", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&nothing)), METH_FASTCALL,
    "nothing(*args) -> None\n\nDoes nothing: what a call into C costs at least."};

}  // namespace

void register_limits(py::module_& module) {
  module.def("cache_line_round_trip_ns", &cache_line_round_trip_ns,
             py::call_guard<py::gil_scoped_release>(),
             "cache_line_round_trip_ns() -> float\n\n"
             "Nanoseconds for one cache line to travel to another CPU and back; NaN with one CPU.");
  module.attr("nothing") =
      py::reinterpret_steal<py::object>(PyCFunction_New(&nothing_definition, nullptr));
  module.def("copy_by_receiver", &copy_by, py::arg("receivers"), py::arg("receiver_count"),
             py::arg("rows"), py::arg("rows_out"),
             "copy_by_receiver(receivers, receiver_count, rows, rows_out) -> None\n\n"
             "What a batch of messages costs at least: rows uint8[n, 64] are copied in and out\n"
             "again in the stable order of receivers uint32[n]. Raises InvalidError.");
}

}  // namespace hanse::python
