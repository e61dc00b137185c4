// Writes batches into preallocated segments. Space is made before it is needed (`ensure_room`,
// any thread); `place` then assigns it, and `write` fills it and cannot run out of it.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "journal/disk.hpp"
#include "journal/log_index.hpp"
#include "journal/log_scan.hpp"
#include "journal/pending_records.hpp"

namespace hanse {

struct OpenSegment {
  uint64_t number = 0;
  uint64_t size_bytes = 0;
  std::unique_ptr<File> file;

  uint64_t room() const { return size_bytes - segment_overhead; }
};

// Where one batch goes, and the segments that begin right before it.
struct Placement {
  std::vector<std::shared_ptr<OpenSegment>> begun;
  std::shared_ptr<OpenSegment> segment;
  uint64_t offset = 0;
};

class SegmentWriter {
 public:
  static constexpr uint64_t first_segment_size = 1 << 20;

  // Goes on where the scan ended: what it took as the end becomes the end on disk too, so that a
  // crash while this runs leaves a log that is scanned the same.
  SegmentWriter(std::shared_ptr<Disk> disk, const LogState& state, uint64_t segment_size_bytes_max,
                uint64_t identity_seed);

  bool has_room(uint64_t size) const;
  // Makes a spare segment where `size` bytes of batch images might not fit. Error(storage_full):
  // nothing has changed.
  void ensure_room(uint64_t size);
  // Whether it is time to make the next segment, so that no `ensure_room` has to wait for it.
  bool wants_spare() const;
  uint64_t room_of_spare() const;  // of the segment now in use: what a spare must at least have

  // Takes the room for the batches, in order. The caller has ensured it.
  std::vector<Placement> place(std::span<const PendingBatch> batches);
  // Writes and syncs; on return all is durable. One thread at a time. `leaves`: of all records.
  void write(PendingRecords& records, std::span<const Placement> placements,
             std::span<const Digest> leaves, uint64_t watermark, LogIndex& index);
  // Seals the segments that `write` left behind. Before the next `write`.
  void seal_full_segments(uint64_t watermark);
  // An empty batch that says all is durable. Nothing where the log ends with one already.
  void write_closing_marker(uint64_t count);

  // Whole segments at the beginning are no longer there.
  void note_dropped(uint64_t segment_count, uint64_t size_bytes);

  uint64_t size_bytes() const { return size_bytes_.load(std::memory_order_relaxed); }
  uint64_t segment_count() const { return segment_count_.load(std::memory_order_relaxed); }
  const JournalUuid& uuid() const { return uuid_; }

 private:
  struct Seal {
    std::shared_ptr<OpenSegment> segment;
    Position end_position = 0;
    Digest end_hash{};
  };

  void resume(const LogState& state);
  void create_log(uint64_t identity_seed);
  void cut_tail(const LogState& state);
  std::shared_ptr<OpenSegment> create_segment(uint64_t number, uint64_t room);
  void begin_segment(const std::shared_ptr<OpenSegment>& segment, Position first_position,
                     uint64_t watermark);
  void write_seal(const Seal& seal, uint64_t watermark);

  std::shared_ptr<Disk> disk_;
  uint64_t segment_size_bytes_max_;
  JournalUuid uuid_{};

  std::mutex create_mutex_;  // one spare at a time; taken before room_mutex_
  uint64_t next_number_ = 0;

  mutable std::mutex room_mutex_;
  std::shared_ptr<OpenSegment> current_;
  uint64_t offset_ = 0;  // in current_, behind what is placed
  std::deque<std::shared_ptr<OpenSegment>> spares_;

  // Of the writing thread.
  std::shared_ptr<OpenSegment> written_;  // the segment written last
  std::vector<Seal> unsealed_;
  Digest last_hash_{};
  bool closed_ = false;
  std::atomic<uint64_t> size_bytes_{0};
  std::atomic<uint64_t> segment_count_{0};
};

}  // namespace hanse
