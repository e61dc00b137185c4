// Identities, standing, roles and attention in a snapshot.
#include <algorithm>

#include "agent/attention.hpp"
#include "agent/identity.hpp"
#include "agent/reputation.hpp"

namespace hanse {

void IdentityTable::encode(SnapshotWriter& out) const {
  out.table(order_.size(), [&](size_t i, FieldWriter& fields) {
    const IdentityHistory& history = of_.at(order_[i]);
    fields(order_[i], history.identity, history.entries);
  });
}

void IdentityTable::decode(SnapshotReader& in) {
  in.table([&](size_t, FieldReader& fields) {
    uint32_t agent = 0;
    Digest identity{};
    std::vector<IdentityEntry> entries;
    fields(agent, identity, entries);
    in.require(find(agent) == nullptr && !entries.empty(), "identity.agent");
    for (IdentityEntry& entry : entries) {
      in.require(entry.step <= IdentityStep::embodiment, "identity.step");
      apply(agent, identity, std::move(entry));
    }
  });
  in.expect_end();
}

void ReputationTable::encode(SnapshotWriter& out) const {
  out.put(terms_.half_life_ns, terms_.fee_per_verdict, hashed_);
  std::vector<std::pair<uint64_t, Standing>> standings(standings_.begin(), standings_.end());
  out.table(standings.size(), [&](size_t i, FieldWriter& fields) {
    fields(standings[i].first, standings[i].second);
  });
  out.table(counted_.size(), [&](size_t i, FieldWriter& fields) { fields(counted_[i]); });
  std::vector<uint64_t> pairs(pairs_.begin(), pairs_.end());
  std::sort(pairs.begin(), pairs.end());
  out.table(pairs.size(), [&](size_t i, FieldWriter& fields) { fields(pairs[i]); });
  out.table(ratings_.size(),
            [&](size_t i, FieldWriter& fields) { fields(ratings_[i].first, ratings_[i].second); });
  out.table(roles_.size(), [&](size_t i, FieldWriter& fields) { fields(roles_[i]); });
}

void ReputationTable::decode(SnapshotReader& in) {
  in.take(terms_.half_life_ns, terms_.fee_per_verdict, hashed_);
  in.table([&](size_t, FieldReader& fields) {
    uint64_t at = 0;
    Standing standing;
    fields(at, standing);
    standings_[at] = standing;
  });
  in.table([&](size_t, FieldReader& fields) { fields(counted_.emplace_back()); });
  in.table([&](size_t, FieldReader& fields) {
    uint64_t pair = 0;
    fields(pair);
    pairs_.insert(pair);
  });
  in.table([&](size_t, FieldReader& fields) {
    uint32_t task = 0;
    bool success = false;
    fields(task, success);
    ratings_.emplace_back(task, success);
  });
  in.table([&](size_t i, FieldReader& fields) {
    in.require(i < role_count_max, "role.count");
    fields(roles_.emplace_back());
  });
  in.expect_end();
}

void AttentionTable::encode(SnapshotWriter& out) const {
  std::vector<std::pair<uint32_t, Daily>> daily(of_.begin(), of_.end());
  out.table(daily.size(), [&](size_t i, FieldWriter& fields) {
    fields(daily[i].first, daily[i].second.per_day, daily[i].second.day);
  });
}

void AttentionTable::decode(SnapshotReader& in) {
  in.table([&](size_t, FieldReader& fields) {
    uint32_t human = 0;
    Daily daily;
    fields(human, daily.per_day, daily.day);
    of_[human] = daily;
  });
  in.expect_end();
}

}  // namespace hanse
