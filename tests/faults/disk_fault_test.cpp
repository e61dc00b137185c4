// Every call that reaches the disk fails in turn: EIO, ENOSPC, a short write, a failed sync, an
// error in reading; once and from then on.
#include "workload.hpp"

namespace hanse {
namespace {

using simulation::Fault;
using simulation::FaultKind;

// Goes on where a refusal for want of room left the kernel as it was.
struct Run {
  uint64_t told = 0, most = 1;
  bool refused = false, poisoned = false, diverged = false;
};

void expect_poisoned_for_good(Machine& machine) {
  for (int i = 0; i < 2; ++i) {
    try {
      machine.kernel->set_rates(machine.kernel->root(), "usd_micro", 9, {});
      ADD_FAILURE() << "a poisoned kernel took a command";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::poisoned) << error.what();
    }
  }
  EXPECT_NO_THROW((void)machine.kernel->totals(0));
}

Run run_with(const Reference& reference, Machine& machine) {
  Run outcome;
  try {
    machine.open();
  } catch (const Error& error) {
    EXPECT_EQ(error_code_info(error.code()).kind, ErrorKind::storage) << error.what();
    return outcome;
  }
  outcome.told = machine.kernel->durable_count();
  for (size_t i = 0; i < reference.operations.size(); ++i) {
    const Digest before = machine.kernel->state_hash().all;
    outcome.most = reference.ends[i];
    const uint64_t count = machine.kernel->journal().count();
    Answer answer;
    try {
      answer = machine.perform(reference.operations[i]);
    } catch (const Error& error) {
      EXPECT_EQ(error_code_info(error.code()).kind, ErrorKind::storage) << error.what();
      outcome.refused = true;
      outcome.poisoned = !machine.kernel->journal().status().poisoned.empty();
      if (outcome.poisoned) {
        expect_poisoned_for_good(machine);
      } else if (machine.kernel->journal().count() == count) {
        EXPECT_EQ(machine.kernel->state_hash().all, before) << error.what();
      }
      outcome.told = machine.kernel->durable_count();
      return outcome;
    }
    outcome.told = machine.kernel->durable_count();
    if (answer != reference.answers[i]) {
      outcome.diverged = true;
      outcome.most = machine.kernel->journal().count();
      return outcome;
    }
  }
  EXPECT_EQ(machine.kernel->state_hash().all, reference.last);
  return outcome;
}

void fail_everywhere(uint64_t seed, size_t operation_count, uint64_t stride) {
  const Reference reference(seed, operation_count);
  ASSERT_GT(reference.disk_calls, 50u);
  uint64_t refused = 0, poisoned = 0;
  for (uint32_t kind = 1; kind < simulation::fault_kind_count; ++kind) {
    for (const uint64_t count : {uint64_t(1), UINT64_MAX}) {
      for (uint64_t at = seed % stride; at < reference.disk_calls; at += stride) {
        SCOPED_TRACE("workload " + std::to_string(seed) + ", fault " + std::to_string(kind) +
                     " at call " + std::to_string(at) + (count == 1 ? ", once" : ", for good"));
        Machine machine;
        machine.disk->set({FaultKind(kind), at, count});
        const Run outcome = run_with(reference, machine);
        refused += outcome.refused;
        poisoned += outcome.poisoned;
        // The process is killed as it stands; then as the machine would lose what was not synced.
        expect_survives(reference, machine, outcome.told, outcome.most, outcome.diverged);
        machine.below = machine.below->recover(Unsynced::none, 0);
        expect_survives(reference, machine, outcome.told, outcome.most, outcome.diverged);
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
  EXPECT_GT(refused, 0u);
  EXPECT_GT(poisoned, 0u);
}

TEST(DiskFault, AtAnyCallIsATypedErrorAndLosesNothingAcknowledged) {
  const uint64_t stride = long_run() ? 1 : 7;
  for (uint64_t seed = 1; seed <= (long_run() ? workload_count : 4); ++seed)
    fail_everywhere(seed, 60, stride);
}

}  // namespace
}  // namespace hanse
