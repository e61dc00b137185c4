// A log whose bytes were changed: it opens with a prefix of its records, or is refused as corrupt.
// Half of the inputs are the segment itself; the others change a sound log, and may then put the
// checksums right.
#include "journal/segment.hpp"
#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "fuzz.hpp"
#include "journal/journal.hpp"
#include "journal/simulated_disk.hpp"

using namespace hanse;

namespace {

constexpr uint64_t record_count = 12;

JournalOptions options() {
  JournalOptions options;
  options.segment_size_bytes_max = 16 << 10;
  options.identity_seed = 7;
  return options;
}

std::vector<uint8_t> record_of(Position position) {
  return std::vector<uint8_t>(size_t(1 + position * 97), uint8_t(position + 1));
}

const std::vector<uint8_t>& sound_log() {
  static const std::vector<uint8_t> bytes = [] {
    const auto disk = std::make_shared<SimulatedDisk>();
    const auto journal = Journal::open(disk, options(), nullptr);
    for (Position i = 0; i < record_count; ++i) {
      journal->append(record_of(i));
      if (i % 3 == 2) journal->flush();
    }
    journal->close();
    const auto file = disk->open(segment_name(0), OpenMode::read);
    std::vector<uint8_t> content(file->size());
    file->read(0, content);
    return content;
  }();
  return bytes;
}

void put_right(std::vector<uint8_t>& log) {
  for (size_t at = 0; at + block_size <= log.size(); at += block_size) {
    uint32_t payload = 0;
    std::memcpy(&payload, log.data() + at + 16, sizeof payload);
    const size_t size = at == 0 ? block_size : std::min(batch_image_size(payload), log.size() - at);
    const uint32_t crc = crc32c(Bytes(log).subspan(at + 12, size - 12));
    std::memcpy(log.data() + at + 8, &crc, sizeof crc);
  }
}

std::vector<uint8_t> log_of(fuzz::Input& input) {
  const auto how = input.take<uint8_t>();
  if (how % 2 == 0) {
    const Bytes rest = input.rest();
    std::vector<uint8_t> log(rest.begin(), rest.end());
    log.resize(round_to_block(std::max<size_t>(log.size(), block_size)));
    return log;
  }
  std::vector<uint8_t> log = sound_log();
  while (!input.empty()) {
    const auto at = input.take<uint16_t>();
    log[at % log.size()] = input.take<uint8_t>();
  }
  if (how % 4 == 1) put_right(log);
  return log;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Input input(data, size);
  const std::vector<uint8_t> log = log_of(input);
  const auto disk = std::make_shared<SimulatedDisk>();
  const auto file = disk->open(segment_name(0), OpenMode::create);
  file->write(0, log);
  file->sync();
  disk->sync_directory("");
  fuzz::typed([&] { verify_journal(*disk, nullptr); });
  fuzz::typed([&] {
    uint64_t replayed = 0;
    const auto journal = Journal::open(disk, options(), [&](Position position, Bytes record) {
      fuzz::require(position == replayed++ && !record.empty());
    });
    fuzz::require(journal->count() == replayed);
    journal->append(record_of(3));
    journal->flush();
    for (Position i = 0; i < journal->count(); ++i) journal->read(i);
  });
  return 0;
}
