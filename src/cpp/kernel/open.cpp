// Opening, replay, the flusher thread, closing.
#include <pthread.h>
#include <unistd.h>

#include "base/random.hpp"
#include "base/seeded_bug.hpp"
#include "kernel/inner.hpp"

namespace hanse {

namespace {

std::atomic<uint32_t> forks{0};

void watch_forks() {
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
  (void)registered;
}

}  // namespace

uint32_t process_fork_count() { return forks.load(std::memory_order_relaxed); }

Kernel::Kernel() : inner_(std::make_unique<Inner>()) {}

std::unique_ptr<Kernel> Kernel::open(const KernelOptions& options) {
  watch_forks();
  if (options.fee_basis_points > 10'000)
    throw Error(ErrorCode::out_of_range, "fee_basis_points", options.fee_basis_points, 10'000);
  const std::shared_ptr<Disk> disk = Inner::disk_for(options);
  if (!disk) return open_whole(options, disk);
  constexpr int attempts = 3;
  for (int attempt = 1;; ++attempt) {
    const std::vector<uint64_t> snapshots = list_snapshots(*disk);
    try {
      return open_newest(options, disk, snapshots);
    } catch (const Error& error) {
      // A writer beside this reader may have dropped what an older snapshot goes on with.
      const bool moved = options.read_only && error.code() == ErrorCode::corrupt &&
                         list_snapshots(*disk) != snapshots;
      if (!moved || attempt == attempts) throw;
    }
  }
}

std::unique_ptr<Kernel> Kernel::open_whole(const KernelOptions& options,
                                           const std::shared_ptr<Disk>& disk) {
  std::unique_ptr<Kernel> kernel(new Kernel);
  kernel->inner_->prepare(options, disk);
  kernel->inner_->begin_journal(std::nullopt);
  return kernel;
}

// One that is damaged is passed over. Without any the log is read whole.
std::unique_ptr<Kernel> Kernel::open_newest(const KernelOptions& options,
                                            const std::shared_ptr<Disk>& disk,
                                            std::span<const uint64_t> snapshots) {
  std::exception_ptr damaged;
  for (const uint64_t count : snapshots) {
    std::unique_ptr<Kernel> kernel(new Kernel);
    kernel->inner_->prepare(options, disk);
    JournalStart start;
    try {
      start = kernel->inner_->restore(count);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::corrupt && error.code() != ErrorCode::log_version) throw;
      if (!damaged) damaged = std::current_exception();
      continue;
    }
    kernel->inner_->begin_journal(std::move(start));
    return kernel;
  }
  const std::vector<uint64_t> segments = list_segments(*disk);
  if (damaged && !segments.empty() && segments.front() != 0) std::rethrow_exception(damaged);
  return open_whole(options, disk);
}

Kernel::~Kernel() {
  // A child process has neither the flusher nor a right to the files: it leaves both alone.
  if (inner_->fork_count != process_fork_count()) {
    if (inner_->flusher.joinable()) inner_->flusher.detach();
    if (inner_->keeper.joinable()) inner_->keeper.detach();
    (void)inner_.release();
    return;
  }
  try {
    close();
  } catch (...) {
    // Whoever wants to know whether the last flush worked calls close().
  }
}

void Kernel::close() {
  if (inner_->closed.load() || inner_->fork_count != process_fork_count()) return;
  if (inner_->flow && inner_->flow->shards) inner_->flow->shards->require_no_turn();
  inner_->stop();
}

std::shared_ptr<Disk> Kernel::Inner::disk_for(const KernelOptions& options) {
  const bool somewhere = options.disk || !options.directory.empty();
  if (options.durability == Durability::memory) return nullptr;
  if (!somewhere && options.durability)
    throw Error(ErrorCode::unusable_directory, "directory", "durable, but no directory is given");
  if (options.disk || !somewhere) return options.disk;
  return open_real_disk(options.directory, options.read_only);
}

void Kernel::Inner::prepare(const KernelOptions& given, std::shared_ptr<Disk> on) {
  options = given;
  fork_count = process_fork_count();
  clock = options.clock ? options.clock : std::make_shared<SystemClock>();
  disk = std::move(on);
  durability = disk ? options.durability.value_or(Durability::each) : Durability::memory;
  latents = std::make_unique<LatentPool>(options.latents, clock, options.seed);
  options.mailbox.undelivered_count_max = undelivered_requests_max;
  if (options.shard_count == 0)
    throw Error(ErrorCode::out_of_range, "shards", "0 where at least 1 is needed");
  flow = std::make_unique<Flow>(shard_options());
  wake_by_descriptor();
  governance.loaded = policy_at_birth;
  program = compile(policy_at_birth);
  if (options.background) capabilities.fold_in_background();
  ledger.set_parents([this](uint32_t agent) { return agents.parent(agent); });
}

void Kernel::Inner::begin_journal(std::optional<JournalStart> start) {
  JournalOptions journal_options;
  journal_options.durability = durability;
  journal_options.segment_size_bytes_max = options.segment_size_bytes_max;
  journal_options.read_only = options.read_only;
  journal_options.identity_seed = options.seed;
  journal_options.start = std::move(start);
  journal = Journal::open(disk, journal_options,
                          [this](Position position, Bytes record) { replay(position, record); });
  if (journal->count() == 0) {
    if (options.read_only)
      throw Error(ErrorCode::unusable_directory, "directory", "holds no journal");
    std::lock_guard lock(writer);
    GenesisRecord first;
    first.fee_basis_points = options.fee_basis_points;
    first.instance = mix64(clock->now_ns() ^ mix64(options.seed));
    commit(0, first);
  }
  if (!options.read_only) {
    if (!HANSE_SEEDED_BUG(56)) redeliver_unfinished();
    redeliver_durable();
    journal->flush();
    if (options.background && disk) start_threads();
  }
}

void Kernel::Inner::replay(Position position, Bytes record) {
  try {
    ByteReader reader(record);
    const Envelope envelope = decode_envelope(reader);
    if (position == 0 && envelope.type != RecordType::genesis)
      throw Error(ErrorCode::corrupt, "record", "the first one is not the genesis record");
    visit_record(envelope, reader, [&](auto&& body) { apply(envelope, position, body); });
    if (!HANSE_SEEDED_BUG(55)) last_time_ns = envelope.time_ns;
  } catch (const Error& error) {
    // A record that names what is not there is intact itself; any other fault is the record's.
    const bool storage = error_code_info(error.code()).kind == ErrorKind::storage;
    throw Error(storage ? error.code() : ErrorCode::corrupt, error.field(), error.detail(),
                error.id(), position);
  }
}

// Work that was dispatched and not completed goes out again: same id, attempt + 1.
void Kernel::Inner::redeliver_unfinished() {
  std::lock_guard lock(writer);
  std::vector<uint32_t> open_tasks;
  tasks.unfinished(open_tasks);
  constexpr size_t per_record = 65'536;
  for (size_t at = 0; at < open_tasks.size(); at += per_record) {
    RedeliveredRecord record;
    const size_t end = std::min(open_tasks.size(), at + per_record);
    record.tasks.assign(open_tasks.begin() + ptrdiff_t(at), open_tasks.begin() + ptrdiff_t(end));
    commit(0, record);
  }
}

void Kernel::Inner::start_threads() {
  armed_deadline_ns = durable.earliest_deadline_ns();
  flusher = std::thread([this] { run_flusher(); });
  if (options.snapshot_every_bytes != 0) keeper = std::thread([this] { run_keeper(); });
}

void Kernel::Inner::stop() {
  if (!journal) return;  // it never opened
  if (flow->shards) {
    flow->shards->stop();
    flow->shards->join();
  }
  capabilities.stop_folding();
  {
    std::lock_guard lock(flusher_mutex);
    stopping = true;
  }
  flusher_wake.notify_all();
  keeper_wake.notify_all();
  if (flusher.joinable()) flusher.join();
  if (keeper.joinable()) keeper.join();
  {
    std::lock_guard lock(writer);
    if (!options.read_only && broken.empty()) {
      for (auto& [tenant, rate] : refusal_rates) {
        if (rate.counted == 0) continue;
        RefusalsCountedRecord record{tenant, rate.counted};
        rate.counted = 0;
        commit(0, record);
      }
    }
    closed.store(true);
  }
  if (journal) journal->close();  // gives the directory back: another opener may come now
}

void Kernel::Inner::run_flusher() {
  std::unique_lock lock(flusher_mutex);
  while (!stopping) {
    const auto ready = [this] { return stopping || flush_wanted; };
    if (armed_deadline_ns == UINT64_MAX) {
      flusher_wake.wait(lock, ready);
    } else {
      // An injected clock may jump, so that the sleep is never long.
      const uint64_t now = clock->now_ns();
      const uint64_t sleep = armed_deadline_ns <= now
                                 ? 1'000'000
                                 : std::min<uint64_t>(armed_deadline_ns - now, 50'000'000);
      flusher_wake.wait_for(lock, std::chrono::nanoseconds(sleep), ready);
    }
    if (stopping) return;
    flush_wanted = false;
    const bool due = armed_deadline_ns <= clock->now_ns();
    lock.unlock();
    try {
      if (due) {
        std::lock_guard hold(writer);
        if (broken.empty()) expire_due(clock->now_ns());
      }
      journal->flush();
    } catch (const Error&) {
      // The journal is poisoned now; every later command says so.
    }
    const int fd = notify_fd.load();
    const uint64_t one = 1;
    if (fd >= 0) (void)!write(fd, &one, sizeof one);
    {
      std::lock_guard hold(writer);
      lock.lock();
      armed_deadline_ns = std::min({tasks.earliest_deadline_ns(), ledger.earliest_expiry_ns(),
                                    durable.earliest_deadline_ns()});
      if (!rate_expiries.empty())
        armed_deadline_ns = std::min(armed_deadline_ns, rate_expiries.begin()->first);
    }
  }
}

// The writer's mutex is held.
void Kernel::Inner::rearm(uint64_t deadline_ns) {
  if (deadline_ns == 0 || !flusher.joinable()) return;
  std::lock_guard lock(flusher_mutex);
  if (deadline_ns >= armed_deadline_ns) return;
  armed_deadline_ns = deadline_ns;
  flush_wanted = true;
  flusher_wake.notify_all();
}

void Kernel::request_flush() {
  {
    std::lock_guard lock(inner_->flusher_mutex);
    inner_->flush_wanted = true;
  }
  inner_->flusher_wake.notify_one();
  if (!inner_->flusher.joinable()) {
    inner_->journal->flush();
    const int fd = inner_->notify_fd.load();
    const uint64_t one = 1;
    if (fd >= 0) (void)!write(fd, &one, sizeof one);
  }
}

void Kernel::flush() {
  inner_->check_open();
  inner_->journal->flush();
}

uint64_t Kernel::durable_count() const { return inner_->journal->durable_count(); }
Journal& Kernel::journal() { return *inner_->journal; }
AgentId Kernel::root() const { return inner_->agents.root(); }
Clock& Kernel::clock() { return *inner_->clock; }
LatentPool& Kernel::latents() { return *inner_->latents; }
MailboxTable& Kernel::mailboxes() { return inner_->flow->mailboxes; }

uint32_t Kernel::tick() {
  uint32_t count = 0;
  Position last = position_none;
  {
    std::lock_guard lock(inner_->writer);
    inner_->check_open();
    if (inner_->options.read_only) throw Error(ErrorCode::read_only, "kernel", "opened read-only");
    count = inner_->expire_due(inner_->clock->now_ns());
    if (count != 0) last = inner_->journal->count() - 1;
  }
  if (last != position_none) inner_->wait(last);
  return count;
}

}  // namespace hanse
