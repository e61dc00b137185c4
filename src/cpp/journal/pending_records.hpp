// Records that were appended and not yet written, as the images of the batches that will hold them:
// the leader only fills in the headers. Its memory is used again, so appending allocates nothing
// once it has grown.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "journal/segment.hpp"

namespace hanse {

struct PendingBatch {
  Position first_position = 0;
  size_t offset = 0;  // of the image
  uint32_t count = 0;
  uint32_t payload_size = 0;

  uint64_t image_size() const { return batch_image_size(payload_size); }
};

class PendingRecords {
 public:
  // A batch is closed before its payload would pass this; a larger record is alone in its batch.
  void set_payload_size_max(uint64_t size) { payload_size_max_ = size; }

  // Where memory runs out nothing has changed.
  void append(Position position, Bytes record) {
    const size_t framed = record_header_size + record.size();
    const bool begins =
        batches_.empty() || batches_.back().payload_size + framed > payload_size_max_;
    make_room(framed, begins);
    if (begins) begin_batch(position);
    PendingBatch& batch = batches_.back();
    const size_t at = image_.size();
    image_.resize(at + framed);
    const auto size = uint32_t(record.size());
    std::memcpy(image_.data() + at, &size, sizeof(size));
    std::memcpy(image_.data() + at + sizeof(size), record.data(), record.size());
    batch.payload_size += uint32_t(framed);
    ++batch.count;
  }

  // Pads the last batch, in room that is there; nothing is appended after that until `clear`.
  void close() { image_.resize(round_to_block(image_.size())); }
  void clear() {
    image_.clear();
    batches_.clear();
  }

  bool empty() const { return batches_.empty(); }
  uint64_t image_size() const { return round_to_block(image_.size()); }
  std::span<const PendingBatch> batches() const { return batches_; }
  std::span<uint8_t> image(const PendingBatch& batch) {
    return std::span(image_).subspan(batch.offset, batch.image_size());
  }
  // The records alone; the last batch need not be closed.
  Bytes payload(const PendingBatch& batch) const {
    return Bytes(image_).subspan(batch.offset + batch_header_size, batch.payload_size);
  }
  uint64_t memory_bytes() const {
    return image_.capacity() + batches_.capacity() * sizeof(PendingBatch);
  }

 private:
  // For one more record, a batch of its own where it begins one, and the padding behind it.
  void make_room(size_t framed, bool begins) {
    const size_t start = begins ? round_to_block(image_.size()) + batch_header_size : image_.size();
    const size_t needed = round_to_block(start + framed);
    if (needed > image_.capacity()) image_.reserve(std::max(needed, 2 * image_.capacity()));
    if (begins && batches_.size() == batches_.capacity())
      batches_.reserve(std::max<size_t>(8, 2 * batches_.size()));
  }
  void begin_batch(Position position) {
    close();
    batches_.push_back({.first_position = position, .offset = image_.size()});
    image_.resize(image_.size() + batch_header_size);
  }

  std::vector<uint8_t> image_;
  std::vector<PendingBatch> batches_;
  uint64_t payload_size_max_ = 0;
};

}  // namespace hanse
