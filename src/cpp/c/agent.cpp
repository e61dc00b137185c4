#include "c/handle.hpp"

using namespace hanse;
using namespace hanse::c;

namespace {

static_assert(int(hanse_agent_kind_agent) == int(AgentKind::agent));
static_assert(int(hanse_agent_kind_human) == int(AgentKind::human));
static_assert(int(hanse_agent_kind_group) == int(AgentKind::group));
static_assert(int(hanse_agent_kind_tool) == int(AgentKind::tool));

AgentsAdded agents_of(const hanse_agents& from, uint32_t count) {
  if (from.kind > hanse_agent_kind_tool)
    throw Error(ErrorCode::out_of_range, "agents.kind", from.kind, hanse_agent_kind_tool);
  expect_zero(from.zero, "agents.zero");
  const bool literal = flag_of(from.narrowed, "agents.narrowed");
  AgentsAdded added;
  added.parent = from.parent;
  added.kind = AgentKind(from.kind);
  added.count = count;
  if (literal || from.permissions != 0) added.permissions = from.permissions;
  if (literal || from.budget_max != 0) added.budget_max = from.budget_max;
  if (from.names != nullptr) {
    added.names.reserve(count);
    for (uint32_t i = 0; i < count; ++i)
      added.names.emplace_back(&required(from.names[i], "agents.names"));
  }
  if (from.identities != nullptr) {
    added.identities.resize(count);
    std::memcpy(added.identities.data(), from.identities, size_t(count) * sizeof(Digest));
  }
  return added;
}

}  // namespace

extern "C" {

hanse_status hanse_agents_add(hanse_kernel* kernel, hanse_id actor, const hanse_agents* agents,
                              uint32_t count, hanse_id* ids_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const AgentsAdded added = agents_of(read_struct(agents, "agents"), count);
    in.add_agents(actor_of(in, actor), added, required_array(ids_out, count, "ids_out"));
    return 0;
  });
}

hanse_status hanse_agent_find(hanse_kernel* kernel, hanse_id actor, const char* name,
                              hanse_id parent, hanse_id* id_out) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    hanse_id& found = required(id_out, "id_out");
    found = in.find_agent(actor_of(in, actor), &required(name, "name"), parent);
    return found == HANSE_ID_NONE ? hanse_outcome_unknown : hanse_outcome_ok;
  });
}

hanse_status hanse_agent_revoke(hanse_kernel* kernel, hanse_id actor, hanse_id agent,
                                uint64_t* position_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const Position position = in.revoke(actor_of(in, actor), agent);
    kernel->revoked.store(true);
    if (position_out != nullptr) *position_out = position;
    return 0;
  });
}

}  // extern "C"
