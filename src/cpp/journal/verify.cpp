#include "base/error.hpp"
#include "journal/extents.hpp"
#include "journal/journal.hpp"
#include "journal/log_scan.hpp"

namespace hanse {

namespace {

void verify_extents(Disk& disk, VerifyReport& report) {
  if (!disk.exists(extent_directory)) return;
  constexpr size_t digest_size = 64;
  for (const std::string& name : disk.list(extent_directory)) {
    if (!name.ends_with(".ext")) continue;
    read_extent(disk, std::string(extent_directory) + "/" + name, name.substr(0, digest_size));
    ++report.extent_count;
  }
}

}  // namespace

VerifyReport verify_journal(Disk& disk, const std::function<void(uint64_t, uint64_t)>& progress) {
  MerkleTree tree;
  ScanCallbacks callbacks;
  callbacks.record = [&](Position, Bytes, const Digest& leaf) { tree.add(leaf); };
  callbacks.progress = progress;
  const LogState state = scan_log(disk, callbacks);
  if (!state.exists)
    throw Error(ErrorCode::unusable_directory, "directory", "there is no journal in it");

  VerifyReport report;
  report.count = state.count;
  report.segment_count = state.segments.size();
  report.size_bytes = state.size_bytes;
  report.torn_bytes = state.torn_bytes;
  report.root = tree.root();
  verify_extents(disk, report);
  return report;
}

}  // namespace hanse
