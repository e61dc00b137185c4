// Borrowed memory. A view never owns; rows are contiguous.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hanse {

using Bytes = std::span<const uint8_t>;

template <class T>
struct MatrixView {
  T* data = nullptr;
  size_t rows = 0;
  size_t columns = 0;

  T* row(size_t i) const { return data + i * columns; }
  std::span<T> row_span(size_t i) const { return {row(i), columns}; }
};

// A column that a caller gives either once for all rows, or one value a row.
template <class T>
struct Column {
  std::span<const T> values;  // size 1: broadcast

  T operator[](size_t row) const { return values.size() == 1 ? values[0] : values[row]; }
};

}  // namespace hanse
