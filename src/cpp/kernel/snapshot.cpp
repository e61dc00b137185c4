#include "kernel/snapshot.hpp"

#include <algorithm>
#include <cstring>

#include "base/bytes.hpp"
#include "base/hash.hpp"

namespace hanse {

namespace {

constexpr char magic[] = "hansesnp";
constexpr size_t magic_size = 8;
constexpr size_t crc_offset = 8;  // the same in every format to come
constexpr char name_prefix[] = "snapshot-";
constexpr size_t name_digits = 16;
constexpr char temporary_suffix[] = ".tmp";
constexpr size_t frontier_max = 64;

[[noreturn]] void throw_damaged(const std::string& path, uint64_t offset, const std::string& what) {
  throw Error(ErrorCode::corrupt, path, "offset " + std::to_string(offset) + ": " + what);
}

uint32_t header_crc(Bytes header) {
  constexpr uint8_t zeros[4] = {};
  const uint32_t head = crc32c(zeros, crc32c(header.first(crc_offset)));
  return crc32c(header.subspan(crc_offset + sizeof(zeros)), head);
}

void encode_header(const SnapshotHeader& header, std::span<uint8_t> out) {
  ByteWriter writer;
  writer.put_raw({reinterpret_cast<const uint8_t*>(magic), magic_size});
  writer.put(uint32_t(0));  // the CRC, once the rest is there
  writer.put(snapshot_format);
  writer.put(header.start.count);
  writer.put(header.time_ns);
  writer.put_raw(header.start.uuid);
  writer.put(header.start.segment);
  writer.put(header.start.offset);
  writer.put_digest(header.start.last_hash);
  writer.put_digest(header.root);
  writer.put_digest(header.state_hash);
  writer.put(uint32_t(header.frontier.size()));
  for (const Digest& node : header.frontier) writer.put_digest(node);
  writer.put(uint32_t(header.sections.size()));
  for (const SectionEntry& entry : header.sections) {
    writer.put(entry.section);
    writer.put(entry.version);
    writer.put(entry.crc);
    writer.put(entry.offset);
    writer.put(entry.size_bytes);
    writer.put_digest(entry.state_hash);
  }
  HANSE_ASSERT(writer.size() <= out.size());
  std::fill(out.begin(), out.end(), uint8_t(0));
  std::copy(writer.bytes().begin(), writer.bytes().end(), out.begin());
  const uint32_t crc = header_crc(out);
  std::memcpy(out.data() + crc_offset, &crc, sizeof(crc));
}

SnapshotHeader decode_header(ByteReader& reader) {
  SnapshotHeader header;
  header.start.count = reader.get<uint64_t>();
  header.start.watermark = header.start.count;
  header.time_ns = reader.get<uint64_t>();
  std::memcpy(header.start.uuid.data(), reader.get_raw(16).data(), 16);
  header.start.segment = reader.get<uint64_t>();
  header.start.offset = reader.get<uint64_t>();
  header.start.last_hash = reader.get_digest();
  header.root = reader.get_digest();
  header.state_hash = reader.get_digest();
  header.frontier.resize(std::min<size_t>(reader.get_count(32), frontier_max));
  for (Digest& node : header.frontier) node = reader.get_digest();
  header.sections.resize(std::min<size_t>(reader.get_count(56), snapshot_sections_max));
  for (SectionEntry& entry : header.sections) {
    entry.section = reader.get<SnapshotSection>();
    entry.version = reader.get<uint16_t>();
    entry.crc = reader.get<uint32_t>();
    entry.offset = reader.get<uint64_t>();
    entry.size_bytes = reader.get<uint64_t>();
    entry.state_hash = reader.get_digest();
  }
  return header;
}

}  // namespace

const char* snapshot_section_name(SnapshotSection section) {
  constexpr const char* names[] = {"none",   "kernel",   "agent",      "capability",
                                   "policy", "ledger",   "task",       "mailbox",
                                   "leaves", "identity", "reputation", "attention"};
  const auto number = size_t(section);
  return number < std::size(names) ? names[number] : "unknown";
}

std::string snapshot_path(uint64_t count) {
  std::string digits(name_digits, '0');
  for (size_t i = name_digits; i-- > 0; count >>= 4) digits[i] = "0123456789abcdef"[count & 15];
  return std::string(snapshot_directory) + "/" + name_prefix + digits;
}

std::vector<uint64_t> list_snapshots(Disk& disk) {
  std::vector<uint64_t> counts;
  if (!disk.exists(snapshot_directory)) return counts;
  const size_t prefix_size = sizeof(name_prefix) - 1;
  for (const std::string& name : disk.list(snapshot_directory)) {
    if (name.size() != prefix_size + name_digits || !name.starts_with(name_prefix)) continue;
    const std::string digits = name.substr(prefix_size);
    if (digits.find_first_not_of("0123456789abcdef") != std::string::npos) continue;
    counts.push_back(std::stoull(digits, nullptr, 16));
  }
  std::reverse(counts.begin(), counts.end());
  return counts;
}

SnapshotHeader read_snapshot_header(File& file, const std::string& path) {
  if (file.size() < snapshot_header_size)
    throw_damaged(path, file.size(), "it ends before its header does");
  std::vector<uint8_t> block(snapshot_header_size);
  file.read(0, block);
  if (std::memcmp(block.data(), magic, magic_size) != 0) throw_damaged(path, 0, "is no snapshot");
  uint32_t crc;
  std::memcpy(&crc, block.data() + crc_offset, sizeof(crc));
  if (crc != header_crc(block)) throw_damaged(path, 0, "the header is damaged");
  ByteReader reader(Bytes(block).subspan(crc_offset + sizeof(crc)));
  const auto format = reader.get<uint32_t>();
  if (format != snapshot_format) {
    throw Error(ErrorCode::log_version, path,
                "format " + std::to_string(format) + " where this build reads " +
                    std::to_string(snapshot_format));
  }
  SnapshotHeader header = decode_header(reader);
  uint64_t end = snapshot_header_size;
  for (const SectionEntry& entry : header.sections) {
    if (entry.offset != end || entry.size_bytes > file.size() - end)
      throw_damaged(
          path, end,
          std::string("the section ") + snapshot_section_name(entry.section) + " is cut off");
    end += entry.size_bytes;
  }
  if (end != file.size()) throw_damaged(path, end, "something follows where it should end");
  return header;
}

std::vector<uint8_t> read_section(File& file, const std::string& path, const SectionEntry& entry) {
  std::vector<uint8_t> bytes(entry.size_bytes);
  file.read(entry.offset, bytes);
  if (crc32c(bytes) != entry.crc)
    throw_damaged(
        path, entry.offset,
        std::string("the section ") + snapshot_section_name(entry.section) + " is damaged");
  return bytes;
}

SnapshotHeader verify_snapshot(Disk& disk, uint64_t count) {
  const std::string path = snapshot_path(count);
  const auto file = disk.open(path, OpenMode::read);
  SnapshotHeader header = read_snapshot_header(*file, path);
  if (header.start.count != count) throw_damaged(path, 0, "is of another position");
  for (const SectionEntry& entry : header.sections) read_section(*file, path, entry);
  return header;
}

SnapshotFile::SnapshotFile(Disk& disk, uint64_t count)
    : disk_(disk), path_(snapshot_path(count)), temporary_(path_ + temporary_suffix) {
  disk_.create_directory(snapshot_directory);
  disk_.sync_directory("");
  // Whatever an earlier crash left half written.
  for (const std::string& name : disk_.list(snapshot_directory))
    if (name.ends_with(temporary_suffix))
      disk_.remove(std::string(snapshot_directory) + "/" + name);
  file_ = disk_.open(temporary_, OpenMode::create);
}

SnapshotFile::~SnapshotFile() {
  if (!file_) return;
  file_.reset();
  try {
    disk_.remove(temporary_);
  } catch (...) {
    // The next one that is made removes it.
  }
}

void SnapshotFile::add(SnapshotSection section, uint16_t version, const Digest& state_hash,
                       const std::function<void(SnapshotWriter&)>& encode) {
  SectionEntry& entry = sections_.emplace_back();
  entry.section = section;
  entry.version = version;
  entry.offset = end_;
  entry.state_hash = state_hash;
  SnapshotWriter writer([&](Bytes bytes) {
    file_->write(end_, bytes);
    entry.crc = crc32c(bytes, entry.crc);
    end_ += bytes.size();
  });
  encode(writer);
  writer.finish();
  entry.size_bytes = end_ - entry.offset;
}

uint64_t SnapshotFile::finish(SnapshotHeader header) {
  header.sections = std::move(sections_);
  std::vector<uint8_t> block(snapshot_header_size);
  encode_header(header, block);
  file_->write(0, block);
  file_->sync();
  disk_.rename(temporary_, path_);
  file_.reset();
  disk_.sync_directory(snapshot_directory);
  return end_;
}

}  // namespace hanse
