// Verifying a directory off-line: what is written, and what it comes to.
#include <bit>
#include <map>
#include <thread>

#include "journal/leaf_file.hpp"
#include "kernel/inner.hpp"

namespace hanse {

namespace {

struct SnapshotsFound {
  std::map<uint64_t, SnapshotHeader> headers;
  std::vector<Digest> leaves;  // up to the newest
};

std::vector<Digest> last_leaves_of(Disk& disk, const SnapshotHeader& header) {
  const std::string path = snapshot_path(header.start.count);
  const auto file = disk.open(path, OpenMode::read);
  std::vector<Digest> leaves;
  for (const SectionEntry& entry : header.sections) {
    if (entry.section != SnapshotSection::leaves) continue;
    const std::vector<uint8_t> bytes = read_section(*file, path, entry);
    SnapshotReader in(bytes, entry.version);
    in.table([&](size_t, FieldReader& fields) { fields(leaves.emplace_back()); });
  }
  return leaves;
}

SnapshotsFound check_snapshots(Disk& disk) {
  SnapshotsFound found;
  for (const uint64_t count : list_snapshots(disk))
    found.headers.emplace(count, verify_snapshot(disk, count));
  if (found.headers.empty()) return found;
  const SnapshotHeader& newest = found.headers.rbegin()->second;
  const std::vector<Digest> rest = last_leaves_of(disk, newest);
  // Never from the records: they are what the leaves are compared with.
  found.leaves = leaves_before(disk, newest.start, rest, false);
  if (found.leaves.size() != newest.start.count)
    throw Error(ErrorCode::corrupt, snapshot_path(newest.start.count), "offset 0: it lacks leaves",
                0, found.leaves.size());
  return found;
}

class StateCheck {
 public:
  StateCheck(std::shared_ptr<Disk> disk, const SnapshotsFound& snapshots)
      : disk_(std::move(disk)), snapshots_(snapshots) {
    KernelOptions options;
    options.read_only = true;
    options.background = false;
    options.mailbox.ring_count_max = 1;
    inner_.prepare(options, disk_);
    inner_.capabilities.fold_later();
  }

  // The bytes are checked by others at the same time.
  void run() {
    LogStart start;
    const std::vector<uint64_t> numbers = list_segments(*disk_);
    const bool compacted = !numbers.empty() && numbers.front() != 0;
    if (compacted) {
      if (snapshots_.headers.empty())
        throw Error(ErrorCode::corrupt, segment_name(0),
                    "offset 0: the segment is missing, and no snapshot holds what was in it");
      // Those before it go on with records that were dropped.
      const Position oldest = start_of_segment(*disk_, numbers.front()).count;
      const auto first = snapshots_.headers.lower_bound(oldest);
      folded_from_ =
          first == snapshots_.headers.end() ? snapshots_.headers.begin()->first : first->first;
      start = inner_.restore(folded_from_).log;
    }
    ScanCallbacks callbacks;
    callbacks.unchecked = true;
    callbacks.record = [&](Position position, Bytes record, const Digest&) {
      compare(position);
      inner_.replay(position, record);
    };
    compare(scan_log(*disk_, callbacks, compacted ? &start : nullptr).count);
  }

  void compare(uint64_t count) {
    const auto found = snapshots_.headers.find(count);
    if (found == snapshots_.headers.end() || count == folded_from_) return;
    if (inner_.state_hash().all != found->second.state_hash)
      throw Error(ErrorCode::corrupt, snapshot_path(count),
                  "offset 0: its state is not what the records come to", 0, count);
  }

  void report(KernelVerification& verification) const {
    verification.state = inner_.state_hash();
    verification.folded_from = folded_from_;
    verification.balanced = true;
    for (UnitId unit = 0; unit < inner_.ledger.unit_count(); ++unit) {
      const Ledger::Totals totals = inner_.ledger.totals(unit);
      verification.balanced &= totals.debits_posted == totals.credits_posted &&
                               totals.debits_pending == totals.credits_pending;
    }
  }

 private:
  std::shared_ptr<Disk> disk_;
  const SnapshotsFound& snapshots_;
  Kernel::Inner inner_;
  uint64_t folded_from_ = 0;
};

}  // namespace

KernelVerification verify_disk(const std::shared_ptr<Disk>& disk, uint32_t jobs,
                               const std::function<void(uint64_t, uint64_t)>& progress) {
  if (jobs == 0) throw Error(ErrorCode::out_of_range, "jobs", jobs, 1024);
  KernelVerification verification;
  const SnapshotsFound snapshots = check_snapshots(*disk);
  StateCheck state(disk, snapshots);
  VerifyOptions options{jobs > 1 ? jobs - 1 : 1, progress, snapshots.leaves};
  std::exception_ptr failed, state_failed;
  const auto fold = [&] {
    try {
      state.run();
    } catch (...) {
      state_failed = std::current_exception();
    }
  };
  std::thread folding;
  if (jobs > 1) folding = std::thread(fold);
  MerkleTree tree;
  try {
    verification.journal = verify_journal(*disk, options, &tree);
    for (const auto& [count, header] : snapshots.headers)
      if (count > tree.count() || tree.root_at(count) != header.root)
        throw Error(ErrorCode::corrupt, snapshot_path(count),
                    "offset 0: the records before it have another root", 0, count);
  } catch (...) {
    failed = std::current_exception();
  }
  if (folding.joinable())
    folding.join();
  else if (!failed)
    fold();
  // What the bytes are is said before what they mean.
  if (failed) std::rethrow_exception(failed);
  if (state_failed) std::rethrow_exception(state_failed);
  state.report(verification);
  verification.snapshot_count = snapshots.headers.size();
  return verification;
}

KernelVerification verify_directory(const std::string& directory, uint32_t jobs,
                                    const std::function<void(uint64_t, uint64_t)>& progress) {
  return verify_disk(open_real_disk(directory, true), jobs, progress);
}

}  // namespace hanse
