#include "journal/journal.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <utility>

#include "base/error.hpp"
#include "base/seeded_bug.hpp"
#include "journal/extents.hpp"
#include "journal/leaf_file.hpp"
#include "journal/log_index.hpp"
#include "journal/log_scan.hpp"
#include "journal/pending_records.hpp"
#include "journal/segment_writer.hpp"

namespace hanse {

namespace {

constexpr char lock_file[] = "lock";
// Beyond this, reserve waits for a flush: appended records take memory until they are written.
constexpr uint64_t pending_size_bytes_max = uint64_t(32) << 20;
// In memory mode nothing is written, and a flush hashes only.
constexpr uint64_t unhashed_size_bytes_max = uint64_t(1) << 20;
constexpr uint64_t reserve_size_bytes_max = uint64_t(1) << 30;
constexpr uint64_t segment_size_bytes_min = 4 * block_size;
constexpr uint64_t segment_size_bytes_limit = uint64_t(1) << 36;
// What a record costs in the worst case, alone in its batch, on top of its own bytes.
constexpr uint64_t record_overhead_max = batch_header_size + record_header_size + block_size - 1;

uint64_t room_needed(uint64_t size_bytes, uint64_t record_count) {
  if (record_count == 1) return batch_image_size(record_header_size + size_bytes);
  return size_bytes + record_count * record_overhead_max;
}

void check_options(const JournalOptions& options) {
  const uint64_t size = options.segment_size_bytes_max;
  if (size >= segment_size_bytes_min && size <= segment_size_bytes_limit && size % block_size == 0)
    return;
  throw Error(ErrorCode::out_of_range, "segment_size_bytes_max",
              std::to_string(size) + " is not a multiple of " + std::to_string(block_size) +
                  " from " + std::to_string(segment_size_bytes_min) + " to " +
                  std::to_string(segment_size_bytes_limit));
}

// Locked in this order: flush_mutex_, hash_mutex_, pending_mutex_; none while the disk is written.
class SegmentJournal final : public Journal {
 public:
  SegmentJournal(std::shared_ptr<Disk> disk, const JournalOptions& options, const Replay& replay)
      : disk_(std::move(disk)), options_(options), extents_(disk_) {
    // Small segments get small batches, so that not every flush needs a larger segment.
    const uint64_t payload_size_max = std::min<uint64_t>(record_size_bytes_max + record_header_size,
                                                         options.segment_size_bytes_max / 4);
    pending_.set_payload_size_max(payload_size_max);
    writing_.set_payload_size_max(payload_size_max);
    if (disk_) open_log(replay);
  }

  ~SegmentJournal() override {
    // A journal that can't be closed cleanly is left as a crash would leave it.
    try {
      close();
    } catch (...) {
    }
  }

  void reserve(uint64_t size_bytes, uint64_t record_count) override;
  Position append(Bytes record) override;
  void wait_durable(Position position) override;
  void flush() override;
  uint64_t count() const override { return count_.load(std::memory_order_acquire); }
  uint64_t durable_count() const override { return durable_count_.load(std::memory_order_acquire); }
  void poison(const std::string& reason) override;

  Digest root() override;
  Digest root_at(uint64_t count) override;
  Digest leaf(Position position) override;
  std::vector<Digest> prove(Position position, uint64_t count) override;
  std::vector<Digest> prove_consistency(uint64_t old_count, uint64_t count) override;
  std::vector<uint8_t> read(Position position) override;
  uint64_t drop_before(const LogStart& start, Position keep_from) override;
  Position oldest() const override { return index_ ? index_->oldest() : 0; }
  Digest put_extent(Bytes bytes, ExtentPin* pin_out) override;
  ExtentStore& extents() override { return extents_; }
  std::vector<uint8_t> get_extent(const Digest& digest) override { return extents_.get(digest); }
  void close() override;
  JournalStatus status() const override;
  uint64_t memory_bytes() const override;

 private:
  bool in_memory() const { return disk_ == nullptr; }
  void open_log(const Replay& replay);
  void require_writable() const;
  void throw_if_poisoned() const;
  void ensure_room(uint64_t size);
  void lead(std::unique_lock<std::mutex>& lock);
  void gather(std::unique_lock<std::mutex>& lock);
  void write_pending();
  void prepare_spare();
  void hash(const PendingRecords& records);
  void catch_up();
  void need_leaves(uint64_t before);
  void require_position(Position position, uint64_t count) const;

  std::shared_ptr<Disk> disk_;
  const JournalOptions options_;
  ExtentStore extents_;
  std::unique_ptr<LogIndex> index_;        // null in memory mode
  std::unique_ptr<SegmentWriter> writer_;  // null in memory mode and when read only

  std::atomic<uint64_t> count_{0}, durable_count_{0}, flush_count_{0};
  JournalStatus opened_;  // what the scan found
  std::atomic<bool> poisoned_{false}, closed_{false};

  mutable std::mutex flush_mutex_;
  std::condition_variable flushed_, arrived_;
  bool leading_ = false;
  uint32_t arrivals_ = 0;  // calls that came to wait since the last group was closed
  uint32_t expected_ = 0;  // how many are likely to come for the next
  std::string poison_reason_;
  PendingRecords writing_;  // of the leader
  std::vector<Digest> leaves_;

  mutable std::mutex hash_mutex_;
  MerkleTree tree_;

  mutable std::mutex pending_mutex_;
  PendingRecords pending_;
  uint64_t reserved_bytes_ = 0, reserved_records_ = 0;
};

void SegmentJournal::open_log(const Replay& replay) {
  if (!options_.read_only) disk_->lock(lock_file);
  ScanCallbacks callbacks;
  callbacks.record = [&](Position position, Bytes record, const Digest& leaf) {
    tree_.add(leaf);
    if (replay) replay(position, record);
  };
  const LogStart* start = options_.start ? &options_.start->log : nullptr;
  if (start != nullptr) tree_ = MerkleTree(start->count, options_.start->frontier);
  LogState state = scan_log(*disk_, callbacks, start);
  if (options_.read_only) {
    if (!state.exists)
      throw Error(ErrorCode::unusable_directory, "directory", "there is no journal in it");
    sync_survivors(*disk_, state);
  } else {
    extents_.recover();
    writer_ = std::make_unique<SegmentWriter>(disk_, state, options_.segment_size_bytes_max,
                                              options_.identity_seed);
    state.uuid = writer_->uuid();
    opened_.torn_bytes_cut = state.torn_bytes;
  }
  opened_.size_bytes = state.size_bytes, opened_.segment_count = state.segments.size();
  opened_.replayed_from = state.start, count_ = durable_count_ = state.count;
  index_ = std::make_unique<LogIndex>(disk_, state);
}

void SegmentJournal::require_writable() const {
  if (options_.read_only)
    throw Error(ErrorCode::read_only, "journal", "it was opened for reading only");
  if (closed_) throw Error(ErrorCode::closed, "journal", "it was closed");
}

void SegmentJournal::close() {
  if (closed_.exchange(true) || !writer_) return;
  // Whatever the last flush came to, the next opener need not wait for this object to go.
  struct Unlock {
    Disk& disk;
    ~Unlock() { disk.unlock(); }
  } unlock{*disk_};
  if (poisoned_) return;
  flush();
  writer_->write_closing_marker(durable_count_);
}

void SegmentJournal::throw_if_poisoned() const {
  if (!poisoned_) return;
  const std::lock_guard lock(flush_mutex_);
  throw Error(ErrorCode::poisoned, "journal", poison_reason_);
}

void SegmentJournal::poison(const std::string& reason) {
  const std::lock_guard lock(flush_mutex_);
  if (poisoned_ || HANSE_SEEDED_BUG(7)) return;
  poison_reason_ = reason;
  poisoned_ = true;
  flushed_.notify_all();
  arrived_.notify_all();
}

void SegmentJournal::reserve(uint64_t size_bytes, uint64_t record_count) {
  require_writable();
  if (size_bytes > reserve_size_bytes_max)
    throw Error(ErrorCode::too_large, "size_bytes", size_bytes, reserve_size_bytes_max);
  if (record_count > reserve_size_bytes_max / record_overhead_max) {
    throw Error(ErrorCode::too_large, "record_count", record_count,
                reserve_size_bytes_max / record_overhead_max);
  }
  throw_if_poisoned();
  uint64_t pending_size, needed;
  {
    const std::lock_guard lock(pending_mutex_);
    pending_size = pending_.image_size();
    needed = pending_size + room_needed(size_bytes, record_count);
    if (in_memory() || writer_->has_room(needed)) {
      reserved_bytes_ = size_bytes;
      reserved_records_ = record_count;
      needed = 0;
    }
  }
  if (needed != 0) {
    ensure_room(needed);
    // The room only grows until the caller appends: it alone appends, and a flush moves bytes from
    // what is pending to what is placed.
    const std::lock_guard lock(pending_mutex_);
    reserved_bytes_ = size_bytes;
    reserved_records_ = record_count;
  }
  if (pending_size > (in_memory() ? unhashed_size_bytes_max : pending_size_bytes_max)) flush();
}

void SegmentJournal::ensure_room(uint64_t size) {
  try {
    writer_->ensure_room(size);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::storage_full) throw;
    poison(error.what());
    throw_if_poisoned();
  }
}

Position SegmentJournal::append(Bytes record) {
  require_writable();
  if (record.empty()) throw Error(ErrorCode::empty, "record", "it has no bytes");
  if (record.size() > record_size_bytes_max)
    throw Error(ErrorCode::too_large, "record", record.size(), record_size_bytes_max);
  for (bool covered = false;; covered = true) {
    {
      const std::lock_guard lock(pending_mutex_);
      if (reserved_records_ != 0 && reserved_bytes_ >= record.size()) {
        reserved_records_ -= 1;
        reserved_bytes_ -= record.size();
        const Position position = count_.load(std::memory_order_relaxed);
        pending_.append(position, record);
        count_.store(position + 1, std::memory_order_release);
        if (in_memory()) durable_count_.store(position + 1, std::memory_order_release);
        return position;
      }
    }
    HANSE_ASSERT(!covered);  // one appender at a time, so its own reservation stands
    reserve(record.size(), 1);
  }
}

void SegmentJournal::require_position(Position position, uint64_t count) const {
  if (position < count) return;
  throw Error(ErrorCode::unknown_event, "position",
              std::to_string(position) + " where there are " + std::to_string(count) + " records",
              0, position);
}

void SegmentJournal::wait_durable(Position position) {
  if (durable_count() > position) return;
  require_position(position, count());
  std::unique_lock lock(flush_mutex_);
  ++arrivals_;
  arrived_.notify_one();
  while (durable_count() <= position) {
    if (poisoned_) throw Error(ErrorCode::poisoned, "journal", poison_reason_);
    if (leading_)
      flushed_.wait(lock);
    else
      lead(lock);
  }
}

void SegmentJournal::flush() {
  if (in_memory()) {
    const std::lock_guard lock(hash_mutex_);
    catch_up();
    return;
  }
  const uint64_t target = count();
  if (target != 0) wait_durable(target - 1);
  throw_if_poisoned();
}

// Called and left with the lock held; written without it.
void SegmentJournal::lead(std::unique_lock<std::mutex>& lock) {
  leading_ = true;
  gather(lock);
  const uint32_t served = std::exchange(arrivals_, 0);
  lock.unlock();
  std::exception_ptr failure;
  try {
    write_pending();
  } catch (const Error& error) {
    poison(error.what());
  } catch (...) {
    poison("the writing thread was stopped");
    failure = std::current_exception();
  }
  lock.lock();
  leading_ = false;
  expected_ = served + arrivals_;
  flushed_.notify_all();
  if (failure) std::rethrow_exception(failure);
  if (poisoned_ || !writer_->wants_spare()) return;
  lock.unlock();
  prepare_spare();
  lock.lock();
}

// Waits until those are back who came for the last group or during its flush; a single caller is
// one of one and never waits.
void SegmentJournal::gather(std::unique_lock<std::mutex>& lock) {
  if (options_.durability != Durability::batch) return;
  arrived_.wait_for(lock, std::chrono::nanoseconds(options_.gather_ns),
                    [this] { return arrivals_ >= expected_ || poisoned_; });
}

void SegmentJournal::write_pending() {
  std::vector<Placement> placements;
  uint64_t end = 0;
  {
    const std::lock_guard hash_lock(hash_mutex_);
    {
      const std::lock_guard lock(pending_mutex_);
      // Swapped and placed at once, so that `reserve` counts no byte twice or not at all.
      placements = writer_->place(pending_.batches());
      pending_.close();
      std::swap(pending_, writing_);
      end = count_.load(std::memory_order_relaxed);
    }
    hash(writing_);
    leaves_.clear();
    for (uint64_t i = durable_count(); i < end; ++i) leaves_.push_back(tree_.leaf(i));
  }
  if (writing_.empty()) return;
  if (HANSE_SEEDED_BUG(6)) durable_count_ = end;
  writer_->write(writing_, placements, leaves_, durable_count(), *index_);
  writing_.clear();
  flush_count_.fetch_add(1, std::memory_order_relaxed);
  durable_count_.store(end, std::memory_order_release);
  writer_->seal_full_segments(end);
}

// No room is no failure yet: `reserve` will say so when it is needed.
void SegmentJournal::prepare_spare() {
  try {
    writer_->ensure_room(writer_->room_of_spare());
  } catch (const Error& error) {
    if (error.code() != ErrorCode::storage_full) poison(error.what());
  }
}

void SegmentJournal::hash(const PendingRecords& records) {
  Bytes record;
  for (const PendingBatch& batch : records.batches()) {
    const Bytes payload = records.payload(batch);
    size_t at = 0;
    for (uint32_t i = 0; i < batch.count; ++i) {
      uint32_t size;
      std::memcpy(&size, payload.data() + at, sizeof(size));
      record = payload.subspan(at + sizeof(size), HANSE_SEEDED_BUG(8) ? size - 1 : size);
      at += sizeof(size) + size;
      if (batch.first_position + i == tree_.count()) tree_.add(merkle_leaf(record));
    }
  }
}

// The leaves of what a snapshot holds are read when a proof needs them. Called with hash_mutex_.
void SegmentJournal::need_leaves(uint64_t before) {
  if (before >= tree_.base()) return;
  const uint64_t base = tree_.base();
  MerkleTree whole;
  const JournalStart& start = *options_.start;
  for (const Digest& leaf :
       leaves_before(*disk_, start.log, start.last_leaves, index_->oldest() == 0))
    whole.add(leaf);
  if (whole.count() != base || whole.root() != tree_.root_at(base))
    throw Error(ErrorCode::corrupt, leaf_file_name, "not what the snapshot's root is of", 0, base);
  for (uint64_t i = base; i < tree_.count(); ++i) whole.add(tree_.leaf(i));
  tree_ = std::move(whole);
}

// Hashes what was appended, without a flush. Called with hash_mutex_.
void SegmentJournal::catch_up() {
  const std::lock_guard lock(pending_mutex_);
  hash(pending_);
  if (in_memory()) pending_.clear();
}

Digest SegmentJournal::root() {
  const std::lock_guard lock(hash_mutex_);
  catch_up();
  return tree_.root();
}

Digest SegmentJournal::root_at(uint64_t count) {
  const std::lock_guard lock(hash_mutex_);
  catch_up();
  if (count != 0) require_position(count - 1, tree_.count());
  need_leaves(count);
  return tree_.root_at(count);
}

Digest SegmentJournal::leaf(Position position) {
  const std::lock_guard lock(hash_mutex_);
  catch_up();
  require_position(position, tree_.count());
  need_leaves(position);
  return tree_.leaf(position);
}

std::vector<Digest> SegmentJournal::prove(Position position, uint64_t count) {
  const std::lock_guard lock(hash_mutex_);
  catch_up();
  if (count != 0) require_position(count - 1, tree_.count());
  require_position(position, count);
  need_leaves(0);
  return tree_.inclusion_proof(position, count);
}

std::vector<Digest> SegmentJournal::prove_consistency(uint64_t old_count, uint64_t count) {
  const std::lock_guard lock(hash_mutex_);
  catch_up();
  if (count != 0) require_position(count - 1, tree_.count());
  if (old_count != 0) require_position(old_count - 1, count);
  need_leaves(0);
  return tree_.consistency_proof(old_count, count);
}

std::vector<uint8_t> SegmentJournal::read(Position position) {
  require_position(position, count());
  if (in_memory())
    throw Error(ErrorCode::unknown_event, "position", "not kept in memory mode", 0, position);
  wait_durable(position);
  return index_->read(position);
}

uint64_t SegmentJournal::drop_before(const LogStart& start, Position keep_from) {
  require_writable();
  throw_if_poisoned();
  if (in_memory()) return 0;
  return drop_segments(*disk_, *index_, start.segment, std::min(start.count, keep_from),
                       [&](uint64_t size) { writer_->note_dropped(1, size); });
}

Digest SegmentJournal::put_extent(Bytes bytes, ExtentPin* pin_out) {
  require_writable();
  throw_if_poisoned();
  try {
    return extents_.put(bytes, pin_out);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::storage_failed) poison(error.what());
    throw;
  }
}

JournalStatus SegmentJournal::status() const {
  JournalStatus status = opened_;
  status.count = count();
  status.durable_count = durable_count();
  status.oldest = oldest();
  status.flush_count = flush_count_.load(std::memory_order_relaxed);
  if (writer_) {
    status.size_bytes = writer_->size_bytes();
    status.segment_count = writer_->segment_count();
  }
  const std::lock_guard lock(flush_mutex_);
  status.poisoned = poison_reason_;
  return status;
}

uint64_t SegmentJournal::memory_bytes() const {
  uint64_t bytes = extents_.memory_bytes() + (index_ ? index_->memory_bytes() : 0);
  const std::lock_guard hash_lock(hash_mutex_);
  bytes += tree_.memory_bytes() + leaves_.capacity() * sizeof(Digest);
  const std::lock_guard lock(pending_mutex_);
  // The leader's buffers are as large as those it swaps with.
  return bytes + 2 * pending_.memory_bytes();
}

}  // namespace

std::unique_ptr<Journal> Journal::open(std::shared_ptr<Disk> disk, const JournalOptions& options,
                                       const Replay& replay) {
  check_options(options);
  if (options.durability == Durability::memory) disk = nullptr;
  if (!disk && options.read_only)
    throw Error(ErrorCode::read_only, "read_only", "a journal in memory has nothing to read");
  return std::make_unique<SegmentJournal>(std::move(disk), options, replay);
}

}  // namespace hanse
