// Accounts, holds, transfers, budgets.
#include <algorithm>

#include "simulation/model.hpp"

namespace hanse::simulation {

using Said = TransferOutcome;

namespace {

constexpr Wide most = UINT64_MAX;
constexpr uint8_t balancing = 2 | 4, closing = 8 | 16;

bool could_succeed_later(Said said) {
  return said == Said::unknown_account || said == Said::pending_not_found ||
         said == Said::exceeds_credits || said == Said::exceeds_debits ||
         said == Said::exceeds_budget || said == Said::debit_closed || said == Said::credit_closed;
}

bool sets_terms(const Transfer& t) {
  return (t.flags & 32) != 0 || t.arbiter != id_none || t.post_by || t.void_by;
}

bool nonsense(const Transfer& t) {
  const bool names_arbiter = ((t.post_by | t.void_by) & releaser::arbiter) != 0;
  return t.flags > 63 || t.post_by > 7 || t.void_by > 7 || names_arbiter != (t.arbiter != id_none);
}

uint32_t party_of(AgentId id) { return id == id_none ? index_none : index_of(id); }

}  // namespace

Wide Model::available(uint32_t agent, UnitId unit) const {
  const Purse& purse = purses[agent][unit];
  return purse.in - purse.out - purse.out_pending;
}

Purse& Model::purse_of(uint32_t party, UnitId unit) {
  return party == escrow_party ? escrow[unit] : purses[party][unit];
}

// Those below which a payment leaves: above the payer, and not above the payee.
std::vector<uint32_t> Model::levels(uint32_t from, uint32_t to, UnitId unit) const {
  std::vector<uint32_t> found;
  for (uint32_t at = from; at != index_none && !within(to, at); at = agents[at].parent)
    if (ceilings.count({at, unit})) found.push_back(at);
  return found;
}

void Model::count_budget(uint32_t from, uint32_t to, UnitId unit, Wide Ceiling::* what,
                         Wide amount) {
  if (ceilings.empty()) return;
  for (const uint32_t at : levels(from, to == escrow_party ? 0 : to, unit))
    ceilings.at({at, unit}).*what += amount;
}

Said Model::room(uint32_t from, uint32_t to, UnitId unit, uint32_t payee, Wide amount) const {
  const Purse& payer = purses[from][unit];
  const Purse& other = to == escrow_party ? escrow[unit] : purses[to][unit];
  const Wide debits = payer.out + payer.out_pending + amount;
  const Wide credits = other.in + other.in_pending + amount;
  if (debits > most || credits > most) return Said::overflow;
  if (payer.debits_limited && debits > payer.in) return Said::exceeds_credits;
  if (other.there && other.credits_limited && credits > other.out) return Said::exceeds_debits;
  if (ceilings.empty()) return Said::ok;
  for (const uint32_t at : levels(from, payee, unit)) {
    const Ceiling& ceiling = ceilings.at({at, unit});
    if (ceiling.used + ceiling.pending + amount > ceiling.limit) return Said::exceeds_budget;
  }
  return Said::ok;
}

uint64_t Model::hold_money(uint32_t from, uint32_t to, UnitId unit, uint64_t amount) {
  Promise promise;
  promise.from = from;
  promise.to = to;
  promise.unit = unit;
  promise.amount = promise.left = amount;
  purses[from][unit].out_pending += amount;
  purse_of(to, unit).in_pending += amount;
  promises.push_back(promise);
  count_budget(from, to, unit, &Ceiling::pending, amount);
  return promises.size();
}

void Model::draw(uint64_t hold, uint64_t amount, Purse& to, uint32_t to_agent) {
  Promise& promise = promises[hold - 1];
  Purse& payer = purses[promise.from][promise.unit];
  payer.out_pending -= amount;
  payer.out += amount;
  purse_of(promise.to, promise.unit).in_pending -= amount;
  to.in += amount;
  promise.left -= amount;
  const uint32_t payee = (promise.flags & 32) != 0 ? 0 : promise.to;
  count_budget(promise.from, payee, promise.unit, &Ceiling::pending, -Wide(amount));
  count_budget(promise.from, to_agent, promise.unit, &Ceiling::used, amount);
}

void Model::resolve(uint64_t hold, HoldState state) {
  Promise& promise = promises[hold - 1];
  Purse& payer = purses[promise.from][promise.unit];
  Purse& payee = purse_of(promise.to, promise.unit);
  payer.out_pending -= promise.left;
  payee.in_pending -= promise.left;
  const uint32_t level = (promise.flags & 32) != 0 ? 0 : promise.to;
  count_budget(promise.from, level, promise.unit, &Ceiling::pending, -Wide(promise.left));
  promise.left = 0;
  promise.state = state;
  if (state == HoldState::posted) return;
  if (promise.flags & transfer_flag::closing_debit) payer.closed = false;
  if (promise.flags & transfer_flag::closing_credit) payee.closed = false;
}

void Model::post(uint64_t hold, uint64_t amount) {
  const Promise promise = promises[hold - 1];
  const bool pays = (promise.flags & 32) != 0;
  const auto fee = pays ? uint64_t(Wide(amount) * fee_basis_points / 10'000) : 0;
  draw(hold, amount - fee, purses[promise.to][promise.unit], promise.to);
  if (fee != 0) draw(hold, fee, fees[promise.unit], 0);
  resolve(hold, HoldState::posted);
}

bool Model::may_end(uint32_t actor, const Promise& promise, bool post) const {
  uint8_t rights = post ? promise.post_by : promise.void_by;
  if (rights == 0) rights = releaser::debit;
  const uint32_t payee = promise.to == escrow_party ? 0 : promise.to;
  return ((rights & releaser::debit) != 0 && within(promise.from, actor)) ||
         ((rights & releaser::credit) != 0 && within(payee, actor)) ||
         ((rights & releaser::arbiter) != 0 && within(promise.arbiter, actor));
}

bool Model::sees(uint32_t actor, const Promise& promise) const {
  const uint32_t payee = promise.to == escrow_party ? 0 : promise.to;
  return same_view(actor, promise.from) || (payee != 0 && same_view(actor, payee)) ||
         (promise.arbiter != index_none && same_view(actor, promise.arbiter));
}

void Model::require_right(uint32_t actor, uint64_t hold, bool post) const {
  if (hold == 0 || hold > promises.size()) return;
  const Promise& promise = promises[hold - 1];
  if (!may_end(actor, promise, post) && sees(actor, promise))
    throw Refused{ErrorCode::not_permitted};
}

// --- commands

Answer Model::fund(uint32_t agent, uint64_t amount, UnitId unit) {
  expire();
  if (amount == 0) throw Refused{ErrorCode::out_of_range};
  Purse& purse = purses[agent][unit];
  if (purse.closed) throw Refused{ErrorCode::account_closed};
  if (issuance[unit].out + amount > most || purse.in + purse.in_pending + amount > most)
    throw Refused{ErrorCode::amount_overflow};
  if (purse.there && purse.credits_limited && purse.in + purse.in_pending + amount > purse.out)
    throw Refused{ErrorCode::exceeds_debits};
  issuance[unit].out += amount;
  purse.there = true;
  purse.in += amount;
  return {0, {commit()}};
}

Answer Model::set_rate(UnitId unit, uint8_t tier, uint64_t fresh) {
  expire();
  rates[unit][tier] = fresh;
  return {0, {commit()}};
}

Answer Model::open_account(uint32_t agent, UnitId unit, uint8_t flags) {
  expire();
  Purse& purse = purses[agent][unit];
  const auto has = uint8_t((purse.debits_limited ? 1 : 0) | (purse.credits_limited ? 2 : 0));
  if (flags == 3) throw Refused{ErrorCode::out_of_range};
  if (purse.there) {
    if (has == flags) return {0, {position_none}};
    throw Refused{ErrorCode::account_exists};
  }
  purse.there = true;
  purse.debits_limited = (flags & 1) != 0;
  purse.credits_limited = (flags & 2) != 0;
  return {0, {commit()}};
}

Answer Model::set_budget(uint32_t actor, uint32_t agent, UnitId unit, uint64_t limit) {
  expire();
  acting(actor);
  if (require_within(actor, agent) == actor) throw Refused{ErrorCode::not_permitted};
  if (labelled(actor)) deny(actor);
  const bool fresh = ceilings.count({agent, unit}) == 0;
  Ceiling& ceiling = ceilings[{agent, unit}];
  ceiling.limit = limit;
  for (const Promise& promise : promises) {
    if (!fresh || promise.unit != unit) continue;
    const uint32_t payee = promise.to == escrow_party || (promise.flags & 32) ? 0 : promise.to;
    if (within(promise.from, agent) && !within(payee, agent)) ceiling.pending += promise.left;
  }
  return {0, {commit()}};
}

Said Model::judge_end(uint32_t actor, const Transfer& t, Moved& moved) const {
  const bool posts = t.kind == TransferKind::post;
  if (nonsense(t) || (t.flags & (balancing | closing)) != 0) return Said::flags_exclude_each_other;
  if (t.pending == 0) return Said::pending_must_not_be_none;
  if (t.expires_ns != 0) return Said::expiry_reserved_for_pending;
  if (sets_terms(t)) return Said::terms_reserved_for_pending;
  if (t.pending > promises.size()) return Said::pending_not_found;
  const Promise& promise = promises[t.pending - 1];
  if (promise.to == escrow_party || !may_end(actor, promise, posts)) return Said::pending_not_found;
  if (t.debit != 0 && party_of(t.debit) != promise.from) return Said::pending_has_different_debit;
  if (t.credit != 0 && party_of(t.credit) != promise.to) return Said::pending_has_different_credit;
  if (t.unit != 0 && t.unit != promise.unit) return Said::pending_has_different_unit;
  if (t.code != 0 && t.code != promise.code) return Said::pending_has_different_code;
  const bool all = t.amount == 0 || (posts && t.amount == UINT64_MAX);
  const uint64_t amount = all ? promise.amount : t.amount;
  if (amount > promise.amount) return Said::exceeds_pending;
  if (!posts && amount != promise.amount) return Said::pending_has_different_amount;
  if (promise.state == HoldState::unknown) return Said::settlement_unknown;
  if (promise.state == HoldState::posted) return Said::already_posted;
  if (promise.state == HoldState::voided) return Said::already_voided;
  if (promise.state == HoldState::expired) return Said::already_expired;
  if (promise.expires_ns != 0 && promise.expires_ns <= std::max(last_ns + 1, now))
    return Said::already_expired;
  if (!posts) return Said::ok;
  if (purses[promise.from][promise.unit].closed) return Said::debit_closed;
  if (purses[promise.to][promise.unit].closed) return Said::credit_closed;
  moved.amount = amount;
  return Said::ok;
}

Moved Model::judge_transfer(uint32_t actor, const Transfer& t) const {
  const auto refuse = [](Said said) { return Moved{said, 0, 0}; };
  if (!t.key.none()) {
    const auto used = transfer_keys_.find({tenant(actor), t.key.low});
    if (used != transfer_keys_.end()) {
      const Transfer& b = used->second.transfer;
      if (used->second.moved.outcome != Said::ok) return refuse(Said::id_already_failed);
      if (b.kind != t.kind || ((b.flags ^ t.flags) & 31) != 0)
        return refuse(Said::exists_with_different_flags);
      if (b.pending != t.pending) return refuse(Said::exists_with_different_pending);
      if (b.expires_ns != t.expires_ns) return refuse(Said::exists_with_different_expiry);
      // What a post or void does not say is not compared.
      const bool ends = is_resolution(t);
      if (b.debit != t.debit && !(ends && t.debit == 0))
        return refuse(Said::exists_with_different_debit);
      if (b.credit != t.credit && !(ends && t.credit == 0))
        return refuse(Said::exists_with_different_credit);
      if (b.amount != t.amount) return refuse(Said::exists_with_different_amount);
      if (b.unit != t.unit && !(ends && t.unit == 0))
        return refuse(Said::exists_with_different_unit);
      if (b.code != t.code && !(ends && t.code == 0))
        return refuse(Said::exists_with_different_code);
      if (b.flags != t.flags || b.arbiter != t.arbiter || b.post_by != t.post_by ||
          b.void_by != t.void_by)
        return refuse(Said::exists_with_different_terms);
      Moved again = used->second.moved;
      again.outcome = Said::exists;
      return again;
    }
  }
  if (is_resolution(t)) {
    Moved moved;
    moved.outcome = judge_end(actor, t, moved);
    return moved;
  }
  const bool pends = t.kind == TransferKind::pending;
  if (nonsense(t)) return refuse(Said::flags_exclude_each_other);
  if (t.debit == t.credit) return refuse(Said::accounts_must_differ);
  if (t.pending != 0) return refuse(Said::pending_must_be_none);
  if (!pends && t.expires_ns != 0) return refuse(Said::expiry_reserved_for_pending);
  if (!pends && (t.flags & closing)) return refuse(Said::closing_must_be_pending);
  if (!pends && sets_terms(t)) return refuse(Said::terms_reserved_for_pending);
  if (t.amount == 0 && !(t.flags & (balancing | closing)))
    return refuse(Said::amount_must_not_be_zero);
  const uint32_t from = party_of(t.debit), to = party_of(t.credit);
  // Whose debits the actor may not name is as if it were not there.
  if (from >= agents.size() || to >= agents.size() || !within(from, actor))
    return refuse(Said::unknown_account);
  if (t.unit >= unit_count) return refuse(Said::unit_mismatch);
  const Purse &payer = purses[from][t.unit], &payee = purses[to][t.unit];
  if (!payer.there) return refuse(Said::unknown_account);
  if (payer.closed) return refuse(Said::debit_closed);
  if (payee.closed) return refuse(Said::credit_closed);
  Wide amount = t.amount;
  const auto at_most = [&](Wide limit) { amount = std::min(amount, std::max(limit, Wide(0))); };
  if (t.flags & transfer_flag::balancing_debit) at_most(payer.in - payer.out - payer.out_pending);
  if (t.flags & transfer_flag::balancing_credit) at_most(payee.out - payee.in - payee.in_pending);
  const Said said = room(from, to, t.unit, (t.flags & 32) ? 0 : to, amount);
  if (said != Said::overflow && t.expires_ns != 0 && t.expires_ns <= std::max(last_ns + 1, now))
    return refuse(Said::expiry_has_passed);
  return said == Said::ok ? Moved{Said::ok, uint64_t(amount), 0} : refuse(said);
}

void Model::do_transfer(uint32_t actor, const Transfer& t, Moved& moved) {
  if (moved.outcome == Said::ok && is_resolution(t)) {
    if (t.kind == TransferKind::post)
      post(t.pending, moved.amount);
    else
      resolve(t.pending, HoldState::voided);
  } else if (moved.outcome == Said::ok) {
    const uint32_t from = party_of(t.debit), to = party_of(t.credit);
    purses[to][t.unit].there = true;
    if (t.kind == TransferKind::pending) {
      const uint32_t level = (t.flags & 32) != 0 ? 0 : to;
      moved.hold = hold_money(from, to, t.unit, moved.amount);
      // Its fee may leave the team even where the payee doesn't.
      count_budget(from, to, t.unit, &Ceiling::pending, -Wide(moved.amount));
      count_budget(from, level, t.unit, &Ceiling::pending, moved.amount);
      Promise& promise = promises.back();
      promise.expires_ns = t.expires_ns;
      promise.code = t.code;
      promise.arbiter = party_of(t.arbiter);
      promise.post_by = t.post_by;
      promise.void_by = t.void_by;
      promise.flags = t.flags & (closing | 32);
      if (t.flags & transfer_flag::closing_debit) purses[from][t.unit].closed = true;
      if (t.flags & transfer_flag::closing_credit) purses[to][t.unit].closed = true;
    } else {
      purses[from][t.unit].out += moved.amount;
      purses[to][t.unit].in += moved.amount;
      count_budget(from, to, t.unit, &Ceiling::used, moved.amount);
    }
  }
  if (!t.key.none() && (moved.outcome == Said::ok || could_succeed_later(moved.outcome)))
    transfer_keys_[{tenant(actor), t.key.low}] = {t, moved};
}

// All or nothing; the first that fails keeps its outcome and uses its key up.
void Model::run_chain(uint32_t actor, const std::vector<Transfer>& batch, size_t first, size_t end,
                      std::vector<Moved>& moved) {
  const auto before = std::tuple(purses, fees, escrow, promises, ceilings, transfer_keys_);
  const bool open = is_linked(batch[end - 1]);
  size_t broken = end;
  for (size_t i = first; i < end && broken == end; ++i) {
    moved[i] = open && i == end - 1 ? Moved{Said::chain_open} : judge_transfer(actor, batch[i]);
    if (moved[i].outcome == Said::ok)
      do_transfer(actor, batch[i], moved[i]);
    else
      broken = i;
  }
  if (broken == end) return;
  std::tie(purses, fees, escrow, promises, ceilings, transfer_keys_) = before;
  const Said reason = moved[broken].outcome;
  for (size_t i = first; i < end; ++i) moved[i] = {Said::linked_failed};
  if (open) moved[end - 1].outcome = Said::chain_open;
  moved[broken].outcome = reason;
  do_transfer(actor, batch[broken], moved[broken]);  // uses the key up, no more
}

Answer Model::transfer(uint32_t actor, const std::vector<Transfer>& batch, bool atomic) {
  expire();
  acting(actor);
  uint64_t largest = 0;
  for (const Transfer& t : batch) largest = std::max(largest, t.amount);
  if (!permits(Action::transfer, 0, largest, false) || labelled(actor)) deny(actor);
  for (const Transfer& t : batch) {
    if (t.arbiter != id_none && !same_view(actor, index_of(t.arbiter)))
      throw Refused{ErrorCode::unknown_agent};
    const uint32_t from = party_of(t.debit);
    if (is_resolution(t))
      require_right(actor, t.pending, t.kind == TransferKind::post);
    else if (from < agents.size() && !within(from, actor) && same_view(actor, from))
      throw Refused{ErrorCode::not_permitted};
  }
  std::optional<Model> before;
  if (atomic) before = *this;
  std::vector<Moved> moved(batch.size());
  Answer answer;
  for (size_t first = 0; first < batch.size();) {
    size_t end = first + 1;
    while (end < batch.size() && is_linked(batch[end - 1])) ++end;
    if (end - first > 1 || is_linked(batch[first])) {
      run_chain(actor, batch, first, end, moved);
    } else {
      moved[first] = judge_transfer(actor, batch[first]);
      if (moved[first].outcome != Said::exists) do_transfer(actor, batch[first], moved[first]);
    }
    size_t blamed = first;
    const auto good = [](Said said) { return said == Said::ok || said == Said::exists; };
    while (blamed < end && (good(moved[blamed].outcome))) ++blamed;
    if (atomic && blamed != end) {
      blamed = first;
      while (moved[blamed].outcome == Said::linked_failed || good(moved[blamed].outcome)) ++blamed;
      const Said said = moved[blamed].outcome;
      *this = std::move(*before);
      for (size_t i = 0; i < batch.size(); ++i)
        for (const uint64_t value : {uint64_t(i == blamed ? said : Said::aborted), 0ul, 0ul})
          answer.values.push_back(value);
      answer.values.push_back(position_none);
      return answer;
    }
    first = end;
  }
  for (const Moved& one : moved)
    for (const uint64_t value : {uint64_t(one.outcome), one.amount, one.hold})
      answer.values.push_back(value);
  answer.values.push_back(commit());
  return answer;
}

Answer Model::settle(uint32_t actor, uint64_t hold, Settlement verdict, uint64_t amount) {
  expire();
  acting(actor);
  if (!permits(Action::transfer, 0, amount, false) || labelled(actor)) deny(actor);
  if (hold == 0 || hold > promises.size() || !sees(actor, promises[hold - 1]))
    throw Refused{ErrorCode::unknown_transfer};
  const Promise& promise = promises[hold - 1];
  const bool unknown = promise.state == HoldState::unknown;
  if (verdict != Settlement::voided || !unknown || !may_end(actor, promise, true))
    require_right(actor, hold, verdict != Settlement::voided);
  if (promise.to == escrow_party) throw Refused{ErrorCode::unknown_transfer};
  if (amount > promise.amount) throw Refused{ErrorCode::exceeds_hold};
  if (unknown && verdict == Settlement::unknown) throw Refused{ErrorCode::settlement_unknown};
  if (!unknown && promise.state != HoldState::open) throw Refused{ErrorCode::already_resolved};
  if (!unknown && promise.expires_ns != 0 && promise.expires_ns <= std::max(last_ns + 1, now))
    throw Refused{ErrorCode::already_resolved};
  if (verdict == Settlement::posted &&
      (purses[promise.from][promise.unit].closed || purses[promise.to][promise.unit].closed))
    throw Refused{ErrorCode::account_closed};
  if (verdict == Settlement::unknown)
    promises[hold - 1].state = HoldState::unknown;
  else if (verdict == Settlement::posted)
    post(hold, amount == 0 ? promise.amount : amount);
  else
    resolve(hold, HoldState::voided);
  return {0, {commit()}};
}

}  // namespace hanse::simulation
