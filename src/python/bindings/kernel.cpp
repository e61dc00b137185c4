#include "kernel/kernel.hpp"

#include <pthread.h>
#include <unistd.h>

#include <random>

#include "base/random.hpp"
#include "convert.hpp"
#include "handle.hpp"
#include "journal/simulated_disk.hpp"
#include "requests.hpp"

namespace hanse::python {

namespace {

KernelOptions options_of(py::handle directory, py::handle durability, py::handle memory_max,
                         std::shared_ptr<Clock> clock, py::handle seed, py::handle segment_size,
                         py::handle fee_basis_points, py::handle read_only, py::handle shards,
                         py::handle digest) {
  KernelOptions options;
  if (!directory.is_none()) {
    options.directory = text_of(directory, "directory");
    if (options.directory.empty()) throw Error(ErrorCode::empty, "directory", "want a path");
  }
  if (!durability.is_none()) {
    const std::string name = text_of(durability, "durability");
    if (name == "memory")
      options.durability = Durability::memory;
    else if (name == "batch")
      options.durability = Durability::batch;
    else if (name == "each")
      options.durability = Durability::each;
    else
      throw Error(ErrorCode::out_of_range, "durability",
                  "want each, batch or memory, have " + name);
  }
  if (!memory_max.is_none()) options.memory_max = unsigned_of(memory_max, "memory_max");
  if (!segment_size.is_none())
    options.segment_size_bytes_max = unsigned_of(segment_size, "segment_size");
  options.clock = std::move(clock);
  options.seed = unsigned_of(seed, "seed");
  options.fee_basis_points = unsigned_of<uint32_t>(fee_basis_points, "fee_basis_points", 10'000);
  options.read_only = truth_of(read_only, "read_only");
  options.shard_count = unsigned_of<uint32_t>(shards, "shards", 64);
  options.mailbox.digest = truth_of(digest, "digest");
  options.mailbox.seed = options.seed;
  return options;
}

// The numbers of requests follow from the kernel's seed, so that a run can be replayed; without a
// seed no one can foresee them.
RequestOptions request_options(uint64_t seed) {
  RequestOptions options;
  if (seed != 0) {
    Random random(seed);
    options.key_low = random.next();
    options.key_high = random.next();
  } else {
    std::random_device device;
    options.key_low = uint64_t{device()} << 32 | device();
    options.key_high = uint64_t{device()} << 32 | device();
  }
  return options;
}

std::unique_ptr<KernelHandle> open_kernel(py::object directory, py::object durability,
                                          py::object memory_max, std::shared_ptr<ManualClock> clock,
                                          py::object seed, py::object segment_size,
                                          py::object fee_basis_points, py::object read_only,
                                          std::shared_ptr<SimulatedDisk> disk,
                                          py::object background, py::object shards,
                                          py::object digest, py::object snapshot_every,
                                          py::object retain_bytes, py::object retain_ns) {
  std::shared_ptr<Clock> chosen = clock;
  if (!chosen) chosen = std::make_shared<SystemClock>();
  KernelOptions options = options_of(directory, durability, memory_max, chosen, seed, segment_size,
                                     fee_basis_points, read_only, shards, digest);
  if (disk && !directory.is_none())
    throw Error(ErrorCode::out_of_range, "disk", "want either directory or disk");
  options.disk = std::move(disk);
  options.background = truth_of(background, "background");
  if (!snapshot_every.is_none())
    options.snapshot_every_bytes = unsigned_of(snapshot_every, "snapshot_every");
  if (!retain_bytes.is_none()) options.retain_bytes = unsigned_of(retain_bytes, "retain_bytes");
  if (!retain_ns.is_none()) options.retain_ns = unsigned_of(retain_ns, "retain_ns");
  auto handle = std::make_unique<KernelHandle>();
  handle->forks = fork_count();
  handle->clock = chosen;
  handle->kernel = unlocked([&] { return Kernel::open(options); });
  handle->requests = new RequestCentre(request_options(options.seed));
  handle->requests->handle = handle.get();
  return handle;
}

py::dict memory_of(KernelHandle& handle) {
  Kernel& kernel = handle.open();
  const MemoryReport report = unlocked([&] { return kernel.memory(); });
  py::dict sizes;
  sizes["agents"] = report.agents;
  sizes["capabilities"] = report.capabilities;
  sizes["ledger"] = report.ledger;
  sizes["tasks"] = report.tasks;
  sizes["journal"] = report.journal;
  sizes["mailboxes"] = report.mailboxes;
  sizes["latents"] = report.latents;
  sizes["latent_pages"] = report.latent_pages;
  return sizes;
}

}  // namespace

KernelHandle::KernelHandle() = default;

KernelHandle::~KernelHandle() {
  if (own_fd >= 0) ::close(own_fd);
  if (requests != nullptr) {
    requests->handle = nullptr;
    requests->release();
  }
  if (!kernel) return;
  // In a forked child the flusher is gone and its locks may be held for ever: the parent owns the
  // kernel, the child only forgets it.
  if (forks != fork_count()) {
    (void)kernel.release();
    return;
  }
  unlocked([&] { kernel.reset(); });
}

void KernelHandle::close() {
  if (forks != fork_count()) throw_forked();
  if (closed) return;
  if (kernel->shards() != nullptr) kernel->shards()->require_no_turn();
  if (closed.exchange(true)) return;
  pump = loop = py::object();
  wake_fd = -1;
  unlocked([&] { kernel->close(); });
}

void KernelHandle::throw_forked() {
  throw Error(ErrorCode::forked, "kernel", "opened before a fork: open it again in this process");
}

void KernelHandle::throw_closed() { throw Error(ErrorCode::closed, "kernel", "has been closed"); }

void KernelHandle::schedule() {
  pump_scheduled = true;
  if (pump && PyThread_get_thread_ident() == pump_thread) {
    const py::object callback = pump;
    callback();
  } else {
    const uint64_t one = 1;
    // A full eventfd counter means that a wake is on its way already.
    [[maybe_unused]] const ssize_t written = ::write(wake_fd, &one, sizeof(one));
  }
}

KernelClass register_kernel(py::module_& module) {
  pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });

  py::class_<ManualClock, std::shared_ptr<ManualClock>>(module, "ManualClock")
      .def(py::init([](py::object start_ns) {
        return std::make_shared<ManualClock>(unsigned_of(start_ns, "start_ns"));
      }))
      .def("now_ns", &ManualClock::now_ns)
      .def("set", [](ManualClock& clock, py::object ns) { clock.set(unsigned_of(ns, "ns")); })
      .def("advance",
           [](ManualClock& clock, py::object ns) { clock.advance(unsigned_of(ns, "ns")); });

  KernelClass kernel(module, "Kernel");
  kernel.def("close", &KernelHandle::close)
      .def("root", [](KernelHandle& handle) { return handle.kernel->root(); })
      .def("now_ns", [](KernelHandle& handle) { return handle.clock->now_ns(); })
      .def("memory", &memory_of)
      .def("flush",
           [](KernelHandle& handle) {
             Kernel& kernel = handle.open();
             unlocked([&] { kernel.flush(); });
           })
      .def("tick",
           [](KernelHandle& handle) {
             Kernel& kernel = handle.open();
             return unlocked([&] { return kernel.tick(); });
           })
      .def("set_notify_fd",
           [](KernelHandle& handle, int fd) {
             Kernel& kernel = handle.open();
             unlocked([&] { kernel.set_notify_fd(fd); });
           })
      .def("request_flush",
           [](KernelHandle& handle) {
             Kernel& kernel = handle.open();
             unlocked([&] { kernel.request_flush(); });
           })
      .def("attach_loop",
           [](KernelHandle& handle, py::object pump, int wake_fd, py::object loop) {
             handle.open();
             handle.pump = pump.is_none() ? py::object() : pump;
             handle.loop = loop.is_none() ? py::object() : loop;
             handle.pump_thread = PyThread_get_thread_ident();
             handle.pump_scheduled = false;
             handle.wake_fd = wake_fd;
           })
      .def("is_closed", [](KernelHandle& handle) { return handle.closed.load(); })
      .def("work_arrived", [](KernelHandle& handle) { handle.work_arrived(); })
      .def("pump_started", [](KernelHandle& handle) { handle.pump_scheduled = false; });
  module.def("open", &open_kernel);
  return kernel;
}

}  // namespace hanse::python
