#include "simulation/schedule.hpp"

namespace hanse::simulation {

const char* fault_name(FaultName name) {
  static constexpr const char* names[] = {"crash",      "crash in recovery", "EIO",
                                          "ENOSPC",     "short write",       "failed sync",
                                          "read error", "slow disk"};
  return names[size_t(name)];
}

uint64_t Tally::fault_count() const {
  uint64_t sum = 0;
  for (const uint64_t count : faults) sum += count;
  return sum;
}

void Tally::add(const Tally& other) {
  schedules += other.schedules, operations += other.operations, records += other.records;
  recoveries += other.recoveries, poisonings += other.poisonings, proofs += other.proofs;
  for (size_t i = 0; i < faults.size(); ++i) faults[i] += other.faults[i];
  for (size_t i = 0; i < verbs.size(); ++i) verbs[i] += other.verbs[i], done[i] += other.done[i];
  for (size_t i = 0; i < modes.size(); ++i) modes[i] += other.modes[i];
  for (const auto& [type, count] : other.record_types) record_types[type] += count;
  for (const auto& [code, count] : other.errors) errors[code] += count;
}

}  // namespace hanse::simulation
