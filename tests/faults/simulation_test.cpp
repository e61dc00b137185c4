// Seeds of the simulator that found a bug once. Each stays for good.
#include "simulation/schedule.hpp"

#include <gtest/gtest.h>

namespace hanse::simulation {
namespace {

struct Seed {
  uint64_t seed;
  const char* what;
  bool extended = false;
};
constexpr Seed kept[] = {
    {1, "a flush whose sync had failed was acknowledged after a restart without being written"},
    {2, "the same, and the batch was missing"},
    {5, "the same, and the batch was damaged"},
    {12, "the seal of a segment, whose sync had failed, was taken for its own proof"},
    {24, "the same, found when opening for writing"},
    {1221, "the snapshot of the first record kept went on in the segment before, which was dropped",
     true},
};

TEST(Simulation, HoldsForTheSeedsThatOnceFailed) {
  for (const Seed& one : kept) {
    SCOPED_TRACE(one.what);
    Tally tally, again;
    Digest first{};
    ASSERT_NO_THROW(first = run_schedule(one.seed, 2000, tally, one.extended))
        << "seed " << one.seed;
    EXPECT_GE(tally.fault_count(), faults_min);
    ASSERT_NO_THROW(EXPECT_EQ(run_schedule(one.seed, 2000, again, one.extended), first));
  }
}

}  // namespace
}  // namespace hanse::simulation
