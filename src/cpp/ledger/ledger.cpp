#include "ledger/ledger.hpp"

#include "base/seeded_bug.hpp"

namespace hanse {

namespace {

constexpr uint64_t per_million = 1'000'000;

void put_u128(ByteWriter& writer, u128 value) {
  writer.put(uint64_t(value));
  writer.put(uint64_t(value >> 64));
}

// Set in a byte of flags when more fields follow: what was hashed before they came keeps its hash.
constexpr uint8_t extended = 0x80;

uint8_t flags_at_birth(AccountPurpose purpose) {
  return purpose == AccountPurpose::balance ? account_flag::debits_limited : 0;
}

}  // namespace

Ledger::Ledger() { apply_unit("usd_micro"); }

uint64_t Ledger::unit_hash_of(std::string_view name) {
  return hash_bytes({reinterpret_cast<const uint8_t*>(name.data()), name.size()});
}

UnitId Ledger::unit_find(std::string_view name) const {
  const uint32_t found =
      unit_of_.find(unit_hash_of(name), [&](uint32_t unit) { return units_[unit] == name; });
  return found == index_none ? unit_none : UnitId(found);
}

void Ledger::check_unit(std::string_view name) const {
  if (name.empty()) throw Error(ErrorCode::empty, "unit", "a unit needs a name");
  if (name.size() > unit_name_size_max)
    throw Error(ErrorCode::too_large, "unit", name.size(), unit_name_size_max);
  if (units_.size() >= unit_count_max && unit_find(name) == unit_none)
    throw Error(ErrorCode::quota_exceeded, "unit", units_.size() + 1, unit_count_max);
}

UnitId Ledger::apply_unit(std::string_view name) {
  const UnitId found = unit_find(name);
  if (found != unit_none) return found;
  HANSE_ASSERT(units_.size() < unit_count_max);

  const auto unit = UnitId(units_.size());
  units_.emplace_back(name);
  unit_of_.insert(unit_hash_of(name), unit);
  totals_.push_back({});
  apply_account(0, unit, AccountPurpose::issuance);
  apply_account(0, unit, AccountPurpose::fees);
  apply_account(0, unit, AccountPurpose::usage);
  apply_account(0, unit, AccountPurpose::escrow);
  return unit;
}

const std::string& Ledger::unit_name(UnitId unit) const {
  HANSE_ASSERT(unit < units_.size());
  return units_[unit];
}

uint16_t Ledger::unit_count() const { return uint16_t(units_.size()); }

uint64_t Ledger::account_hash_of(uint32_t agent, UnitId unit, AccountPurpose purpose) {
  return mix64(agent | uint64_t(unit) << 32 | uint64_t(purpose) << 48);
}

AccountIndex Ledger::account_find(uint32_t agent_index, UnitId unit, AccountPurpose purpose) const {
  return account_of_.find(account_hash_of(agent_index, unit, purpose), [&](uint32_t index) {
    const Account& account = accounts_[index];
    return account.agent == agent_index && account.unit == unit && account.purpose == purpose;
  });
}

AccountIndex Ledger::apply_account(uint32_t agent_index, UnitId unit, AccountPurpose purpose) {
  const AccountIndex found = account_find(agent_index, unit, purpose);
  if (found != index_none) return found;
  HANSE_ASSERT(agent_index != index_none && unit < units_.size());
  HANSE_ASSERT(purpose == AccountPurpose::balance || agent_index == 0);

  const auto index = AccountIndex(accounts_.size());
  Account account;
  account.agent = agent_index;
  account.unit = unit;
  account.purpose = purpose;
  account.flags = flags_at_birth(purpose);
  accounts_.push_back(account);
  account_of_.insert(account_hash_of(agent_index, unit, purpose), index);
  account_hash_.mark(index);
  return index;
}

TransferOutcome Ledger::check_open(uint32_t agent, UnitId unit, const AccountTerms& terms) const {
  constexpr uint8_t both = account_flag::debits_limited | account_flag::credits_limited;
  if ((terms.flags & ~both) != 0 || (terms.flags & both) == both)
    return TransferOutcome::flags_exclude_each_other;
  if (unit >= units_.size()) return TransferOutcome::ok;
  const AccountIndex index = account_find(agent, unit);
  if (index == index_none) return TransferOutcome::ok;
  AccountTerms have = account(index).terms;
  have.flags &= both;
  return have == terms ? TransferOutcome::exists : TransferOutcome::exists_with_different_flags;
}

void Ledger::apply_open(uint32_t agent, UnitId unit, const AccountTerms& terms) {
  HANSE_ASSERT(account_find(agent, unit) == index_none);
  const AccountIndex index = apply_account(agent, unit);
  accounts_[index].flags = terms.flags;
  accounts_[index].has_terms = true;
  terms_.emplace(index, terms);
}

void Ledger::apply_time(uint64_t now_ns) {
  keys_.prune(now_ns);
  chains_.prune(now_ns);
}

AccountInfo Ledger::account(AccountIndex index) const {
  if (index >= accounts_.size())
    throw Error(ErrorCode::unknown_account, "account", "no such account");
  const Account& account = accounts_[index];
  AccountInfo info;
  info.owner = make_id(account.agent, 1);
  info.purpose = account.purpose;
  info.unit = account.unit;
  info.debits_pending = account.counters[debits_pending];
  info.debits_posted = account.counters[debits_posted];
  info.credits_pending = account.counters[credits_pending];
  info.credits_posted = account.counters[credits_posted];
  info.remainder = account.remainder;
  if (account.has_terms) info.terms = terms_.at(index);
  info.terms.flags = account.flags;
  return info;
}

uint64_t Ledger::available(uint32_t agent_index, UnitId unit) const {
  const AccountIndex index = account_find(agent_index, unit);
  if (index == index_none) return 0;
  const Counters& counters = accounts_[index].counters;
  const u128 debits = counters[debits_posted] + counters[debits_pending];
  // Without a limit on its debits an account may owe.
  if (debits >= counters[credits_posted]) return 0;
  return uint64_t(counters[credits_posted] - debits);
}

uint32_t Ledger::account_count() const { return uint32_t(accounts_.size()); }

void Ledger::apply_rates(UnitId unit, uint8_t tier, const Rates& rates) {
  rates_[uint32_t(unit) << 8 | tier] = rates;
}

Rates Ledger::rates(UnitId unit, uint8_t tier) const {
  const auto found = rates_.find(uint32_t(unit) << 8 | tier);
  return found == rates_.end() ? Rates{} : found->second;
}

Ledger::Charge Ledger::charge(AccountIndex payer, const Usage& usage, const Rates& rates) const {
  if (payer >= accounts_.size())
    throw Error(ErrorCode::unknown_account, "payer", "no such account");
  const uint64_t tokens[] = {usage.fresh, usage.cache_read, usage.cache_write, usage.output};
  const uint64_t prices[] = {rates.fresh, rates.cache_read, rates.cache_write, rates.output};
  u128 cost = accounts_[payer].remainder;
  bool overflows = false;
  for (size_t i = 0; i < 4; ++i)
    overflows |= __builtin_add_overflow(cost, u128(tokens[i]) * prices[i], &cost);
  if (overflows || cost / per_million > UINT64_MAX)
    throw Error(ErrorCode::amount_overflow, "usage", "its cost passes 2^64 - 1",
                make_id(accounts_[payer].agent, 1));
  return {uint64_t(cost / per_million), uint32_t(cost % per_million)};
}

void Ledger::apply_remainder(AccountIndex payer, uint32_t remainder) {
  HANSE_ASSERT(payer < accounts_.size() && remainder < per_million);
  accounts_[payer].remainder = HANSE_SEEDED_BUG(31) ? 0 : remainder;
  account_hash_.mark(payer);
}

Ledger::Totals Ledger::totals(UnitId unit) const {
  if (unit >= totals_.size()) return {};
  const Counters& counters = totals_[unit];
  return {counters[debits_posted], counters[credits_posted], counters[debits_pending],
          counters[credits_pending]};
}

Digest Ledger::units_hash() const {
  ByteWriter writer;
  writer.put(uint32_t(units_.size()));
  for (const std::string& unit : units_) writer.put_text(unit);
  writer.put(uint32_t(rates_.size()));
  for (const auto& [key, rates] : rates_) {
    writer.put(key);
    writer.put(rates.fresh);
    writer.put(rates.cache_read);
    writer.put(rates.cache_write);
    writer.put(rates.output);
  }
  return sha256(writer.bytes());
}

void Ledger::encode_account(uint32_t index, ByteWriter& writer) const {
  const Account& account = accounts_[index];
  const bool more = account.has_terms || account.flags != flags_at_birth(account.purpose);
  writer.put(account.agent);
  writer.put(account.unit);
  writer.put(uint8_t(uint8_t(account.purpose) | (more ? extended : 0)));
  writer.put(account.remainder);
  for (const u128 counter : account.counters) put_u128(writer, counter);
  if (!more) return;
  writer.put(account.flags);
  const AccountTerms terms = account.has_terms ? terms_.at(index) : AccountTerms{};
  writer.put(terms.code);
  writer.put(terms.user_data_32);
  writer.put(terms.user_data_64);
  writer.put(terms.user_data_128[0]);
  writer.put(terms.user_data_128[1]);
}

void Ledger::encode_hold(uint32_t index, ByteWriter& writer) const {
  const Hold& hold = holds_[index];
  const bool more = hold.flags != 0 || hold.post_by != 0 || hold.void_by != 0 || hold.code != 0 ||
                    hold.arbiter != index_none;
  writer.put(hold.debit);
  writer.put(hold.credit);
  writer.put(hold.amount);
  writer.put(hold.left);
  writer.put(hold.expires_ns);
  writer.put(uint8_t(uint8_t(hold.state) | (more ? extended : 0)));
  if (!more) return;
  writer.put(hold.flags);
  writer.put(hold.post_by);
  writer.put(hold.void_by);
  writer.put(hold.code);
  writer.put(hold.arbiter);
}

Digest Ledger::state_hash() const {
  Sha256 all;
  all.update(account_hash_.digest(
      account_count(), [&](uint32_t index, ByteWriter& writer) { encode_account(index, writer); }));
  all.update(hold_hash_.digest(uint32_t(holds_.size()), [&](uint32_t index, ByteWriter& writer) {
    encode_hold(index, writer);
  }));
  all.update(keys_.untimed_hash());
  all.update(units_hash());
  // What came after format 1 counts where there is some of it.
  keys_.timed_hash(all);
  if (chains_.count() != 0) {
    all.update(chains_.untimed_hash());
    chains_.timed_hash(all);
  }
  if (!budgets_.empty()) {
    ByteWriter writer;
    budgets_.encode(writer);
    all.update(writer.bytes());
  }
  return all.finish();
}

uint64_t Ledger::memory_bytes() const {
  constexpr uint64_t tree_node_overhead = 32;  // of std::set and std::map: three pointers, a colour
  return accounts_.capacity() * sizeof(Account) + holds_.capacity() * sizeof(Hold) +
         keys_.memory_bytes() + chains_.memory_bytes() + budgets_.memory_bytes() +
         account_of_.memory_bytes() + unit_of_.memory_bytes() +
         totals_.capacity() * sizeof(Counters) + units_.capacity() * sizeof(std::string) +
         expiries_.size() * (tree_node_overhead + sizeof(std::pair<uint64_t, HoldId>)) +
         terms_.size() * (tree_node_overhead + sizeof(std::pair<AccountIndex, AccountTerms>)) +
         rates_.size() * (tree_node_overhead + sizeof(std::pair<const uint32_t, Rates>));
}

}  // namespace hanse
