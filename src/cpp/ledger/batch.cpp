// Batches of transfers: chains, atomic batches, and taking back what did not take place.
#include <algorithm>

#include "base/seeded_bug.hpp"
#include "ledger/ledger.hpp"

namespace hanse {

using Outcome = TransferOutcome;

namespace {

// Where the chain that starts at `first` ends; a transfer that is not linked is its own.
size_t chain_end(std::span<const Transfer> transfers, size_t first) {
  size_t at = first;
  while (at + 1 < transfers.size() && is_linked(transfers[at])) ++at;
  return at + 1;
}

bool is_chain(std::span<const Transfer> transfers, size_t first, size_t end) {
  return end - first > 1 || is_linked(transfers[first]);
}

bool took_place(Outcome outcome) { return outcome == Outcome::ok || outcome == Outcome::exists; }

}  // namespace

void Ledger::use_key(const Batch& batch, size_t at, const Moved& moved) {
  const Transfer& transfer = batch.transfers[at];
  if (transfer.key.none() || (HANSE_SEEDED_BUG(24) && is_resolution(transfer))) return;
  if (moved.outcome != Outcome::ok && (HANSE_SEEDED_BUG(23) || !is_transient(moved.outcome)))
    return;
  UsedKey used{transfer.key, transfer.key_owner, transfer, moved};
  // A record names agents by index, so that one who is not there leaves no name behind.
  if (batch.debits[at] == index_none) used.transfer.debit = id_none;
  if (batch.credits[at] == index_none) used.transfer.credit = id_none;
  used.transfer.chain = {};
  keys_.insert(std::move(used));
}

// The effects of a transfer whose outcome is known. Fills in the hold that it opens.
void Ledger::apply_moved(const Batch& batch, size_t at, Moved& moved) {
  const Transfer& transfer = batch.transfers[at];
  if (moved.outcome == Outcome::ok && is_resolution(transfer)) {
    if (transfer.kind == TransferKind::post)
      post_hold(transfer.pending, moved.amount);
    else
      apply_resolve(transfer.pending, HoldState::voided);
  } else if (moved.outcome == Outcome::ok) {
    const AccountIndex debit = account_find(batch.debits[at], transfer.unit);
    const AccountIndex credit = apply_account(batch.credits[at], transfer.unit);
    HANSE_ASSERT(debit != index_none && debit != credit);
    if (transfer.kind == TransferKind::pending) {
      Hold hold;
      hold.debit = debit;
      hold.credit = credit;
      hold.amount = moved.amount;
      hold.expires_ns = transfer.expires_ns;
      hold.flags = transfer.flags & (transfer_flag::closing_debit | transfer_flag::closing_credit |
                                     transfer_flag::fee);
      hold.post_by = transfer.post_by;
      hold.void_by = transfer.void_by;
      hold.code = transfer.code;
      hold.arbiter = transfer.arbiter == id_none ? index_none : index_of(transfer.arbiter);
      moved.hold = open_hold(hold);
    } else {
      add(debit, debits_posted, moved.amount);
      add(credit, credits_posted, moved.amount);
      if (!budgets_.empty())
        budgets_.add(batch.debits[at], batch.credits[at], transfer.unit, &Budget::posted,
                     moved.amount);
      assert_limit(debit);
      assert_balanced(transfer.unit);
      tell(EntryKind::transferred, debit, credit, moved.amount, 0);
    }
  }
  use_key(batch, at, moved);
}

// A chain that was done before answers as it did then: in TigerBeetle a retry would break on
// `exists`. True: the outcomes are written.
bool Ledger::replay_chain(const Batch& batch, size_t first, size_t end,
                          std::span<Moved> moved_out) const {
  const Transfer& head = batch.transfers[first];
  if (head.chain.none()) return false;
  const auto transfers = batch.transfers.subspan(first, end - first);
  const auto refuse = [&](Outcome outcome) {
    std::fill(moved_out.begin() + ptrdiff_t(first), moved_out.begin() + ptrdiff_t(end),
              Moved{Outcome::linked_failed});
    moved_out[first].outcome = outcome;
    return true;
  };
  const Outcome key = check_key(head.chain, batch.now_ns, chains_.untimed_count());
  if (key != Outcome::ok && key != Outcome::too_many_keys) return refuse(key);
  const UsedChain* seen = chains_.find(head.chain, head.key_owner);
  if (seen == nullptr) return key == Outcome::ok ? false : refuse(key);
  if (seen->outcome != Outcome::ok) return refuse(Outcome::id_already_failed);
  if (seen->amounts.size() != end - first || seen->body != chain_body(transfers))
    return refuse(Outcome::exists_with_different_chain);
  HoldId hold = seen->first_hold;
  for (size_t at = first; at < end; ++at) {
    const bool pends = batch.transfers[at].kind == TransferKind::pending;
    moved_out[at] = {Outcome::exists, seen->amounts[at - first], pends ? hold++ : 0};
  }
  return true;
}

// What the key of a chain was used for, once all of the chain is applied.
void Ledger::apply_chain(const Batch& batch, size_t first, size_t end,
                         std::span<const Moved> moved) {
  const Transfer& head = batch.transfers[first];
  if (head.chain.none()) return;
  UsedChain used;
  used.key = head.chain;
  used.owner = head.key_owner;
  bool done = true;
  for (size_t at = first; at < end; ++at) {
    const Moved& one = moved[at];
    if (is_transient(one.outcome)) used.outcome = one.outcome;
    done = done && one.outcome == Outcome::ok;
    if (used.first_hold == 0) used.first_hold = one.hold;
    used.amounts.push_back(one.amount);
  }
  if (!done && used.outcome == Outcome::ok) return;
  if (!done) {
    used.first_hold = 0;
    used.amounts.clear();
  } else {
    used.body = chain_body(batch.transfers.subspan(first, end - first));
  }
  chains_.insert(std::move(used));
}

// The first that fails keeps its outcome, and its key is used up if it could have succeeded later;
// the effects of the others are taken back, and their keys stay free.
void Ledger::execute_chain(const Batch& batch, size_t first, size_t end,
                           std::span<Moved> moved_out) {
  const bool open = is_linked(batch.transfers[end - 1]);
  if (!open && replay_chain(batch, first, end, moved_out)) return;
  const Marks marks{accounts_.size(), holds_.size()};
  size_t failed = end;
  for (size_t at = first; at < end && failed == end; ++at) {
    Moved& moved = moved_out[at];
    moved = open && at == end - 1 ? Moved{Outcome::chain_open} : check_transfer(batch, at);
    if (moved.outcome == Outcome::ok)
      apply_moved(batch, at, moved);
    else
      failed = at;
  }
  if (failed != end) {
    for (size_t at = failed - HANSE_SEEDED_BUG(28); at-- > first;)
      take_back(batch, at, moved_out[at]);
    truncate(marks);
    for (size_t at = first; at < end; ++at)
      if (at != failed) moved_out[at] = {Outcome::linked_failed};
    if (open) moved_out[end - 1].outcome = Outcome::chain_open;
    moved_out[failed].amount = moved_out[failed].hold = 0;
    use_key(batch, failed, moved_out[failed]);
  }
  if (!open) apply_chain(batch, first, end, moved_out);
}

bool Ledger::execute(const Batch& batch, std::span<Moved> moved_out, Marks& marks_out) {
  const size_t count = batch.transfers.size();
  marks_out = {accounts_.size(), holds_.size()};
  for (size_t first = 0; first < count;) {
    const size_t end = chain_end(batch.transfers, first);
    if (is_chain(batch.transfers, first, end)) {
      execute_chain(batch, first, end, moved_out);
    } else {
      moved_out[first] = check_transfer(batch, first);
      if (moved_out[first].outcome != Outcome::exists) apply_moved(batch, first, moved_out[first]);
    }
    for (size_t at = first; batch.atomic && at < end; ++at) {
      if (took_place(moved_out[at].outcome)) continue;
      // Only what took place is taken back: the rest of this batch was never tried.
      const Batch tried{batch.transfers.first(end),
                        batch.debits.first(end),
                        batch.credits.first(end),
                        batch.now_ns,
                        true,
                        {}};
      roll_back(tried, moved_out.first(end), marks_out);
      // A chain may have broken on an `exists`, which is no failure outside of one.
      const bool broken = moved_out[at].outcome == Outcome::linked_failed;
      size_t blamed = broken ? first : at;
      while (moved_out[blamed].outcome == Outcome::linked_failed) ++blamed;
      HANSE_ASSERT(blamed < end);
      const Outcome reason = moved_out[blamed].outcome;
      std::fill(moved_out.begin(), moved_out.end(), Moved{Outcome::aborted});
      moved_out[blamed].outcome = reason;
      return false;
    }
    first = end;
  }
  return true;
}

void Ledger::apply_batch(const Batch& batch, std::span<const Moved> moved) {
  const size_t count = batch.transfers.size();
  std::vector<Moved> again(moved.begin(), moved.end());
  for (size_t first = 0; first < count;) {
    const size_t end = chain_end(batch.transfers, first);
    for (size_t at = first; at < end; ++at) {
      const Transfer& transfer = batch.transfers[at];
      const bool all = transfer.amount == 0 || transfer.amount == UINT64_MAX;
      if (transfer.kind == TransferKind::post && again[at].outcome == Outcome::ok && all)
        again[at].amount = hold(transfer.pending).amount;
      apply_moved(batch, at, again[at]);
    }
    if (is_chain(batch.transfers, first, end) && !is_linked(batch.transfers[end - 1]))
      apply_chain(batch, first, end, again);
    first = end;
  }
}

// Moves back what a transfer moved, and frees its key. What it opened is the caller's to truncate.
void Ledger::take_back(const Batch& batch, size_t at, const Moved& moved) {
  const Transfer& transfer = batch.transfers[at];
  const bool used = moved.outcome == Outcome::ok || is_transient(moved.outcome);
  if (used && !transfer.key.none()) keys_.erase_last(transfer.key, transfer.key_owner);
  if (moved.outcome != Outcome::ok) return;
  if (is_resolution(transfer)) {
    Hold& hold = holds_[transfer.pending - 1];
    const Account& debit = accounts_[hold.debit];
    if (hold.state == HoldState::posted) {
      const uint64_t fee = fee_of(hold, moved.amount);
      subtract(hold.debit, debits_posted, moved.amount);
      subtract(hold.credit, credits_posted, moved.amount - fee);
      if (!budgets_.empty())
        budgets_.subtract(debit.agent, accounts_[hold.credit].agent, debit.unit, &Budget::posted,
                          moved.amount - fee);
      if (fee != 0) {
        subtract(account_find(0, debit.unit, AccountPurpose::fees), credits_posted, fee);
        if (!budgets_.empty()) budgets_.subtract(debit.agent, 0, debit.unit, &Budget::posted, fee);
      }
    } else {
      set_closed(hold, true);
    }
    add(hold.debit, debits_pending, hold.amount);
    add(hold.credit, credits_pending, hold.amount);
    if (!budgets_.empty())
      budgets_.add(debit.agent, pending_payee(hold), debit.unit, &Budget::pending, hold.amount);
    hold.left = hold.amount;
    hold.state = HoldState::open;
    hold_hash_.mark(uint32_t(transfer.pending - 1));
    if (hold.expires_ns != 0) expiries_.insert({hold.expires_ns, transfer.pending});
    return;
  }
  const bool pends = transfer.kind == TransferKind::pending;
  subtract(account_find(batch.debits[at], transfer.unit), pends ? debits_pending : debits_posted,
           moved.amount);
  subtract(account_find(batch.credits[at], transfer.unit), pends ? credits_pending : credits_posted,
           moved.amount);
  if (pends) set_closed(holds_[moved.hold - 1], false);
  if (!budgets_.empty())
    budgets_.subtract(batch.debits[at],
                      pends ? pending_payee(holds_[moved.hold - 1]) : batch.credits[at],
                      transfer.unit, pends ? &Budget::pending : &Budget::posted, moved.amount);
}

void Ledger::truncate(const Marks& marks) {
  for (; holds_.size() > marks.holds; holds_.pop_back())
    expiries_.erase({holds_.back().expires_ns, holds_.size()});
  for (; accounts_.size() > marks.accounts; accounts_.pop_back()) {
    const Account& account = accounts_.back();
    account_of_.erase(account_hash_of(account.agent, account.unit, account.purpose),
                      uint32_t(accounts_.size() - 1));
  }
}

void Ledger::roll_back(const Batch& batch, std::span<const Moved> moved, const Marks& marks) {
  const size_t count = batch.transfers.size();
  std::vector<std::pair<size_t, size_t>> chains;
  for (size_t first = 0; first < count; first = chain_end(batch.transfers, first))
    chains.push_back({first, chain_end(batch.transfers, first)});
  for (size_t i = chains.size(); i-- > 0;) {
    const auto [first, end] = chains[i];
    const Transfer& head = batch.transfers[first];
    const bool kept = is_chain(batch.transfers, first, end) &&
                      !is_linked(batch.transfers[end - 1]) && !head.chain.none() &&
                      std::any_of(moved.begin() + ptrdiff_t(first), moved.begin() + ptrdiff_t(end),
                                  [](const Moved& one) {
                                    return one.outcome == Outcome::ok || is_transient(one.outcome);
                                  });
    if (kept) chains_.erase_last(head.chain, head.key_owner);
    for (size_t at = end; at-- > first;) take_back(batch, at, moved[at]);
  }
  truncate(marks);
}

}  // namespace hanse
