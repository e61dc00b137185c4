// The append-only record of everything: a segment log with group commit and a Merkle tree on it.
//
// `append` runs under the kernel's writer mutex; `wait_durable`, `flush` and the readers may run on
// any thread, without it. There is no thread in here: whoever waits first becomes the leader and
// writes for all (a wake costs as much as a flush); the kernel's flusher calls `flush` for those
// who don't wait.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/ids.hpp"
#include "base/view.hpp"
#include "journal/disk.hpp"
#include "journal/log_scan.hpp"
#include "journal/merkle.hpp"

namespace hanse {

// each: a call returns when its records are on disk. batch: the same, but the leader first gathers
// for up to `gather_ns`. memory: no disk at all. A receipt says which one it got.
enum class Durability : uint8_t { memory = 0, batch = 1, each = 2 };

// What a snapshot knows of the log up to where it was taken.
struct JournalStart {
  LogStart log;
  std::vector<Digest> frontier;     // of the Merkle tree
  std::vector<Digest> last_leaves;  // those that fill no block of the leaf file
};

struct JournalOptions {
  Durability durability = Durability::each;
  uint64_t segment_size_bytes_max = uint64_t(64) << 20;  // the first is 1 MiB, then doubling
  uint64_t gather_ns = 1'000'000;
  bool read_only = false;
  // Begin behind what a snapshot holds: the records before it are neither read nor replayed.
  std::optional<JournalStart> start;
  // Of the uuid that marks every segment of a new journal; 0: from the system's entropy.
  uint64_t identity_seed = 0;
};

constexpr uint32_t record_size_bytes_max = 1 << 20;

struct JournalStatus {
  uint64_t count = 0;          // records appended
  uint64_t durable_count = 0;  // records that survive a crash
  uint64_t size_bytes = 0;     // bytes of records and framing in all segments, extents not counted
  uint64_t segment_count = 0;
  uint64_t flush_count = 0;
  uint64_t torn_bytes_cut = 0;  // on open: length of the torn tail that was cut
  Position oldest = 0;          // the first record that is still there
  Position replayed_from = 0;   // on open: where the snapshot left off
  std::string poisoned;         // why, or empty
};

class ExtentStore;  // journal/extents.hpp
using ExtentPin = std::shared_ptr<const void>;

class Journal {
 public:
  using Replay = std::function<void(Position position, Bytes record)>;

  // Opens the segments of `disk` (null: durability memory), checks CRC and hash chain, cuts a torn
  // tail, and calls `replay` for every record in order. A bad record before the durable watermark,
  // a missing, swapped or stale segment: Error(corrupt) with file, offset and position.
  static std::unique_ptr<Journal> open(std::shared_ptr<Disk> disk, const JournalOptions& options,
                                       const Replay& replay);
  virtual ~Journal() = default;

  // Room for `record_count` more records of `size_bytes` together, before any effect:
  // Error(storage_full) or Error(poisoned), and nothing has changed. Holds until the next call.
  virtual void reserve(uint64_t size_bytes, uint64_t record_count = 1) = 0;
  // Never fails within what was reserved; beyond it, reserves by itself and may throw.
  // Record size: 1 .. record_size_bytes_max.
  virtual Position append(Bytes record) = 0;

  // Until every record up to and including `position` is on disk. Error(poisoned) where a write or
  // sync failed: no retry, ever.
  virtual void wait_durable(Position position) = 0;
  virtual void flush() = 0;  // everything appended so far
  virtual uint64_t count() const = 0;
  virtual uint64_t durable_count() const = 0;  // any thread, one atomic load
  virtual void poison(const std::string& reason) = 0;

  // These catch up with the hashing first. Error(unknown_event) outside [0, count).
  virtual Digest root() = 0;
  virtual Digest root_at(uint64_t count) = 0;
  virtual Digest leaf(Position position) = 0;
  virtual std::vector<Digest> prove(Position position, uint64_t count) = 0;
  virtual std::vector<Digest> prove_consistency(uint64_t old_count, uint64_t count) = 0;
  // The record's bytes, read back and checked. In memory mode records are not kept:
  // Error(unknown_event).
  virtual std::vector<uint8_t> read(Position position) = 0;

  // Removes, oldest first, sealed segments that lie before `start`, where a snapshot goes on, and
  // hold no record from `keep_from` on. The leaf file must be complete up to `start`. -> how many
  // bytes of files that were. Any thread; one at a time.
  virtual uint64_t drop_before(const LogStart& start, Position keep_from) = 0;
  virtual Position oldest() const = 0;

  // Extents: vectors and payloads over 4 KiB, in files named by their SHA-256 under extents/.
  // Durable on return (so before the record that names them), or kept in memory in memory mode.
  // While the pin lives, nobody takes it for one that no record will name.
  virtual Digest put_extent(Bytes bytes, ExtentPin* pin_out = nullptr) = 0;
  // Error(extent_missing) or Error(corrupt) where the digest does not match.
  virtual std::vector<uint8_t> get_extent(const Digest& digest) = 0;
  virtual ExtentStore& extents() = 0;

  // Flushes, marks the end of the log, and gives the directory back; afterwards only status() and
  // the counts may be asked. Idempotent. Throws what flush throws.
  virtual void close() = 0;

  virtual JournalStatus status() const = 0;
  virtual uint64_t memory_bytes() const = 0;
};

// For those who have no journal yet: replay. Throws as Journal::get_extent.
std::vector<uint8_t> read_extent(Disk& disk, const Digest& digest);

struct VerifyReport {
  uint64_t count = 0;
  Position oldest = 0;  // the first record that is still there, and was read
  uint64_t segment_count = 0;
  uint64_t size_bytes = 0;
  uint64_t extent_count = 0;
  uint64_t torn_bytes = 0;
  Digest root{};
};
struct VerifyOptions {
  uint32_t jobs = 1;                                            // threads, this one included
  std::function<void(uint64_t done, uint64_t total)> progress;  // bytes of segments; may be null
  // The leaves of the first records, as snapshots and the leaf file have them: compared with those
  // of the records that are there, and taken for those that were dropped.
  std::vector<Digest> leaves;
};
// Offline and read only: every CRC, chain hash and extent digest, and the Merkle root recomputed
// from the records. Throws the first Error(corrupt) it meets. `tree_out`: of all leaves.
VerifyReport verify_journal(Disk& disk, const VerifyOptions& options,
                            MerkleTree* tree_out = nullptr);

}  // namespace hanse
