// The shards of the mailboxes: who drives them, who is where.
#include "batch.hpp"
#include "convert.hpp"
#include "handle.hpp"

namespace hanse::python {

namespace {

struct BatchHandler {
  KernelHandle& handle;
  py::object function;

  // On the shard's thread, which does not hold the GIL. What the function raises ends the run.
  static void call(void* context, Shards&, uint32_t, MessageBatch& given) {
    const auto& self = *static_cast<BatchHandler*>(context);
    const py::gil_scoped_acquire held;
    auto batch = std::make_unique<Batch>();
    batch->kernel = py::cast(&self.handle);
    batch->messages.swap(given);
    self.function(std::move(batch));
  }
};

uint32_t shard_number(py::handle value) { return unsigned_of<uint32_t>(value, "shard"); }

void run(KernelHandle& handle, py::object shard, py::object function) {
  Kernel& kernel = handle.open();
  const uint32_t number = shard_number(shard);
  BatchHandler handler{handle, function};
  const ShardHandler call = function.is_none() ? nullptr : &BatchHandler::call;
  unlocked([&] { kernel.run_shard(number, call, &handler); });
}

size_t turn(KernelHandle& handle, py::object shard, py::object function) {
  Kernel& kernel = handle.open();
  const uint32_t number = shard_number(shard);
  BatchHandler handler{handle, function};
  const ShardHandler call = function.is_none() ? nullptr : &BatchHandler::call;
  return unlocked([&] { return kernel.turn_shard(number, call, &handler); });
}

void place(KernelHandle& handle, AgentId actor, py::object group, py::object shard) {
  Kernel& kernel = handle.open();
  const AgentId agent = unsigned_of(group, "group");
  const uint32_t number = shard_number(shard);
  unlocked([&] { kernel.place(actor, agent, number); });
}

// (agents, accepted, handled, expired, cancelled, dead, queued)
py::tuple report(KernelHandle& handle, py::object shard) {
  const Kernel::ShardReport of = handle.open().shard_report(shard_number(shard));
  const MailboxCounters& counters = of.counters;
  return py::make_tuple(of.agents, counters.accepted, counters.handled, counters.expired,
                        counters.cancelled, counters.dead, counters.queued);
}

}  // namespace

void register_shards(KernelClass& kernel) {
  kernel.def("shard_count", [](KernelHandle& handle) { return handle.open().shard_count(); })
      .def("place", &place)
      .def("shard_of",
           [](KernelHandle& handle, py::object agent) {
             return handle.open().shard_of(unsigned_of(agent, "agent"));
           })
      .def("run_shard", &run)
      .def("turn_shard", &turn)
      .def("stop_shards", [](KernelHandle& handle) { handle.open().stop_shards(); })
      .def("shard_report", &report)
      .def("shard_totals", [](KernelHandle& handle) {
        const Kernel::ShardTotals totals = handle.open().shard_totals();
        return py::make_tuple(totals.crossed, totals.wakes, totals.migrations);
      });
}

}  // namespace hanse::python
