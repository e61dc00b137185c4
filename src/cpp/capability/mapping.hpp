// A file in memory, read as it is needed. Writes go to private copies of its pages. Internal to
// this concept.
#pragma once

#include <string>

#include "base/view.hpp"

namespace hanse {

class Mapping {
 public:
  // Throws unusable_directory (field "path").
  explicit Mapping(const std::string& path);
  ~Mapping();
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  Bytes bytes() const { return {static_cast<const uint8_t*>(start_), size_}; }

 private:
  void* start_ = nullptr;
  size_t size_ = 0;
};

}  // namespace hanse
