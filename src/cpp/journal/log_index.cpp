#include "journal/log_index.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace hanse {

LogIndex::LogIndex(std::shared_ptr<Disk> disk, LogState& state)
    : disk_(std::move(disk)), uuid_(state.uuid), places_(std::move(state.batches)) {}

void LogIndex::add(const BatchPlace& place) {
  const std::lock_guard lock(mutex_);
  places_.push_back(place);
}

std::vector<uint8_t> LogIndex::read(Position position) {
  const std::lock_guard lock(mutex_);
  const auto after = std::upper_bound(
      places_.begin(), places_.end(), position,
      [](Position wanted, const BatchPlace& place) { return wanted < place.first_position; });
  HANSE_ASSERT(after != places_.begin());
  load(*std::prev(after));
  Bytes record;
  RecordReader records(header_, image_);
  for (Position at = header_.first_position; records.next(record); ++at)
    if (at == position) return {record.begin(), record.end()};
  throw Error(ErrorCode::corrupt, segment_name(std::prev(after)->segment),
              "the batch ends before the record", 0, position);
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

}  // namespace hanse
