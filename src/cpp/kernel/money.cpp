// Commands on the ledger and on policy.
#include <algorithm>

#include "kernel/inner.hpp"

namespace hanse {

UnitId Kernel::unit(std::string_view name) const {
  std::lock_guard lock(inner_->writer);
  inner_->check_open();
  const UnitId unit = inner_->ledger.unit_find(name);
  if (unit == unit_none) throw Error(ErrorCode::unknown_account, "unit", name);
  return unit;
}

const std::string& Kernel::unit_name(UnitId unit) const {
  std::lock_guard lock(inner_->writer);
  if (unit >= inner_->ledger.unit_count())
    throw Error(ErrorCode::unknown_account, "unit", unit, inner_->ledger.unit_count());
  return inner_->ledger.unit_name(unit);
}

Position Kernel::fund(AgentId actor, AgentId agent, uint64_t amount, std::string_view unit) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    if (me != 0) throw Error(ErrorCode::not_permitted, "fund", "only the root issues", actor);
    const uint32_t target = in.within(me, agent);
    in.ledger.check_unit(unit);
    in.require_policy(me, Action::fund, target, int64_t(std::min<uint64_t>(amount, INT64_MAX)));
    const TransferOutcome outcome = in.ledger.check_fund(target, amount, in.ledger.unit_find(unit));
    if (outcome == TransferOutcome::amount_must_not_be_zero)
      throw Error(ErrorCode::out_of_range, "amount", "must not be 0", agent);
    if (outcome == TransferOutcome::credit_closed)
      throw Error(ErrorCode::account_closed, "agent", "its account is closed", agent);
    if (outcome == TransferOutcome::exceeds_debits)
      throw Error(ErrorCode::exceeds_debits, "amount", std::to_string(amount), agent);
    if (outcome != TransferOutcome::ok)
      throw Error(ErrorCode::amount_overflow, "amount", std::to_string(amount), agent);
    FundedRecord record{target, amount, std::string(unit)};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

Position Kernel::set_rates(AgentId actor, std::string_view unit, uint8_t tier, const Rates& rates) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    if (me != 0) throw Error(ErrorCode::not_permitted, "rates", "only the root sets them", actor);
    in.ledger.check_unit(unit);
    RatesSetRecord record{std::string(unit), tier, rates};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

AccountInfo Kernel::account(AgentId actor, AgentId agent, UnitId unit,
                            AccountPurpose purpose) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t target = in.visible(in.agents.index_checked(actor), agent);
  if (unit >= in.ledger.unit_count())
    throw Error(ErrorCode::unknown_account, "unit", unit, in.ledger.unit_count());
  const AccountIndex found = in.ledger.account_find(target, unit, purpose);
  if (found != index_none) return in.ledger.account(found);
  // An agent that was never credited has an account in all but memory.
  AccountInfo empty;
  empty.owner = agent;
  empty.purpose = purpose;
  empty.unit = unit;
  empty.terms.flags = purpose == AccountPurpose::balance ? account_flag::debits_limited : 0;
  return empty;
}

std::vector<AccountInfo> Kernel::accounts(AgentId actor) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t me = in.agents.index_checked(actor);
  std::vector<AccountInfo> found;
  for (AccountIndex i = 0; i < in.ledger.account_count(); ++i) {
    AccountInfo info = in.ledger.account(i);
    const uint32_t owner = index_of(info.owner);
    // The house's own accounts are the root's to see.
    if (me == 0 || (owner != 0 && in.same_view(me, owner))) found.push_back(info);
  }
  return found;
}

Ledger::Totals Kernel::totals(UnitId unit) const {
  std::lock_guard lock(inner_->writer);
  inner_->check_open();
  if (unit >= inner_->ledger.unit_count())
    throw Error(ErrorCode::unknown_account, "unit", unit, inner_->ledger.unit_count());
  return inner_->ledger.totals(unit);
}

// A policy that would keep the root from loading the next one is refused: no one could undo it.
uint64_t Kernel::load_policy(AgentId actor, std::string_view text) {
  Inner& in = *inner_;
  in.check_open();
  const Bulk bulk = in.make_bulk({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  Position position;
  uint64_t epoch;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    in.require_policy(me, Action::load_policy, 0);
    if (me != 0) throw Error(ErrorCode::not_permitted, "policy", "only the root loads it", actor);
    const auto next = in.compile(text);
    Request repeal;
    repeal.action = Action::load_policy;
    repeal.principal = repeal.resource = in.lineage(0);
    repeal[Fact::principal_kind] = repeal[Fact::resource_kind] = int64_t(AgentKind::group);
    repeal[Fact::principal_permissions] = int64_t(in.agents.permissions(0));
    repeal[Fact::same_tenant] = 1;
    if (!next->decide(repeal, in.epoch + 1).allowed)
      throw Error(ErrorCode::policy_lockout, "policy",
                  "would keep the root from loading another: permit load_policy for it");
    PolicyLoadedRecord record{in.epoch + 1, bulk};
    position = in.commit(me, record);
    epoch = in.epoch;
  }
  in.wait(position);
  return epoch;
}

Decision Kernel::check_policy(AgentId actor, AgentId principal, Action action, AgentId resource,
                              std::span<const std::pair<Fact, int64_t>> facts,
                              std::string_view task_class) {
  Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t me = in.agents.index_checked(actor);
  const uint32_t who = in.visible(me, principal);
  Request request;
  request.action = action;
  request.principal = in.lineage(who);
  request.task_class = task_class;
  request[Fact::principal_kind] = int64_t(in.agents.kind(who));
  request[Fact::principal_depth] = in.agents.depth(who);
  request[Fact::principal_permissions] = int64_t(in.agents.permissions(who));
  if (resource != id_none) {
    const uint32_t what = in.visible(me, resource);
    request.resource = in.lineage(what);
    request[Fact::resource_kind] = int64_t(in.agents.kind(what));
    request[Fact::resource_depth] = in.agents.depth(what);
    request[Fact::same_tenant] = in.agents.tenant(what) == in.agents.tenant(who);
  }
  for (const auto& [fact, value] : facts) request[fact] = value;
  return in.program->decide(request, in.epoch);
}

std::shared_ptr<const Program> Kernel::policy() const {
  std::lock_guard lock(inner_->writer);
  return inner_->program;
}

uint64_t Kernel::policy_epoch() const {
  std::lock_guard lock(inner_->writer);
  return inner_->epoch;
}

}  // namespace hanse
