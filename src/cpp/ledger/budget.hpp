// Budgets: how much may leave an agent, its team, its tenant. One check a level.
//
// A budget belongs to an agent and a unit, and counts what leaves the agent or anyone below it: a
// payment to someone else below the same agent does not leave it, so it counts only at the levels
// underneath. What is pending counts as if it were gone. `pending + posted <= limit` is checked
// before every debit; a limit may be set below what is used already, then nothing more leaves.
#pragma once

#include <functional>
#include <vector>

#include "base/bytes.hpp"
#include "base/hash_map.hpp"
#include "base/snapshot.hpp"
#include "ledger/transfer.hpp"

namespace hanse {

struct Budget {
  uint32_t agent = 0;
  UnitId unit = 0;
  uint64_t limit = 0;
  u128 pending = 0, posted = 0;  // since it was first set; pending: at that time, too

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.agent, self.unit, self.limit, self.pending, self.posted);
  }
};

class BudgetTree {
 public:
  // The parent of an agent, index_none for the root. Fixed when the agent is added.
  void set_parents(std::function<uint32_t(uint32_t)> parent_of) { parent_of_ = parent_of; }
  bool empty() const { return budgets_.empty(); }
  uint32_t count() const { return uint32_t(budgets_.size()); }
  const Budget& at(uint32_t index) const { return budgets_[index]; }

  uint32_t find(uint32_t agent, UnitId unit) const;  // index_none
  // The lowest agent whose budget `amount` more would pass; index_none: none.
  uint32_t check(uint32_t debit_agent, uint32_t credit_agent, UnitId unit, uint64_t amount) const;
  // A movement out of `agent` counts at these levels, so `pending` is what is open there.
  bool counts(uint32_t agent, uint32_t debit_agent, uint32_t credit_agent) const;

  void apply_set(uint32_t agent, UnitId unit, uint64_t limit, u128 pending);
  void add(uint32_t debit_agent, uint32_t credit_agent, UnitId unit, u128 Budget::* counter,
           uint64_t amount);
  void subtract(uint32_t debit_agent, uint32_t credit_agent, UnitId unit, u128 Budget::* counter,
                uint64_t amount);

  void encode(ByteWriter& writer) const;
  void decode(SnapshotReader& in);  // of a snapshot; `encode` is for the state hash
  void encode(SnapshotWriter& out) const;
  uint64_t memory_bytes() const {
    return budgets_.capacity() * sizeof(Budget) + budget_of_.memory_bytes();
  }

 private:
  static uint64_t hash(uint32_t agent, UnitId unit) { return mix64(agent | uint64_t(unit) << 32); }
  // Calls visit(index) for each budget that a movement counts at, lowest first, until it is false.
  template <class Visit>
  void each_level(uint32_t debit_agent, uint32_t credit_agent, UnitId unit, Visit&& visit) const;

  std::function<uint32_t(uint32_t)> parent_of_ = [](uint32_t) { return index_none; };
  std::vector<Budget> budgets_;
  HashMap budget_of_;
};

}  // namespace hanse
