// Every attempt at every task: who tried, in which tier, what it cost, what the verdict was. From
// it follow acceptance odds and what accepted work costs, by class, tier, agent, team and window.
//
// Derived from the transitions of tasks alone, so it is no part of the state hash.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "base/ids.hpp"
#include "base/snapshot.hpp"
#include "ledger/ledger.hpp"

namespace hanse {

enum class Ending : uint8_t { open = 0, accepted = 1, rejected = 2, lost = 3 };

struct Attempt {
  uint32_t task = 0, requester = 0, worker = 0;
  uint16_t task_class = 0;
  uint8_t tier = 0;
  Ending ending = Ending::open;  // rejected: also where it went elsewhere after that
  bool first = false;            // of its task
  uint64_t started_ns = 0;       // of the task: what a window is compared with
  uint64_t spend = 0;
  Position started_at = 0, judged_at = position_none;

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.task, self.requester, self.worker, self.task_class, self.tier, self.ending,
          self.first, self.started_ns, self.spend, self.started_at, self.judged_at);
  }
};

// Of one class, tier and worker (index_none: all of the tier).
struct Odds {
  uint64_t accepted = 0, rejected = 0, lost = 0;
  uint64_t spend = 0;
};

struct CostQuery {
  std::optional<uint16_t> task_class;
  std::optional<uint8_t> tier;
  uint32_t worker = index_none;
  std::function<bool(uint32_t)> of_team;         // of requesters; empty: all
  uint64_t since_ns = 0, until_ns = UINT64_MAX;  // tasks dispatched in [since, until)
};
struct CostFound {
  uint64_t tasks = 0, attempts = 0, accepted = 0, rejected = 0, lost = 0;
  u128 spend = 0;
};

class AttemptTable {
 public:
  void apply_start(const Attempt& attempt);  // the task's attempt so far has ended by then
  void apply_spend(uint32_t task, uint64_t amount);
  void apply_end(uint32_t task, Ending ending, Position judged_at);

  // Zeros where no one has tried. worker index_none: all of that class and tier.
  Odds odds(uint16_t task_class, uint8_t tier, uint32_t worker) const;
  CostFound cost(const CostQuery& query) const;
  // Attempts of this worker that a verdict ended, oldest first, from `first` on.
  void judged(uint32_t worker, std::vector<Attempt>& attempts_out) const;
  uint64_t count() const { return attempts_.size(); }

  void encode(SnapshotWriter& out) const;  // as part of the tasks'
  void decode(SnapshotReader& in);
  uint64_t memory_bytes() const;

 private:
  Odds& odds_at(const Attempt& attempt, bool all);
  static uint64_t key(uint16_t task_class, uint8_t tier, uint32_t worker) {
    return uint64_t(worker) << 24 | uint64_t(task_class) << 8 | tier;
  }
  std::vector<Attempt> attempts_;
  std::vector<uint32_t> last_;  // by task
  std::map<uint64_t, Odds> odds_;
};

}  // namespace hanse
