// The state of the record plane at one position of the journal, as a file: how it is made, found
// again, checked, and refused.
//
//   0     header, 4,096 bytes: "hansesnp", CRC32C of the header, format, position, where the log
//         goes on, the Merkle frontier, the table of sections with the CRC32C and the state hash of
//         each, and the state hash of all
//   4096  sections, one a concept (base/snapshot.hpp), one behind the other
//
// Snapshots are made by folding what is on disk into a second state, never from the live one: no
// writer waits, and each is a check that replay gives what was recorded. A file that is not whole,
// or whose state does not have the hash that it says, is passed over.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/snapshot.hpp"
#include "journal/disk.hpp"
#include "journal/log_scan.hpp"
#include "kernel/kernel.hpp"

namespace hanse {

constexpr char snapshot_directory[] = "snapshots";
constexpr uint32_t snapshot_format = 1;
constexpr size_t snapshot_header_size = 4096;
constexpr size_t snapshot_sections_max = 16;
// A snapshot that is damaged must not be the only one.
constexpr size_t snapshots_kept = 2;

// Numbers are on disk. Append, never reuse.
enum class SnapshotSection : uint16_t {
  kernel = 1,
  agent = 2,
  capability = 3,
  policy = 4,
  ledger = 5,
  task = 6,
  mailbox = 7,
  leaves = 8,
  identity = 9,
  reputation = 10,
  attention = 11,
};
const char* snapshot_section_name(SnapshotSection section);

struct SectionEntry {
  SnapshotSection section = SnapshotSection::kernel;
  uint16_t version = 0;
  uint32_t crc = 0;
  uint64_t offset = 0, size_bytes = 0;
  Digest state_hash{};  // zeros: the section is not part of the state hash
};

struct SnapshotHeader {
  LogStart start;  // where the log goes on; start.count is the position
  uint64_t time_ns = 0;
  Digest root{}, state_hash{};
  std::vector<Digest> frontier;
  std::vector<SectionEntry> sections;
};

std::string snapshot_path(uint64_t count);
// Positions of what lies there, newest first; whether they are whole is not looked at.
std::vector<uint64_t> list_snapshots(Disk& disk);
// Throws corrupt (file, offset), log_version.
SnapshotHeader read_snapshot_header(File& file, const std::string& path);
// The bytes of one section, checked. Throws corrupt.
std::vector<uint8_t> read_section(File& file, const std::string& path, const SectionEntry& entry);
// Every byte of it against its checksums.
SnapshotHeader verify_snapshot(Disk& disk, uint64_t count);

// Writes one, under a name of its own until it is whole and durable.
class SnapshotFile {
 public:
  // Throws storage_full, storage_failed; what was begun is removed.
  SnapshotFile(Disk& disk, uint64_t count);
  ~SnapshotFile();
  SnapshotFile(const SnapshotFile&) = delete;
  SnapshotFile& operator=(const SnapshotFile&) = delete;

  // encode(writer) puts the bytes.
  void add(SnapshotSection section, uint16_t version, const Digest& state_hash,
           const std::function<void(SnapshotWriter&)>& encode);
  // Header, sync, rename, directory. -> its size in bytes.
  uint64_t finish(SnapshotHeader header);

 private:
  Disk& disk_;
  std::string path_, temporary_;
  std::unique_ptr<File> file_;
  std::vector<SectionEntry> sections_;
  uint64_t end_ = snapshot_header_size;
};

}  // namespace hanse
