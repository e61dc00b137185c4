#include <chrono>

#include "convert.hpp"
#include "handle.hpp"
#include "terms.hpp"

namespace hanse::python {

namespace {

template <class Call>
Position on_task(KernelHandle& handle, py::handle task, Call&& call) {
  Kernel& kernel = handle.open();
  const TaskId id = unsigned_of(task, "task");
  return unlocked([&] { return call(kernel, id); });
}

py::list cancel(KernelHandle& handle, AgentId actor, py::object task) {
  Kernel& kernel = handle.open();
  const TaskId id = unsigned_of(task, "task");
  py::list ended;
  for (const TaskId one : unlocked([&] { return kernel.cancel(actor, id); })) ended.append(one);
  return ended;
}

py::dict task_more(KernelHandle& handle, AgentId actor, py::object task) {
  Kernel& kernel = handle.open();
  const TaskId id = unsigned_of(task, "task");
  const TaskMore more = unlocked([&] { return kernel.task_more(actor, id); });
  py::list children;
  for (const uint32_t child : more.children) children.append(make_id(child, 1));
  py::dict fields;
  fields["parent"] = more.parent == index_none ? id_none : make_id(more.parent, 1);
  fields["children"] = py::tuple(children);
  fields["lease_ns"] = more.lease_ns;
  fields["lease_until_ns"] = more.lease_until_ns;
  fields["verifier"] = more.verifier;
  fields["verifier_role"] = more.verifier_role;
  fields["role"] = more.role;
  fields["rule"] = more.rule;
  fields["approver"] = more.approver;
  fields["answer_by_ns"] = more.answer_by_ns;
  fields["answered_at"] = position_from(more.answered_at);
  return fields;
}

// Nanoseconds of each of `count` dispatches to one agent, timed beside the call itself.
py::array_t<uint64_t> time_dispatch(KernelHandle& handle, AgentId actor, py::object to,
                                    py::object payload, py::object budget, py::object unit,
                                    py::object count) {
  Kernel& kernel = handle.open();
  const BytesArgument bytes(payload, "payload");
  DispatchRequest request;
  request.to = unsigned_of(to, "to");
  request.space = index_none;
  request.payload = bytes.view();
  request.budget = unsigned_of(budget, "budget");
  request.unit = unsigned_of<UnitId>(unit, "unit");
  py::array_t<uint64_t> spent =
      new_array<uint64_t>(unsigned_of<uint32_t>(count, "count", 1u << 24));
  const std::span<uint64_t> out = span_out(spent);
  unlocked([&] {
    for (uint64_t& ns : out) {
      const auto before = std::chrono::steady_clock::now();
      const Receipt receipt = kernel.dispatch(actor, request);
      ns = uint64_t((std::chrono::steady_clock::now() - before) / std::chrono::nanoseconds(1));
      if (receipt.outcome != Outcome::ok)
        throw Error(ErrorCode::out_of_range, "dispatch", receipt.reason);
    }
  });
  return spent;
}

py::tuple odds_of(KernelHandle& handle, py::object task_class, py::object tier, py::object agent) {
  Kernel& kernel = handle.open();
  const std::string name = text_of(task_class, "task_class");
  const auto number = unsigned_of<uint8_t>(tier, "tier");
  const AgentId id = agent.is_none() ? id_none : unsigned_of(agent, "agent");
  const Odds odds = unlocked([&] { return kernel.odds(name, number, id); });
  return py::make_tuple(odds.accepted, odds.rejected, odds.lost, odds.spend);
}

py::tuple cost_of(KernelHandle& handle, AgentId actor, py::object task_class, py::object tier,
                  py::object agent, py::object team, py::object since_ns, py::object until_ns) {
  Kernel& kernel = handle.open();
  CostAsked asked;
  if (!task_class.is_none()) asked.task_class = text_of(task_class, "task_class");
  if (!tier.is_none()) asked.tier = unsigned_of<uint8_t>(tier, "tier");
  if (!agent.is_none()) asked.agent = unsigned_of(agent, "agent");
  if (!team.is_none()) asked.team = unsigned_of(team, "team");
  asked.since_ns = unsigned_of(since_ns, "since_ns");
  if (!until_ns.is_none()) asked.until_ns = unsigned_of(until_ns, "until_ns");
  const CostFound found = unlocked([&] { return kernel.cost(actor, asked); });
  return py::make_tuple(found.tasks, found.attempts, found.accepted, found.rejected, found.lost,
                        int_from(found.spend));
}

}  // namespace

void register_lifecycle(py::module_&, KernelClass& kernel_class) {
  kernel_class
      .def("start_task",
           [](KernelHandle& handle, AgentId actor, py::object task) {
             return on_task(handle, task,
                            [&](Kernel& k, TaskId id) { return k.start_task(actor, id); });
           })
      .def("give_back_task",
           [](KernelHandle& handle, AgentId actor, py::object task) {
             const Position at = on_task(
                 handle, task, [&](Kernel& k, TaskId id) { return k.give_back(actor, id); });
             handle.work_arrived();
             return at;
           })
      .def("declare_unknown",
           [](KernelHandle& handle, AgentId actor, py::object task) {
             return on_task(handle, task,
                            [&](Kernel& k, TaskId id) { return k.declare_unknown(actor, id); });
           })
      .def("verify_task",
           [](KernelHandle& handle, AgentId actor, py::object task, py::object good) {
             const bool yes = truth_of(good, "good");
             return on_task(handle, task,
                            [&](Kernel& k, TaskId id) { return k.verify_task(actor, id, yes); });
           })
      .def("cancel", &cancel)
      .def("task_more", &task_more)
      .def("time_dispatch", &time_dispatch)
      .def("odds", &odds_of)
      .def("cost", &cost_of);
}

}  // namespace hanse::python
