// What a person can answer in a day. The units lie in the ledger; here is how many a day brings.
//
// Record plane: one thread at a time.
#pragma once

#include <map>

#include "base/bytes.hpp"
#include "base/snapshot.hpp"

namespace hanse {

constexpr const char* attention_unit = "attention";
constexpr uint64_t day_ns = 86'400'000'000'000;

class AttentionTable {
 public:
  struct Daily {
    uint64_t per_day = 0;
    uint64_t day = 0;  // days since 1970 up to the one that was brought last
  };
  bool empty() const { return of_.empty(); }
  const Daily* find(uint32_t human) const {
    const auto found = of_.find(human);
    return found == of_.end() ? nullptr : &found->second;
  }
  void apply_set(uint32_t human, uint64_t per_day, uint64_t day) { of_[human] = {per_day, day}; }
  void apply_renew(uint32_t human, uint64_t day) { of_[human].day = day; }
  void encode(ByteWriter& writer) const {
    for (const auto& [human, daily] : of_)
      writer.put(human), writer.put(daily.per_day), writer.put(daily.day);
  }

  static constexpr uint16_t snapshot_version = 1;
  void encode(SnapshotWriter& out) const;
  void decode(SnapshotReader& in);

 private:
  std::map<uint32_t, Daily> of_;
};

}  // namespace hanse
