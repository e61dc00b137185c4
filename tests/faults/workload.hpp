// Fixed workloads for the tests that make everything fail in turn: operations drawn from a seed,
// and what the kernel comes to without a fault.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>

#include "simulation/faulty_disk.hpp"
#include "simulation/operation.hpp"

namespace hanse {

using simulation::Answer;
using simulation::FaultyDisk;
using simulation::Operation;
using simulation::Performer;
using simulation::Verb;

constexpr uint32_t workload_count = 20;

inline std::vector<Operation> workload(uint64_t seed, size_t operation_count) {
  simulation::Swarm swarm = simulation::Swarm::draw(seed, operation_count);
  swarm.payload_max = seed % 2 == 0 ? 6000 : 64;
  swarm.weights[size_t(Verb::storm)] = 0;
  simulation::Chooser chooser(seed, swarm);
  simulation::Model model(simulation::start_ns, 250);
  std::vector<Operation> operations = chooser.world();
  for (const Operation& operation : operations) answer_of(model, operation);
  uint64_t now_ns = simulation::start_ns;
  while (operations.size() < operation_count) {
    operations.push_back(chooser.next(model, now_ns, false));
    now_ns = operations.back().now_ns;
    if (operations.back().verb == Verb::drain)
      model.drain(UINT64_MAX);
    else
      answer_of(model, operations.back());
  }
  return operations;
}

// A kernel over a disk that may fail.
struct Machine {
  std::shared_ptr<SimulatedDisk> below = std::make_shared<SimulatedDisk>();
  std::shared_ptr<FaultyDisk> disk = std::make_shared<FaultyDisk>(below);
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>(simulation::start_ns);
  std::unique_ptr<Kernel> kernel;

  KernelOptions options(bool read_only = false) const {
    KernelOptions options;
    options.disk = disk;
    options.clock = clock;
    options.background = false;
    options.read_only = read_only;
    options.seed = 7;
    options.fee_basis_points = 250;
    options.segment_size_bytes_max = 1 << 14;
    return options;
  }
  void open() {
    kernel = Kernel::open(options());
    kernel->own_flow();
  }
  Answer perform(const Operation& operation) {
    clock->set(operation.now_ns);
    Performer performer(*kernel);
    if (operation.verb != Verb::drain) return performer.perform(operation);
    performer.drain();
    return {};
  }
};

// The run without a fault.
struct Reference {
  std::vector<Operation> operations;
  std::map<uint64_t, Digest> hash_at;  // by count of records, where an operation ended there
  std::vector<uint64_t> ends;          // the count after each operation
  std::vector<Answer> answers;
  Digest last{};
  uint64_t disk_calls = 0;

  Reference(uint64_t seed, size_t operation_count) : operations(workload(seed, operation_count)) {
    Machine machine;
    machine.open();
    hash_at[machine.kernel->journal().count()] = machine.kernel->state_hash().all;
    for (const Operation& operation : operations) {
      answers.push_back(machine.perform(operation));
      ends.push_back(machine.kernel->journal().count());
      hash_at[ends.back()] = last = machine.kernel->state_hash().all;
    }
    disk_calls = machine.disk->calls();
  }
};

// All that the last one acknowledged is there, and the state is that of its records.
// diverged: an element of a batch was refused, so the records are others than without the fault.
inline void expect_survives(const Reference& reference, const Machine& dead, uint64_t told,
                            uint64_t most, bool diverged = false) {
  Machine machine;
  machine.below = dead.below->restart();
  machine.disk = std::make_shared<FaultyDisk>(machine.below);
  machine.clock = dead.clock;
  try {
    machine.kernel = Kernel::open(machine.options(true));
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unusable_directory) << error.what();
    EXPECT_EQ(told, 0u) << error.what();
    return;
  }
  const uint64_t count = machine.kernel->journal().count();
  EXPECT_GE(count, told);
  EXPECT_LE(count, most);
  const auto known = reference.hash_at.find(count);
  if (known != reference.hash_at.end() && !diverged) {
    EXPECT_EQ(machine.kernel->state_hash().all, known->second);
  }
  const Ledger::Totals totals = machine.kernel->totals(0);
  EXPECT_TRUE(totals.debits_posted == totals.credits_posted);
  EXPECT_TRUE(totals.debits_pending == totals.credits_pending);
  machine.kernel.reset();
  EXPECT_NO_THROW(machine.open());
}

// HANSE_LONG: the full volumes; without it a share of them that takes seconds.
inline bool long_run() { return std::getenv("HANSE_LONG") != nullptr; }

}  // namespace hanse
