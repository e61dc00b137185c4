// Commands that move money, and what their records do.
#include <algorithm>

#include "base/seeded_bug.hpp"
#include "kernel/inner.hpp"

namespace hanse {

namespace {

// What the record of format 1 could say. One such transfer is still written so.
bool is_of_format_1(const Transfer& transfer) {
  const bool keyed = !transfer.key.none();
  return transfer.flags == 0 && transfer.post_by == 0 && transfer.void_by == 0 &&
         transfer.code == 0 && !transfer.key.timed() && !(keyed && is_resolution(transfer)) &&
         transfer.chain.none() && transfer.user_data_32 == 0 && transfer.user_data_64 == 0 &&
         transfer.user_data_128[0] == 0 && transfer.user_data_128[1] == 0 &&
         transfer.arbiter == id_none;
}

constexpr uint8_t balancing = transfer_flag::balancing_debit | transfer_flag::balancing_credit;

MoveLine line_of(const Transfer& transfer, uint32_t debit, uint32_t credit) {
  MoveLine line;
  line.kind = transfer.kind;
  line.flags = transfer.flags;
  line.unit = transfer.unit;
  line.debit = debit;
  line.credit = credit;
  line.amount = transfer.amount;
  line.key_high = transfer.key.high;
  line.key_low = transfer.key.low;
  line.chain_high = transfer.chain.high;
  line.chain_low = transfer.chain.low;
  line.pending = transfer.pending;
  line.expires_ns = transfer.expires_ns;
  line.code = transfer.code;
  line.user_data_32 = transfer.user_data_32;
  line.user_data_64 = transfer.user_data_64;
  line.user_data_128_high = transfer.user_data_128[0];
  line.user_data_128_low = transfer.user_data_128[1];
  line.arbiter = transfer.arbiter == id_none ? index_none : index_of(transfer.arbiter);
  line.post_by = transfer.post_by;
  line.void_by = transfer.void_by;
  const bool notes = line.code != 0 || line.user_data_32 != 0 || line.user_data_64 != 0 ||
                     line.user_data_128_high != 0 || line.user_data_128_low != 0;
  const bool terms = line.arbiter != index_none || line.post_by != 0 || line.void_by != 0;
  line.has = uint8_t(
      (transfer.key.none() ? 0 : MoveLine::keyed) | (line.pending == 0 ? 0 : MoveLine::resolves) |
      (line.expires_ns == 0 ? 0 : MoveLine::expires) |
      ((line.flags & balancing) == 0 ? 0 : MoveLine::balances) | (notes ? MoveLine::notes : 0) |
      (terms ? MoveLine::terms : 0) | (transfer.chain.none() ? 0 : MoveLine::chained));
  return line;
}

AgentId id_or_none(uint32_t index) { return index == index_none ? id_none : make_id(index, 1); }

Transfer transfer_of(const MoveLine& line, uint32_t key_owner) {
  Transfer transfer;
  transfer.kind = line.kind;
  transfer.flags = line.flags;
  transfer.post_by = line.post_by;
  transfer.void_by = line.void_by;
  transfer.unit = line.unit;
  transfer.code = line.code;
  transfer.debit = id_or_none(line.debit);
  transfer.credit = id_or_none(line.credit);
  transfer.amount = line.amount;
  transfer.key = {line.key_high, line.key_low};
  transfer.chain = {line.chain_high, line.chain_low};
  transfer.key_owner = key_owner;
  transfer.user_data_32 = line.user_data_32;
  transfer.user_data_64 = line.user_data_64;
  transfer.user_data_128[0] = line.user_data_128_high;
  transfer.user_data_128[1] = line.user_data_128_low;
  transfer.pending = line.pending;
  transfer.expires_ns = line.expires_ns;
  transfer.arbiter = id_or_none(line.arbiter);
  return transfer;
}

}  // namespace

// --- what the records do

void replay_transfers(const TransferredRecord& record, uint64_t time_ns, Ledger& ledger) {
  std::vector<Transfer> transfers;
  std::vector<uint32_t> debits, credits;
  std::vector<Moved> moved;
  for (const TransferLine& line : record.lines) {
    Transfer transfer;
    transfer.kind = line.kind;
    transfer.debit = id_or_none(line.debit);
    transfer.credit = id_or_none(line.credit);
    transfer.amount = line.amount;
    transfer.unit = line.unit;
    transfer.key.low = line.key;
    transfer.key_owner = line.key_owner;
    transfer.pending = line.pending;
    transfer.expires_ns = line.expires_ns;
    transfers.push_back(transfer);
    debits.push_back(line.debit);
    credits.push_back(line.credit);
    moved.push_back({line.outcome, line.outcome == TransferOutcome::ok ? line.amount : 0, 0});
  }
  ledger.apply_batch({transfers, debits, credits, time_ns, false, {}}, moved);
  ledger.apply_time(time_ns);
}

void replay_transfers(const MovedRecord& record, uint64_t time_ns, Ledger& ledger) {
  std::vector<Transfer> transfers;
  std::vector<uint32_t> debits, credits;
  std::vector<Moved> moved;
  for (const MoveLine& line : record.lines) {
    transfers.push_back(transfer_of(line, record.key_owner));
    debits.push_back(line.debit);
    credits.push_back(line.credit);
    const uint64_t amount = (line.has & MoveLine::balances) != 0 ? line.moved : line.amount;
    moved.push_back({line.outcome, line.outcome == TransferOutcome::ok ? amount : 0, 0});
  }
  ledger.apply_batch({transfers, debits, credits, time_ns, false, {}}, moved);
  ledger.apply_time(time_ns);
}

void Kernel::Inner::apply(const Envelope& envelope, Position, TransferredRecord& record) {
  replay_transfers(record, envelope.time_ns, ledger);
}

void Kernel::Inner::apply(const Envelope& envelope, Position, MovedRecord& record) {
  replay_transfers(record, envelope.time_ns, ledger);
}

void Kernel::Inner::apply(const Envelope&, Position, AccountOpenedRecord& record) {
  ledger.apply_open(record.agent, ledger.apply_unit(record.unit), record.terms);
}

void Kernel::Inner::apply(const Envelope&, Position, BudgetSetRecord& record) {
  ledger.apply_budget(record.agent, ledger.apply_unit(record.unit), record.limit);
}

void Kernel::Inner::apply(const Envelope&, Position, SettledRecord& record) {
  ledger.apply_settlement(record.hold, record.verdict, record.amount);
}

// --- who may

bool Kernel::Inner::may_resolve(uint32_t actor, const Hold& hold, TransferKind kind) const {
  const uint8_t named = kind == TransferKind::post ? hold.post_by : hold.void_by;
  const uint8_t rights = named == 0 ? releaser::debit : named;
  const auto is = [&](uint8_t right, uint32_t agent) {
    return (rights & right) != 0 && agent != index_none && agents.within(agent, actor);
  };
  return is(releaser::debit, index_of(ledger.account(hold.debit).owner)) ||
         is(releaser::credit, index_of(ledger.account(hold.credit).owner)) ||
         is(releaser::arbiter, hold.arbiter);
}

// Debits are of the actor or of those below it; whom it credits is its own affair, subject to
// policy. A hold is posted or voided by whom it names, else by whoever may debit its account.
void Kernel::Inner::resolve_parties(uint32_t actor, std::span<Transfer> transfers,
                                    std::vector<uint32_t>& debits_out,
                                    std::vector<uint32_t>& credits_out) const {
  debits_out.reserve(transfers.size());
  credits_out.reserve(transfers.size());
  const uint32_t owner = agents.tenant(actor);
  for (Transfer& transfer : transfers) {
    transfer.key_owner = owner;
    uint32_t debit = agents.contains(transfer.debit) ? index_of(transfer.debit) : index_none;
    const uint32_t credit =
        agents.contains(transfer.credit) ? index_of(transfer.credit) : index_none;
    if (transfer.arbiter != id_none) (void)visible(actor, transfer.arbiter);
    if (is_resolution(transfer)) {
      if (transfer.pending != 0 && transfer.pending <= ledger.hold_count())
        require_right(actor, ledger.hold(transfer.pending), transfer.kind);
    } else if (debit != index_none && !agents.within(debit, actor)) {
      if (same_view(actor, debit))
        throw Error(ErrorCode::not_permitted, "debit", "is not the actor or below it",
                    agents.id_at(debit));
      debit = index_none;
    }
    debits_out.push_back(debit);
    credits_out.push_back(credit);
  }
}

// Throws where the actor may see the hold and not resolve it; another's hold just isn't there.
void Kernel::Inner::require_right(uint32_t actor, const Hold& hold, TransferKind kind) const {
  if (may_resolve(actor, hold, kind) || !sees(actor, hold)) return;
  throw Error(ErrorCode::not_permitted, "debit",
              "is not the actor or below it, and the actor may not resolve the hold",
              ledger.account(hold.debit).owner);
}

bool Kernel::Inner::sees(uint32_t actor, const Hold& hold) const {
  const uint32_t debit = index_of(ledger.account(hold.debit).owner);
  const uint32_t credit = index_of(ledger.account(hold.credit).owner);
  return same_view(actor, debit) || (credit != 0 && same_view(actor, credit)) ||
         (hold.arbiter != index_none && same_view(actor, hold.arbiter));
}

// --- commands

// Where memory runs out between two effects, part of the batch stands and no record says so:
// nothing may follow.
bool Kernel::Inner::execute_or_break(const Ledger::Batch& batch, std::span<Moved> moved_out,
                                     Ledger::Marks& marks_out) {
  try {
    return ledger.execute(batch, moved_out, marks_out);
  } catch (const std::exception& error) {
    broken = error.what();
    journal->poison(broken);
    throw;
  }
}

// The effects stand already; here they become a record, in room that was reserved.
Position Kernel::Inner::commit_transfers(uint32_t actor, const Ledger::Batch& batch,
                                         std::span<const Moved> moved) {
  if (batch.transfers.size() == 1 && is_of_format_1(batch.transfers[0])) {
    const Transfer& one = batch.transfers[0];
    const bool found = is_resolution(one) &&
                       moved[0].outcome != TransferOutcome::pending_not_found && one.pending != 0 &&
                       one.pending <= ledger.hold_count();
    const uint32_t debit =
        found ? index_of(ledger.account(ledger.hold(one.pending).debit).owner) : batch.debits[0];
    TransferredRecord record;
    record.lines.push_back({one.kind, moved[0].outcome, one.unit, debit, batch.credits[0],
                            one.amount, one.key.low, one.pending, one.expires_ns, one.key_owner});
    return commit_applied(actor, batch.now_ns, record);
  }
  MovedRecord record;
  record.key_owner = batch.transfers[0].key_owner;
  record.lines.reserve(batch.transfers.size());
  for (size_t i = 0; i < batch.transfers.size(); ++i) {
    record.lines.push_back(line_of(batch.transfers[i], batch.debits[i], batch.credits[i]));
    record.lines.back().outcome = moved[i].outcome;
    record.lines.back().moved = moved[i].amount;
  }
  return commit_applied(actor, batch.now_ns, record);
}

Position Kernel::transfer(AgentId actor, std::span<Transfer> transfers, bool atomic,
                          std::span<Moved> moved_out) {
  Inner& in = *inner_;
  in.check_open();
  if (moved_out.size() != transfers.size())
    throw Error(ErrorCode::bad_array, "moved_out", moved_out.size(), transfers.size());
  if (transfers.size() > transfers_per_record_max)
    throw Error(ErrorCode::too_large, "transfers", transfers.size(), transfers_per_record_max);
  if (transfers.empty()) return position_none;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    uint64_t largest = 0, earliest = UINT64_MAX;
    for (const Transfer& transfer : transfers) {
      largest = std::max(largest, transfer.amount);
      if (transfer.expires_ns != 0) earliest = std::min(earliest, transfer.expires_ns);
    }
    in.require_policy(me, Action::transfer, index_none,
                      int64_t(std::min<uint64_t>(largest, INT64_MAX)));
    constexpr uint64_t bytes_each = sizeof(Hold) + sizeof(UsedKey) + 64;
    in.check_memory(transfers.size() * bytes_each, "transfers");
    std::vector<uint32_t> debits, credits;
    in.resolve_parties(me, transfers, debits, credits);
    Ledger::Batch batch{transfers, debits, credits, in.next_time_ns(), atomic, {}};
    batch.may = [&](const Hold& hold, TransferKind kind) { return in.may_resolve(me, hold, kind); };
    // Room first: what is applied below must find its record's place.
    in.journal->reserve(envelope_size + 8 + transfers.size() * move_line_size_max);
    Ledger::Marks marks;
    if (!in.execute_or_break(batch, moved_out, marks)) return position_none;
    if (HANSE_SEEDED_BUG(59)) in.ledger.roll_back(batch, moved_out, marks);
    try {
      position = in.commit_transfers(me, batch, moved_out);
    } catch (...) {
      in.ledger.roll_back(batch, moved_out, marks);
      throw;
    }
    in.ledger.apply_time(batch.now_ns);
    if (earliest != UINT64_MAX) in.rearm(earliest);
  }
  in.wait(position);
  return position;
}

Position Kernel::open_account(AgentId actor, AgentId agent, std::string_view unit,
                              const AccountTerms& terms) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t target = in.within(me, agent);
    in.ledger.check_unit(unit);
    // Whoever may owe without a limit makes money; and each unit costs a table of accounts.
    const UnitId known = in.ledger.unit_find(unit);
    if (me != 0 && (terms.flags != account_flag::debits_limited || known == unit_none))
      throw Error(ErrorCode::not_permitted, "flags",
                  "only the root opens accounts without a limit on debits, or units", actor);
    in.require_policy(me, Action::fund, target);
    in.check_memory(256, "account");
    switch (in.ledger.check_open(target, known, terms)) {
      case TransferOutcome::ok:
        break;
      case TransferOutcome::exists:
        return position_none;
      case TransferOutcome::flags_exclude_each_other:
        throw Error(ErrorCode::out_of_range, "flags", "want one limit or none", agent);
      default:
        throw Error(ErrorCode::account_exists, "account", "is open on other terms", agent);
    }
    AccountOpenedRecord record{target, std::string(unit), terms};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

Position Kernel::set_budget(AgentId actor, AgentId agent, std::string_view unit, uint64_t limit) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t target = in.within(me, agent);
    if (target == me)
      throw Error(ErrorCode::not_permitted, "agent", "a budget is set by one above", agent);
    if (in.ledger.unit_find(unit) == unit_none)
      throw Error(ErrorCode::unknown_account, "unit", unit, agent);
    in.require_policy(me, Action::fund, target, int64_t(std::min<uint64_t>(limit, INT64_MAX)));
    in.check_memory(256, "budget");
    BudgetSetRecord record{target, std::string(unit), limit};
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

std::optional<Budget> Kernel::budget(AgentId actor, AgentId agent, UnitId unit) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t target = in.visible(in.agents.index_checked(actor), agent);
  const uint32_t found = in.ledger.budgets().find(target, unit);
  if (found == index_none) return std::nullopt;
  return in.ledger.budgets().at(found);
}

[[noreturn]] static void refuse_settlement(TransferOutcome outcome, HoldId hold) {
  switch (outcome) {
    case TransferOutcome::pending_not_found:
      throw Error(ErrorCode::unknown_transfer, "hold", "no such hold", hold);
    case TransferOutcome::exceeds_pending:
      throw Error(ErrorCode::exceeds_hold, "amount", "more than is held", hold);
    case TransferOutcome::settlement_unknown:
      throw Error(ErrorCode::settlement_unknown, "hold",
                  "may have been settled outside: look it up there, don't pay again", hold);
    case TransferOutcome::debit_closed:
    case TransferOutcome::credit_closed:
      throw Error(ErrorCode::account_closed, "hold", "an account of it is closed", hold);
    default:
      throw Error(ErrorCode::already_resolved, "hold", "was resolved before", hold);
  }
}

Position Kernel::settle(AgentId actor, HoldId id, Settlement verdict, uint64_t amount,
                        const Digest& evidence) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    in.require_policy(me, Action::transfer, index_none,
                      int64_t(std::min<uint64_t>(amount, INT64_MAX)));
    const uint64_t time_ns = in.next_time_ns();
    if (id == 0 || id > in.ledger.hold_count() || !in.sees(me, in.ledger.hold(id)))
      refuse_settlement(TransferOutcome::pending_not_found, id);
    const Hold& hold = in.ledger.hold(id);
    const bool reconciles = hold.state == HoldState::unknown;
    if (verdict != Settlement::voided || !reconciles ||
        !in.may_resolve(me, hold, TransferKind::post))
      in.require_right(me, hold,
                       verdict == Settlement::voided ? TransferKind::voided : TransferKind::post);
    const TransferOutcome outcome = in.ledger.check_settlement(id, verdict, amount, time_ns);
    if (outcome != TransferOutcome::ok) refuse_settlement(outcome, id);
    SettledRecord record{id, amount, verdict, evidence};
    position = in.commit_at(me, time_ns, record);
  }
  in.wait(position);
  return position;
}

Kernel::HoldInfo Kernel::hold(AgentId actor, HoldId id) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t me = in.agents.index_checked(actor);
  const Hold& hold = in.ledger.hold(id);
  if (!in.sees(me, hold)) throw Error(ErrorCode::unknown_transfer, "hold", "no such hold", id);
  const AccountInfo debit = in.ledger.account(hold.debit), credit = in.ledger.account(hold.credit);
  return {id,
          hold,
          debit.owner,
          credit.owner,
          id_or_none(hold.arbiter),
          debit.unit,
          in.ledger.of_task(hold)};
}

Kernel::KeyInfo Kernel::find_key(AgentId actor, const TransferKey& key) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t owner = in.agents.tenant(in.agents.index_checked(actor));
  if (const UsedKey* used = in.ledger.key_find(key, owner)) return {used->moved, used->transfer};
  const uint64_t now_ns = std::max(in.last_time_ns, in.clock->now_ns());
  if (key.timed() && key.time_ns() < now_ns && now_ns - key.time_ns() > key_horizon_ns)
    throw Error(ErrorCode::key_expired, "key", "is older than the horizon of 24 hours");
  throw Error(ErrorCode::unknown_transfer, "key", "was not used");
}

}  // namespace hanse
