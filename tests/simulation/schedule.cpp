#include "simulation/schedule.hpp"

#include <algorithm>

#include "base/hash.hpp"

namespace hanse::simulation {

namespace {

constexpr Unsynced modes[] = {Unsynced::none, Unsynced::all, Unsynced::random, Unsynced::torn};

class Schedule {
 public:
  Schedule(uint64_t seed, uint64_t operations, Tally& tally, bool extended)
      : seed_(seed),
        swarm_(Swarm::draw(seed, operations, extended)),
        chooser_(mix64(seed ^ 0x6f7065726174696f), swarm_),
        random_(mix64(seed ^ 0x6661756c7473)),
        tally_(tally),
        clock_(std::make_shared<ManualClock>(start_ns)),
        disk_(std::make_shared<FaultyDisk>(std::make_shared<SimulatedDisk>())),
        model_(start_ns, swarm_.fee_basis_points),
        base_(model_) {}

  Digest run();

 private:
  KernelOptions options(std::shared_ptr<Disk> disk, bool read_only) const;
  void open_first();
  void safety();
  void liveness();
  Digest finish();

  void apply(Operation op);
  void drain(uint64_t now_ns);
  void full(const Operation& op, const Model& before);
  void count_dropped();
  void arm();
  void count_fault();
  void note_progress();
  void check_now();
  void fail_over(bool machine_died);
  void check_poisoned();
  std::shared_ptr<SimulatedDisk> survivor(bool machine_died);
  uint64_t look_at(SimulatedDisk& image);
  void rebuild(uint64_t count);
  bool try_open(const std::shared_ptr<SimulatedDisk>& image);

  uint64_t seed_;
  Swarm swarm_;
  Chooser chooser_;
  Random random_;
  Tally& tally_;
  std::shared_ptr<ManualClock> clock_;
  std::shared_ptr<FaultyDisk> disk_;
  std::unique_ptr<Kernel> kernel_;
  Model model_;
  Model base_;                  // as of the last opening: all of it is on disk
  std::vector<Operation> log_;  // since then
  FaultName armed_ = FaultName::count_;
  bool crash_in_recovery_ = false;
  uint64_t fired_ = 0, seen_injected_ = 0, told_ = 0;
  uint64_t counted_ = 0;     // records whose types were counted, as they were to be dropped
  uint64_t root_count_ = 0;  // the root when there were that many records
  Digest root_{};
  Sha256 trace_;
};

KernelOptions Schedule::options(std::shared_ptr<Disk> disk, bool read_only) const {
  KernelOptions options;
  options.disk = std::move(disk);
  options.clock = clock_;
  options.background = false;
  options.read_only = read_only;
  options.seed = 7;
  options.durability = swarm_.durability;
  options.fee_basis_points = swarm_.fee_basis_points;
  options.segment_size_bytes_max = swarm_.segment_size;
  options.memory_max = memory_cap;
  options.mailbox.ring_count_max = 64;  // a large one takes longer to make than all the rest
  return options;
}

void Schedule::open_first() {
  kernel_ = Kernel::open(options(disk_, false));
  kernel_->own_flow();
  told_ = kernel_->durable_count();
  for (const Operation& op : chooser_.world()) apply(op);
  note_progress();
}

// What the kernel has promised is on disk so far, and the root that stays.
void Schedule::note_progress() {
  told_ = kernel_->durable_count();
  if (told_ == root_count_) return;
  root_count_ = told_;
  root_ = kernel_->journal().root_at(told_);
}

// --- operations

void Schedule::drain(uint64_t now_ns) {
  model_.now = now_ns;
  const HandedOut expected = model_.drain(kernel_->durable_count());
  const HandedOut seen = Performer(*kernel_).drain();
  for (const Given& given : seen.given)
    trace_.update({reinterpret_cast<const uint8_t*>(&given.number), sizeof given.number});
  if (seen == expected) return;
  throw Violation(difference(seen, expected));
}

void Schedule::apply(Operation op) {
  clock_->set(op.now_ns);
  ++tally_.operations;
  ++tally_.verbs[size_t(op.verb)];
  std::optional<Model> before;
  if (armed_ == FaultName::no_space) before = model_;
  log_.push_back(op);
  const Answer expected = op.verb == Verb::drain ? Answer{} : answer_of(model_, op);
  Answer given;
  try {
    if (op.verb == Verb::compact) count_dropped();
    if (op.verb == Verb::drain)
      drain(op.now_ns);
    else
      given = Performer(*kernel_).perform(op);
  } catch (const SimulatedCrash&) {
    return fail_over(true);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::storage_full && before) return full(op, *before);
    ++tally_.errors[int32_t(error.code())];
    check_poisoned();
    return fail_over(random_.chance(500));
  }
  if (!(given == expected)) {
    std::string text = show(op);
    for (const auto& [name, answer] : {std::pair("kernel", given), std::pair("model", expected)}) {
      text += std::string("\n  ") + name + ": error " + std::to_string(answer.error) + " values";
      for (const uint64_t value : answer.values) text += " " + std::to_string(value);
    }
    throw Violation(text);
  }
  if (given.error == 0 && answers_position(op) && given.values.back() != position_none)
    require(kernel_->durable_count() > given.values.back(),
            "an answer before its record was on disk: " + show(op));
  if (given.error == 0) ++tally_.done[size_t(op.verb)];
  if (given.error != 0) ++tally_.errors[given.error];
  trace_.update({reinterpret_cast<const uint8_t*>(&given.error), sizeof given.error});
  for (const uint64_t value : given.values)
    trace_.update({reinterpret_cast<const uint8_t*>(&value), sizeof value});
  if (kernel_->journal().count() != model_.count)
    throw Violation(show(op) + "\n  records: the kernel has " +
                    std::to_string(kernel_->journal().count()) + ", the model " +
                    std::to_string(model_.count));
  note_progress();
}

// The types of what may be gone when the next call returns. No fault meets it.
void Schedule::count_dropped() {
  if (!kernel_->journal().status().poisoned.empty()) return;
  const Fault fault = disk_->fault();
  disk_->set({});
  kernel_->flush();
  const uint64_t known = std::min(counted_, model_.count);
  count_records(*kernel_, tally_, std::max(known, kernel_->journal().oldest()));
  counted_ = kernel_->journal().count();
  disk_->set(fault);
}

// There was no room: the kernel goes on from where its journal stands, and nothing else happened.
void Schedule::full(const Operation& op, const Model& before) {
  ++tally_.errors[int32_t(ErrorCode::storage_full)];
  const uint64_t count = kernel_->journal().count();
  require(count >= before.count && count <= model_.count,
          "a refusal for want of room left records: " + show(op));
  model_ = before;
  if (count == before.count) {
    log_.pop_back();
  } else {
    log_.back().stop_at = model_.stop_at = count;
    answer_until_stopped(model_, op);
    model_.stop_at = UINT64_MAX;
  }
  check_now();
  note_progress();
}

// What is asked here is not part of the schedule: no fault meets it.
void Schedule::check_now() {
  const Fault fault = disk_->fault();
  disk_->set({});
  check_state(*kernel_, model_);
  disk_->set(fault);
}

// --- faults

void Schedule::arm() {
  uint32_t sum = 0;
  for (const uint32_t weight : swarm_.fault_weights) sum += weight;
  uint64_t at = random_.below(sum);
  size_t name = 0;
  while (at >= swarm_.fault_weights[name]) at -= swarm_.fault_weights[name++];
  armed_ = FaultName(name);
  crash_in_recovery_ = armed_ == FaultName::crash_in_recovery;
  Fault fault{FaultKind::none, disk_->calls() + random_.below(8), 1};
  DiskFaults crash;
  disk_->set_delay(0);
  seen_injected_ = disk_->injected();
  switch (armed_) {
    case FaultName::crash:
    case FaultName::crash_in_recovery:
      crash.crash_at = disk_->below().operations() + random_.below(12);
      break;
    case FaultName::slow_disk:
      disk_->set_delay(1 + random_.below(20'000'000));
      ++fired_;
      ++tally_.faults[size_t(armed_)];
      break;
    case FaultName::no_space:
      fault.kind = FaultKind::no_space;
      fault.count = 1 + random_.below(20);
      break;
    case FaultName::io_error:
      fault.kind = FaultKind::io_error;
      if (random_.chance(300)) fault.count = UINT64_MAX;
      break;
    case FaultName::short_write:
      fault.kind = FaultKind::short_write;
      break;
    case FaultName::failed_sync:
      fault.kind = FaultKind::failed_sync;
      break;
    default:
      fault.kind = FaultKind::read_error;
      break;
  }
  disk_->set(fault);
  disk_->below().set_faults(crash);
}

void Schedule::count_fault() {
  if (armed_ == FaultName::count_ || armed_ == FaultName::slow_disk) return;
  const uint64_t injected = disk_->injected() - seen_injected_;
  if (armed_ != FaultName::crash && armed_ != FaultName::crash_in_recovery && injected == 0) return;
  ++fired_;
  ++tally_.faults[size_t(armed_)];
  seen_injected_ = disk_->injected();
}

// A poisoned kernel takes nothing more, says so each time, and can still be read.
void Schedule::check_poisoned() {
  if (kernel_->journal().status().poisoned.empty()) return;
  ++tally_.poisonings;
  for (int i = 0; i < 2; ++i) {
    try {
      kernel_->set_rates(kernel_->root(), "usd_micro", 9, {});
    } catch (const Error& error) {
      require(error.code() == ErrorCode::poisoned,
              "another error than poisoned: " + std::string(error.what()));
      continue;
    } catch (const SimulatedCrash&) {
      return;
    }
    throw Violation("a poisoned kernel took a command");
  }
  const Ledger::Totals totals = kernel_->totals(0);
  require(totals.debits_posted == totals.credits_posted, "the books of a poisoned kernel");
}

// --- dying and coming back

std::shared_ptr<SimulatedDisk> Schedule::survivor(bool machine_died) {
  if (!machine_died) return disk_->below().restart();
  const size_t mode = random_.below(4);
  ++tally_.modes[mode];
  return disk_->below().recover(modes[mode], random_.next());
}

// How many records are there; the state is the model's at that count. Nothing is changed.
uint64_t Schedule::look_at(SimulatedDisk& image) {
  std::unique_ptr<Kernel> reader;
  try {
    reader = Kernel::open(options(image.recover(Unsynced::all, 0), true));
  } catch (const Error& error) {
    throw Violation("what survived does not open: " + std::string(error.what()));
  }
  const uint64_t count = reader->journal().count();
  if (count < told_ || count > model_.count)
    throw Violation(std::to_string(told_) + " records were acknowledged, " +
                    std::to_string(model_.count) + " written, " + std::to_string(count) +
                    " are there");
  rebuild(count);
  check_state(*reader, model_);
  if (root_count_ <= count)
    require(reader->journal().root_at(root_count_) == root_, "the history has another root");
  return count;
}

// The model as it was with `count` records; the log is cut there.
void Schedule::rebuild(uint64_t count) {
  Model model = base_;
  for (size_t i = 0; i < log_.size() && model.count != count; ++i) {
    model.stop_at = std::min(log_[i].stop_at, count);
    if (log_[i].verb == Verb::drain)
      model.drain(UINT64_MAX);
    else
      answer_until_stopped(model, log_[i]);
    if (model.count == count) {
      log_[i].stop_at = count;
      log_.resize(i + 1);
    }
  }
  require(model.count == count, "no history has " + std::to_string(count) + " records");
  model.stop_at = UINT64_MAX;
  if (count == base_.count) log_.clear();
  model_ = std::move(model);
}

bool Schedule::try_open(const std::shared_ptr<SimulatedDisk>& image) {
  disk_ = std::make_shared<FaultyDisk>(image);
  armed_ = FaultName::count_;
  if (crash_in_recovery_ || random_.chance(50)) {
    armed_ = FaultName::crash_in_recovery;
    crash_in_recovery_ = random_.chance(300);
    if (random_.chance(800)) {
      DiskFaults crash;
      crash.crash_at = image->operations() + random_.below(10);
      image->set_faults(crash);
    } else {
      disk_->set({random_.chance(500) ? FaultKind::io_error : FaultKind::read_error,
                  random_.below(12), 1});
    }
  }
  Operation reopen{.verb = Verb::reopen, .now_ns = clock_->now_ns()};
  log_.push_back(reopen);
  answer_of(model_, reopen);
  try {
    kernel_ = Kernel::open(options(disk_, false));
  } catch (const SimulatedCrash&) {
    count_fault();
    return false;
  } catch (const Error& error) {
    if (disk_->injected() == 0)
      throw Violation("what survived does not open for writing: " + std::string(error.what()));
    ++fired_;
    ++tally_.faults[size_t(FaultName::crash_in_recovery)];
    return false;
  }
  disk_->set({});
  image->set_faults({});
  armed_ = FaultName::count_;
  return true;
}

void Schedule::fail_over(bool machine_died) {
  count_fault();
  told_ = std::max(told_, kernel_->durable_count());
  // Dead before it notices: what its destructors do reaches this disk no more.
  std::shared_ptr<SimulatedDisk> image = survivor(machine_died);
  kernel_.reset();
  for (;;) {
    look_at(*image);
    if (try_open(image)) break;
    image = survivor(true);
  }
  ++tally_.recoveries;
  kernel_->own_flow();
  check_state(*kernel_, model_);
  require(kernel_->durable_count() == model_.count, "an open kernel is not all on disk");
  base_ = model_;
  log_.clear();
  note_progress();
}

// --- phases

void Schedule::safety() {
  uint64_t now_ns = start_ns;
  uint64_t until_fault = 1 + random_.below(swarm_.fault_gap);
  for (uint64_t i = 0; i < swarm_.operations || (fired_ < faults_min && i < swarm_.operations * 4);
       ++i) {
    if (--until_fault == 0) {
      count_fault();
      arm();
      until_fault = 1 + random_.below(2 * swarm_.fault_gap);
    }
    Operation op = chooser_.next(model_, now_ns, armed_ == FaultName::no_space);
    now_ns = op.now_ns;
    apply(std::move(op));
    now_ns += disk_->take_delay();
    if (i % 512 == 511) check_now();
  }
  count_fault();
}

// The disk is sound from now on: everything that was begun comes to an end.
void Schedule::liveness() {
  disk_->set({});
  disk_->set_delay(0);
  disk_->below().set_faults({});
  armed_ = FaultName::count_;
  uint64_t now_ns = clock_->now_ns();
  const auto must = [&](Operation op) {
    op.now_ns = ++now_ns;
    apply(std::move(op));
  };
  must({.verb = Verb::load_policy});
  for (uint32_t agent = 1; agent < model_.agents.size(); ++agent)
    if (model_.agents[agent].paused) must({.verb = Verb::steer, .agent = agent});
  must({.verb = Verb::drain});
  for (uint64_t task = 0; task < model_.jobs.size(); ++task) {
    Operation op{.verb = Verb::complete, .number = task};
    op.agent = 1'000'000 + uint32_t(task);
    const TaskState was = model_.jobs[task].state;
    if (was == TaskState::dispatched || was == TaskState::running) must(op);
    op = {.verb = Verb::judge, .number = task};
    op.other = model_.jobs[task].verified ? 0 : index_none;
    if (op.other == model_.jobs[task].worker) op.small = uint8_t(Verdict::withdraw);
    if (model_.jobs[task].state == TaskState::completed) must(op);
    op.small = uint8_t(Verdict::withdraw);
    op.other = index_none;
    const auto ended = [&] {
      const TaskState state = model_.jobs[task].state;
      return state == TaskState::accepted || state == TaskState::voided ||
             state == TaskState::expired;
    };
    if (!ended()) must(op);
    require(ended(), "task " + std::to_string(task) + " can't be brought to an end");
  }
  for (uint64_t hold = 1; hold <= model_.promises.size(); ++hold) {
    const HoldState state = model_.promises[hold - 1].state;
    if (state != HoldState::open && state != HoldState::unknown) continue;
    Operation op{.verb = Verb::settle, .number = hold};
    op.small = uint8_t(Settlement::voided);
    must(op);
  }
  for (UnitId unit = 0; unit < unit_count; ++unit)
    require(model_.escrow[unit].in_pending == 0, "something is reserved for nothing");
  for (int turn = 0; turn < 1000; ++turn) {
    must({.verb = Verb::drain});
    bool some = false;
    for (const auto& [owner, box] : std::map(model_.boxes)) {
      Operation op{.verb = Verb::commit_box};
      op.actor = op.agent = owner;
      for (const Letter& letter : box.queue)
        if (letter.handed) op.numbers.push_back(letter.sequence);
      some |= !op.numbers.empty();
      if (!op.numbers.empty()) must(op);
    }
    if (!some) break;
  }
  for (const auto& [owner, box] : model_.boxes)
    require(box.queue.empty(), "letters of " + std::to_string(owner) + " are never handed out");
}

// The same bytes, read by another process, are the same world.
Digest Schedule::finish() {
  check_state(*kernel_, model_);
  kernel_->flush();
  const Digest root = check_merkle(*kernel_, tally_, counted_);
  check_history(*kernel_);
  const Digest state = kernel_->state_hash().all;
  tally_.records += model_.count;
  kernel_->close();
  kernel_.reset();
  const std::shared_ptr<SimulatedDisk> image = disk_->below().recover(Unsynced::none, 0);
  const auto reader = Kernel::open(options(image, true));
  require(reader->state_hash().all == state, "the replayed state is another");
  // Closing may have added the count of refusals that had no record of their own.
  require(reader->journal().root_at(model_.count) == root, "the replayed root is another");
  const KernelVerification verified = verify_disk(image, 1, nullptr);
  require(verified.journal.root == reader->journal().root(), "verify finds another root");
  require(verified.state.all == state, "verify finds another state");
  trace_.update(root).update(state);
  return trace_.finish();
}

Digest Schedule::run() {
  open_first();
  safety();
  liveness();
  ++tally_.schedules;
  require(fired_ >= faults_min || swarm_.operations < 500, "too few faults were met");
  return finish();
}

}  // namespace

Digest run_schedule(uint64_t seed, uint64_t operations, Tally& tally, bool extended) {
  return Schedule(seed, operations, tally, extended).run();
}

}  // namespace hanse::simulation
