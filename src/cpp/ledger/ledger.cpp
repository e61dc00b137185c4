#include "ledger/ledger.hpp"

namespace hanse {

namespace {

constexpr uint64_t per_million = 1'000'000;

uint64_t name_hash(std::string_view name) {
  return hash_bytes({reinterpret_cast<const uint8_t*>(name.data()), name.size()});
}

void put_u128(ByteWriter& writer, u128 value) {
  writer.put(uint64_t(value));
  writer.put(uint64_t(value >> 64));
}

void put_transfer(ByteWriter& writer, const Transfer& transfer) {
  writer.put(transfer.kind);
  writer.put(transfer.debit);
  writer.put(transfer.credit);
  writer.put(transfer.amount);
  writer.put(transfer.unit);
  writer.put(transfer.key);
  writer.put(transfer.key_owner);
  writer.put(transfer.pending);
  writer.put(transfer.expires_ns);
}

}  // namespace

Ledger::Ledger() { apply_unit("usd_micro"); }

UnitId Ledger::unit_find(std::string_view name) const {
  const uint32_t found =
      unit_of_.find(name_hash(name), [&](uint32_t unit) { return units_[unit] == name; });
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
  unit_of_.insert(name_hash(name), unit);
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
  accounts_.push_back(account);
  account_of_.insert(account_hash_of(agent_index, unit, purpose), index);
  account_hash_.mark(index);
  return index;
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
  return info;
}

uint64_t Ledger::available(uint32_t agent_index, UnitId unit) const {
  const AccountIndex index = account_find(agent_index, unit);
  if (index == index_none) return 0;
  const Counters& counters = accounts_[index].counters;
  // Below 2^64: it was issued, and issuance is.
  return uint64_t(counters[credits_posted] - counters[debits_posted] - counters[debits_pending]);
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
  accounts_[payer].remainder = remainder;
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

Digest Ledger::state_hash() const {
  Sha256 all;
  all.update(account_hash_.digest(account_count(), [&](uint32_t index, ByteWriter& writer) {
    const Account& account = accounts_[index];
    writer.put(account.agent);
    writer.put(account.unit);
    writer.put(account.purpose);
    writer.put(account.remainder);
    for (const u128 counter : account.counters) put_u128(writer, counter);
  }));
  all.update(hold_hash_.digest(uint32_t(holds_.size()), [&](uint32_t index, ByteWriter& writer) {
    const Hold& hold = holds_[index];
    writer.put(hold.debit);
    writer.put(hold.credit);
    writer.put(hold.amount);
    writer.put(hold.left);
    writer.put(hold.expires_ns);
    writer.put(hold.state);
  }));
  all.update(done_hash_.digest(uint32_t(done_.size()), [&](uint32_t index, ByteWriter& writer) {
    put_transfer(writer, done_[index].transfer);
    writer.put(done_[index].outcome);
    writer.put(done_[index].hold);
  }));
  all.update(units_hash());
  return all.finish();
}

uint64_t Ledger::memory_bytes() const {
  constexpr uint64_t tree_node_overhead = 32;  // of std::set and std::map: three pointers, a colour
  return accounts_.capacity() * sizeof(Account) + holds_.capacity() * sizeof(Hold) +
         done_.capacity() * sizeof(Done) + account_of_.memory_bytes() + done_of_.memory_bytes() +
         unit_of_.memory_bytes() + totals_.capacity() * sizeof(Counters) +
         units_.capacity() * sizeof(std::string) +
         expiries_.size() * (tree_node_overhead + sizeof(std::pair<uint64_t, HoldId>)) +
         rates_.size() * (tree_node_overhead + sizeof(std::pair<const uint32_t, Rates>));
}

}  // namespace hanse
