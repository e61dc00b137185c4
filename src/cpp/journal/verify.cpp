// Verifying off-line: segments and extents by as many threads as are wanted, then the tree.
#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "base/error.hpp"
#include "journal/extents.hpp"
#include "journal/journal.hpp"
#include "journal/leaf_file.hpp"
#include "journal/log_scan.hpp"

namespace hanse {

namespace {

// What is checked piece by piece, in any order, before the end of the log is looked for.
class ParallelCheck {
 public:
  ParallelCheck(Disk& disk, const VerifyOptions& options) : disk_(disk), options_(options) {
    const std::vector<uint64_t> numbers = list_segments(disk);
    for (const uint64_t number : numbers) {
      const auto file = disk.open(segment_name(number), OpenMode::read);
      bytes_total_ += file->size();
      std::vector<uint8_t> block(block_size);
      if (file->size() < block_size) break;
      file->read(0, block);
      if (!parse_segment_header(block, segment_name(number))) break;
      segments_.push_back(number);
    }
    // The last one that was begun has an end to be found, and is left to who finds it.
    if (!segments_.empty()) segments_.pop_back();
    leaves_.resize(segments_.size());
    if (!disk.exists(extent_directory)) return;
    for (const std::string& name : disk.list(extent_directory))
      if (name.ends_with(".ext")) extents_.push_back(name);
  }

  // Throws what is wrong with an extent; false: something is amiss in a segment.
  bool run() {
    std::vector<std::thread> others;
    for (uint32_t i = 1; i < options_.jobs; ++i) others.emplace_back([this] { work(false); });
    work(true);
    for (std::thread& other : others) other.join();
    if (failure_) std::rethrow_exception(failure_);
    return sound_;
  }

  size_t segment_count() const { return segments_.size(); }
  uint64_t extent_count() const { return extents_.size(); }
  const std::vector<std::vector<Digest>>& leaves() const { return leaves_; }
  uint64_t size_bytes() const { return size_bytes_; }
  uint64_t bytes_done() const { return bytes_done_; }
  uint64_t bytes_total() const { return bytes_total_; }

 private:
  void work(bool reports) {
    try {
      for (size_t at; sound_ && !stopped_ && (at = next_++) < segments_.size() + extents_.size();) {
        if (at < segments_.size())
          check_segment(at);
        else
          check_extent(extents_[at - segments_.size()]);
        if (reports && options_.progress) options_.progress(bytes_done_, bytes_total_);
      }
    } catch (...) {
      const std::lock_guard lock(mutex_);
      if (!failure_) failure_ = std::current_exception();
      stopped_ = true;
    }
  }

  void check_segment(size_t at) {
    ScanCallbacks callbacks;
    callbacks.record = [&](Position, Bytes, const Digest& leaf) { leaves_[at].push_back(leaf); };
    try {
      const auto scanned = scan_segment(disk_, callbacks, segments_[at]);
      if (!scanned) {
        sound_ = false;
        return;
      }
      size_bytes_ += scanned->end;
      bytes_done_ += scanned->size_bytes;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::corrupt) throw;
      sound_ = false;
    }
  }

  void check_extent(const std::string& name) {
    constexpr size_t digest_size = 64;
    read_extent(disk_, std::string(extent_directory) + "/" + name, name.substr(0, digest_size));
  }

  Disk& disk_;
  const VerifyOptions& options_;
  std::vector<uint64_t> segments_;
  std::vector<std::vector<Digest>> leaves_;  // by segment
  std::vector<std::string> extents_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> sound_{true}, stopped_{false};
  std::atomic<uint64_t> bytes_done_{0}, size_bytes_{0};
  uint64_t bytes_total_ = 0;
  std::mutex mutex_;
  std::exception_ptr failure_;
};

// What is known of the first leaves must be what the records say, and fills in for those dropped.
void add_leaf(const VerifyOptions& options, MerkleTree& tree, const Digest& leaf) {
  const uint64_t at = tree.count();
  if (at < options.leaves.size() && options.leaves[at] != leaf)
    throw Error(ErrorCode::corrupt, leaf_file_name, "a leaf is not that of its record", 0, at);
  tree.add(leaf);
}

}  // namespace

VerifyReport verify_journal(Disk& disk, const VerifyOptions& options, MerkleTree* tree_out) {
  if (options.jobs == 0) throw Error(ErrorCode::out_of_range, "jobs", 0, 1);
  const std::vector<uint64_t> numbers = list_segments(disk);
  VerifyReport report;
  MerkleTree own;
  MerkleTree& tree = tree_out != nullptr ? *tree_out : own;
  LogStart start;
  const bool compacted = !numbers.empty() && numbers.front() != 0;
  if (compacted) {
    start = start_of_segment(disk, numbers.front());
    report.oldest = start.count;
    if (options.leaves.size() < start.count)
      throw Error(ErrorCode::corrupt, segment_name(0),
                  "offset 0: the segment is missing; the oldest record kept is " +
                      std::to_string(start.count) + ", and the leaves before it are not known",
                  0, start.count);
    for (uint64_t i = 0; i < start.count; ++i) tree.add(options.leaves[i]);
  }

  ParallelCheck check(disk, options);
  uint64_t done = 0;
  ScanCallbacks callbacks;
  callbacks.record = [&](Position, Bytes, const Digest& leaf) { add_leaf(options, tree, leaf); };
  if (options.progress)
    callbacks.progress = [&](uint64_t part, uint64_t) {
      options.progress(std::min(done + part, check.bytes_total()), check.bytes_total());
    };
  const bool in_parts = check.run() && check.segment_count() != 0;
  if (in_parts) {
    for (const auto& leaves : check.leaves())
      for (const Digest& leaf : leaves) add_leaf(options, tree, leaf);
    start = start_of_segment(disk, numbers[check.segment_count()]);
    done = check.bytes_done();
  }
  // The end of the log; or all of it, which says best what is wrong.
  const LogState state = scan_log(disk, callbacks, compacted || in_parts ? &start : nullptr);
  if (!state.exists)
    throw Error(ErrorCode::unusable_directory, "directory", "there is no journal in it");
  report.count = state.count;
  report.segment_count = state.segments.size() + (in_parts ? check.segment_count() : 0);
  report.size_bytes = state.size_bytes + (in_parts ? check.size_bytes() : 0);
  report.torn_bytes = state.torn_bytes;
  report.extent_count = check.extent_count();
  report.root = tree.root();
  return report;
}

}  // namespace hanse
