// What the fuzz targets share: numbers out of the input, and errors that are allowed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "base/view.hpp"

namespace hanse::fuzz {

// Takes the input apart; behind its end there are zeros.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : left_(data, size) {}
  bool empty() const { return left_.empty(); }
  size_t size() const { return left_.size(); }
  template <class T>
  T take() {
    T value{};
    const size_t size = std::min(sizeof value, left_.size());
    std::memcpy(&value, left_.data(), size);
    left_ = left_.subspan(size);
    return value;
  }
  std::string text(size_t size_max) {
    const size_t size = std::min<size_t>(take<uint8_t>(), std::min(size_max, left_.size()));
    std::string found(reinterpret_cast<const char*>(left_.data()), size);
    left_ = left_.subspan(size);
    return found;
  }
  Bytes rest() { return std::exchange(left_, {}); }

 private:
  Bytes left_;
};

inline void require(bool truth) {
  if (!truth) __builtin_trap();
}

// Anything but a typed error ends the run.
template <class Call>
void typed(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    require(error_code_info(error.code()).kind != ErrorKind::internal);
  }
}

}  // namespace hanse::fuzz
