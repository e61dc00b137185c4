// Accounts, holds, keys, budgets and rates in a snapshot. Totals, and which hold expires when,
// follow from them.
#include "ledger/ledger.hpp"

namespace hanse {

void BudgetTree::encode(SnapshotWriter& out) const {
  out.table(budgets_.size(), [&](size_t i, FieldWriter& fields) { fields(budgets_[i]); });
}

void BudgetTree::decode(SnapshotReader& in) {
  in.table([&](size_t, FieldReader& fields) {
    Budget budget;
    fields(budget);
    in.require(find(budget.agent, budget.unit) == index_none, "budget.agent");
    budget_of_.insert(hash(budget.agent, budget.unit), count());
    budgets_.push_back(budget);
  });
}

void Ledger::encode(SnapshotWriter& out) const {
  out.put(fee_basis_points_);
  out.table(units_.size(), [&](size_t i, FieldWriter& fields) { fields(units_[i]); });
  out.table(accounts_.size(), [&](size_t i, FieldWriter& fields) {
    fields(accounts_[i]);
    if (accounts_[i].has_terms) fields(terms_.at(AccountIndex(i)));
  });
  out.table(holds_.size(), [&](size_t i, FieldWriter& fields) { fields(holds_[i]); });
  keys_.encode(out);
  chains_.encode(out);
  budgets_.encode(out);
  out.put(uint64_t(rates_.size()));
  for (const auto& [key, rates] : rates_) out.put(key, rates);
}

void Ledger::decode(SnapshotReader& in) {
  // Every ledger is born with a unit; what is decoded replaces it.
  units_.clear(), unit_of_ = {}, accounts_.clear(), account_of_ = {}, totals_.clear();
  in.take(fee_basis_points_);
  in.table([&](size_t i, FieldReader& fields) {
    std::string name;
    fields(name);
    in.require(i < unit_count_max && unit_find(name) == unit_none, "unit");
    unit_of_.insert(unit_hash_of(name), uint32_t(i));
    units_.push_back(std::move(name));
  });
  totals_.resize(units_.size());
  in.table([&](size_t i, FieldReader& fields) { decode_account(in, i, fields); });
  in.table([&](size_t i, FieldReader& fields) {
    Hold& hold = holds_.emplace_back();
    fields(hold);
    in.require(hold.debit < accounts_.size() && hold.credit < accounts_.size(), "hold.account");
    in.require(hold.state <= HoldState::unknown && hold.left <= hold.amount, "hold.state");
    if (hold.expires_ns != 0 && hold.state == HoldState::open && !of_task(hold))
      expiries_.insert({hold.expires_ns, HoldId(i + 1)});
    hold_hash_.mark(uint32_t(i));
  });
  keys_.decode(in);
  chains_.decode(in);
  budgets_.decode(in);
  in.table([&](size_t, FieldReader& fields) {
    uint32_t key = 0;
    fields(key);
    fields(rates_[key]);
  });
  in.expect_end();
}

void Ledger::decode_account(SnapshotReader& in, size_t at, FieldReader& fields) {
  Account account;
  fields(account);
  in.require(at < index_none && account.unit < units_.size(), "account.unit");
  in.require(account.purpose <= AccountPurpose::escrow, "account.purpose");
  in.require(account_find(account.agent, account.unit, account.purpose) == index_none,
             "account.agent");
  const auto index = AccountIndex(at);
  if (account.has_terms) fields(terms_[index]);
  for (size_t counter = 0; counter < account.counters.size(); ++counter)
    totals_[account.unit][counter] += account.counters[counter];
  account_of_.insert(account_hash_of(account.agent, account.unit, account.purpose), index);
  accounts_.push_back(account);
  account_hash_.mark(index);
}

}  // namespace hanse
