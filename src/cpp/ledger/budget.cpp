#include "ledger/budget.hpp"

namespace hanse {

uint32_t BudgetTree::find(uint32_t agent, UnitId unit) const {
  return budget_of_.find(hash(agent, unit), [&](uint32_t at) {
    return budgets_[at].agent == agent && budgets_[at].unit == unit;
  });
}

bool BudgetTree::counts(uint32_t agent, uint32_t debit_agent, uint32_t credit_agent) const {
  const auto below = [&](uint32_t at) {
    for (; at != index_none; at = parent_of_(at))
      if (at == agent) return true;
    return false;
  };
  return below(debit_agent) && !below(credit_agent);
}

template <class Visit>
void BudgetTree::each_level(uint32_t debit_agent, uint32_t credit_agent, UnitId unit,
                            Visit&& visit) const {
  if (budgets_.empty()) return;
  // From the payer upwards, to the first that has the payee below it, too: nothing leaves that one
  // or those above it.
  for (uint32_t at = debit_agent; at != index_none; at = parent_of_(at)) {
    for (uint32_t to = credit_agent; to != index_none; to = parent_of_(to))
      if (to == at) return;
    const uint32_t index = find(at, unit);
    if (index != index_none && !visit(index)) return;
  }
}

uint32_t BudgetTree::check(uint32_t debit_agent, uint32_t credit_agent, UnitId unit,
                           uint64_t amount) const {
  uint32_t passed = index_none;
  each_level(debit_agent, credit_agent, unit, [&](uint32_t index) {
    const Budget& budget = budgets_[index];
    if (budget.pending + budget.posted + amount <= budget.limit) return true;
    passed = budget.agent;
    return false;
  });
  return passed;
}

void BudgetTree::apply_set(uint32_t agent, UnitId unit, uint64_t limit, u128 pending) {
  const uint32_t found = find(agent, unit);
  if (found != index_none) {
    budgets_[found].limit = limit;
    return;
  }
  budget_of_.insert(hash(agent, unit), count());
  budgets_.push_back({agent, unit, limit, pending, 0});
}

void BudgetTree::add(uint32_t debit_agent, uint32_t credit_agent, UnitId unit,
                     u128 Budget::* counter, uint64_t amount) {
  each_level(debit_agent, credit_agent, unit, [&](uint32_t index) {
    budgets_[index].*counter += amount;
    return true;
  });
}

void BudgetTree::subtract(uint32_t debit_agent, uint32_t credit_agent, UnitId unit,
                          u128 Budget::* counter, uint64_t amount) {
  each_level(debit_agent, credit_agent, unit, [&](uint32_t index) {
    HANSE_ASSERT(budgets_[index].*counter >= amount);
    budgets_[index].*counter -= amount;
    return true;
  });
}

void BudgetTree::encode(ByteWriter& writer) const {
  writer.put(count());
  for (const Budget& budget : budgets_) {
    writer.put(budget.agent);
    writer.put(budget.unit);
    writer.put(budget.limit);
    for (const u128 counter : {budget.pending, budget.posted}) {
      writer.put(uint64_t(counter));
      writer.put(uint64_t(counter >> 64));
    }
  }
}

}  // namespace hanse
