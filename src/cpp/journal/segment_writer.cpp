#include "journal/segment_writer.hpp"

#include <algorithm>
#include <random>

#include "base/error.hpp"
#include "base/random.hpp"
#include "base/seeded_bug.hpp"

namespace hanse {

namespace {

// Keeps one block back for the closing marker.
constexpr uint64_t marker_size = block_size;

JournalUuid draw_uuid(uint64_t seed) {
  std::random_device entropy;
  Random random(seed);
  JournalUuid uuid;
  for (uint8_t& byte : uuid) byte = uint8_t(seed == 0 ? entropy() : random.next());
  return uuid;
}

}  // namespace

SegmentWriter::SegmentWriter(std::shared_ptr<Disk> disk, const LogState& state,
                             uint64_t segment_size_bytes_max, uint64_t identity_seed)
    : disk_(std::move(disk)), segment_size_bytes_max_(segment_size_bytes_max) {
  rewrite_survivors(*disk_, state);
  cut_tail(state);
  if (state.exists)
    resume(state);
  else
    create_log(identity_seed);
}

void SegmentWriter::resume(const LogState& state) {
  uuid_ = state.uuid;
  last_hash_ = HANSE_SEEDED_BUG(15) ? Digest{} : state.last_hash;
  closed_ = state.closed;
  const ScannedSegment& last = state.segments.back();
  next_number_ = last.number + 1;
  for (const ScannedSegment& sealed : state.segments) {
    if (sealed.sealed || &sealed == &last) continue;
    auto segment = std::make_shared<OpenSegment>();
    segment->number = sealed.number;
    segment->size_bytes = sealed.size_bytes;
    segment->file = disk_->open(segment_name(sealed.number), OpenMode::write);
    write_seal({segment, sealed.end_position, sealed.end_hash}, state.count);
  }
  current_ = std::make_shared<OpenSegment>();
  current_->number = last.number;
  current_->size_bytes = last.size_bytes;
  current_->file = disk_->open(segment_name(last.number), OpenMode::write);
  offset_ = last.end;
  written_ = current_;
  size_bytes_ = state.size_bytes;
  segment_count_ = last.number + 1 - state.oldest_segment;
  for (uint64_t number = state.oldest_segment; number < state.segments.front().number; ++number)
    size_bytes_ += disk_->open(segment_name(number), OpenMode::read)->size();
}

// Spare segments go too: after a crash nobody knows what they hold. Highest first, each for good,
// so that a second crash leaves no gap in the numbers.
void SegmentWriter::cut_tail(const LogState& state) {
  const uint64_t end_number = state.exists ? state.segments.back().number + 1 : 0;
  for (uint64_t number = state.file_end; number > end_number; --number) {
    disk_->remove(segment_name(number - 1));
    disk_->sync_directory("");
  }
  if (!state.exists) return;
  const uint64_t end = state.segments.back().end;
  if (state.torn_end == end || HANSE_SEEDED_BUG(10)) return;
  const auto file = disk_->open(segment_name(end_number - 1), OpenMode::write);
  const std::vector<uint8_t> zeros(size_t(std::min<uint64_t>(state.torn_end - end, 1 << 20)));
  for (uint64_t at = end; at < state.torn_end; at += zeros.size())
    file->write(at,
                Bytes(zeros).first(size_t(std::min<uint64_t>(zeros.size(), state.torn_end - at))));
  file->sync();
}

void SegmentWriter::create_log(uint64_t identity_seed) {
  uuid_ = draw_uuid(identity_seed);
  auto first = create_segment(0, 0);
  next_number_ = 1;
  begin_segment(first, 0, 0);
  first->file->sync();
  current_ = std::move(first);
  offset_ = block_size;
}

std::shared_ptr<OpenSegment> SegmentWriter::create_segment(uint64_t number, uint64_t room) {
  const uint64_t doubled = first_segment_size << std::min<uint64_t>(number, 32);
  auto segment = std::make_shared<OpenSegment>();
  segment->number = number;
  segment->size_bytes =
      std::max(std::min(doubled, segment_size_bytes_max_), round_to_block(room) + segment_overhead);
  const std::string name = segment_name(number);
  if (disk_->exists(name)) disk_->remove(name);  // what an attempt without room left behind
  segment->file = disk_->open(name, OpenMode::create);
  try {
    segment->file->allocate(segment->size_bytes);
    segment->file->sync();
    if (!HANSE_SEEDED_BUG(2)) disk_->sync_directory("");
  } catch (const Error&) {
    segment->file.reset();
    disk_->remove(name);
    throw;
  }
  return segment;
}

bool SegmentWriter::has_room(uint64_t size) const {
  const std::lock_guard lock(room_mutex_);
  // One run that takes it all is enough, whatever is cut into batches and skipped before it.
  size = round_to_block(size) + marker_size;
  const auto fits = [&](const auto& spare) { return spare->room() >= size; };
  return block_size + current_->room() - offset_ >= size ||
         std::any_of(spares_.begin(), spares_.end(), fits);
}

void SegmentWriter::ensure_room(uint64_t size) {
  const std::lock_guard lock(create_mutex_);
  if (has_room(size)) return;
  auto spare = create_segment(next_number_, size + marker_size);
  ++next_number_;
  const std::lock_guard room_lock(room_mutex_);
  spares_.push_back(std::move(spare));
}

bool SegmentWriter::wants_spare() const {
  const std::lock_guard lock(room_mutex_);
  return spares_.empty() && block_size + current_->room() - offset_ < current_->room() / 2;
}

uint64_t SegmentWriter::room_of_spare() const {
  const std::lock_guard lock(room_mutex_);
  return current_->room() / 2;
}

std::vector<Placement> SegmentWriter::place(std::span<const PendingBatch> batches) {
  const std::lock_guard lock(room_mutex_);
  std::vector<Placement> placements;
  placements.reserve(batches.size());
  for (const PendingBatch& batch : batches) {
    Placement& placement = placements.emplace_back();
    while (offset_ + batch.image_size() > block_size + current_->room()) {
      HANSE_ASSERT(!spares_.empty());
      current_ = std::move(spares_.front());
      spares_.pop_front();
      offset_ = block_size;
      placement.begun.push_back(current_);
    }
    placement.segment = current_;
    placement.offset = offset_;
    offset_ += batch.image_size();
  }
  return placements;
}

void SegmentWriter::begin_segment(const std::shared_ptr<OpenSegment>& segment,
                                  Position first_position, uint64_t watermark) {
  if (written_) unsealed_.push_back({written_, first_position, last_hash_});
  std::vector<uint8_t> block(block_size);
  encode_segment_header({.number = segment->number,
                         .size_bytes = segment->size_bytes,
                         .first_position = first_position,
                         .watermark = watermark,
                         .uuid = uuid_,
                         .previous_hash = last_hash_},
                        block);
  segment->file->write(0, block);
  written_ = segment;
  size_bytes_ += block_size;
  segment_count_ += 1;
}

void SegmentWriter::write(PendingRecords& records, std::span<const Placement> placements,
                          std::span<const Digest> leaves, uint64_t watermark, LogIndex& index) {
  std::vector<std::shared_ptr<OpenSegment>> touched{written_};
  size_t record = 0;
  closed_ = false;
  for (size_t i = 0; i < placements.size(); ++i) {
    const PendingBatch& batch = records.batches()[i];
    for (const auto& segment : placements[i].begun) {
      begin_segment(segment, batch.first_position, watermark);
      touched.push_back(segment);
    }
    const auto image = records.image(batch);
    seal_batch({.count = batch.count,
                .payload_size = batch.payload_size,
                .first_position = batch.first_position,
                .watermark = watermark,
                .uuid = uuid_,
                .previous_hash = last_hash_},
               image);
    placements[i].segment->file->write(placements[i].offset, image);
    last_hash_ = batch_hash(image, leaves.subspan(record, batch.count));
    record += batch.count;
    size_bytes_ += image.size();
  }
  // The segment written before may have got nothing this time; then its sync has nothing to do.
  if (placements.front().segment != touched.front()) touched.erase(touched.begin());
  for (const auto& segment : touched)
    if (!HANSE_SEEDED_BUG(1)) segment->file->sync();
  for (size_t i = 0; i < placements.size(); ++i) {
    const PendingBatch& batch = records.batches()[i];
    index.add({.first_position = batch.first_position,
               .segment = uint32_t(placements[i].segment->number),
               .first_block = uint32_t(placements[i].offset / block_size),
               .block_count = uint32_t(batch.image_size() / block_size)});
  }
}

void SegmentWriter::seal_full_segments(uint64_t watermark) {
  for (const Seal& seal : unsealed_) write_seal(seal, watermark);
  unsealed_.clear();
}

void SegmentWriter::write_seal(const Seal& seal, uint64_t watermark) {
  std::vector<uint8_t> image(block_size);
  seal_batch({.first_position = seal.end_position,
              .watermark = watermark,
              .uuid = uuid_,
              .previous_hash = seal.end_hash},
             image);
  seal.segment->file->write(seal.segment->size_bytes - block_size, image);
  if (!HANSE_SEEDED_BUG(5)) seal.segment->file->sync();
}

void SegmentWriter::note_dropped(uint64_t segment_count, uint64_t size_bytes) {
  segment_count_ -= segment_count;
  size_bytes_ -= std::min(size_bytes, size_bytes_.load());
}

void SegmentWriter::write_closing_marker(uint64_t count) {
  if (closed_ || count == 0) return;
  ensure_room(0);
  const PendingBatch marker{.first_position = count};
  const auto placements = place({&marker, 1});
  for (const auto& segment : placements[0].begun) {
    begin_segment(segment, count, count);
    segment->file->sync();
  }
  seal_full_segments(count);
  std::vector<uint8_t> image(marker_size);
  seal_batch(
      {.first_position = count, .watermark = count, .uuid = uuid_, .previous_hash = last_hash_},
      image);
  placements[0].segment->file->write(placements[0].offset, image);
  placements[0].segment->file->sync();
  last_hash_ = batch_hash(image, {});
  size_bytes_ += image.size();
  closed_ = true;
}

}  // namespace hanse
