#include "device_under_test.hpp"
#include "simt.hpp"

extern "C" const hanse::DeviceTable* hanse_device_table();

namespace hanse {

const DeviceTable* find_device(std::string&) { return hanse_device_table(); }

void in_each_order(const std::function<void()>& body) {
  for (const simt::Schedule& schedule :
       {simt::Schedule{simt::Order::forward, 1}, simt::Schedule{simt::Order::reverse, 1},
        simt::Schedule{simt::Order::random, 7}}) {
    SCOPED_TRACE(schedule.order == simt::Order::forward   ? "forward"
                 : schedule.order == simt::Order::reverse ? "reverse"
                                                          : "random");
    simt::use(schedule);
    try {
      body();
    } catch (const simt::Violation& violation) {
      simt::reset();
      ADD_FAILURE() << violation.what();
    }
  }
  simt::use({});
}

}  // namespace hanse
