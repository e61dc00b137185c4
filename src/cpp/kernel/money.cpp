// Commands on the ledger.
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

}  // namespace hanse
