// Funding, reservations, and the movements that every change of the books is made of.
#include "ledger/ledger.hpp"

namespace hanse {

TransferOutcome Ledger::check_fund(uint32_t agent, uint64_t amount, UnitId unit) const {
  if (amount == 0) return TransferOutcome::amount_must_not_be_zero;
  if (agent == index_none) return TransferOutcome::unknown_account;
  if (unit >= units_.size()) return TransferOutcome::ok;
  return check_room(account_find(0, unit, AccountPurpose::issuance), account_find(agent, unit),
                    amount);
}

void Ledger::apply_fund(uint32_t agent, uint64_t amount, UnitId unit) {
  const AccountIndex issuance = account_find(0, unit, AccountPurpose::issuance);
  HANSE_ASSERT(issuance != index_none);
  add(issuance, debits_posted, amount);
  add(apply_account(agent, unit), credits_posted, amount);
  assert_balanced(unit);
}

TransferOutcome Ledger::check_hold(uint32_t agent, uint64_t amount, UnitId unit) const {
  if (amount == 0) return TransferOutcome::amount_must_not_be_zero;
  if (unit >= units_.size()) return TransferOutcome::unit_mismatch;
  const AccountIndex debit = account_find(agent, unit);
  if (debit == index_none) return TransferOutcome::unknown_account;
  return check_room(debit, account_find(0, unit, AccountPurpose::escrow), amount);
}

HoldId Ledger::apply_hold(uint32_t agent, uint64_t amount, UnitId unit, uint64_t expires_ns) {
  const AccountIndex debit = account_find(agent, unit);
  const AccountIndex escrow = account_find(0, unit, AccountPurpose::escrow);
  HANSE_ASSERT(debit != index_none && escrow != index_none);
  return open_hold(debit, escrow, amount, expires_ns);
}

const Hold& Ledger::hold(HoldId hold) const {
  if (hold == 0 || hold > holds_.size())
    throw Error(ErrorCode::unknown_transfer, "hold", "no such hold", hold);
  return holds_[hold - 1];
}

void Ledger::apply_draw(HoldId id, uint64_t amount, AccountIndex to) {
  Hold& hold = open_hold_at(id);
  HANSE_ASSERT(amount <= hold.left && to < accounts_.size());
  subtract(hold.debit, debits_pending, amount);
  add(hold.debit, debits_posted, amount);
  subtract(hold.credit, credits_pending, amount);
  add(to, credits_posted, amount);
  hold.left -= amount;
  hold_hash_.mark(uint32_t(id - 1));
  assert_balanced(accounts_[hold.debit].unit);
}

void Ledger::apply_resolve(HoldId id, HoldState state) {
  HANSE_ASSERT(state != HoldState::open);
  Hold& hold = open_hold_at(id);
  subtract(hold.debit, debits_pending, hold.left);
  subtract(hold.credit, credits_pending, hold.left);
  hold.left = 0;
  hold.state = state;
  hold_hash_.mark(uint32_t(id - 1));
  if (hold.expires_ns != 0 && !of_task(hold)) expiries_.erase({hold.expires_ns, id});
  assert_balanced(accounts_[hold.debit].unit);
}

void Ledger::due(uint64_t now_ns, uint32_t limit, std::vector<HoldId>& holds_out) const {
  holds_out.clear();
  for (const auto& [expires_ns, hold] : expiries_) {
    if (expires_ns > now_ns || holds_out.size() >= limit) return;
    holds_out.push_back(hold);
  }
}

uint64_t Ledger::earliest_expiry_ns() const {
  return expiries_.empty() ? UINT64_MAX : expiries_.begin()->first;
}

HoldId Ledger::open_hold(AccountIndex debit, AccountIndex credit, uint64_t amount,
                         uint64_t expires_ns) {
  add(debit, debits_pending, amount);
  add(credit, credits_pending, amount);
  holds_.push_back({debit, credit, amount, amount, expires_ns, HoldState::open});
  const HoldId id = holds_.size();
  hold_hash_.mark(uint32_t(id - 1));
  if (expires_ns != 0 && !of_task(holds_.back())) expiries_.insert({expires_ns, id});
  assert_limit(debit);
  assert_balanced(accounts_[debit].unit);
  return id;
}

Hold& Ledger::open_hold_at(HoldId id) {
  HANSE_ASSERT(id != 0 && id <= holds_.size());
  HANSE_ASSERT(holds_[id - 1].state == HoldState::open);
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
  HANSE_ASSERT(accounts_[account].purpose != AccountPurpose::balance ||
               counters[debits_pending] + counters[debits_posted] <= counters[credits_posted]);
}

}  // namespace hanse
