// The format of the log on disk, and nothing else: how a segment begins, how a batch of records is
// framed, and how each is recognised again.
//
// A segment is a preallocated file: a header block, batches one after another, zeros, and a last
// block for the seal that says what follows was durable. All of it is in blocks of 4 KiB. A batch
// is a header, its records (u32 size, then the bytes), and zeros to the end of a block; its CRC
// covers all of that. Each batch holds the hash of the one before. An empty batch is a marker: it
// carries the watermark at a clean close, or as the seal of a segment.
#pragma once

#include <optional>
#include <string>

#include "base/hash.hpp"
#include "base/ids.hpp"

namespace hanse {

constexpr uint64_t block_size = 4096;
constexpr uint32_t format_version = 1;
constexpr size_t batch_header_size = 88;
constexpr size_t record_header_size = 4;
// Header block, one block of records, and the seal.
constexpr uint64_t segment_overhead = 2 * block_size;

// Drawn once for a journal and repeated in every header, so that a block of another one is known.
using JournalUuid = std::array<uint8_t, 16>;

struct SegmentHeader {
  uint64_t number = 0;
  uint64_t size_bytes = 0;
  Position first_position = 0;
  uint64_t watermark = 0;  // records durable when this was written
  JournalUuid uuid{};
  Digest previous_hash{};
};

struct BatchHeader {
  uint32_t count = 0;
  uint32_t payload_size = 0;
  Position first_position = 0;
  uint64_t watermark = 0;  // records durable when this was written
  JournalUuid uuid{};
  Digest previous_hash{};
};

constexpr uint64_t round_to_block(uint64_t size) {
  return (size + block_size - 1) / block_size * block_size;
}
constexpr uint64_t batch_image_size(uint64_t payload_size) {
  return round_to_block(batch_header_size + payload_size);
}

std::string segment_name(uint64_t number);
std::optional<uint64_t> segment_number(const std::string& name);

void encode_segment_header(const SegmentHeader& header, std::span<uint8_t> block_out);
// Nothing where the block is not a valid header. Error(log_version) where it is one that a newer
// build has written.
std::optional<SegmentHeader> parse_segment_header(Bytes block, const std::string& path);

// Puts header and CRC before a payload that is in place and padded with zeros.
void seal_batch(const BatchHeader& header, std::span<uint8_t> image);
// The header, where the block begins a batch of this journal that fits into `room` bytes. The CRC
// is not checked: the image may be longer than the block.
std::optional<BatchHeader> parse_batch_header(Bytes block, const JournalUuid& uuid, uint64_t room);
bool batch_is_intact(Bytes image);
// Covers the records by their leaves, so their bytes are hashed once.
Digest batch_hash(Bytes image, std::span<const Digest> leaves);

// Splits an intact batch into its records; Error(corrupt) where the sizes do not add up.
class RecordReader {
 public:
  RecordReader(const BatchHeader& header, Bytes image);
  bool next(Bytes& record_out);

 private:
  Bytes left_;
  uint32_t count_;
};

bool all_zero(Bytes bytes);

}  // namespace hanse
