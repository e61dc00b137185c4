// Commands on agents.
#include "kernel/inner.hpp"

namespace hanse {

namespace {

void encode_names(const std::vector<std::string>& names, ByteWriter& writer) {
  for (const std::string& name : names) writer.put_text(name);
}

}  // namespace

void Kernel::add_agents(AgentId actor, const AgentsAdded& added, std::span<AgentId> ids_out) {
  Inner& in = *inner_;
  in.check_open();
  if (ids_out.size() != added.count)
    throw Error(ErrorCode::bad_array, "ids_out", ids_out.size(), added.count);
  AgentsAddedRecord record;
  ByteWriter bytes;
  encode_names(added.names, bytes);
  record.names = in.make_bulk(bytes.bytes());
  bytes.clear();
  for (const Digest& identity : added.identities) bytes.put_digest(identity);
  record.identities = in.make_bulk(bytes.bytes());

  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    AgentsAdded checked = added;
    if (checked.parent == id_none) checked.parent = actor;
    const uint32_t parent = in.within(me, checked.parent);
    in.agents.check_add(checked);
    in.check_memory(uint64_t(added.count) * 128, "agents");
    in.require_policy(me, Action::add_agent, parent);
    record.parent = parent;
    record.count = checked.count;
    record.kind = checked.kind;
    record.permissions = checked.permissions;
    record.budget_max = checked.budget_max;
    const uint32_t first = in.agents.count();
    position = in.commit(me, record);
    for (uint32_t i = 0; i < added.count; ++i) ids_out[i] = in.agents.id_at(first + i);
  }
  in.wait(position);
}

Position Kernel::revoke(AgentId actor, AgentId agent) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t target = in.within(me, agent);
    if (target == 0) throw Error(ErrorCode::not_permitted, "agent", "the root can't be revoked");
    in.require_policy(me, Action::revoke, target);
    in.commit_reclaim(me, target);
    AgentRevokedRecord record{target};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

AgentInfo Kernel::agent(AgentId actor, AgentId agent) const {
  std::lock_guard lock(inner_->writer);
  inner_->check_open();
  return inner_->agents.info(inner_->visible(inner_->agents.index_checked(actor), agent));
}

uint32_t Kernel::agent_count() const {
  std::lock_guard lock(inner_->writer);
  return inner_->agents.count();
}

AgentId Kernel::find_agent(AgentId actor, std::string_view name, AgentId parent) const {
  std::lock_guard lock(inner_->writer);
  inner_->check_open();
  const Inner& in = *inner_;
  const uint32_t me = in.agents.index_checked(actor);
  const uint32_t below = parent == id_none ? index_none : in.visible(me, parent);
  const uint32_t found = in.agents.find(name, below);
  return found == index_none || !in.same_view(me, found) ? id_none : in.agents.id_at(found);
}

uint32_t Kernel::tenant_index(AgentId agent) const {
  std::lock_guard lock(inner_->writer);
  return inner_->agents.tenant(inner_->agents.index_checked(agent));
}

MemoryReport Kernel::memory() const {
  const Inner& in = *inner_;
  in.check_open();
  std::lock_guard lock(in.writer);
  MemoryReport report;
  report.agents =
      in.agents.memory_bytes() + in.identities.memory_bytes() + in.reputation.memory_bytes();
  report.capabilities = in.capabilities.memory_bytes();
  report.ledger = in.ledger.memory_bytes() + in.history_bytes.load();
  report.tasks = in.tasks.memory_bytes();
  report.journal = in.journal->memory_bytes();
  report.mailboxes = in.flow->memory_bytes() + in.durable.memory_bytes();
  report.latents = in.latents->memory_bytes();
  report.latent_pages = in.latents->status().page_bytes_used;
  return report;
}

}  // namespace hanse
