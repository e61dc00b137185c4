#include "journal/segment.hpp"

#include <algorithm>
#include <cstring>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/seeded_bug.hpp"

namespace hanse {

namespace {

constexpr char segment_magic[] = "hanseseg";
constexpr char batch_magic[] = "hansebat";
constexpr size_t magic_size = 8;
constexpr size_t crc_offset = 8;  // the same in both, and in every version to come
constexpr char name_prefix[] = "segment-";
constexpr size_t name_digits = 8;

bool has_magic(Bytes bytes, const char* magic) {
  return bytes.size() >= magic_size && std::memcmp(bytes.data(), magic, magic_size) == 0;
}

// Of the whole, with the CRC's own four bytes taken as zero.
uint32_t framed_crc(Bytes bytes) {
  constexpr uint8_t zeros[4] = {};
  const uint32_t head = crc32c(zeros, crc32c(bytes.first(crc_offset)));
  return crc32c(bytes.subspan(crc_offset + sizeof(zeros)), head);
}

bool crc_holds(Bytes bytes) {
  uint32_t stored;
  std::memcpy(&stored, bytes.data() + crc_offset, sizeof(stored));
  return stored == framed_crc(bytes);
}

void store_framed(const ByteWriter& header, std::span<uint8_t> out) {
  std::copy(header.bytes().begin(), header.bytes().end(), out.begin());
  const uint32_t crc = framed_crc(out);
  std::memcpy(out.data() + crc_offset, &crc, sizeof(crc));
}

void put_magic(ByteWriter& writer, const char* magic) {
  writer.put_raw({reinterpret_cast<const uint8_t*>(magic), magic_size});
  writer.put(uint32_t(0));  // the CRC, once the rest is there
}

JournalUuid get_uuid(ByteReader& reader) {
  JournalUuid uuid;
  std::memcpy(uuid.data(), reader.get_raw(uuid.size()).data(), uuid.size());
  return uuid;
}

}  // namespace

std::string segment_name(uint64_t number) {
  std::string digits(name_digits, '0');
  for (size_t i = name_digits; i-- > 0; number >>= 4) digits[i] = "0123456789abcdef"[number & 15];
  return name_prefix + digits;
}

std::optional<uint64_t> segment_number(const std::string& name) {
  const size_t prefix_size = sizeof(name_prefix) - 1;
  if (name.size() != prefix_size + name_digits || name.compare(0, prefix_size, name_prefix) != 0)
    return std::nullopt;
  uint64_t number = 0;
  for (const char digit : name.substr(prefix_size)) {
    const bool decimal = digit >= '0' && digit <= '9';
    if (!decimal && (digit < 'a' || digit > 'f')) return std::nullopt;
    number = number << 4 | uint64_t(decimal ? digit - '0' : digit - 'a' + 10);
  }
  return number;
}

void encode_segment_header(const SegmentHeader& header, std::span<uint8_t> block_out) {
  ByteWriter writer;
  put_magic(writer, segment_magic);
  writer.put(format_version);
  writer.put(header.number);
  writer.put(header.size_bytes);
  writer.put(header.first_position);
  writer.put(header.watermark);
  writer.put_raw(header.uuid);
  writer.put_digest(header.previous_hash);
  std::fill(block_out.begin(), block_out.end(), uint8_t(0));
  store_framed(writer, block_out);
}

std::optional<SegmentHeader> parse_segment_header(Bytes block, const std::string& path) {
  if (!has_magic(block, segment_magic) || !crc_holds(block)) return std::nullopt;
  ByteReader reader(block.subspan(crc_offset + 4));
  const auto version = reader.get<uint32_t>();
  if (version > format_version) {
    throw Error(ErrorCode::log_version, path,
                "version " + std::to_string(version) + " where this build reads up to " +
                    std::to_string(format_version));
  }
  if (version == 0) return std::nullopt;
  SegmentHeader header;
  header.number = reader.get<uint64_t>();
  header.size_bytes = reader.get<uint64_t>();
  header.first_position = reader.get<uint64_t>();
  header.watermark = reader.get<uint64_t>();
  header.uuid = get_uuid(reader);
  header.previous_hash = reader.get_digest();
  return header;
}

void seal_batch(const BatchHeader& header, std::span<uint8_t> image) {
  ByteWriter writer;
  put_magic(writer, batch_magic);
  writer.put(header.count);
  writer.put(header.payload_size);
  writer.put(uint32_t(0));  // reserved; also puts the positions on 8 bytes
  writer.put(header.first_position);
  writer.put(header.watermark);
  writer.put_raw(header.uuid);
  writer.put_digest(header.previous_hash);
  HANSE_ASSERT(writer.size() == batch_header_size);
  store_framed(writer, image);
}

std::optional<BatchHeader> parse_batch_header(Bytes block, const JournalUuid& uuid, uint64_t room) {
  if (block.size() < batch_header_size || !has_magic(block, batch_magic)) return std::nullopt;
  ByteReader reader(block.subspan(crc_offset + 4));
  BatchHeader header;
  header.count = reader.get<uint32_t>();
  header.payload_size = reader.get<uint32_t>();
  reader.get<uint32_t>();
  header.first_position = reader.get<uint64_t>();
  header.watermark = reader.get<uint64_t>();
  header.uuid = get_uuid(reader);
  header.previous_hash = reader.get_digest();
  if (header.uuid != uuid || batch_image_size(header.payload_size) > room) return std::nullopt;
  return header;
}

bool batch_is_intact(Bytes image) { return crc_holds(image) || HANSE_SEEDED_BUG(11); }

Digest batch_hash(Bytes image, std::span<const Digest> leaves) {
  Sha256 hash;
  hash.update(image.first(batch_header_size));
  for (const Digest& leaf : leaves) hash.update(leaf);
  return hash.finish();
}

RecordReader::RecordReader(const BatchHeader& header, Bytes image)
    : left_(image.subspan(batch_header_size, header.payload_size)), count_(header.count) {}

bool RecordReader::next(Bytes& record_out) {
  ByteReader reader(left_);
  if (count_ == 0) {
    reader.expect_end();
    return false;
  }
  record_out = reader.get_bytes();
  left_ = left_.last(reader.remaining());
  --count_;
  return true;
}

bool all_zero(Bytes bytes) {
  // The first is zero, and each equals the one before it: memcmp makes that as fast as a copy.
  return bytes.empty() ||
         (bytes[0] == 0 && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace hanse
