#include "base/clock.hpp"

#include <ctime>

namespace hanse {

uint64_t SystemClock::now_ns() {
  timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  return uint64_t(time.tv_sec) * 1'000'000'000 + uint64_t(time.tv_nsec);
}

}  // namespace hanse
