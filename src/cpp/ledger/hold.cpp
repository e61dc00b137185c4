// Funding, reservations, settlements, and the movements that every change of the books is made of.
#include "base/seeded_bug.hpp"
#include "ledger/ledger.hpp"

namespace hanse {

TransferOutcome Ledger::check_fund(uint32_t agent, uint64_t amount, UnitId unit) const {
  if (amount == 0) return TransferOutcome::amount_must_not_be_zero;
  if (agent == index_none) return TransferOutcome::unknown_account;
  if (unit >= units_.size()) return TransferOutcome::ok;
  const AccountIndex credit = account_find(agent, unit);
  if (is_closed(credit)) return TransferOutcome::credit_closed;
  return check_room(account_find(0, unit, AccountPurpose::issuance), credit, agent, amount);
}

void Ledger::apply_fund(uint32_t agent, uint64_t amount, UnitId unit) {
  const AccountIndex issuance = account_find(0, unit, AccountPurpose::issuance);
  HANSE_ASSERT(issuance != index_none);
  const AccountIndex credit = apply_account(agent, unit);
  add(issuance, debits_posted, amount);
  add(credit, credits_posted, amount);
  assert_balanced(unit);
  tell(EntryKind::funded, issuance, credit, amount, 0);
}

TransferOutcome Ledger::check_hold(uint32_t agent, uint64_t amount, UnitId unit) const {
  if (amount == 0) return TransferOutcome::amount_must_not_be_zero;
  if (unit >= units_.size()) return TransferOutcome::unit_mismatch;
  const AccountIndex debit = account_find(agent, unit);
  if (debit == index_none) return TransferOutcome::unknown_account;
  if (is_closed(debit)) return TransferOutcome::debit_closed;
  return check_room(debit, account_find(0, unit, AccountPurpose::escrow), 0, amount);
}

HoldId Ledger::apply_hold(uint32_t agent, uint64_t amount, UnitId unit, uint64_t expires_ns) {
  Hold hold;
  hold.debit = account_find(agent, unit);
  hold.credit = account_find(0, unit, AccountPurpose::escrow);
  hold.amount = amount;
  hold.expires_ns = expires_ns;
  HANSE_ASSERT(hold.debit != index_none && hold.credit != index_none);
  return open_hold(hold);
}

const Hold& Ledger::hold(HoldId hold) const {
  if (hold == 0 || hold > holds_.size())
    throw Error(ErrorCode::unknown_transfer, "hold", "no such hold", hold);
  return holds_[hold - 1];
}

void Ledger::apply_draw(HoldId id, uint64_t amount, AccountIndex to) {
  Hold& hold = unresolved_at(id);
  HANSE_ASSERT(amount <= hold.left && to < accounts_.size());
  subtract(hold.debit, debits_pending, amount);
  add(hold.debit, debits_posted, amount);
  subtract(hold.credit, credits_pending, amount);
  add(to, credits_posted, amount);
  hold.left -= amount;
  if (!HANSE_SEEDED_BUG(34)) hold_hash_.mark(uint32_t(id - 1));
  const Account& debit = accounts_[hold.debit];
  if (!budgets_.empty()) {
    budgets_.subtract(debit.agent, pending_payee(hold), debit.unit, &Budget::pending, amount);
    budgets_.add(debit.agent, accounts_[to].agent, debit.unit, &Budget::posted,
                 HANSE_SEEDED_BUG(33) ? 0 : amount);
  }
  assert_balanced(debit.unit);
  if (amount != 0) tell(EntryKind::posted, hold.debit, to, amount, id);
}

void Ledger::apply_resolve(HoldId id, HoldState state) {
  HANSE_ASSERT(state != HoldState::open && state != HoldState::unknown);
  Hold& hold = unresolved_at(id);
  const uint64_t released = hold.left;
  subtract(hold.debit, debits_pending, released);
  subtract(hold.credit, credits_pending, released);
  const Account& debit = accounts_[hold.debit];
  if (!budgets_.empty())
    budgets_.subtract(debit.agent, pending_payee(hold), debit.unit, &Budget::pending, released);
  if (hold.state == HoldState::open && hold.expires_ns != 0 && !of_task(hold))
    expiries_.erase({hold.expires_ns, id});
  hold.left = 0;
  hold.state = state;
  hold_hash_.mark(uint32_t(id - 1));
  if (state != HoldState::posted && !HANSE_SEEDED_BUG(32)) set_closed(hold, false);
  assert_balanced(debit.unit);
  if (released != 0) tell(EntryKind::released, hold.debit, hold.credit, released, id);
}

void Ledger::due(uint64_t now_ns, uint32_t limit, std::vector<HoldId>& holds_out) const {
  holds_out.clear();
  for (const auto& [expires_ns, hold] : expiries_) {
    if (expires_ns + HANSE_SEEDED_BUG(21) > now_ns || holds_out.size() >= limit) return;
    holds_out.push_back(hold);
  }
}

uint64_t Ledger::earliest_expiry_ns() const {
  return expiries_.empty() ? UINT64_MAX : expiries_.begin()->first;
}

void Ledger::apply_settlement(HoldId id, Settlement verdict, uint64_t amount) {
  Hold& hold = unresolved_at(id);
  switch (verdict) {
    case Settlement::unknown:
      // Time can't settle what the world outside may have done.
      if (hold.expires_ns != 0) expiries_.erase({hold.expires_ns, id});
      hold.state = HoldState::unknown;
      hold_hash_.mark(uint32_t(id - 1));
      return;
    case Settlement::posted:
      return post_hold(id, amount == 0 ? hold.amount : amount);
    case Settlement::voided:
      return apply_resolve(id, HoldState::voided);
  }
  throw Error(ErrorCode::corrupt, "verdict", uint64_t(verdict), 2);
}

void Ledger::apply_budget(uint32_t agent, UnitId unit, uint64_t limit) {
  u128 pending = 0;
  if (budgets_.find(agent, unit) == index_none && totals_[unit][debits_pending] != 0)
    for (const Hold& hold : holds_)
      if (hold.unresolved() && accounts_[hold.debit].unit == unit &&
          budgets_.counts(agent, accounts_[hold.debit].agent, pending_payee(hold)))
        pending += hold.left;
  budgets_.apply_set(agent, unit, limit, pending);
}

HoldId Ledger::open_hold(Hold hold) {
  hold.left = hold.amount;
  add(hold.debit, debits_pending, hold.amount);
  add(hold.credit, credits_pending, hold.amount);
  const Account& debit = accounts_[hold.debit];
  if (!budgets_.empty())
    budgets_.add(debit.agent, pending_payee(hold), debit.unit, &Budget::pending, hold.amount);
  holds_.push_back(hold);
  const HoldId id = holds_.size();
  hold_hash_.mark(uint32_t(id - 1));
  if (hold.expires_ns != 0 && !of_task(hold)) expiries_.insert({hold.expires_ns, id});
  set_closed(hold, true);
  assert_limit(hold.debit);
  assert_balanced(debit.unit);
  if (hold.amount != 0) tell(EntryKind::held, hold.debit, hold.credit, hold.amount, id);
  return id;
}

uint64_t Ledger::fee_of(const Hold& hold, uint64_t amount) const {
  if ((hold.flags & transfer_flag::fee) == 0) return 0;
  return uint64_t((u128(amount) * fee_basis_points_ + HANSE_SEEDED_BUG(27) * 9'999) / 10'000);
}

void Ledger::post_hold(HoldId id, uint64_t amount) {
  const Hold& hold = unresolved_at(id);
  const uint64_t fee = fee_of(hold, amount);
  apply_draw(id, amount - (HANSE_SEEDED_BUG(26) ? 0 : fee), hold.credit);
  if (fee != 0)
    apply_draw(id, fee, account_find(0, accounts_[hold.debit].unit, AccountPurpose::fees));
  apply_resolve(id, HoldState::posted);
}

void Ledger::set_closed(const Hold& hold, bool closed) {
  const auto set = [&](uint8_t flag, AccountIndex index) {
    if ((hold.flags & flag) == 0) return;
    uint8_t& flags = accounts_[index].flags;
    flags = uint8_t(closed ? flags | account_flag::closed : flags & ~account_flag::closed);
    account_hash_.mark(index);
  };
  set(transfer_flag::closing_debit, hold.debit);
  set(transfer_flag::closing_credit, hold.credit);
}

Hold& Ledger::unresolved_at(HoldId id) {
  HANSE_ASSERT(id != 0 && id <= holds_.size());
  HANSE_ASSERT(holds_[id - 1].unresolved());
  return holds_[id - 1];
}

void Ledger::add(AccountIndex account, Counter counter, uint64_t amount) {
  accounts_[account].counters[counter] += amount;
  totals_[accounts_[account].unit][counter] += amount;
  account_hash_.mark(account);
}

void Ledger::subtract(AccountIndex account, Counter counter, uint64_t amount) {
  HANSE_ASSERT(accounts_[account].counters[counter] >= amount);
  accounts_[account].counters[counter] -= amount;
  totals_[accounts_[account].unit][counter] -= amount;
  account_hash_.mark(account);
}

void Ledger::assert_balanced(UnitId unit) const {
  HANSE_ASSERT(totals_[unit][debits_posted] == totals_[unit][credits_posted]);
  HANSE_ASSERT(totals_[unit][debits_pending] == totals_[unit][credits_pending]);
}

void Ledger::assert_limit(AccountIndex account) const {
  const Counters& counters = accounts_[account].counters;
  HANSE_ASSERT((accounts_[account].flags & account_flag::debits_limited) == 0 ||
               counters[debits_pending] + counters[debits_posted] <= counters[credits_posted]);
}

}  // namespace hanse
