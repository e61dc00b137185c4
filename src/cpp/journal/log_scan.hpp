// Reads a log from its first byte to its last, checks every byte of it, and says where it ends.
// Changes nothing; opening and verifying both start here.
//
// The end is the first place where no intact batch follows. What lies behind it is a torn tail
// (writes that a crash cut short, none of them acknowledged), unless something intact there says
// that more had been durable: then records were lost, and that is Error(corrupt).
//
// What no single host can see: damage within the very last flush before a crash looks like a torn
// write. After a clean close nothing is left out, because the closing marker holds the watermark.
// Nor can one notice that the whole directory was put back to an earlier state.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "journal/disk.hpp"
#include "journal/segment.hpp"

namespace hanse {

// Where a batch lies. One for each batch is kept in memory, so it is small.
struct BatchPlace {
  Position first_position = 0;
  uint32_t segment = 0;
  uint32_t first_block = 0;
  uint32_t block_count = 0;
};

// A place between two batches, and what must follow there.
struct LogStart {
  JournalUuid uuid{};
  uint64_t segment = 0, offset = block_size;
  uint64_t count = 0;      // records before it
  uint64_t watermark = 0;  // of which so many are known to be durable
  Digest last_hash{};      // of the batch before it
};

struct ScannedSegment {
  Position first_position = 0;
  uint64_t size_bytes = 0;
  uint64_t end = 0;  // offset behind the last batch
  Position end_position = 0;
  Digest end_hash{};  // of the last batch before the end
  bool sealed = false;
};

struct LogState {
  bool exists = false;  // false: nothing was ever recorded here
  JournalUuid uuid{};
  std::vector<ScannedSegment> segments;
  std::vector<BatchPlace> batches;
  uint64_t count = 0;
  uint64_t watermark = 0;  // records that were known to be durable when the log was last written
  Digest last_hash{};
  uint64_t size_bytes = 0;
  bool closed = false;  // the last thing in it is a closing marker
  uint64_t torn_bytes = 0;
  uint64_t torn_end = 0;    // last segment: where the torn bytes end, or `end`
  uint64_t file_count = 0;  // segment files, with the spare and torn ones behind the end
};

struct ScanCallbacks {
  std::function<void(Position, Bytes record, const Digest& leaf)> record;
  std::function<void(uint64_t done, uint64_t total)> progress;  // bytes; may be null
};

LogState scan_log(Disk& disk, const ScanCallbacks& callbacks);

// After a kill without a power cut, part of what was scanned may exist in the page cache alone.
// Before any of it is called durable, this makes it so.
void sync_survivors(Disk& disk, const LogState& state);

}  // namespace hanse
