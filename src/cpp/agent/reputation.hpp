// What settled work says of an agent: decayed Beta counts per task class, and the roles they earn.
//
// A verdict counts as one success or failure of its worker, with the prior (1, 1); whoever asked
// for the work may turn it once, by a rating. Counts are integers, millionths of a verdict, halved
// every half-life, so that whoever folds the journal gets the same. After the beta reputation
// system (Josang and Ismail, 2002).
//
// Work inside of one party counts nothing. Two parties that work for each other both ways may be
// trading praise: their verdicts weigh at most what the house has taken as its fee, which is lost.
//
// Record plane: one thread at a time; `check` is const, `apply` follows from a record.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "base/ids.hpp"
#include "base/snapshot.hpp"

namespace hanse {

constexpr uint64_t verdict_weight = 1'000'000;  // of one verdict
constexpr uint32_t role_name_size_max = 64;
constexpr uint32_t role_count_max = 1024;

struct ReputationTerms {
  uint64_t half_life_ns = 0;             // 0: nothing fades
  uint64_t fee_per_verdict = 1'000'000;  // the house's fee that buys one whole verdict, both ways
};

struct Standing {
  uint64_t success = 0, failure = 0;    // millionths, as of at_ns
  uint64_t accepted = 0, rejected = 0;  // verdicts that counted; they don't fade
  uint64_t at_ns = 0;
  uint64_t weight() const { return success + failure; }
  // (success + 1) / (success + failure + 2), in millionths, rounded down.
  uint64_t mean() const {
    return (success + verdict_weight) * 1'000'000 / (success + failure + 2 * verdict_weight);
  }

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.success, self.failure, self.accepted, self.rejected, self.at_ns);
  }
};
// What is left of `count` after `elapsed_ns`: count * 2^-(elapsed / half life), rounded down at
// each of 16 binary digits of the fraction.
uint64_t decayed(uint64_t count, uint64_t elapsed_ns, uint64_t half_life_ns);

// A predicate; who fulfils it has the role, now.
struct Role {
  std::string name;
  std::string task_class;    // whose standing counts; empty: none does
  uint64_t mean_min = 0;     // millionths
  uint64_t weight_min = 0;   // millionths of a verdict
  uint64_t permissions = 0;  // all of these

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.name, self.task_class, self.mean_min, self.weight_min, self.permissions);
  }
};

class ReputationTable {
 public:
  // Left out of the state hash: only verdicts, which the tasks' hash covers.
  bool empty() const { return ratings_.empty() && roles_.empty() && !hashed_; }
  const ReputationTerms& terms() const { return terms_; }
  void apply_terms(const ReputationTerms& terms);

  struct Verdict {
    uint32_t task = 0, worker = 0;
    uint16_t task_class = 0;
    bool success = false;
    uint32_t requester_party = 0, worker_party = 0;  // controllers
    uint64_t house_fee = 0, time_ns = 0;
  };
  void apply_verdict(const Verdict& verdict);
  // Throws no_receipt (no verdict on the task), already_rated, self_dealing.
  void check_rating(uint32_t task, TaskId id) const;
  void apply_rating(uint32_t task, bool success, uint64_t time_ns);
  // What another kernel's journal proves, of an agent that came from there.
  void apply_imported(uint32_t worker, uint16_t task_class, const Standing& standing);

  Standing standing(uint32_t worker, uint16_t task_class, uint64_t now_ns) const;
  // Ascending by class.
  std::vector<std::pair<uint16_t, Standing>> standings(uint32_t worker, uint64_t now_ns) const;

  // Throws empty, too_large (name), out_of_range (mean), quota_exceeded.
  void check_role(const Role& role) const;
  void apply_role(const Role& role);  // replaces the one of that name
  const Role* role(std::string_view name) const;
  const std::vector<Role>& roles() const { return roles_; }

  Digest state_hash() const;
  uint64_t memory_bytes() const;
  static constexpr uint16_t snapshot_version = 1;
  void encode(SnapshotWriter& out) const;
  void decode(SnapshotReader& in);

 private:
  struct Counted {  // by task: the last verdict on it
    uint64_t at_ns = 0;
    uint32_t weight = 0, worker = index_none;
    uint16_t task_class = 0;
    bool success = false, rated = false, self_dealing = false;

    template <class Coder, class Self>
    static void each_field(Coder& coder, Self& self) {
      coder(self.at_ns, self.weight, self.worker, self.task_class, self.success, self.rated,
            self.self_dealing);
    }
  };
  static uint64_t key(uint32_t worker, uint16_t task_class) {
    return uint64_t(worker) << 16 | task_class;
  }
  void fade(Standing& standing, uint64_t now_ns) const;

  ReputationTerms terms_;
  bool hashed_ = false;
  std::map<uint64_t, Standing> standings_;  // worker << 16 | class
  std::vector<Counted> counted_;
  std::unordered_set<uint64_t> pairs_;  // requesting party << 32 | working party
  std::vector<std::pair<uint32_t, bool>> ratings_;
  std::vector<Role> roles_;
};

}  // namespace hanse
