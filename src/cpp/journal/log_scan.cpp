#include "journal/log_scan.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/seeded_bug.hpp"
#include "journal/merkle.hpp"

namespace hanse {

namespace {

constexpr uint64_t window_size = 1 << 20;

[[noreturn]] void throw_corrupt(uint64_t segment, uint64_t offset, const std::string& what,
                                Position position) {
  throw Error(ErrorCode::corrupt, segment_name(segment),
              "offset " + std::to_string(offset) + ": " + what, 0, position);
}

// A window over a file, so that a scan reads it once, in large pieces.
class SegmentReader {
 public:
  SegmentReader(Disk& disk, uint64_t number)
      : file_(disk.open(segment_name(number), OpenMode::read)), size_(file_->size()) {}

  uint64_t size() const { return size_; }

  Bytes view(uint64_t offset, uint64_t size) {
    HANSE_ASSERT(offset <= size_ && size <= size_ - offset);
    if (offset < start_ || offset + size > start_ + window_.size()) {
      start_ = offset;
      window_.resize(size_t(std::min(std::max(size, window_size), size_ - offset)));
      file_->read(offset, window_);
    }
    return Bytes(window_).subspan(size_t(offset - start_), size_t(size));
  }

  void forget() { window_.clear(); }

  // Offset behind the last byte in [from, to) that is not zero, rounded up to a block; or `from`.
  uint64_t end_of_data(uint64_t from, uint64_t to) {
    uint64_t end = from;
    for (uint64_t at = from; at < to; at += block_size) {
      const uint64_t part = std::min(block_size, to - at);
      if (!all_zero(view(at, part))) end = at + part;
    }
    return end;
  }

 private:
  std::unique_ptr<File> file_;
  uint64_t size_;
  uint64_t start_ = 0;
  std::vector<uint8_t> window_;
};

class LogScan {
 public:
  LogScan(Disk& disk, const ScanCallbacks& callbacks) : disk_(disk), callbacks_(callbacks) {}

  LogState run(const LogStart* start) {
    find_segments(start);
    if (start != nullptr)
      begin_at(*start);
    else if (!begin())
      return std::move(state_);
    advance();
    // A live writer may have written between our reads, so what looks like a hole is read again.
    while (find_durable_beyond() > state_.count) {
      reader_->forget();
      if (!advance()) throw_lost();
    }
    check_seals();
    if (callbacks_.progress) callbacks_.progress(bytes_total_, bytes_total_);
    return std::move(state_);
  }

  std::optional<ScannedSegment> scan_one(const LogStart& start) {
    find_segments(&start);
    begin_at(start);
    while (take_batch()) continue;
    if (!take_next_segment() || !state_.segments.front().sealed) return std::nullopt;
    return state_.segments.front();
  }

  LogStart read_until(const LogStart& start, uint64_t stop) {
    find_segments(&start);
    if (start.uuid != JournalUuid{})
      begin_at(start);
    else if (!begin())
      throw_corrupt(0, 0, "the segment header is damaged", 0);
    while (state_.count < stop && (take_batch() || take_next_segment())) continue;
    if (state_.count != stop)
      throw_corrupt(current(), segment().end, "a batch that had been durable is missing",
                    state_.count);
    return {.uuid = state_.uuid,
            .segment = current(),
            .offset = segment().end,
            .count = stop,
            .watermark = stop,
            .last_hash = state_.last_hash};
  }

 private:
  uint64_t current() const { return state_.segments.back().number; }
  ScannedSegment& segment() { return state_.segments.back(); }
  uint64_t data_limit() const { return reader_->size() - block_size; }

  void find_segments(const LogStart* start) {
    const std::vector<uint64_t> numbers = list_segments(disk_);
    if (numbers.empty() && start == nullptr) return;
    const uint64_t first = start != nullptr ? start->segment : 0;
    state_.oldest_segment = numbers.empty() ? 0 : numbers.front();
    if (numbers.empty() || numbers.front() > first) {
      if (start == nullptr) throw_dropped(numbers.front());
      throw_corrupt(first, 0, "the segment is missing, and had been durable", start->count);
    }
    for (uint64_t i = 0; i < numbers.size(); ++i)
      if (numbers[i] != numbers[0] + i)
        throw_corrupt(numbers[0] + i, 0, "the segment is missing", position_none);
    state_.file_end = numbers.back() + 1;
    if (state_.file_end <= first)
      throw_corrupt(first, 0, "the segment is missing, and had been durable", start->count);
    for (uint64_t number = first; number < state_.file_end; ++number)
      bytes_total_ += disk_.open(segment_name(number), OpenMode::read)->size();
  }

  // The first segments are not there, and no snapshot was given that holds what was in them.
  [[noreturn]] void throw_dropped(uint64_t oldest) {
    Position position = 0;
    if (const auto header = header_of(SegmentReader(disk_, oldest), oldest))
      position = header->first_position;
    throw_corrupt(0, 0,
                  "the segment is missing; the oldest record kept is " + std::to_string(position) +
                      ", and no intact snapshot holds those before it",
                  position);
  }

  void begin_at(const LogStart& start) {
    reader_ = std::make_unique<SegmentReader>(disk_, start.segment);
    const auto header = header_of(*reader_, start.segment);
    state_.uuid = start.uuid;
    state_.count = state_.start = start.count;
    if (!header) throw_corrupt(start.segment, 0, "the segment header is damaged", start.count);
    check_identity(*header, start.segment, *reader_);
    const bool inside = start.offset >= block_size && start.offset % block_size == 0 &&
                        start.offset <= data_limit() && header->first_position <= start.count;
    if (!inside)
      throw_corrupt(start.segment, start.offset, "the snapshot goes on where nothing can be",
                    start.count);
    state_.exists = true;
    state_.last_hash = start.last_hash;
    state_.watermark = start.watermark;
    enter(*header);
    segment().end = start.offset;
    state_.size_bytes = start.offset;
    hear_seal_before(*header);
  }

  // The seal of the segment before may be all that says how much had been durable in this one.
  void hear_seal_before(const SegmentHeader& header) {
    if (header.number == 0 || !disk_.exists(segment_name(header.number - 1))) return;
    try {
      SegmentReader reader(disk_, header.number - 1);
      ScannedSegment before;
      before.number = header.number - 1;
      before.size_bytes = reader.size();
      before.end_position = header.first_position;
      before.end_hash = header.previous_hash;
      if (reader.size() >= 3 * block_size) durable_by_seal_ = seal_watermark(reader, before);
    } catch (const Error& error) {
      // A live writer may have dropped it since.
      if (error.code() == ErrorCode::corrupt) throw;
    }
  }

  // The first segment names the journal. Without a valid header it was never used, or is damaged.
  bool begin() {
    if (state_.file_end == 0) return false;
    reader_ = std::make_unique<SegmentReader>(disk_, 0);
    const auto header = header_of(*reader_, 0);
    if (!header) {
      uint64_t used = 0;
      for (uint64_t i = 0; i < state_.file_end; ++i) {
        SegmentReader reader(disk_, i);
        const uint64_t first = i == 0 ? std::min(block_size, reader.size()) : 0;
        if (i == 0) state_.torn_bytes = reader.end_of_data(0, first);
        if (reader.end_of_data(first, reader.size()) != first) ++used;
      }
      if (used != 0) throw_corrupt(0, 0, "the segment header is damaged", 0);
      return false;
    }
    state_.uuid = header->uuid;
    check_identity(*header, 0, *reader_);
    if (header->first_position != 0) throw_corrupt(0, 0, "the log does not begin at 0", 0);
    state_.exists = true;
    state_.last_hash = header->previous_hash;
    enter(*header);
    return true;
  }

  static std::optional<SegmentHeader> header_of(SegmentReader&& reader, uint64_t number) {
    return header_of(reader, number);
  }
  static std::optional<SegmentHeader> header_of(SegmentReader& reader, uint64_t number) {
    if (reader.size() < block_size) return std::nullopt;
    return parse_segment_header(reader.view(0, block_size), segment_name(number));
  }

  void check_identity(const SegmentHeader& header, uint64_t number, const SegmentReader& reader) {
    if (header.uuid != state_.uuid)
      throw_corrupt(number, 0, "the segment belongs to another journal", state_.count);
    if (header.number != number) {
      throw_corrupt(number, 0, "holds segment " + std::to_string(header.number), state_.count);
    }
    if (header.size_bytes != reader.size() || reader.size() < 3 * block_size) {
      throw_corrupt(number, reader.size(),
                    "the file ends here and not at " + std::to_string(header.size_bytes),
                    state_.count);
    }
  }

  void enter(const SegmentHeader& header) {
    state_.segments.push_back({.number = header.number,
                               .first_position = header.first_position,
                               .size_bytes = header.size_bytes,
                               .end = block_size,
                               .end_position = state_.count,
                               .end_hash = state_.last_hash,
                               .sealed = false});
    state_.size_bytes += block_size;
    note_watermark(header.watermark, current(), 0);
  }

  // In what is read in order, a watermark can only speak of what came before.
  void note_watermark(uint64_t watermark, uint64_t number, uint64_t offset) {
    if (watermark > state_.count)
      throw_corrupt(number, offset, "the watermark is ahead of the log", state_.count);
    state_.watermark = std::max(state_.watermark, watermark);
  }

  // Takes every batch that follows. Returns whether there was any.
  bool advance() {
    bool any = false;
    while (take_batch() || take_next_segment()) any = true;
    return any;
  }

  std::optional<BatchHeader> intact_batch(SegmentReader& reader, uint64_t offset, uint64_t limit) {
    if (offset + block_size > limit) return std::nullopt;
    const auto header =
        parse_batch_header(reader.view(offset, block_size), state_.uuid, limit - offset);
    if (!header) return std::nullopt;
    if (!batch_is_intact(reader.view(offset, batch_image_size(header->payload_size))))
      return std::nullopt;
    return header;
  }

  bool follows(const Digest& previous_hash) const {
    return callbacks_.unchecked || previous_hash == state_.last_hash;
  }

  bool take_batch() {
    const uint64_t offset = segment().end;
    const auto header = intact_batch(*reader_, offset, data_limit());
    if (!header) return false;
    if (!HANSE_SEEDED_BUG(12) &&
        (header->first_position != state_.count || !follows(header->previous_hash)))
      throw_corrupt(current(), offset, "the batch does not follow the one before", state_.count);
    note_watermark(header->watermark, current(), offset);

    const uint64_t size = batch_image_size(header->payload_size);
    const Bytes image = reader_->view(offset, size);
    leaves_.clear();
    Bytes record;
    for (RecordReader records(*header, image); records.next(record);) {
      leaves_.push_back(callbacks_.unchecked ? Digest{} : merkle_leaf(record));
      if (callbacks_.record) callbacks_.record(state_.count, record, leaves_.back());
      ++state_.count;
    }
    if (header->count != 0) {
      state_.batches.push_back({.first_position = header->first_position,
                                .segment = uint32_t(current()),
                                .first_block = uint32_t(offset / block_size),
                                .block_count = uint32_t(size / block_size)});
    }
    if (!callbacks_.unchecked) state_.last_hash = batch_hash(image, leaves_);
    state_.closed = header->count == 0 && header->watermark == state_.count;
    if (header->count == 0) marker_segment_ = current();
    state_.size_bytes += size;
    segment().end = offset + size;
    segment().end_position = state_.count;
    segment().end_hash = state_.last_hash;
    if (callbacks_.progress) callbacks_.progress(bytes_done_ + segment().end, bytes_total_);
    return true;
  }

  bool take_next_segment() {
    const uint64_t number = current() + 1;
    if (!disk_.exists(segment_name(number))) return false;
    auto next = std::make_unique<SegmentReader>(disk_, number);
    const auto header = header_of(*next, number);
    if (!header) return false;
    check_identity(*header, number, *next);
    if (header->first_position > state_.count) return false;
    if (header->first_position < state_.count || !follows(header->previous_hash))
      throw_corrupt(number, 0, "the segment does not follow the one before", state_.count);

    const uint64_t garbage = reader_->end_of_data(segment().end, data_limit());
    if (garbage != segment().end)
      throw_corrupt(current(), segment().end, "unreadable bytes in a full segment", state_.count);
    read_seal();
    bytes_done_ += reader_->size();
    reader_ = std::move(next);
    enter(*header);
    return true;
  }

  void read_seal() {
    const uint64_t watermark = seal_watermark(*reader_, segment());
    segment().sealed = watermark != 0;
    durable_by_seal_ = std::max(durable_by_seal_, watermark);
  }

  // 0 where there is no seal: one is written when the next segment holds a durable record.
  uint64_t seal_watermark(SegmentReader& reader, const ScannedSegment& sealed) {
    const uint64_t offset = sealed.size_bytes - block_size;
    const auto seal = intact_batch(reader, offset, sealed.size_bytes);
    if (!seal) return 0;
    if (seal->count != 0 || seal->first_position != sealed.end_position ||
        (!callbacks_.unchecked && seal->previous_hash != sealed.end_hash))
      throw_corrupt(sealed.number, offset, "the seal is of another segment", sealed.end_position);
    return seal->watermark;
  }

  // The highest watermark in anything intact behind the end; measures the torn tail on the way.
  uint64_t find_durable_beyond() {
    uint64_t durable = HANSE_SEEDED_BUG(13) ? 0 : durable_by_seal_;
    state_.torn_end = reader_->end_of_data(segment().end, reader_->size());
    state_.torn_bytes = state_.torn_end - segment().end;
    durable = std::max(durable, durable_in(*reader_, segment().end));
    for (uint64_t number = current() + 1; number < state_.file_end; ++number) {
      SegmentReader reader(disk_, number);
      const auto header = header_of(reader, number);
      if (header) {
        check_identity(*header, number, reader);
        durable = std::max(durable, header->watermark);
      }
      state_.torn_bytes += reader.end_of_data(0, reader.size());
      durable = std::max(durable, durable_in(reader, block_size));
    }
    return durable;
  }

  uint64_t durable_in(SegmentReader& reader, uint64_t from) {
    if (HANSE_SEEDED_BUG(14)) return 0;
    uint64_t durable = 0;
    for (uint64_t at = from; at + block_size <= reader.size(); at += block_size)
      if (const auto header = intact_batch(reader, at, reader.size()))
        durable = std::max(durable, header->watermark);
    return durable;
  }

  [[noreturn]] void throw_lost() {
    const uint64_t next = current() + 1;
    const uint64_t end = segment().end;
    const bool damaged_here = reader_->end_of_data(end, data_limit()) != end;
    if (damaged_here)
      throw_corrupt(current(), end, "a batch that had been durable is damaged", state_.count);
    if (next >= state_.file_end)
      throw_corrupt(next, 0, "the segment is missing, and had been durable", state_.count);
    SegmentReader reader(disk_, next);
    if (!header_of(reader, next))
      throw_corrupt(next, 0, "the segment header is damaged", state_.count);
    throw_corrupt(current(), end, "a batch that had been durable is missing", state_.count);
  }

  // A segment is sealed before anything is written after the flush that filled it. So the seal may
  // be missing only where no batch of a later flush is known, and no closing marker. Seals prove
  // nothing about each other: a flush that filled two segments seals one after the other.
  void check_seals() {
    for (uint64_t i = 0; i + 1 < state_.segments.size(); ++i) {
      const ScannedSegment& sealed = state_.segments[i];
      const bool followed = state_.watermark > state_.segments[i + 1].first_position;
      if (sealed.sealed || (!followed && sealed.number >= marker_segment_)) continue;
      // A live writer may have written it since.
      SegmentReader reader(disk_, sealed.number);
      if (seal_watermark(reader, sealed) != 0) continue;
      throw_corrupt(sealed.number, sealed.size_bytes - block_size,
                    "the seal of the segment is damaged", sealed.end_position);
    }
    state_.batch_watermark = state_.watermark;
    state_.watermark = std::max(state_.watermark, durable_by_seal_);
  }

  Disk& disk_;
  const ScanCallbacks& callbacks_;
  LogState state_;
  std::unique_ptr<SegmentReader> reader_;  // of the segment that is being read
  std::vector<Digest> leaves_;
  uint64_t durable_by_seal_ = 0;
  uint64_t marker_segment_ = 0;  // the last one with a closing marker
  uint64_t bytes_done_ = 0, bytes_total_ = 0;
};

}  // namespace

// A batch says what was durable before it was written; so a segment with its seal is known to be
// on disk once a batch of a later flush follows it.
static bool known_durable(const LogState& state, size_t i) {
  if (i + 1 == state.segments.size()) return false;
  return state.batch_watermark > state.segments[i + 1].first_position;
}

// Where what may not be on disk begins in a segment.
static uint64_t first_in_doubt(const LogState& state, const ScannedSegment& segment) {
  if (segment.first_position >= state.batch_watermark) return 0;
  for (size_t i = state.batches.size(); i-- > 0;) {
    const BatchPlace& batch = state.batches[i];
    if (batch.segment != segment.number || batch.first_position >= state.batch_watermark) continue;
    return uint64_t(batch.first_block + batch.block_count) * block_size;
  }
  return 0;
}

static void write_again(File& file, uint64_t from, uint64_t end) {
  std::vector<uint8_t> bytes;
  for (uint64_t at = from; at < end; at += bytes.size()) {
    bytes.resize(size_t(std::min<uint64_t>(end - at, 1 << 20)));
    file.read(at, bytes);
    file.write(at, bytes);
  }
}

LogState scan_log(Disk& disk, const ScanCallbacks& callbacks, const LogStart* start) {
  return LogScan(disk, callbacks).run(start);
}

LogStart read_log(Disk& disk, const ScanCallbacks& callbacks, const LogStart& start,
                  uint64_t stop) {
  return LogScan(disk, callbacks).read_until(start, stop);
}

std::optional<ScannedSegment> scan_segment(Disk& disk, const ScanCallbacks& callbacks,
                                           uint64_t number) {
  return LogScan(disk, callbacks).scan_one(start_of_segment(disk, number));
}

LogStart start_of_segment(Disk& disk, uint64_t number) {
  const SegmentHeader header = read_segment_header(disk, number);
  return {.uuid = header.uuid,
          .segment = number,
          .offset = block_size,
          .count = header.first_position,
          .watermark = header.watermark,
          .last_hash = header.previous_hash};
}

std::vector<uint64_t> list_segments(Disk& disk) {
  std::vector<uint64_t> numbers;
  for (const std::string& name : disk.list(""))
    if (const auto number = segment_number(name)) numbers.push_back(*number);
  return numbers;
}

SegmentHeader read_segment_header(Disk& disk, uint64_t number) {
  const std::string name = segment_name(number);
  const auto file = disk.open(name, OpenMode::read);
  std::vector<uint8_t> block(block_size);
  if (file->size() >= block_size) {
    file->read(0, block);
    if (const auto header = parse_segment_header(block, name)) return *header;
  }
  throw_corrupt(number, 0, "the segment header is damaged", position_none);
}

void sync_survivors(Disk& disk, const LogState& state) {
  for (size_t i = 0; i < state.segments.size(); ++i)
    if (!known_durable(state, i))
      disk.open(segment_name(state.segments[i].number), OpenMode::read)->sync();
  if (state.exists) disk.sync_directory("");
}

void rewrite_survivors(Disk& disk, const LogState& state) {
  for (size_t i = 0; i < state.segments.size(); ++i) {
    if (known_durable(state, i)) continue;
    const ScannedSegment& segment = state.segments[i];
    const auto file = disk.open(segment_name(segment.number), OpenMode::write);
    if (!HANSE_SEEDED_BUG(9)) write_again(*file, first_in_doubt(state, segment), segment.end);
    if (segment.sealed) write_again(*file, segment.size_bytes - block_size, segment.size_bytes);
    file->sync();
  }
  if (state.exists) disk.sync_directory("");
}

}  // namespace hanse
