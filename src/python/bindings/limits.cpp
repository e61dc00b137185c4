#include "base/limits.hpp"

#include "handle.hpp"

namespace hanse::python {

void register_limits(py::module_& module) {
  module.def("cache_line_round_trip_ns", &cache_line_round_trip_ns,
             py::call_guard<py::gil_scoped_release>(),
             "cache_line_round_trip_ns() -> float\n\n"
             "Nanoseconds for one cache line to travel to another CPU and back; NaN with one CPU.");
}

}  // namespace hanse::python
