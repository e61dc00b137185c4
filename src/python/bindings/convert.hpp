// Python values to C++ and back: taken as they are, without a copy, or refused with an Error that
// names the field, what was wanted and what came.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/view.hpp"
#include "ledger/ledger.hpp"

namespace hanse::python {

namespace py = pybind11;

inline std::string type_name(py::handle value) { return Py_TYPE(value.ptr())->tp_name; }

[[noreturn]] inline void wrong_type(const char* field, const std::string& want, py::handle have) {
  throw Error(ErrorCode::wrong_type, field, "want " + want + ", have " + type_name(have));
}

// An int, or anything with __index__ (numpy's integers), but no bool.
inline py::object integer_of(py::handle value, const char* field) {
  if (PyLong_CheckExact(value.ptr())) return py::reinterpret_borrow<py::object>(value);
  if (PyBool_Check(value.ptr()) || !PyIndex_Check(value.ptr()))
    wrong_type(field, "an integer", value);
  py::object number = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!number) {
    PyErr_Clear();
    wrong_type(field, "an integer", value);
  }
  return number;
}

template <class T>
[[noreturn]] void out_of_range(const char* field, T least, T most, const std::string& have) {
  throw Error(ErrorCode::out_of_range, field,
              "want " + std::to_string(least) + " … " + std::to_string(most) + ", have " + have);
}

template <class T = uint64_t>
T unsigned_of(py::handle value, const char* field, T most = std::numeric_limits<T>::max()) {
  const py::object number = integer_of(value, field);
  const unsigned long long wide = PyLong_AsUnsignedLongLong(number.ptr());
  if (wide == static_cast<unsigned long long>(-1) && PyErr_Occurred()) {
    PyErr_Clear();
    int overflow = 0;
    const long long low = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
    out_of_range<uint64_t>(field, 0, most,
                           overflow != 0 ? "an integer beyond 64 bits" : std::to_string(low));
  }
  if (wide > most) out_of_range<uint64_t>(field, 0, most, std::to_string(wide));
  return static_cast<T>(wide);
}

inline int64_t signed_of(py::handle value, const char* field, int64_t least, int64_t most) {
  const py::object number = integer_of(value, field);
  int overflow = 0;
  const long long wide = PyLong_AsLongLongAndOverflow(number.ptr(), &overflow);
  if (overflow != 0) out_of_range<int64_t>(field, least, most, "an integer beyond 64 bits");
  if (wide < least || wide > most) out_of_range<int64_t>(field, least, most, std::to_string(wide));
  return wide;
}

inline std::string text_of(py::handle value, const char* field) {
  if (!PyUnicode_Check(value.ptr())) wrong_type(field, "a str", value);
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(value.ptr(), &size);
  if (text == nullptr) {
    PyErr_Clear();
    throw Error(ErrorCode::wrong_type, field, "want text that UTF-8 can hold");
  }
  return {text, static_cast<size_t>(size)};
}

inline bool truth_of(py::handle value, const char* field) {
  if (!PyBool_Check(value.ptr())) wrong_type(field, "a bool", value);
  return value.ptr() == Py_True;
}

// Borrowed bytes of any object with a contiguous buffer; holds the buffer until destroyed.
class BytesArgument {
 public:
  BytesArgument() = default;
  BytesArgument(py::handle value, const char* field) {
    if (PyUnicode_Check(value.ptr()) || PyObject_CheckBuffer(value.ptr()) == 0)
      wrong_type(field, "bytes", value);
    if (PyObject_GetBuffer(value.ptr(), &buffer_, PyBUF_SIMPLE) != 0) {
      PyErr_Clear();
      throw Error(ErrorCode::bad_array, field, "want a C-contiguous buffer");
    }
    held_ = true;
  }
  BytesArgument(BytesArgument&& other) noexcept : buffer_(other.buffer_), held_(other.held_) {
    other.held_ = false;
  }
  BytesArgument& operator=(BytesArgument&&) = delete;
  ~BytesArgument() {
    if (held_) PyBuffer_Release(&buffer_);
  }
  Bytes view() const {
    if (!held_) return {};
    return {static_cast<const uint8_t*>(buffer_.buf), static_cast<size_t>(buffer_.len)};
  }

 private:
  Py_buffer buffer_{};
  bool held_ = false;
};

inline std::string dtype_name(const py::dtype& dtype) {
  return py::str(dtype.attr("name")).cast<std::string>();
}

// A C-contiguous, aligned array of exactly this dtype and this many dimensions.
template <class T>
py::array array_of(py::handle value, const char* field, py::ssize_t dimensions) {
  const py::dtype want = py::dtype::of<T>();
  if (!py::isinstance<py::array>(value))
    wrong_type(field, "a " + dtype_name(want) + " array", value);
  py::array array = py::reinterpret_borrow<py::array>(value);
  if (!py::isinstance<py::array_t<T>>(value))
    throw Error(ErrorCode::wrong_type, field,
                "want dtype " + dtype_name(want) + ", have " + dtype_name(array.dtype()));
  if (array.ndim() != dimensions)
    throw Error(
        ErrorCode::dimension_mismatch, field,
        "want " + std::to_string(dimensions) + " dimensions, have " + std::to_string(array.ndim()));
  const bool contiguous = (array.flags() & py::array::c_style) != 0;
  const bool aligned = reinterpret_cast<uintptr_t>(array.data()) % alignof(T) == 0;
  if (!contiguous || !aligned)
    throw Error(ErrorCode::bad_array, field, "want a C-contiguous, aligned array");
  return array;
}

template <class T>
std::span<const T> span_of(const py::array& array) {
  return {static_cast<const T*>(array.data()), static_cast<size_t>(array.size())};
}

template <class T>
MatrixView<const T> matrix_of(const py::array& array) {
  return {static_cast<const T*>(array.data()), static_cast<size_t>(array.shape(0)),
          static_cast<size_t>(array.shape(1))};
}

inline void check_count(const char* field, size_t want, size_t have) {
  if (want == have) return;
  throw Error(ErrorCode::dimension_mismatch, field,
              "want " + std::to_string(want) + " elements, have " + std::to_string(have));
}

// One integer for all rows, or an array with one a row.
template <class T>
class ColumnArgument {
 public:
  ColumnArgument(py::handle value, const char* field, size_t count) {
    if (py::isinstance<py::array>(value)) {
      array_ = array_of<T>(value, field, 1);
      check_count(field, count, static_cast<size_t>(array_->size()));
    } else if constexpr (std::is_signed_v<T>) {
      one_ = static_cast<T>(signed_of(value, field, 0, std::numeric_limits<T>::max()));
    } else {
      one_ = unsigned_of<T>(value, field);
    }
  }
  // `this` must stay where it is while the column is used.
  Column<T> column() const {
    if (array_) return {span_of<T>(*array_)};
    return {std::span<const T>(&one_, 1)};
  }

 private:
  std::optional<py::array> array_;
  T one_{};
};

template <class T>
py::array_t<T> new_array(size_t count) {
  return py::array_t<T>(static_cast<py::ssize_t>(count));
}

template <class T>
py::array_t<T> new_matrix(size_t rows, size_t columns) {
  return py::array_t<T>({static_cast<py::ssize_t>(rows), static_cast<py::ssize_t>(columns)});
}

template <class T>
std::span<T> span_out(py::array_t<T>& array) {
  return {array.mutable_data(), static_cast<size_t>(array.size())};
}

inline py::bytes bytes_from(Bytes bytes) {
  return py::bytes(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

inline py::int_ int_from(u128 value) {
  const py::int_ high(static_cast<uint64_t>(value >> 64)), low(static_cast<uint64_t>(value));
  if (static_cast<uint64_t>(value >> 64) == 0) return low;
  return py::int_(py::object((high << py::int_(64)) | low));
}

inline Digest digest_of(py::handle value, const char* field) {
  const BytesArgument bytes(value, field);
  if (bytes.view().size() != sizeof(Digest))
    throw Error(ErrorCode::dimension_mismatch, field,
                "want " + std::to_string(sizeof(Digest)) + " bytes, have " +
                    std::to_string(bytes.view().size()));
  Digest digest;
  std::memcpy(digest.data(), bytes.view().data(), digest.size());
  return digest;
}

// An account as `Ledger._account` reads it.
py::tuple account_from(const AccountInfo& info);

// None is no position.
inline py::object position_from(Position position) {
  if (position == position_none) return py::none();
  return py::int_(position);
}

}  // namespace hanse::python
