// Finds a record on disk by its position: one entry for each batch.
#pragma once

#include <functional>
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
  // Any thread. Reads the batch back and checks its CRC. Error(corrupt); Error(unknown_event)
  // before oldest().
  std::vector<uint8_t> read(Position position);
  Position oldest() const;  // the first record that is kept
  // The segments below `number` are about to be removed; the log goes on with `oldest`.
  void forget_before(uint64_t number, Position oldest);
  uint64_t memory_bytes() const;

 private:
  void load(const BatchPlace& place);
  const BatchPlace& find(Position position);
  void survey(Position position);

  std::shared_ptr<Disk> disk_;
  JournalUuid uuid_;
  mutable std::mutex mutex_;
  std::vector<BatchPlace> places_;  // from start_ on
  Position start_ = 0, oldest_ = 0;
  // Before that the places of one segment are known at a time; its number is segments_[i].
  struct OldSegment {
    uint64_t number;
    Position first_position;
  };
  std::vector<OldSegment> old_segments_;
  uint64_t surveyed_ = UINT64_MAX;
  std::vector<BatchPlace> surveyed_places_;
  // The batch read last: neighbours are mostly asked for in turn.
  Position loaded_ = position_none;
  BatchHeader header_;
  std::vector<uint8_t> image_;
};

// Where the log would begin if those were removed that lie below `before` and end at `limit` or
// earlier; `moves`: there are some.
struct LogFloor {
  uint64_t segment = 0;
  Position position = 0;
  bool moves = false;
};
LogFloor floor_before(Disk& disk, uint64_t before, Position limit);
// Removes the segments below `before` that end at `limit` or earlier, oldest first; calls
// dropped(size in bytes) after each. -> bytes of all of them.
uint64_t drop_segments(Disk& disk, LogIndex& index, uint64_t before, Position limit,
                       const std::function<void(uint64_t)>& dropped);

}  // namespace hanse
