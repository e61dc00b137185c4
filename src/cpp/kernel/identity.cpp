// Commands on who an agent is, what was delegated to it, and whether it may act.
#include <algorithm>
#include <cstring>

#include "kernel/inner.hpp"

namespace hanse {

namespace {

constexpr size_t reclaimed_per_record_max = 4096;

uint64_t first_bytes(const Digest& digest) {
  uint64_t word;
  std::memcpy(&word, digest.data(), sizeof word);
  return word;
}

}  // namespace

uint32_t Kernel::Inner::agent_of(const Digest& identity) {
  for (; identities_indexed < agents.count(); ++identities_indexed)
    if (const Digest* known = agents.identity(identities_indexed))
      agents_of_identity[first_bytes(*known)].push_back(identities_indexed);
  const auto found = agents_of_identity.find(first_bytes(identity));
  if (found == agents_of_identity.end()) return index_none;
  for (const uint32_t agent : found->second)
    if (*agents.identity(agent) == identity) return agent;
  return index_none;
}

Position Kernel::change_identity(AgentId actor, AgentId agent, const IdentityEntry& entry) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t target = in.within(me, agent);
    const std::optional<Digest> identity = in.agents.info(target).identity;
    if (!identity)
      throw Error(ErrorCode::unknown_agent, "agent", "has no identity: it was added without a key",
                  agent);
    in.identities.check(target, *identity, entry, me != target);
    in.check_memory(sizeof(IdentityEntry) + entry.text.size() + signature_size, "agents");
    IdentityChangedRecord record{target,    entry.step, entry.previous, entry.signer,
                                 entry.key, entry.text, entry.signature};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

IdentityHistory Kernel::identity(AgentId actor, AgentId agent) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t target = in.visible(in.agents.index_checked(actor), agent);
  if (const IdentityHistory* known = in.identities.find(target)) return *known;
  const std::optional<Digest> identity = in.agents.info(target).identity;
  if (!identity)
    throw Error(ErrorCode::unknown_agent, "agent", "has no identity: it was added without a key",
                agent);
  IdentityHistory history;
  history.identity = history.head = *identity;
  return history;
}

Position Kernel::narrow(AgentId actor, const AgentNarrowed& narrowed) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t target = in.within(me, narrowed.agent);
    in.agents.check_narrow(narrowed);
    in.require_policy(me, Action::add_agent, target);
    AgentNarrowedRecord record{target, narrowed.levels, narrowed.permissions, narrowed.budget_max};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

Position Kernel::move_agent(AgentId actor, AgentId agent, AgentId parent) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t target = in.within(me, agent), under = in.within(me, parent);
    in.agents.check_move(target, under);
    // What counts against the limits of a level must stay below it.
    for (uint32_t i = 0; i < in.ledger.budgets().count(); ++i) {
      const uint32_t level = in.ledger.budgets().at(i).agent;
      if (in.agents.within(target, level) != in.agents.within(under, level) && target != level)
        throw Error(ErrorCode::not_permitted, "parent",
                    "the agent would leave or enter the budget of agent " +
                        std::to_string(in.agents.id_at(level)),
                    agent);
    }
    in.require_policy(me, Action::add_agent, under);
    AgentMovedRecord record{target, under};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

Position Kernel::steer(AgentId actor, AgentId agent, bool paused) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t target = in.within(me, agent);
    if (target == 0) throw Error(ErrorCode::not_permitted, "agent", "the root can't be paused");
    if (target == me)
      throw Error(ErrorCode::not_permitted, "agent", "no one could resume itself", agent);
    in.require_policy(me, Action::revoke, target);
    SteeredRecord record{target, paused};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

// Before the revocation, under the same mutex: after it no one below could give anything back. One
// pass over what is open and over the accounts; the revocation itself is one epoch.
void Kernel::Inner::commit_reclaim(uint32_t actor, uint32_t target) {
  uint32_t to = agents.parent(target);
  while (to != 0 && agents.revoked_ancestor(to) != index_none) to = agents.parent(to);
  std::vector<uint32_t> open;
  for (uint32_t i = tasks.open_from(); i < tasks.count(); ++i)
    if (!tasks.settled(i) && agents.within(index_of(tasks.at(i).requester), target))
      open.push_back(i);
  std::vector<ReclaimedLine> lines;
  for (size_t at = 0; at < open.size(); at += reclaimed_per_record_max) {
    ReclaimedRecord record;
    record.to = to;
    const size_t end = std::min(open.size(), at + reclaimed_per_record_max);
    record.tasks.assign(open.begin() + ptrdiff_t(at), open.begin() + ptrdiff_t(end));
    commit(actor, record);
  }
  const uint64_t now = next_time_ns();
  for (AccountIndex i = 0; i < ledger.account_count(); ++i) {
    const AccountInfo info = ledger.account(i);
    const uint32_t owner = index_of(info.owner);
    if (info.purpose != AccountPurpose::balance || !agents.within(owner, target)) continue;
    Transfer transfer;
    transfer.unit = info.unit;
    transfer.debit = info.owner;
    transfer.credit = agents.id_at(to);
    transfer.amount = ledger.available(owner, info.unit);
    const uint32_t debit = owner, credit = to;
    const Ledger::Batch batch{{&transfer, 1}, {&debit, 1}, {&credit, 1}, now, false, {}};
    // What a closed account or a limit holds stays where it is.
    if (transfer.amount != 0 && ledger.check_transfer(batch, 0).outcome == TransferOutcome::ok)
      lines.push_back({owner, info.unit, transfer.amount});
  }
  for (size_t at = 0; at < lines.size(); at += reclaimed_per_record_max) {
    ReclaimedRecord record;
    record.to = to;
    const size_t end = std::min(lines.size(), at + reclaimed_per_record_max);
    record.lines.assign(lines.begin() + ptrdiff_t(at), lines.begin() + ptrdiff_t(end));
    commit(actor, record);
  }
}

void apply_reclaimed(const ReclaimedRecord& record, uint64_t time_ns, Ledger& ledger) {
  for (const ReclaimedLine& line : record.lines) {
    Transfer transfer;
    transfer.unit = line.unit;
    transfer.debit = make_id(line.agent, 1);
    transfer.credit = make_id(record.to, 1);
    transfer.amount = line.amount;
    const Moved moved{TransferOutcome::ok, line.amount, 0};
    ledger.apply_batch({{&transfer, 1}, {&line.agent, 1}, {&record.to, 1}, time_ns, false, {}},
                       {&moved, 1});
  }
}

// --- apply

void Kernel::Inner::apply(const Envelope&, Position position, IdentityChangedRecord& record) {
  IdentityEntry entry{record.step, record.previous,        record.signer,
                      record.key,  std::move(record.text), std::move(record.signature),
                      position};
  identities.apply(record.agent, *agents.info(record.agent).identity, std::move(entry));
}

void Kernel::Inner::apply(const Envelope&, Position, AgentMovedRecord& record) {
  agents.apply_move(record.agent, record.parent);
  directory_version.fetch_add(1);
  deliver_below(record.agent);
}

void Kernel::Inner::apply(const Envelope&, Position, AgentNarrowedRecord& record) {
  agents.apply_narrow(record.agent, {agents.id_at(record.agent), record.permissions,
                                     record.budget_max, record.levels});
}

void Kernel::Inner::apply(const Envelope& envelope, Position position, ReclaimedRecord& record) {
  for (const uint32_t task : record.tasks) {
    settle_task(task, HoldState::voided);
    tasks.apply_void(task, position);
  }
  apply_reclaimed(record, envelope.time_ns, ledger);
}

void Kernel::Inner::apply(const Envelope&, Position, SteeredRecord& record) {
  agents.apply_pause(record.agent, record.paused);
  directory_version.fetch_add(1);
  if (!record.paused) deliver_below(record.agent);
}

// What came for an agent and those below it while they were stopped was passed over.
void Kernel::Inner::deliver_below(uint32_t agent) {
  for (uint32_t i = tasks.open_from(); i < tasks.count(); ++i) {
    const Task& task = tasks.at(i);
    if (task.state != TaskState::dispatched) continue;
    if (i < delivered.size() && delivered[i] >= task.attempt) continue;
    if (agents.within(index_of(task.worker), agent)) queue_delivery(i, task.changed_at);
  }
}

}  // namespace hanse
