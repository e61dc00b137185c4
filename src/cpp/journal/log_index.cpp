#include "journal/log_index.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace hanse {

namespace {

const BatchPlace& place_of(const std::vector<BatchPlace>& places, Position position) {
  const auto after = std::upper_bound(
      places.begin(), places.end(), position,
      [](Position wanted, const BatchPlace& place) { return wanted < place.first_position; });
  HANSE_ASSERT(after != places.begin());
  return *std::prev(after);
}

}  // namespace

LogIndex::LogIndex(std::shared_ptr<Disk> disk, LogState& state)
    : disk_(std::move(disk)),
      uuid_(state.uuid),
      places_(std::move(state.batches)),
      start_(state.start),
      oldest_(state.start) {
  if (start_ == 0) return;
  for (uint64_t number = state.oldest_segment; number <= state.segments.front().number; ++number)
    old_segments_.push_back({number, read_segment_header(*disk_, number).first_position});
  oldest_ = old_segments_.front().first_position;
}

void LogIndex::add(const BatchPlace& place) {
  const std::lock_guard lock(mutex_);
  places_.push_back(place);
}

Position LogIndex::oldest() const {
  const std::lock_guard lock(mutex_);
  return oldest_;
}

void LogIndex::forget_before(uint64_t number, Position oldest) {
  const std::lock_guard lock(mutex_);
  oldest_ = oldest;
  std::erase_if(old_segments_, [&](const OldSegment& segment) { return segment.number < number; });
  std::erase_if(places_, [&](const BatchPlace& place) { return place.segment < number; });
  surveyed_ = UINT64_MAX;
  loaded_ = position_none;
}

const BatchPlace& LogIndex::find(Position position) {
  if (position < oldest_) {
    throw Error(ErrorCode::unknown_event, "position",
                std::to_string(position) + " was dropped; the oldest record kept is " +
                    std::to_string(oldest_),
                0, oldest_);
  }
  if (position >= start_) return place_of(places_, position);
  survey(position);
  return place_of(surveyed_places_, position);
}

// Walks the headers of the batches of the segment that holds a position.
void LogIndex::survey(Position position) {
  const auto after = std::upper_bound(
      old_segments_.begin(), old_segments_.end(), position,
      [](Position wanted, const OldSegment& segment) { return wanted < segment.first_position; });
  HANSE_ASSERT(after != old_segments_.begin());
  const OldSegment& segment = *std::prev(after);
  if (surveyed_ == segment.number) return;
  const std::string name = segment_name(segment.number);
  const auto file = disk_->open(name, OpenMode::read);
  surveyed_ = UINT64_MAX;
  surveyed_places_.clear();
  std::vector<uint8_t> block(block_size);
  const uint64_t limit = file->size() - block_size;
  Position next = segment.first_position;
  for (uint64_t offset = block_size; offset + block_size <= limit;) {
    file->read(offset, block);
    const auto header = parse_batch_header(block, uuid_, limit - offset);
    if (!header || header->first_position != next) break;
    const uint64_t size = batch_image_size(header->payload_size);
    if (header->count != 0)
      surveyed_places_.push_back({.first_position = header->first_position,
                                  .segment = uint32_t(segment.number),
                                  .first_block = uint32_t(offset / block_size),
                                  .block_count = uint32_t(size / block_size)});
    next += header->count;
    offset += size;
  }
  if (next <= position)
    throw Error(ErrorCode::corrupt, name, "a batch before its end is damaged", 0, next);
  surveyed_ = segment.number;
}

std::vector<uint8_t> LogIndex::read(Position position) {
  const std::lock_guard lock(mutex_);
  const BatchPlace place = find(position);
  load(place);
  Bytes record;
  RecordReader records(header_, image_);
  for (Position at = header_.first_position; records.next(record); ++at)
    if (at == position) return {record.begin(), record.end()};
  throw Error(ErrorCode::corrupt, segment_name(place.segment), "the batch ends before the record",
              0, position);
}

void LogIndex::load(const BatchPlace& place) {
  if (loaded_ == place.first_position) return;
  loaded_ = position_none;
  const std::string name = segment_name(place.segment);
  const uint64_t offset = place.first_block * block_size;
  image_.resize(place.block_count * block_size);
  disk_->open(name, OpenMode::read)->read(offset, image_);
  const auto header = parse_batch_header(image_, uuid_, image_.size());
  if (!header || !batch_is_intact(image_) || header->first_position != place.first_position) {
    throw Error(ErrorCode::corrupt, name,
                "offset " + std::to_string(offset) + ": the batch is damaged", 0,
                place.first_position);
  }
  header_ = *header;
  loaded_ = place.first_position;
}

uint64_t LogIndex::memory_bytes() const {
  const std::lock_guard lock(mutex_);
  return places_.capacity() * sizeof(BatchPlace) + image_.capacity();
}

LogFloor floor_before(Disk& disk, uint64_t before, Position limit) {
  const std::vector<uint64_t> numbers = list_segments(disk);
  LogFloor floor;
  if (!numbers.empty()) floor.segment = numbers.front();
  for (size_t i = 0; i + 1 < numbers.size() && numbers[i] < before; ++i) {
    // It ends where the next begins, which was written: the log goes on in it, or later.
    const Position end = read_segment_header(disk, numbers[i + 1]).first_position;
    if (end > limit) break;
    floor = {numbers[i + 1], end, true};
  }
  return floor;
}

uint64_t drop_segments(Disk& disk, LogIndex& index, uint64_t before, Position limit,
                       const std::function<void(uint64_t)>& dropped) {
  uint64_t total = 0;
  const LogFloor floor = floor_before(disk, before, limit);
  for (const uint64_t number : list_segments(disk)) {
    if (number >= floor.segment) break;
    const std::string name = segment_name(number);
    const uint64_t size = disk.open(name, OpenMode::read)->size();
    index.forget_before(number + 1, read_segment_header(disk, number + 1).first_position);
    disk.remove(name);
    // Each for good before the next, so that a crash leaves no gap in the numbers.
    disk.sync_directory("");
    dropped(size);
    total += size;
  }
  return total;
}

}  // namespace hanse
