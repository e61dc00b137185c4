// The device that a test program runs on: the one that the plug-in finds, or the emulated one. The
// same tests are linked into both programs.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "base/device.hpp"

namespace hanse {

// nullptr, and why: there is no device.
const DeviceTable* find_device(std::string& reason);

// Calls `body` under each order of threads that this device can be told to follow.
void in_each_order(const std::function<void()>& body);

class DeviceMemory {
 public:
  DeviceMemory(const DeviceTable& table, size_t size_bytes) : table_(&table) {
    check_device(table, "allocate", table.allocate(std::max<size_t>(size_bytes, 1), &memory_));
  }
  DeviceMemory(const DeviceTable& table, const void* from, size_t size_bytes)
      : DeviceMemory(table, size_bytes) {
    if (size_bytes > 0)
      check_device(table, "copy", table.copy_to_device(memory_, from, size_bytes, nullptr));
  }
  template <class T>
  DeviceMemory(const DeviceTable& table, const std::vector<T>& from)
      : DeviceMemory(table, from.data(), from.size() * sizeof(T)) {}
  DeviceMemory(const DeviceMemory&) = delete;
  ~DeviceMemory() { table_->release(memory_); }

  template <class T>
  T* as() const {
    return static_cast<T*>(memory_);
  }
  template <class T>
  std::vector<T> read(size_t count) const {
    std::vector<T> out(count);
    check_device(*table_, "copy",
                 table_->copy_from_device(out.data(), memory_, count * sizeof(T), nullptr));
    check_device(*table_, "synchronize", table_->synchronize(nullptr));
    return out;
  }

 private:
  const DeviceTable* table_;
  void* memory_ = nullptr;
};

}  // namespace hanse

// The first statement of a test that needs a device.
#define HANSE_DEVICE_OR_SKIP(table)                                 \
  std::string no_device_reason;                                     \
  const DeviceTable* table##_found = find_device(no_device_reason); \
  if (table##_found == nullptr) GTEST_SKIP() << no_device_reason;   \
  const DeviceTable& table = *table##_found
