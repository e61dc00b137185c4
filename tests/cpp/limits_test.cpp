#include <gtest/gtest.h>

#include <cmath>

#include "base/limits.hpp"

namespace hanse {
namespace {

TEST(Limits, a_line_travels_to_another_cpu_and_back_in_finite_time) {
  const double round_trip_ns = cache_line_round_trip_ns();
  if (std::isnan(round_trip_ns)) GTEST_SKIP() << "this process may use only one CPU";
  // Light alone needs a nanosecond for the way; a whole second would mean that nothing travelled.
  EXPECT_GT(round_trip_ns, 1.0);
  EXPECT_LT(round_trip_ns, 1e9);
}

}  // namespace
}  // namespace hanse
