// The order of checks is TigerBeetle's, and part of the contract; the first that fails is the
// outcome:
//
//   1 key       key_expired, key_too_new; exists_with_different_{flags, pending, expiry, debit,
//               credit, amount, user_data_128, user_data_64, user_data_32, unit, code, terms},
//               exists; id_already_failed; too_many_keys (a new one)
//   2 post and void: flags_exclude_each_other, pending_must_not_be_none,
//               expiry_reserved_for_pending, terms_reserved_for_pending, pending_not_found,
//               pending_has_different_{debit, credit, unit, code}, exceeds_pending,
//               pending_has_different_amount, settlement_unknown,
//               already_{posted, voided, expired}; post alone: debit_closed, credit_closed;
//               nothing below applies, since the hold has set aside what it needs
//   3 fields    flags_exclude_each_other, accounts_must_differ, pending_must_be_none,
//               expiry_reserved_for_pending, closing_must_be_pending, terms_reserved_for_pending,
//               amount_must_not_be_zero
//   4 agents    unknown_account
//   5 unit      unit_mismatch
//   6 account   unknown_account (of the debit; a credit account opens on its first credit)
//   7 closed    debit_closed, credit_closed
//   8 amount    what balancing leaves of it; never fails
//   9 overflow  of the debit, then of the credit; expiry_has_passed
//  10 limits    exceeds_credits, exceeds_debits, exceeds_budget
//
// Outcomes that another try could change use the key up, so that a late retry can't succeed by
// surprise (is_transient). The others leave no trace.
#include <algorithm>

#include "base/seeded_bug.hpp"
#include "ledger/ledger.hpp"

namespace hanse {

using Outcome = TransferOutcome;

namespace {

constexpr uint8_t closing = transfer_flag::closing_debit | transfer_flag::closing_credit;
constexpr uint8_t balancing = transfer_flag::balancing_debit | transfer_flag::balancing_credit;

bool has_terms(const Transfer& transfer) {
  return transfer.post_by != 0 || transfer.void_by != 0 || transfer.arbiter != id_none ||
         (transfer.flags & transfer_flag::fee) != 0;
}

// An arbiter without a right, a right without an arbiter, or a bit that means nothing.
bool contradicts_itself(const Transfer& transfer) {
  const uint8_t rights = transfer.post_by | transfer.void_by;
  return (transfer.flags & ~transfer_flag::all) != 0 || (rights & ~releaser::all) != 0 ||
         ((rights & releaser::arbiter) != 0) != (transfer.arbiter != id_none);
}

}  // namespace

bool is_transient(Outcome outcome) {
  switch (outcome) {
    case Outcome::unknown_account:
    case Outcome::exceeds_credits:
    case Outcome::exceeds_debits:
    case Outcome::exceeds_budget:
    case Outcome::pending_not_found:
    case Outcome::debit_closed:
    case Outcome::credit_closed:
      return true;
    default:
      return false;
  }
}

bool Ledger::of_task(const Hold& hold) const {
  return accounts_[hold.credit].purpose == AccountPurpose::escrow;
}

// Whether a key may be looked up, and whether one more may be kept.
Outcome Ledger::check_key(const TransferKey& key, uint64_t now_ns, uint64_t untimed_count) {
  if (!key.timed()) return untimed_count < untimed_keys_max ? Outcome::ok : Outcome::too_many_keys;
  const uint64_t time_ns = key.time_ns();
  if (time_ns < now_ns && now_ns - time_ns > key_horizon_ns) return Outcome::key_expired;
  if (time_ns > now_ns && time_ns - now_ns > key_ahead_max_ns) return Outcome::key_too_new;
  return Outcome::ok;
}

Outcome Ledger::check_seen(const UsedKey& seen, const Transfer& transfer) const {
  if (seen.moved.outcome != Outcome::ok) return Outcome::id_already_failed;
  const Transfer& before = seen.transfer;
  const bool resolves = is_resolution(transfer);
  const uint8_t flags = uint8_t(before.flags ^ transfer.flags) & ~transfer_flag::fee;
  if (before.kind != transfer.kind || flags != 0) return Outcome::exists_with_different_flags;
  if (before.pending != transfer.pending) return Outcome::exists_with_different_pending;
  if (before.expires_ns != transfer.expires_ns) return Outcome::exists_with_different_expiry;
  // What a post or void does not say is not compared.
  if (before.debit != transfer.debit && !(resolves && transfer.debit == id_none))
    return Outcome::exists_with_different_debit;
  if (before.credit != transfer.credit && !(resolves && transfer.credit == id_none))
    return Outcome::exists_with_different_credit;
  if (before.amount != transfer.amount && !HANSE_SEEDED_BUG(25))
    return Outcome::exists_with_different_amount;
  if (!std::equal(before.user_data_128, before.user_data_128 + 2, transfer.user_data_128))
    return Outcome::exists_with_different_user_data_128;
  if (before.user_data_64 != transfer.user_data_64)
    return Outcome::exists_with_different_user_data_64;
  if (before.user_data_32 != transfer.user_data_32)
    return Outcome::exists_with_different_user_data_32;
  if (before.unit != transfer.unit && !(resolves && transfer.unit == 0))
    return Outcome::exists_with_different_unit;
  if (before.code != transfer.code && !(resolves && transfer.code == 0))
    return Outcome::exists_with_different_code;
  const bool fee = ((before.flags ^ transfer.flags) & transfer_flag::fee) != 0;
  if (fee || before.arbiter != transfer.arbiter || before.post_by != transfer.post_by ||
      before.void_by != transfer.void_by)
    return Outcome::exists_with_different_terms;
  return Outcome::exists;
}

Outcome Ledger::check_fields(const Transfer& transfer) {
  const bool pends = transfer.kind == TransferKind::pending;
  if (contradicts_itself(transfer)) return Outcome::flags_exclude_each_other;
  if (transfer.debit == transfer.credit) return Outcome::accounts_must_differ;
  if (transfer.pending != 0) return Outcome::pending_must_be_none;
  if (!pends && transfer.expires_ns != 0) return Outcome::expiry_reserved_for_pending;
  if (!pends && (transfer.flags & closing) != 0) return Outcome::closing_must_be_pending;
  if (!pends && has_terms(transfer)) return Outcome::terms_reserved_for_pending;
  if (transfer.amount == 0 && (transfer.flags & (closing | balancing)) == 0)
    return Outcome::amount_must_not_be_zero;
  return Outcome::ok;
}

Outcome Ledger::check_held(const Hold& hold, const Transfer& transfer) const {
  const auto differs = [&](AgentId said, AccountIndex held) {
    return said != id_none && said != make_id(accounts_[held].agent, 1);
  };
  if (differs(transfer.debit, hold.debit)) return Outcome::pending_has_different_debit;
  if (differs(transfer.credit, hold.credit)) return Outcome::pending_has_different_credit;
  if (transfer.unit != 0 && transfer.unit != accounts_[hold.debit].unit)
    return Outcome::pending_has_different_unit;
  if (transfer.code != 0 && transfer.code != hold.code) return Outcome::pending_has_different_code;
  const bool all = transfer.amount == 0 ||
                   (transfer.kind == TransferKind::post && transfer.amount == UINT64_MAX);
  const uint64_t amount = all ? hold.amount : transfer.amount;
  if (amount > hold.amount) return Outcome::exceeds_pending;
  if (transfer.kind == TransferKind::voided && amount < hold.amount)
    return Outcome::pending_has_different_amount;
  return Outcome::ok;
}

Outcome Ledger::check_resolution(const Batch& batch, const Transfer& transfer,
                                 Moved& moved_out) const {
  if (contradicts_itself(transfer) || (transfer.flags & (balancing | closing)) != 0)
    return Outcome::flags_exclude_each_other;
  if (transfer.pending == 0) return Outcome::pending_must_not_be_none;
  if (transfer.expires_ns != 0) return Outcome::expiry_reserved_for_pending;
  if (has_terms(transfer)) return Outcome::terms_reserved_for_pending;
  if (transfer.pending > holds_.size()) return Outcome::pending_not_found;
  const Hold& hold = holds_[transfer.pending - 1];
  // What is reserved for a task moves with the task and by no other way; another's hold is absent.
  if (of_task(hold) || (!HANSE_SEEDED_BUG(29) && batch.may && !batch.may(hold, transfer.kind)))
    return Outcome::pending_not_found;
  const Outcome fits = check_held(hold, transfer);
  if (fits != Outcome::ok) return fits;
  switch (hold.state) {
    case HoldState::open:
      break;
    case HoldState::unknown:
      return Outcome::settlement_unknown;
    case HoldState::posted:
      return Outcome::already_posted;
    case HoldState::voided:
      if (HANSE_SEEDED_BUG(20)) break;
      return Outcome::already_voided;
    case HoldState::expired:
      return Outcome::already_expired;
  }
  if (!HANSE_SEEDED_BUG(22) && hold.expires_ns != 0 && hold.expires_ns <= batch.now_ns)
    return Outcome::already_expired;
  if (transfer.kind == TransferKind::post) {
    // The only movement that a closed account allows is voiding.
    if (is_closed(hold.debit)) return Outcome::debit_closed;
    if (is_closed(hold.credit)) return Outcome::credit_closed;
    const bool all = transfer.amount == 0 || transfer.amount == UINT64_MAX;
    moved_out.amount = all ? hold.amount : transfer.amount;
  }
  return Outcome::ok;
}

uint64_t Ledger::balanced(const Transfer& transfer, AccountIndex debit, AccountIndex credit) const {
  const auto less = [](u128 a, u128 b) { return a > b ? a - b : u128(0); };
  u128 amount = transfer.amount;
  if ((transfer.flags & transfer_flag::balancing_debit) != 0) {
    const Counters& from = accounts_[debit].counters;
    amount =
        std::min(amount, less(from[credits_posted], from[debits_posted] + from[debits_pending]));
  }
  if ((transfer.flags & transfer_flag::balancing_credit) != 0) {
    const Counters none{};
    const Counters& to = credit == index_none ? none : accounts_[credit].counters;
    amount = std::min(amount, less(to[debits_posted], to[credits_posted] + to[credits_pending]));
  }
  return uint64_t(amount);
}

Outcome Ledger::check_room(AccountIndex debit, AccountIndex credit, uint32_t credit_agent,
                           uint64_t amount) const {
  const Counters& from = accounts_[debit].counters;
  const u128 debits = from[debits_pending] + from[debits_posted] + amount;
  if (debits > UINT64_MAX) return Outcome::overflow;
  u128 credits = amount, back = 0;
  bool limited = false;
  if (credit != index_none) {
    const Account& to = accounts_[credit];
    credits += to.counters[credits_pending] + to.counters[credits_posted];
    back = to.counters[debits_posted];
    limited = (to.flags & account_flag::credits_limited) != 0;
  }
  if (credits > UINT64_MAX && !HANSE_SEEDED_BUG(17)) return Outcome::overflow;
  const bool bounded = (accounts_[debit].flags & account_flag::debits_limited) != 0;
  if (!HANSE_SEEDED_BUG(16) && bounded && debits > from[credits_posted])
    return Outcome::exceeds_credits;
  if (limited && credits > back && !HANSE_SEEDED_BUG(18)) return Outcome::exceeds_debits;
  if (!HANSE_SEEDED_BUG(19) && !budgets_.empty() &&
      budgets_.check(accounts_[debit].agent, credit_agent, accounts_[debit].unit, amount) !=
          index_none)
    return Outcome::exceeds_budget;
  return Outcome::ok;
}

Moved Ledger::check_transfer(const Batch& batch, size_t at) const {
  const Transfer& transfer = batch.transfers[at];
  Moved moved;
  const auto refuse = [&](Outcome outcome) {
    if (outcome != Outcome::ok && outcome != Outcome::exists) moved.amount = 0;
    moved.outcome = outcome;
    return moved;
  };
  if (!transfer.key.none()) {
    const Outcome key = check_key(transfer.key, batch.now_ns, keys_.untimed_count());
    if (key != Outcome::ok && key != Outcome::too_many_keys) return refuse(key);
    if (const UsedKey* seen = keys_.find(transfer.key, transfer.key_owner)) {
      const Outcome outcome = check_seen(*seen, transfer);
      if (outcome == Outcome::exists) moved = seen->moved;
      return refuse(outcome);
    }
    if (key != Outcome::ok) return refuse(key);
  }
  if (is_resolution(transfer)) return refuse(check_resolution(batch, transfer, moved));

  const Outcome fields = check_fields(transfer);
  if (fields != Outcome::ok) return refuse(fields);
  if (batch.debits[at] == index_none || batch.credits[at] == index_none)
    return refuse(Outcome::unknown_account);
  if (transfer.unit >= units_.size()) return refuse(Outcome::unit_mismatch);
  const AccountIndex debit = account_find(batch.debits[at], transfer.unit);
  if (debit == index_none) return refuse(Outcome::unknown_account);
  const AccountIndex credit = account_find(batch.credits[at], transfer.unit);
  if (is_closed(debit)) return refuse(Outcome::debit_closed);
  if (is_closed(credit)) return refuse(Outcome::credit_closed);
  moved.amount = transfer.amount;
  if ((transfer.flags & balancing) != 0) moved.amount = balanced(transfer, debit, credit);
  const uint32_t payee = (transfer.flags & transfer_flag::fee) != 0 ? 0 : batch.credits[at];
  const Outcome room = check_room(debit, credit, payee, moved.amount);
  // Limits come after the expiry, overflow before it.
  if (room != Outcome::overflow && transfer.expires_ns != 0 && transfer.expires_ns <= batch.now_ns)
    return refuse(Outcome::expiry_has_passed);
  return refuse(room);
}

Outcome Ledger::check_settlement(HoldId id, Settlement verdict, uint64_t amount,
                                 uint64_t now_ns) const {
  if (id == 0 || id > holds_.size() || of_task(holds_[id - 1])) return Outcome::pending_not_found;
  const Hold& hold = holds_[id - 1];
  if (amount > hold.amount) return Outcome::exceeds_pending;
  switch (hold.state) {
    case HoldState::open:
      if (hold.expires_ns != 0 && hold.expires_ns <= now_ns) return Outcome::already_expired;
      break;
    case HoldState::unknown:
      if (verdict == Settlement::unknown && !HANSE_SEEDED_BUG(30))
        return Outcome::settlement_unknown;
      break;
    case HoldState::posted:
      return Outcome::already_posted;
    case HoldState::voided:
      return Outcome::already_voided;
    case HoldState::expired:
      return Outcome::already_expired;
  }
  if (verdict == Settlement::posted) {
    if (is_closed(hold.debit)) return Outcome::debit_closed;
    if (is_closed(hold.credit)) return Outcome::credit_closed;
  }
  return Outcome::ok;
}

}  // namespace hanse
