#include "agent/agent.hpp"

#include "convert.hpp"
#include "handle.hpp"

namespace hanse::python {

namespace {

constexpr uint32_t agents_per_call_max = 1u << 24;

py::array_t<uint64_t> add_agents(KernelHandle& handle, AgentId actor, py::object count,
                                 py::object names, py::object parent, py::object kind,
                                 py::object permissions, py::object budget_max,
                                 py::object identity) {
  Kernel& kernel = handle.open();
  AgentsAdded added;
  added.count = unsigned_of<uint32_t>(count, "count", agents_per_call_max);
  added.parent = unsigned_of(parent, "parent");
  added.kind = static_cast<AgentKind>(unsigned_of<uint8_t>(kind, "kind", 3));
  if (!permissions.is_none()) added.permissions = unsigned_of(permissions, "permissions");
  if (!budget_max.is_none()) added.budget_max = unsigned_of(budget_max, "budget_max");
  if (!identity.is_none()) added.identities.push_back(digest_of(identity, "identity"));
  if (!names.is_none())
    for (const py::handle name : names) added.names.push_back(text_of(name, "name"));

  py::array_t<uint64_t> ids = new_array<uint64_t>(added.count);
  const std::span<AgentId> ids_out = span_out(ids);
  unlocked([&] { kernel.add_agents(actor, added, ids_out); });
  return ids;
}

py::tuple agent_of(KernelHandle& handle, AgentId actor, py::object id) {
  Kernel& kernel = handle.open();
  const AgentId wanted = unsigned_of(id, "agent");
  const AgentInfo info = unlocked([&] { return kernel.agent(actor, wanted); });
  py::object identity = py::none();
  if (info.identity) identity = bytes_from(*info.identity);
  return py::make_tuple(info.id, info.name, static_cast<uint8_t>(info.kind), info.parent,
                        info.tenant, info.depth, info.live, identity, info.permissions,
                        info.budget_max, info.paused, info.depth_max);
}

}  // namespace

void register_agent(py::module_&, KernelClass& kernel_class) {
  kernel_class.def("add_agents", &add_agents)
      .def("agent", &agent_of)
      .def("revoke",
           [](KernelHandle& handle, AgentId actor, py::object id) {
             Kernel& kernel = handle.open();
             const AgentId agent = unsigned_of(id, "agent");
             return unlocked([&] { return kernel.revoke(actor, agent); });
           })
      .def("agent_count", [](KernelHandle& handle) { return handle.open().agent_count(); })
      .def("find_agent",
           [](KernelHandle& handle, AgentId actor, py::object name, py::object parent) {
             Kernel& kernel = handle.open();
             const std::string text = text_of(name, "name");
             const AgentId below = parent.is_none() ? id_none : unsigned_of(parent, "parent");
             return unlocked([&] { return kernel.find_agent(actor, text, below); });
           });
}

}  // namespace hanse::python
