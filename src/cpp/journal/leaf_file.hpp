// The leaf hashes of records, kept beside the segments: with them every inclusion and consistency
// proof can be made when the records themselves were dropped.
//
// A header block, then blocks of 127 leaves and a check sum: 32.25 bytes a record. Blocks are
// written whole and never changed; what doesn't fill one is in the snapshot, which is what says how
// many leaves count. So a crash while they are written leaves nothing that anyone reads.
#pragma once

#include <vector>

#include "journal/disk.hpp"
#include "journal/log_scan.hpp"
#include "journal/segment.hpp"

namespace hanse {

constexpr char leaf_file_name[] = "leaves";
constexpr uint64_t leaves_in_block = 127;

constexpr uint64_t leaves_in_blocks(uint64_t count) {
  return count / leaves_in_block * leaves_in_block;
}

class LeafFile {
 public:
  LeafFile(Disk& disk, const JournalUuid& uuid) : disk_(disk), uuid_(uuid) {}

  // The first leaves_in_blocks(count) leaves. Throws corrupt (offset, position) where they are not
  // all there.
  std::vector<Digest> read(uint64_t count) const;
  // Puts whole blocks from leaf `first` on, a multiple of leaves_in_block, and syncs. -> how many
  // leaves of `leaves` they took.
  uint64_t write(uint64_t first, std::span<const Digest> leaves) const;

 private:
  Disk& disk_;
  JournalUuid uuid_;
};

// All leaves before `start`: those in the file and the `last_leaves` that fill no block of it.
// Where the file fails, the records have them too, if all of them are still there
// (`records_complete`).
std::vector<Digest> leaves_before(Disk& disk, const LogStart& start,
                                  std::span<const Digest> last_leaves, bool records_complete);

}  // namespace hanse
