// Taking snapshots, beginning with one, and dropping what they hold.
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "journal/leaf_file.hpp"
#include "journal/log_index.hpp"
#include "kernel/collecting.hpp"
#include "kernel/inner.hpp"

namespace hanse {

namespace {

constexpr auto keeper_interval = std::chrono::seconds(1);
constexpr int keeper_niceness = 10;
constexpr uint32_t section_mask_all = 0xffe;  // every number from 1 to 11

// The state folded from disk, beside the live one.
class Folding {
 public:
  Folding(const KernelOptions& live, std::shared_ptr<Disk> disk) {
    inner_.prepare(Kernel::Inner::quiet(live), std::move(disk));
    // A graph would be made for nobody: nothing is searched here.
    inner_.capabilities.fold_later();
  }

  // Goes on from a snapshot; false where it can't be relied on, and then this is of no more use.
  bool begin_with(uint64_t count) {
    try {
      start_ = inner_.restore(count);
      const uint64_t size = (1 + count / leaves_in_block) * block_size;
      if (count >= leaves_in_block &&
          inner_.disk->open(leaf_file_name, OpenMode::read)->size() < size)
        return false;
    } catch (const Error&) {
      return false;
    }
    tree_ = MerkleTree(count, start_.frontier);
    return true;
  }

  // Where the log goes on in a segment that begins there, that says so: the one before it may go.
  void fold_to(const LogFloor& floor) {
    fold_to(floor.position);
    start_.log = start_of_segment(*inner_.disk, floor.segment);
  }

  void fold_to(uint64_t stop) {
    ScanCallbacks callbacks;
    callbacks.record = [&](Position position, Bytes record, const Digest& leaf) {
      inner_.replay(position, record);
      tree_.add(leaf);
      leaves_.push_back(leaf);
    };
    leaves_ = start_.last_leaves;
    const uint64_t first = leaves_in_blocks(start_.log.count);
    start_.log = read_log(*inner_.disk, callbacks, start_.log, stop);
    const LeafFile file(*inner_.disk, start_.log.uuid);
    const uint64_t taken = leaves_.size() < leaves_in_block ? 0 : file.write(first, leaves_);
    start_.last_leaves.assign(leaves_.begin() + ptrdiff_t(taken), leaves_.end());
    start_.frontier = tree_.frontier();
  }

  const LogStart& log() const { return start_.log; }

  SnapshotInfo write() {
    SnapshotInfo info;
    info.size_bytes = inner_.write_snapshot(start_, tree_.root());
    info.count = start_.log.count;
    info.state_hash = inner_.state_hash().all;
    info.taken = true;
    return info;
  }

 private:
  Kernel::Inner inner_;
  JournalStart start_;
  MerkleTree tree_;
  std::vector<Digest> leaves_;
};

}  // namespace

// Of a state that nobody talks to: it has no threads, and boxes for no one.
KernelOptions Kernel::Inner::quiet(const KernelOptions& live) {
  KernelOptions options = live;
  options.read_only = true;
  options.background = false;
  options.latents = {};
  options.mailbox.ring_count_max = 1;
  options.shard_count = 1;
  return options;
}

// --- to bytes and back

uint64_t Kernel::Inner::write_snapshot(const JournalStart& start, const Digest& root) const {
  const ConceptHashes hashes = state_hash();
  SnapshotFile file(*disk, start.log.count);
  using enum SnapshotSection;
  const auto put = [&](SnapshotSection section, const Digest& hash, const auto& table) {
    file.add(section, std::decay_t<decltype(table)>::snapshot_version, hash,
             [&](SnapshotWriter& out) { table.encode(out); });
  };
  file.add(kernel, 1, {}, [&](SnapshotWriter& out) {
    out.put(genesis.format, genesis.fee_basis_points, genesis.instance, last_time_ns);
  });
  put(agent, hashes.agent, agents);
  put(capability, hashes.capability, capabilities);
  // The older form says all there is to say, and older readers know it, while nothing was governed.
  file.add(policy, governance.empty() ? 1 : policy_section_version, hashes.policy,
           [&](SnapshotWriter& out) { encode_policy(out); });
  put(SnapshotSection::ledger, hashes.ledger, this->ledger);
  put(task, hashes.task, tasks);
  file.add(mailbox, durable.snapshot_version_needed(), hashes.mailbox.value_or(Digest{}),
           [&](SnapshotWriter& out) { durable.encode(out); });
  // Part of the agents' hash, where there is any of it.
  put(identity, {}, identities);
  put(SnapshotSection::reputation, {}, this->reputation);
  put(SnapshotSection::attention, {}, this->attention);
  file.add(leaves, 1, {}, [&](SnapshotWriter& out) {
    out.table(start.last_leaves.size(),
              [&](size_t i, FieldWriter& fields) { fields(start.last_leaves[i]); });
  });

  SnapshotHeader header;
  header.start = start.log;
  header.time_ns = last_time_ns;
  header.root = root;
  header.state_hash = hashes.all;
  header.frontier = start.frontier;
  return file.finish(std::move(header));
}

void Kernel::Inner::decode_section(const SectionEntry& entry, SnapshotReader& in,
                                   JournalStart& start) {
  const auto decode = [&](auto& table, auto... rest) {
    constexpr uint16_t newest = std::decay_t<decltype(table)>::snapshot_version;
    if (entry.version == 0 || entry.version > newest)
      throw Error(ErrorCode::log_version, snapshot_section_name(entry.section), entry.version,
                  newest);
    table.decode(in, rest...);
  };
  switch (entry.section) {
    case SnapshotSection::kernel:
      in.take(genesis.format, genesis.fee_basis_points, genesis.instance, last_time_ns);
      return in.expect_end();
    case SnapshotSection::agent:
      return decode(agents);
    case SnapshotSection::capability:
      return decode(capabilities);
    case SnapshotSection::policy:
      if (entry.version == 0 || entry.version > policy_section_version)
        throw Error(ErrorCode::log_version, "policy", entry.version, policy_section_version);
      return decode_policy(in, entry.version);
    case SnapshotSection::ledger:
      return decode(ledger);
    case SnapshotSection::task:
      return decode(tasks);
    case SnapshotSection::mailbox:
      return decode(durable, agents.count());
    case SnapshotSection::identity:
      return decode(identities);
    case SnapshotSection::reputation:
      return decode(reputation);
    case SnapshotSection::attention:
      return decode(attention);
    case SnapshotSection::leaves:
      in.table([&](size_t i, FieldReader& fields) {
        in.require(i < leaves_in_block, "leaves");
        fields(start.last_leaves.emplace_back());
      });
      return in.expect_end();
  }
  throw Error(ErrorCode::log_version, "section", uint64_t(entry.section),
              uint64_t(SnapshotSection::attention));
}

JournalStart Kernel::Inner::restore(uint64_t count) {
  const std::string path = snapshot_path(count);
  const auto file = disk->open(path, OpenMode::read);
  const SnapshotHeader header = read_snapshot_header(*file, path);
  // With the newest snapshot alone to rely on, an older one may have lost what it goes on with.
  if (!disk->exists(segment_name(header.start.segment)))
    throw Error(
        ErrorCode::corrupt, path,
        "offset 0: it goes on in " + segment_name(header.start.segment) + ", which is not there", 0,
        count);
  JournalStart start{header.start, header.frontier, {}};
  uint32_t seen = 0;
  for (const SectionEntry& entry : header.sections) {
    const std::vector<uint8_t> bytes = read_section(*file, path, entry);
    SnapshotReader in(bytes, entry.version);
    try {
      decode_section(entry, in, start);
    } catch (const Error& error) {
      // The bytes are as they were written; what they say can't be.
      const bool version = error.code() == ErrorCode::log_version;
      throw Error(version ? ErrorCode::log_version : ErrorCode::corrupt, path,
                  "offset " + std::to_string(entry.offset) + ": the section " +
                      snapshot_section_name(entry.section) + ": " + error.what());
    }
    seen |= 1u << uint32_t(entry.section);
  }
  restore_policy();
  directory_version.fetch_add(1);
  const bool sound = seen == section_mask_all && header.start.count == count &&
                     header.frontier.size() == size_t(std::popcount(count)) &&
                     start.last_leaves.size() == count % leaves_in_block &&
                     state_hash().all == header.state_hash;
  if (!sound)
    throw Error(ErrorCode::corrupt, path,
                "offset 0: the state does not have the hash that it should have", 0, count);
  return start;
}

// --- taking them

SnapshotInfo Kernel::Inner::snapshot() {
  check_open();
  if (!disk)
    throw Error(ErrorCode::unusable_directory, "snapshot", "the journal is in memory only");
  if (options.read_only) throw Error(ErrorCode::read_only, "kernel", "opened read-only");
  const std::lock_guard one(snapshot_mutex);
  {
    const std::lock_guard lock(writer);
    check_memory(agents.memory_bytes() + capabilities.memory_bytes() + ledger.memory_bytes() +
                     tasks.memory_bytes(),
                 "snapshot");
  }
  journal->flush();
  const uint64_t stop = journal->durable_count();

  std::unique_ptr<Folding> folding;
  for (const uint64_t count : list_snapshots(*disk)) {
    if (count > stop) continue;
    auto next = std::make_unique<Folding>(options, disk);
    if (!next->begin_with(count)) continue;
    if (count == stop) {
      SnapshotInfo info;
      info.count = count;
      const auto file = disk->open(snapshot_path(count), OpenMode::read);
      info.size_bytes = file->size();
      info.state_hash = read_snapshot_header(*file, snapshot_path(count)).state_hash;
      return info;
    }
    folding = std::move(next);
    break;
  }
  if (!folding) folding = std::make_unique<Folding>(options, disk);
  folding->fold_to(stop);
  const SnapshotInfo info = folding->write();

  drop_old_snapshots();
  return info;
}

// The newest few, and the one from which what is left of the records can be folded; none that goes
// on with records that were dropped.
void Kernel::Inner::drop_old_snapshots() {
  const std::vector<uint64_t> counts = list_snapshots(*disk);
  const Position oldest = journal->oldest();
  for (size_t i = 0; i < counts.size(); ++i) {
    if (i < snapshots_kept ? counts[i] >= oldest : counts[i] == oldest && oldest != 0) continue;
    disk->remove(snapshot_path(counts[i]));
    disk->sync_directory(snapshot_directory);
  }
}

// The state at the first record that will be kept: the books of every later position follow from
// it. A journal that was compacted before there were such has none, and goes on without.
void Kernel::Inner::write_floor(const LogFloor& floor) {
  std::unique_ptr<Folding> folding;
  for (const uint64_t count : list_snapshots(*disk)) {
    if (count > floor.position) continue;
    auto next = std::make_unique<Folding>(options, disk);
    if (!next->begin_with(count)) continue;
    // One that goes on behind the end of the segment before is written again.
    if (count == floor.position && next->log().segment == floor.segment) return;
    folding = std::move(next);
    break;
  }
  if (!folding && journal->oldest() != 0) return;
  if (!folding) folding = std::make_unique<Folding>(options, disk);
  folding->fold_to(floor);
  folding->write();
}

CompactionInfo Kernel::Inner::compact(Position keep_from, uint32_t snapshots) {
  check_open();
  if (snapshots == 0 || snapshots > snapshots_kept)
    throw Error(ErrorCode::out_of_range, "snapshots", snapshots, snapshots_kept);
  if (!disk) throw Error(ErrorCode::unusable_directory, "compact", "the journal is in memory only");
  if (options.read_only) throw Error(ErrorCode::read_only, "kernel", "opened read-only");
  const std::lock_guard one(snapshot_mutex);
  CompactionInfo info;
  // What will be all that is left of the records is read back first, every byte of it, and must be
  // a state that can be opened.
  uint32_t intact = 0;
  LogStart start;
  for (const uint64_t count : list_snapshots(*disk)) {
    Folding folding(options, disk);
    if (!folding.begin_with(count)) continue;
    start = folding.log();
    try {
      LeafFile(*disk, start.uuid).read(count);
    } catch (const Error&) {
      continue;
    }
    if (++intact == snapshots) break;
  }
  if (intact == snapshots) {
    info.count = start.count;
    const Position limit = std::min(start.count, keep_from);
    const LogFloor floor = floor_before(*disk, start.segment, limit);
    if (floor.moves) {
      write_floor(floor);
      info.freed_bytes = journal->drop_before(start, limit);
      drop_old_snapshots();
      collect_extents(*this, info);
    }
  }
  info.oldest = journal->oldest();
  return info;
}

// The first record that the options want kept.
Position Kernel::Inner::retained_from() const {
  Position from = 0;
  const std::vector<uint64_t> numbers = list_segments(*disk);
  uint64_t kept_bytes = 0;
  if (options.retain_bytes) {
    for (size_t i = numbers.size(); i-- > 0;) {
      kept_bytes += disk->open(segment_name(numbers[i]), OpenMode::read)->size();
      if (kept_bytes <= *options.retain_bytes || i + 1 >= numbers.size()) continue;
      from = read_segment_header(*disk, numbers[i + 1]).first_position;
      break;
    }
  }
  if (!options.retain_ns) return from;
  const uint64_t now = clock->now_ns();
  const uint64_t oldest_ns = now - std::min(now, *options.retain_ns);
  const uint64_t durable_end = journal->durable_count();
  for (const uint64_t number : numbers) {
    const Position first = read_segment_header(*disk, number).first_position;
    if (first >= durable_end || first < journal->oldest()) continue;
    const std::vector<uint8_t> record = journal->read(first);
    ByteReader reader(record);
    if (decode_envelope(reader).time_ns > oldest_ns) break;
    from = std::max(from, first);
  }
  return from;
}

void Kernel::Inner::run_keeper() {
  // Whoever coordinates goes first.
  (void)setpriority(PRIO_PROCESS, id_t(syscall(SYS_gettid)), keeper_niceness);
  uint64_t dropped = 0;
  uint64_t taken_at = journal->status().replayed_from == 0 ? 0 : journal->status().size_bytes;
  std::unique_lock lock(flusher_mutex);
  while (!stopping) {
    keeper_wake.wait_for(lock, keeper_interval, [this] { return stopping; });
    if (stopping) return;
    lock.unlock();
    const uint64_t written = journal->status().size_bytes + dropped;
    if (written >= taken_at + options.snapshot_every_bytes) {
      // One that fails is tried again when as much has been written again: the journal, which is
      // what counts, says itself when it is at fault.
      taken_at = written;
      try {
        snapshot();
        if (options.retain_bytes || options.retain_ns)
          dropped += compact(retained_from(), 1).freed_bytes;
      } catch (const Error&) {
        keeper_failures.fetch_add(1, std::memory_order_relaxed);
      }
    }
    lock.lock();
  }
}

// --- the kernel's side

SnapshotInfo Kernel::snapshot() { return inner_->snapshot(); }

std::vector<SnapshotInfo> Kernel::snapshots() {
  inner_->check_open();
  std::vector<SnapshotInfo> found;
  if (!inner_->disk) return found;
  for (const uint64_t count : list_snapshots(*inner_->disk)) {
    try {
      const auto file = inner_->disk->open(snapshot_path(count), OpenMode::read);
      const SnapshotHeader header = read_snapshot_header(*file, snapshot_path(count));
      found.push_back({header.start.count, file->size(), false, header.state_hash});
    } catch (const Error& error) {
      if (error.code() != ErrorCode::corrupt && error.code() != ErrorCode::log_version) throw;
    }
  }
  return found;
}

CompactionInfo Kernel::compact(uint64_t keep, uint32_t snapshots) {
  const uint64_t durable = inner_->journal->durable_count();
  return inner_->compact(durable - std::min(durable, keep), snapshots);
}

}  // namespace hanse
