#include "base/error.hpp"
#include "device_under_test.hpp"

namespace hanse {

const DeviceTable* find_device(std::string& reason) {
  try {
    return &device_table();
  } catch (const Error& error) {
    reason = error.detail();
    return nullptr;
  }
}

void in_each_order(const std::function<void()>& body) { body(); }

}  // namespace hanse
