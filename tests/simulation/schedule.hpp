// One schedule: operations drawn from a seed, a disk with faults in it, and what must be true of
// the kernel before, during and after each of them.
#pragma once

#include <stdexcept>

#include "simulation/faulty_disk.hpp"
#include "simulation/operation.hpp"

namespace hanse::simulation {

enum class FaultName : uint8_t {
  crash,
  crash_in_recovery,
  io_error,
  no_space,
  short_write,
  failed_sync,
  read_error,
  slow_disk,
  count_
};
constexpr size_t fault_name_count = size_t(FaultName::count_);
const char* fault_name(FaultName name);
constexpr uint32_t faults_min = 10;
constexpr uint64_t memory_cap = 64 << 20;

// What happened, for the table at the end. Adds up over schedules.
struct Tally {
  uint64_t schedules = 0, operations = 0, records = 0, recoveries = 0, poisonings = 0, proofs = 0;
  std::array<uint64_t, fault_name_count> faults{};
  std::array<uint64_t, verb_count> verbs{}, done{};  // asked; answered without an error
  std::array<uint64_t, 4> modes{};                   // of what became of unsynced bytes
  std::map<uint16_t, uint64_t> record_types;
  std::map<int32_t, uint64_t> errors;
  uint64_t fault_count() const;
  void add(const Tally& other);
};

// Says what was expected and what came, with the seed that shows it again.
class Violation : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws Violation. The digest is of all answers, the Merkle root and the state: the same seed
// gives the same one.
// extended: see Swarm.
Digest run_schedule(uint64_t seed, uint64_t operations, Tally& tally, bool extended = true);

// --- checks.cpp

// Everything that a caller can see is as the model says, and the books balance.
void check_state(Kernel& kernel, const Model& model);
// The root from the records alone, and proofs of it; counts the types of the records.
// Those that were dropped are counted when they are: `counted` of them, and their leaves are read.
Digest check_merkle(Kernel& kernel, Tally& tally, uint64_t counted);
void count_records(Kernel& kernel, Tally& tally, uint64_t from);
// The history of the books, at its end, is what the books are; before its floor it refuses.
void check_history(Kernel& kernel);
void require(bool truth, const std::string& what);
std::string difference(const HandedOut& seen, const HandedOut& expected);

}  // namespace hanse::simulation
