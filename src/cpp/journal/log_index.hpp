// Finds a record on disk by its position: one entry for each batch.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "journal/disk.hpp"
#include "journal/log_scan.hpp"

namespace hanse {

class LogIndex {
 public:
  LogIndex(std::shared_ptr<Disk> disk, LogState& state);

  void add(const BatchPlace& place);
  // Any thread. Reads the batch back and checks its CRC. Error(corrupt).
  std::vector<uint8_t> read(Position position);
  uint64_t memory_bytes() const;

 private:
  void load(const BatchPlace& place);

  std::shared_ptr<Disk> disk_;
  JournalUuid uuid_;
  mutable std::mutex mutex_;
  std::vector<BatchPlace> places_;
  // The batch read last: neighbours are mostly asked for in turn.
  Position loaded_ = position_none;
  BatchHeader header_;
  std::vector<uint8_t> image_;
};

}  // namespace hanse
