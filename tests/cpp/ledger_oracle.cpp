#include "ledger_oracle.hpp"

#include <algorithm>
#include <tuple>

namespace hanse::oracle {

static bool flagged(const Transfer& t, uint8_t flag) { return (t.flags & flag) != 0; }

// --- budgets

std::vector<uint32_t> Books::levels(uint32_t from, uint32_t to, UnitId unit) const {
  std::set<uint32_t> above_payee;
  for (uint32_t at = to; at != index_none; at = parent_of(at)) above_payee.insert(at);
  std::vector<uint32_t> found;
  for (uint32_t at = from; at != index_none && !above_payee.count(at); at = parent_of(at))
    if (ceilings_.count({at, unit})) found.push_back(at);
  return found;
}

void Books::count(uint32_t from, uint32_t to, UnitId unit, Wide Ceiling::* what, Wide amount) {
  for (const uint32_t agent : levels(from, to, unit)) {
    Ceiling& ceiling = ceilings_.at({agent, unit});
    set(ceiling.*what, Wide(ceiling.*what + amount));
  }
}

void Books::set_budget(uint32_t agent, UnitId unit, Wide limit) {
  const bool fresh = !ceilings_.count({agent, unit});
  ceilings_[{agent, unit}].limit = limit;
  if (!fresh) return;
  Wide pending = 0;
  for (const auto& [id, promise] : promises_) {
    if (promise.unit != unit || (promise.state != 'o' && promise.state != 'u')) continue;
    for (const uint32_t level : levels(promise.from, promise.fee ? 0 : promise.to, unit))
      if (level == agent) pending += promise.amount;
  }
  ceilings_[{agent, unit}].pending = pending;
}

// --- what is refused

Said Books::fund(uint32_t agent, Wide amount, UnitId unit) {
  Purse& to = purse(unit, agent);
  if (amount == 0) return Said::amount_must_not_be_zero;
  if (to.closed) return Said::credit_closed;
  if (issued_[unit] + amount > most || to.in + to.in_pending + amount > most) return Said::overflow;
  if (to.there && to.credits_limited && to.in + to.in_pending + amount > to.out)
    return Said::exceeds_debits;
  issued_[unit] += amount;
  to.there = true;
  to.in += amount;
  return Said::ok;
}

void Books::open(uint32_t agent, UnitId unit, bool debits_limited, bool credits_limited) {
  Purse& mine = purse(unit, agent);
  mine.there = true;
  mine.debits_limited = debits_limited;
  mine.credits_limited = credits_limited;
}

static Said key_said(const TransferKey& key, uint64_t now_ns) {
  if (key.high == 0) return Said::ok;
  const Wide age = Wide(now_ns) - Wide(key.high >> 16) * 1'000'000;
  if (age > Wide(24) * 3'600 * 1'000'000'000) return Said::key_expired;
  return age < -Wide(60) * 1'000'000'000 ? Said::key_too_new : Said::ok;
}

Said Books::compare(const Used& before, const Transfer& t) const {
  if (before.failed) return Said::id_already_failed;
  const Transfer& b = before.transfer;
  const bool end = is_resolution(t);
  const uint8_t visible = transfer_flag::all & ~transfer_flag::fee;
  if (b.kind != t.kind || (b.flags & visible) != (t.flags & visible))
    return Said::exists_with_different_flags;
  if (b.pending != t.pending) return Said::exists_with_different_pending;
  if (b.expires_ns != t.expires_ns) return Said::exists_with_different_expiry;
  if ((!end || t.debit != 0) && b.debit != t.debit) return Said::exists_with_different_debit;
  if ((!end || t.credit != 0) && b.credit != t.credit) return Said::exists_with_different_credit;
  if (b.amount != t.amount) return Said::exists_with_different_amount;
  if (b.user_data_128[0] != t.user_data_128[0] || b.user_data_128[1] != t.user_data_128[1])
    return Said::exists_with_different_user_data_128;
  if (b.user_data_64 != t.user_data_64) return Said::exists_with_different_user_data_64;
  if (b.user_data_32 != t.user_data_32) return Said::exists_with_different_user_data_32;
  if ((!end || t.unit != 0) && b.unit != t.unit) return Said::exists_with_different_unit;
  if ((!end || t.code != 0) && b.code != t.code) return Said::exists_with_different_code;
  if (b.flags != t.flags || b.arbiter != t.arbiter || b.post_by != t.post_by ||
      b.void_by != t.void_by)
    return Said::exists_with_different_terms;
  return Said::exists;
}

static bool nonsense(const Transfer& t) {
  const bool names_arbiter = ((t.post_by | t.void_by) & releaser::arbiter) != 0;
  return t.flags > 63 || t.post_by > 7 || t.void_by > 7 || names_arbiter != (t.arbiter != id_none);
}

static bool sets_terms(const Transfer& t) {
  return flagged(t, transfer_flag::fee) || t.arbiter != id_none || t.post_by || t.void_by;
}

Said Books::judge_end(const Transfer& t, uint64_t now_ns, Wide& amount) const {
  const uint8_t forbidden = 2 | 4 | 8 | 16;
  const bool post = t.kind == TransferKind::post;
  if (nonsense(t) || (t.flags & forbidden)) return Said::flags_exclude_each_other;
  if (t.pending == 0) return Said::pending_must_not_be_none;
  if (t.expires_ns != 0) return Said::expiry_reserved_for_pending;
  if (sets_terms(t)) return Said::terms_reserved_for_pending;
  const auto found = promises_.find(t.pending);
  if (found == promises_.end()) return Said::pending_not_found;
  const Promise& p = found->second;
  if (t.debit != 0 && t.debit != make_id(p.from, 1)) return Said::pending_has_different_debit;
  if (t.credit != 0 && t.credit != make_id(p.to, 1)) return Said::pending_has_different_credit;
  if (t.unit != 0 && t.unit != p.unit) return Said::pending_has_different_unit;
  if (t.code != 0 && t.code != p.code) return Said::pending_has_different_code;
  Wide wanted = t.amount;
  if (wanted == 0 || (post && wanted == most)) wanted = p.amount;
  if (wanted > p.amount) return Said::exceeds_pending;
  if (!post && wanted != p.amount) return Said::pending_has_different_amount;
  if (p.state == 'u') return Said::settlement_unknown;
  if (p.state == 'p') return Said::already_posted;
  if (p.state == 'v') return Said::already_voided;
  if (p.state == 'e' || (p.expires_ns != 0 && p.expires_ns <= now_ns)) return Said::already_expired;
  if (!post) return Said::ok;
  if (purse(p.unit, p.from).closed) return Said::debit_closed;
  if (purse(p.unit, p.to).closed) return Said::credit_closed;
  amount = wanted;
  return Said::ok;
}

Answer Books::judge(const Transfer& t, uint64_t now_ns) const {
  if (!t.key.none()) {
    const Said key = key_said(t.key, now_ns);
    if (key != Said::ok) return {key, 0, 0};
    const auto seen = keys_.find({t.key_owner, t.key.high, t.key.low});
    if (seen != keys_.end()) {
      Answer answer = seen->second.answer;
      answer.said = compare(seen->second, t);
      return answer.said == Said::exists ? answer : Answer{answer.said, 0, 0};
    }
  }
  if (is_resolution(t)) {
    Answer answer;
    answer.said = judge_end(t, now_ns, answer.amount);
    return answer;
  }
  const bool pends = t.kind == TransferKind::pending;
  if (nonsense(t)) return {Said::flags_exclude_each_other, 0, 0};
  if (t.debit == t.credit) return {Said::accounts_must_differ, 0, 0};
  if (t.pending != 0) return {Said::pending_must_be_none, 0, 0};
  if (!pends && t.expires_ns != 0) return {Said::expiry_reserved_for_pending, 0, 0};
  if (!pends && (t.flags & (8 | 16))) return {Said::closing_must_be_pending, 0, 0};
  if (!pends && sets_terms(t)) return {Said::terms_reserved_for_pending, 0, 0};
  if (t.amount == 0 && !(t.flags & (2 | 4 | 8 | 16))) return {Said::amount_must_not_be_zero, 0, 0};
  const auto from = agent_of(t.debit), to = agent_of(t.credit);
  if (!from || !to) return {Said::unknown_account, 0, 0};
  if (t.unit >= unit_count) return {Said::unit_mismatch, 0, 0};
  const Purse &payer = purse(t.unit, *from), &payee = purse(t.unit, *to);
  if (!payer.there) return {Said::unknown_account, 0, 0};
  if (payer.closed) return {Said::debit_closed, 0, 0};
  if (payee.closed) return {Said::credit_closed, 0, 0};
  Wide amount = t.amount;
  const auto lower = [&](Wide room) { amount = std::min(amount, std::max(room, Wide(0))); };
  if (flagged(t, 2)) lower(payer.in - payer.out - payer.out_pending);
  if (flagged(t, 4)) lower(payee.out - payee.in - payee.in_pending);
  if (payer.out + payer.out_pending + amount > most) return {Said::overflow, 0, 0};
  if (payee.in + payee.in_pending + amount > most) return {Said::overflow, 0, 0};
  if (t.expires_ns != 0 && t.expires_ns <= now_ns) return {Said::expiry_has_passed, 0, 0};
  if (payer.debits_limited && payer.out + payer.out_pending + amount > payer.in)
    return {Said::exceeds_credits, 0, 0};
  if (payee.there && payee.credits_limited && payee.in + payee.in_pending + amount > payee.out)
    return {Said::exceeds_debits, 0, 0};
  for (const uint32_t agent : levels(*from, flagged(t, 32) ? 0 : *to, t.unit)) {
    const Ceiling& ceiling = ceilings_.at({agent, t.unit});
    if (ceiling.used + ceiling.pending + amount > ceiling.limit)
      return {Said::exceeds_budget, 0, 0};
  }
  return {Said::ok, amount, 0};
}

// --- what happens

void Books::finish(uint64_t hold, char state, Wide amount) {
  Promise& p = promises_.at(hold);
  Purse &payer = purse(p.unit, p.from), &payee = purse(p.unit, p.to);
  set(payer.out_pending, Wide(payer.out_pending - p.amount));
  set(payee.in_pending, Wide(payee.in_pending - p.amount));
  count(p.from, p.fee ? 0 : p.to, p.unit, &Ceiling::pending, -p.amount);
  if (state == 'p') {
    const Wide fee = p.fee ? amount * fee_basis_points / 10'000 : 0;
    set(payer.out, Wide(payer.out + amount));
    set(payee.in, Wide(payee.in + amount - fee));
    set(fees_[p.unit], Wide(fees_[p.unit] + fee));
    count(p.from, p.to, p.unit, &Ceiling::used, amount - fee);
    count(p.from, 0, p.unit, &Ceiling::used, fee);
  } else {
    if (p.closes_from) set(payer.closed, false);
    if (p.closes_to) set(payee.closed, false);
  }
  if (p.expires_ns != 0 && p.state == 'o') {
    clock_.erase({p.expires_ns, hold});
    undo_.push_back([this, at = p.expires_ns, hold] { clock_.insert({at, hold}); });
  }
  set(p.state, state);
}

void Books::effect(const Transfer& t, Answer& answer) {
  if (is_resolution(t))
    return finish(t.pending, t.kind == TransferKind::post ? 'p' : 'v', answer.amount);
  const uint32_t from = *agent_of(t.debit), to = *agent_of(t.credit);
  Purse &payer = purse(t.unit, from), &payee = purse(t.unit, to);
  set(payee.there, true);
  if (t.kind == TransferKind::single) {
    set(payer.out, Wide(payer.out + answer.amount));
    set(payee.in, Wide(payee.in + answer.amount));
    return count(from, to, t.unit, &Ceiling::used, answer.amount);
  }
  set(payer.out_pending, Wide(payer.out_pending + answer.amount));
  set(payee.in_pending, Wide(payee.in_pending + answer.amount));
  const bool fee = flagged(t, 32);
  count(from, fee ? 0 : to, t.unit, &Ceiling::pending, answer.amount);
  answer.hold = promises_.size() + 1;
  promises_[answer.hold] = {from,         to,     t.unit,        answer.amount,
                            t.expires_ns, t.code, flagged(t, 8), flagged(t, 16),
                            fee,          'o'};
  undo_.push_back([this, hold = answer.hold] { promises_.erase(hold); });
  if (flagged(t, 8)) set(payer.closed, true);
  if (flagged(t, 16)) set(payee.closed, true);
  if (t.expires_ns != 0) {
    clock_.insert({t.expires_ns, answer.hold});
    undo_.push_back([this, at = t.expires_ns, hold = answer.hold] { clock_.erase({at, hold}); });
  }
}

static bool could_succeed_later(Said said) {
  return said == Said::unknown_account || said == Said::pending_not_found ||
         said == Said::exceeds_credits || said == Said::exceeds_debits ||
         said == Said::exceeds_budget || said == Said::debit_closed || said == Said::credit_closed;
}

Answer Books::one(const Transfer& t, uint64_t now_ns) {
  Answer answer = judge(t, now_ns);
  if (answer.said == Said::ok) effect(t, answer);
  if (!t.key.none() && (answer.said == Said::ok || could_succeed_later(answer.said))) {
    const Key key{t.key_owner, t.key.high, t.key.low};
    keys_[key] = {answer.said != Said::ok, t, answer};
    undo_.push_back([this, key] { keys_.erase(key); });
  }
  return answer;
}

static bool same_chain(const std::vector<Transfer>& a, const std::vector<Transfer>& b) {
  const auto tied = [](const Transfer& t) {
    const auto& data = t.user_data_128;
    return std::tuple(t.kind, t.flags, t.post_by, t.void_by, t.unit, t.code, t.debit, t.credit,
                      t.amount, t.key.high, t.key.low, t.user_data_32, t.user_data_64, data[0],
                      data[1], t.pending, t.expires_ns, t.arbiter);
  };
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (tied(a[i]) != tied(b[i])) return false;
  return true;
}

bool Books::chain_again(const std::vector<Transfer>& batch, size_t first, size_t end,
                        uint64_t now_ns, std::vector<Answer>& answers) {
  const Transfer& head = batch[first];
  if (head.chain.none()) return false;
  Said said = key_said(head.chain, now_ns);
  const auto seen = chains_.find({head.key_owner, head.chain.high, head.chain.low});
  if (said == Said::ok && seen == chains_.end()) return false;
  if (said == Said::ok && seen->second.failed) said = Said::id_already_failed;
  if (said == Said::ok) {
    const std::vector<Transfer> now(batch.begin() + long(first), batch.begin() + long(end));
    if (same_chain(seen->second.transfers, now)) {
      for (size_t i = first; i < end; ++i) {
        answers[i] = seen->second.answers[i - first];
        answers[i].said = Said::exists;
      }
      return true;
    }
    said = Said::exists_with_different_chain;
  }
  for (size_t i = first; i < end; ++i) answers[i] = {i == first ? said : Said::linked_failed, 0, 0};
  return true;
}

void Books::chain(const std::vector<Transfer>& batch, size_t first, size_t end, uint64_t now_ns,
                  std::vector<Answer>& answers) {
  const bool open = is_linked(batch[end - 1]);
  if (!open && chain_again(batch, first, end, now_ns, answers)) return;
  const size_t before = undo_.size();
  size_t broken = end;
  for (size_t i = first; i < end && broken == end; ++i) {
    Answer answer = open && i == end - 1 ? Answer{Said::chain_open, 0, 0} : judge(batch[i], now_ns);
    if (answer.said == Said::ok) answer = one(batch[i], now_ns);
    answers[i] = answer;
    if (answer.said != Said::ok) broken = i;
  }
  const Transfer& head = batch[first];
  const Key key{head.key_owner, head.chain.high, head.chain.low};
  const bool keyed = !open && !head.chain.none();
  if (broken == end) {
    if (!keyed) return;
    chains_[key] = {false,
                    {batch.begin() + long(first), batch.begin() + long(end)},
                    {answers.begin() + long(first), answers.begin() + long(end)}};
    undo_.push_back([this, key] { chains_.erase(key); });
    return;
  }
  const Said reason = answers[broken].said;
  take_back(before);
  for (size_t i = first; i < end; ++i) answers[i] = {Said::linked_failed, 0, 0};
  if (open) answers[end - 1].said = Said::chain_open;
  answers[broken].said = reason;
  if (!could_succeed_later(reason)) return;
  const Transfer& blamed = batch[broken];
  if (!blamed.key.none()) {
    const Key own{blamed.key_owner, blamed.key.high, blamed.key.low};
    keys_[own] = {true, blamed, {reason, 0, 0}};
    undo_.push_back([this, own] { keys_.erase(own); });
  }
  if (keyed) {
    chains_[key] = {true, {}, {}};
    undo_.push_back([this, key] { chains_.erase(key); });
  }
}

std::vector<Answer> Books::run(const std::vector<Transfer>& batch, uint64_t now_ns, bool atomic) {
  undo_.clear();
  std::vector<Answer> answers(batch.size());
  for (size_t first = 0; first < batch.size();) {
    size_t end = first + 1;
    while (end < batch.size() && is_linked(batch[end - 1])) ++end;
    if (end - first > 1 || is_linked(batch[first]))
      chain(batch, first, end, now_ns, answers);
    else
      answers[first] = one(batch[first], now_ns);
    const auto bad = [](const Answer& answer) {
      return answer.said != Said::ok && answer.said != Said::exists;
    };
    if (atomic && std::any_of(answers.begin() + long(first), answers.begin() + long(end), bad)) {
      size_t blamed = first;
      while (answers[blamed].said == Said::linked_failed) ++blamed;
      const Said said = answers[blamed].said;
      take_back(0);
      for (Answer& answer : answers) answer = {Said::aborted, 0, 0};
      answers[blamed].said = said;
      return answers;
    }
    first = end;
  }
  return answers;
}

std::vector<uint64_t> Books::expire(uint64_t now_ns, size_t limit) {
  std::vector<uint64_t> due;
  while (!clock_.empty() && clock_.begin()->first <= now_ns && due.size() < limit) {
    due.push_back(clock_.begin()->second);
    finish(due.back(), 'e', 0);
  }
  return due;
}

Said Books::settle(uint64_t hold, int verdict, Wide amount, uint64_t now_ns) {
  const auto found = promises_.find(hold);
  if (found == promises_.end()) return Said::pending_not_found;
  Promise& p = found->second;
  if (amount > p.amount) return Said::exceeds_pending;
  if (p.state == 'p') return Said::already_posted;
  if (p.state == 'v') return Said::already_voided;
  if (p.state == 'e') return Said::already_expired;
  if (p.state == 'o' && p.expires_ns != 0 && p.expires_ns <= now_ns) return Said::already_expired;
  if (p.state == 'u' && verdict == 0) return Said::settlement_unknown;
  if (verdict == 1 && purse(p.unit, p.from).closed) return Said::debit_closed;
  if (verdict == 1 && purse(p.unit, p.to).closed) return Said::credit_closed;
  if (verdict == 0) {
    clock_.erase({p.expires_ns, hold});
    p.state = 'u';
  } else {
    finish(hold, verdict == 1 ? 'p' : 'v', amount == 0 ? p.amount : amount);
  }
  undo_.clear();
  return Said::ok;
}

void Books::forget(uint64_t now_ns) {
  const auto old = [&](const Key& key) {
    return key_said({key[1], key[2]}, now_ns) == Said::key_expired;
  };
  std::erase_if(keys_, [&](const auto& one) { return old(one.first); });
  std::erase_if(chains_, [&](const auto& one) { return old(one.first); });
}

}  // namespace hanse::oracle
