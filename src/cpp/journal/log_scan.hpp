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
  uint64_t number = 0;
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
  uint64_t oldest_segment = 0;           // that is there; those before it were dropped
  std::vector<ScannedSegment> segments;  // from the one where the scan began
  std::vector<BatchPlace> batches;
  uint64_t count = 0;
  uint64_t watermark = 0;  // records that were known to be durable when the log was last written
  // As `watermark`, said by batches alone: a seal proves what it seals and not itself.
  uint64_t batch_watermark = 0;
  Digest last_hash{};
  uint64_t size_bytes = 0;
  bool closed = false;  // the last thing in it is a closing marker
  uint64_t torn_bytes = 0;
  uint64_t torn_end = 0;  // last segment: where the torn bytes end, or `end`
  uint64_t file_end = 0;  // behind the highest number, of the spare and torn ones, too
  Position start = 0;     // where the scan began
};

struct ScanCallbacks {
  std::function<void(Position, Bytes record, const Digest& leaf)> record;
  std::function<void(uint64_t done, uint64_t total)> progress;  // bytes; may be null
  // Another thread checks the same bytes: no hash is computed or compared, and no leaf is given.
  bool unchecked = false;
};

// From `start`, which a snapshot names, or (null) from the first record. Throws corrupt where the
// first segments were dropped and there is no start.
LogState scan_log(Disk& disk, const ScanCallbacks& callbacks, const LogStart* start = nullptr);

// The records [start.count, stop) of a log that someone may be writing, all of which are durable; a
// start without a uuid is the first record. -> where the log goes on. A batch begins at `stop`.
LogStart read_log(Disk& disk, const ScanCallbacks& callbacks, const LogStart& start, uint64_t stop);

// One whole segment that another follows: everything that scan_log checks in it. Nothing where only
// a scan of the whole log can tell what it is. The segment is not the last that was begun.
std::optional<ScannedSegment> scan_segment(Disk& disk, const ScanCallbacks& callbacks,
                                           uint64_t number);
// Where a segment begins, as its own header says it.
LogStart start_of_segment(Disk& disk, uint64_t number);

// The header of a segment that is there. Throws corrupt.
SegmentHeader read_segment_header(Disk& disk, uint64_t number);
// The numbers of the segment files, ascending.
std::vector<uint64_t> list_segments(Disk& disk);

// After a kill without a power cut, part of what was scanned may exist in the page cache alone.
// Before any of it is called durable, this makes it so.
void sync_survivors(Disk& disk, const LogState& state);
// The same, for who may write: after a sync that failed, Linux takes for clean what never reached
// the disk, and a later sync would pass over it. So what isn't known to be durable, which is the
// last flush, is written again first.
void rewrite_survivors(Disk& disk, const LogState& state);

}  // namespace hanse
