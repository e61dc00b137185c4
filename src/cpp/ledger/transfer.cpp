// The order of checks is TigerBeetle's, and part of the contract; the first that fails is the
// outcome:
//
//   1 key       exists_with_different_{pending, accounts, amount, unit}, exists; id_already_failed
//   2 post or void only: pending_not_found, exceeds_pending, already_{posted, voided, expired};
//     nothing below applies, since the hold has set aside what it needs
//   3 fields    accounts_must_differ, amount_must_not_be_zero
//   4 agents    unknown_account
//   5 unit      unit_mismatch
//   6 account   unknown_account (of the debit; a credit account opens on its first credit)
//   7 overflow  of the debit, then of the credit
//   8 limit     exceeds_credits
//
// Outcomes that another try could change (unknown_account, exceeds_credits, pending_not_found) use
// the key up, so that a late retry can't succeed by surprise. The others leave no trace.
#include <algorithm>

#include "ledger/ledger.hpp"

namespace hanse {

namespace {

bool is_transient(TransferOutcome outcome) {
  return outcome == TransferOutcome::unknown_account ||
         outcome == TransferOutcome::exceeds_credits ||
         outcome == TransferOutcome::pending_not_found;
}

bool is_resolution(const Transfer& transfer) {
  return transfer.kind == TransferKind::post || transfer.kind == TransferKind::voided;
}

}  // namespace

uint64_t Ledger::key_hash(const Transfer& transfer) {
  return mix64(transfer.key ^ mix64(transfer.key_owner));
}

const Ledger::Done* Ledger::done_find(const Transfer& transfer) const {
  if (transfer.key == 0) return nullptr;
  const uint32_t index = done_of_.find(key_hash(transfer), [&](uint32_t at) {
    const Transfer& before = done_[at].transfer;
    return before.key == transfer.key && before.key_owner == transfer.key_owner;
  });
  return index == index_none ? nullptr : &done_[index];
}

TransferOutcome Ledger::check_key(const Transfer& transfer) const {
  const Done* done = done_find(transfer);
  if (done == nullptr) return TransferOutcome::ok;
  if (done->outcome != TransferOutcome::ok) return TransferOutcome::id_already_failed;
  const Transfer& before = done->transfer;
  if (before.kind != transfer.kind || before.pending != transfer.pending ||
      before.expires_ns != transfer.expires_ns)
    return TransferOutcome::exists_with_different_pending;
  if (before.debit != transfer.debit || before.credit != transfer.credit)
    return TransferOutcome::exists_with_different_accounts;
  if (before.amount != transfer.amount) return TransferOutcome::exists_with_different_amount;
  if (before.unit != transfer.unit) return TransferOutcome::exists_with_different_unit;
  return TransferOutcome::exists;
}

bool Ledger::of_task(const Hold& hold) const {
  return accounts_[hold.credit].purpose == AccountPurpose::escrow;
}

TransferOutcome Ledger::check_resolution(const Transfer& transfer) const {
  if (transfer.pending == 0 || transfer.pending > holds_.size())
    return TransferOutcome::pending_not_found;
  const Hold& hold = holds_[transfer.pending - 1];
  // What is reserved for a task moves with the task and by no other way.
  if (of_task(hold)) return TransferOutcome::pending_not_found;
  if (transfer.kind == TransferKind::post && transfer.amount > hold.amount)
    return TransferOutcome::exceeds_pending;
  switch (hold.state) {
    case HoldState::open:
      return TransferOutcome::ok;
    case HoldState::posted:
      return TransferOutcome::already_posted;
    case HoldState::voided:
      return TransferOutcome::already_voided;
    case HoldState::expired:
      return TransferOutcome::already_expired;
  }
  HANSE_ASSERT(!"unknown state of a hold");
  return TransferOutcome::pending_not_found;
}

TransferOutcome Ledger::check_room(AccountIndex debit, AccountIndex credit, uint64_t amount) const {
  const Counters& from = accounts_[debit].counters;
  const u128 debits = from[debits_pending] + from[debits_posted] + amount;
  if (debits > UINT64_MAX) return TransferOutcome::overflow;
  if (credit != index_none) {
    const Counters& to = accounts_[credit].counters;
    if (to[credits_pending] + to[credits_posted] + amount > UINT64_MAX)
      return TransferOutcome::overflow;
  }
  if (accounts_[debit].purpose == AccountPurpose::balance && debits > from[credits_posted])
    return TransferOutcome::exceeds_credits;
  return TransferOutcome::ok;
}

TransferOutcome Ledger::check_transfer(const Transfer& transfer, uint32_t debit_agent,
                                       uint32_t credit_agent) const {
  const TransferOutcome seen = check_key(transfer);
  if (seen != TransferOutcome::ok) return seen;
  if (is_resolution(transfer)) return check_resolution(transfer);

  if (transfer.debit == transfer.credit) return TransferOutcome::accounts_must_differ;
  if (transfer.amount == 0) return TransferOutcome::amount_must_not_be_zero;
  if (debit_agent == index_none || credit_agent == index_none)
    return TransferOutcome::unknown_account;
  if (transfer.unit >= units_.size()) return TransferOutcome::unit_mismatch;
  const AccountIndex debit = account_find(debit_agent, transfer.unit);
  if (debit == index_none) return TransferOutcome::unknown_account;
  return check_room(debit, account_find(credit_agent, transfer.unit), transfer.amount);
}

HoldId Ledger::apply_transfer(const Transfer& transfer, uint32_t debit_agent, uint32_t credit_agent,
                              TransferOutcome outcome) {
  if (outcome == TransferOutcome::exists) {
    const Done* done = done_find(transfer);
    HANSE_ASSERT(done != nullptr);
    return done->hold;
  }
  HoldId hold = 0;
  if (outcome == TransferOutcome::ok && is_resolution(transfer)) {
    const bool posts = transfer.kind == TransferKind::post;
    const Hold& held = open_hold_at(transfer.pending);
    if (posts)
      apply_draw(transfer.pending, transfer.amount == 0 ? held.left : transfer.amount, held.credit);
    apply_resolve(transfer.pending, posts ? HoldState::posted : HoldState::voided);
  } else if (outcome == TransferOutcome::ok) {
    const AccountIndex debit = account_find(debit_agent, transfer.unit);
    const AccountIndex credit = apply_account(credit_agent, transfer.unit);
    HANSE_ASSERT(debit != index_none && debit != credit);
    if (transfer.kind == TransferKind::pending) {
      hold = open_hold(debit, credit, transfer.amount, transfer.expires_ns);
    } else {
      add(debit, debits_posted, transfer.amount);
      add(credit, credits_posted, transfer.amount);
      assert_limit(debit);
      assert_balanced(transfer.unit);
    }
  }
  if (transfer.key != 0 && (outcome == TransferOutcome::ok || is_transient(outcome))) {
    const auto index = uint32_t(done_.size());
    done_.push_back({transfer, outcome, hold});
    done_of_.insert(key_hash(transfer), index);
    done_hash_.mark(index);
  }
  return hold;
}

// Moves back what a transfer moved. The accounts, holds and keys that it added stay.
void Ledger::take_back(const Transfer& transfer, uint32_t debit_agent, uint32_t credit_agent) {
  if (is_resolution(transfer)) {
    Hold& hold = holds_[transfer.pending - 1];
    if (hold.state == HoldState::posted) {
      const uint64_t posted = transfer.amount == 0 ? hold.amount : transfer.amount;
      subtract(hold.debit, debits_posted, posted);
      subtract(hold.credit, credits_posted, posted);
    }
    add(hold.debit, debits_pending, hold.amount);
    add(hold.credit, credits_pending, hold.amount);
    hold.left = hold.amount;
    hold.state = HoldState::open;
    if (hold.expires_ns != 0) expiries_.insert({hold.expires_ns, transfer.pending});
    return;
  }
  const bool pends = transfer.kind == TransferKind::pending;
  subtract(account_find(debit_agent, transfer.unit), pends ? debits_pending : debits_posted,
           transfer.amount);
  subtract(account_find(credit_agent, transfer.unit), pends ? credits_pending : credits_posted,
           transfer.amount);
}

void Ledger::truncate(size_t account_count, size_t hold_count, size_t done_count) {
  for (; done_.size() > done_count; done_.pop_back())
    done_of_.erase(key_hash(done_.back().transfer), uint32_t(done_.size() - 1));
  for (; holds_.size() > hold_count; holds_.pop_back())
    expiries_.erase({holds_.back().expires_ns, holds_.size()});
  for (; accounts_.size() > account_count; accounts_.pop_back()) {
    const Account& account = accounts_.back();
    account_of_.erase(account_hash_of(account.agent, account.unit, account.purpose),
                      uint32_t(accounts_.size() - 1));
  }
}

void Ledger::try_transfers(std::span<const Transfer> transfers,
                           std::span<const uint32_t> debit_agents,
                           std::span<const uint32_t> credit_agents, bool atomic,
                           std::span<TransferOutcome> outcomes_out) {
  const size_t account_count = accounts_.size(), hold_count = holds_.size(),
               done_count = done_.size();
  size_t tried = 0;
  bool failed = false;
  for (; tried < transfers.size() && !failed; ++tried) {
    const TransferOutcome outcome =
        check_transfer(transfers[tried], debit_agents[tried], credit_agents[tried]);
    outcomes_out[tried] = outcome;
    failed = atomic && outcome != TransferOutcome::ok && outcome != TransferOutcome::exists;
    apply_transfer(transfers[tried], debit_agents[tried], credit_agents[tried], outcome);
  }
  for (size_t i = tried; i-- > 0;)
    if (outcomes_out[i] == TransferOutcome::ok)
      take_back(transfers[i], debit_agents[i], credit_agents[i]);
  truncate(account_count, hold_count, done_count);
  if (!failed) return;
  const TransferOutcome reason = outcomes_out[tried - 1];
  std::fill(outcomes_out.begin(), outcomes_out.end(), TransferOutcome::aborted);
  outcomes_out[tried - 1] = reason;
}

}  // namespace hanse
