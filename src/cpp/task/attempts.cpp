#include "task/attempts.hpp"

namespace hanse {

Odds& AttemptTable::odds_at(const Attempt& attempt, bool all) {
  return odds_[key(attempt.task_class, attempt.tier, all ? index_none : attempt.worker)];
}

void AttemptTable::apply_start(const Attempt& attempt) {
  if (last_.size() <= attempt.task) last_.resize(size_t(attempt.task) + 1, index_none);
  last_[attempt.task] = uint32_t(attempts_.size());
  attempts_.push_back(attempt);
}

void AttemptTable::apply_spend(uint32_t task, uint64_t amount) {
  Attempt& attempt = attempts_[last_[task]];
  attempt.spend += amount;
  odds_at(attempt, false).spend += amount;
  odds_at(attempt, true).spend += amount;
}

void AttemptTable::apply_end(uint32_t task, Ending ending, Position judged_at) {
  Attempt& attempt = attempts_[last_[task]];
  // A rejected attempt stays one, whatever becomes of its task.
  if (attempt.ending != Ending::open) return;
  attempt.ending = ending;
  attempt.judged_at = judged_at;
  for (const bool all : {false, true}) {
    Odds& odds = odds_at(attempt, all);
    ++(ending == Ending::accepted   ? odds.accepted
       : ending == Ending::rejected ? odds.rejected
                                    : odds.lost);
  }
}

Odds AttemptTable::odds(uint16_t task_class, uint8_t tier, uint32_t worker) const {
  const auto found = odds_.find(key(task_class, tier, worker));
  return found == odds_.end() ? Odds{} : found->second;
}

CostFound AttemptTable::cost(const CostQuery& query) const {
  CostFound found;
  for (const Attempt& attempt : attempts_) {
    if (attempt.started_ns < query.since_ns || attempt.started_ns >= query.until_ns) continue;
    if (query.task_class && attempt.task_class != *query.task_class) continue;
    if (query.tier && attempt.tier != *query.tier) continue;
    if (query.worker != index_none && attempt.worker != query.worker) continue;
    if (query.of_team && !query.of_team(attempt.requester)) continue;
    ++found.attempts;
    found.tasks += attempt.first;
    found.accepted += attempt.ending == Ending::accepted;
    found.rejected += attempt.ending == Ending::rejected;
    found.lost += attempt.ending == Ending::lost;
    found.spend += attempt.spend;
  }
  return found;
}

void AttemptTable::judged(uint32_t worker, std::vector<Attempt>& attempts_out) const {
  attempts_out.clear();
  for (const Attempt& attempt : attempts_)
    if (attempt.worker == worker && attempt.judged_at != position_none &&
        (attempt.ending == Ending::accepted || attempt.ending == Ending::rejected))
      attempts_out.push_back(attempt);
}

void AttemptTable::encode(SnapshotWriter& out) const {
  out.table(attempts_.size(), [&](size_t i, FieldWriter& fields) { fields(attempts_[i]); });
}

void AttemptTable::decode(SnapshotReader& in) {
  in.table([&](size_t at, FieldReader& fields) {
    Attempt attempt;
    fields(attempt);
    in.require(at < index_none && attempt.ending <= Ending::lost, "attempt.ending");
    const Ending ending = attempt.ending;
    const uint64_t spend = attempt.spend;
    attempt.ending = Ending::open;
    attempt.spend = 0;
    apply_start(attempt);
    apply_spend(attempt.task, spend);
    if (ending != Ending::open) apply_end(attempt.task, ending, attempt.judged_at);
  });
}

uint64_t AttemptTable::memory_bytes() const {
  constexpr uint64_t tree_node_overhead = 32;  // of std::map: three pointers and a colour
  return attempts_.capacity() * sizeof(Attempt) + last_.capacity() * sizeof(uint32_t) +
         odds_.size() * (tree_node_overhead + sizeof(std::pair<uint64_t, Odds>));
}

}  // namespace hanse
