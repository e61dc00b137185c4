// The columns of a batch as numpy arrays.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>

#include "batch.hpp"

namespace hanse::python {

namespace py = pybind11;

// The column of that name of the Batch `self`: a read-only view that keeps it alive where all of
// it came out of the log, else a new array. Throws out_of_range for a name that is none.
py::array column_of(py::object self, const std::string& name);

}  // namespace hanse::python
