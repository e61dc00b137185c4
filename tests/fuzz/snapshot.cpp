// The file of a snapshot: its header and sections, or a refusal that names the place. Some inputs
// are given a right checksum, so that what is behind it is reached.
#include "kernel/snapshot.hpp"
#include "base/hash.hpp"
#include "fuzz.hpp"
#include "journal/simulated_disk.hpp"

using namespace hanse;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const bool right = input.take<uint8_t>() % 2 != 0;
  const Bytes rest = input.rest();
  std::vector<uint8_t> file(rest.begin(), rest.end());
  if (right) {
    file.resize(std::max(file.size() + 12, snapshot_header_size + 64));
    std::memcpy(file.data(), "hansesnp", 8);
    const uint32_t crc = crc32c(Bytes(file).subspan(12, snapshot_header_size - 12));
    std::memcpy(file.data() + 8, &crc, sizeof crc);
  }
  SimulatedDisk disk;
  disk.create_directory(snapshot_directory);
  const std::string path = snapshot_path(7);
  disk.open(path, OpenMode::create)->write(0, file);
  fuzz::typed([&] { verify_snapshot(disk, 7); });
  fuzz::typed([&] {
    const auto opened = disk.open(path, OpenMode::read);
    const SnapshotHeader header = read_snapshot_header(*opened, path);
    fuzz::require(header.sections.size() <= snapshot_sections_max);
    for (const SectionEntry& section : header.sections) read_section(*opened, path, section);
  });
  return 0;
}
