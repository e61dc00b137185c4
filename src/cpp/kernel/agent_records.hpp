// The records of identities, delegations, reputation and steering: 60 to 69.
#pragma once

#include "agent/identity.hpp"
#include "agent/reputation.hpp"
#include "kernel/records.hpp"

namespace hanse {

struct IdentityChangedRecord {
  static constexpr RecordType type = RecordType::identity_changed;
  uint32_t agent = 0;
  IdentityStep step = IdentityStep::rotated;
  Digest previous{}, signer{}, key{};
  std::string text;
  std::vector<uint8_t> signature;
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("step", step), f("previous", previous), f("signer", signer);
    f("key", key), f("text", text), f("signature", signature);
  }
};

struct AgentMovedRecord {
  static constexpr RecordType type = RecordType::agent_moved;
  uint32_t agent = 0, parent = 0;
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("parent", parent);
  }
};

struct AgentNarrowedRecord {
  static constexpr RecordType type = RecordType::agent_narrowed;
  uint32_t agent = 0, levels = 0;
  uint64_t permissions = 0, budget_max = 0;
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("levels", levels), f("permissions", permissions);
    f("budget_max", budget_max);
  }
};

struct ReclaimedLine {
  uint32_t agent = 0;
  UnitId unit = 0;
  uint64_t amount = 0;
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("unit", unit), f("amount", amount);
  }
};

// What those about to be revoked had reserved and not spent: their open tasks end, and what they
// own goes to `to`.
struct ReclaimedRecord {
  static constexpr RecordType type = RecordType::reclaimed;
  uint32_t to = 0;
  std::vector<uint32_t> tasks;
  std::vector<ReclaimedLine> lines;
  template <class F>
  void fields(F&& f) {
    f("to", to), f("tasks", tasks), f("lines", lines);
  }
};

struct SteeredRecord {
  static constexpr RecordType type = RecordType::steered;
  uint32_t agent = 0;
  bool paused = false;
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("paused", paused);
  }
};

struct RatedRecord {
  static constexpr RecordType type = RecordType::rated;
  uint32_t task = 0;
  bool success = false;
  template <class F>
  void fields(F&& f) {
    f("task", task), f("success", success);
  }
};

struct RoleSetRecord {
  static constexpr RecordType type = RecordType::role_set;
  Role role;
  template <class F>
  void fields(F&& f) {
    f("name", role.name), f("task_class", role.task_class), f("mean_min", role.mean_min);
    f("weight_min", role.weight_min), f("permissions", role.permissions);
  }
};

struct ReputationTermsRecord {
  static constexpr RecordType type = RecordType::reputation_terms;
  ReputationTerms terms;
  template <class F>
  void fields(F&& f) {
    f("half_life_ns", terms.half_life_ns), f("fee_per_verdict", terms.fee_per_verdict);
  }
};

struct StandingLine {
  std::string task_class;
  Standing standing;
  template <class F>
  void fields(F&& f) {
    f("task_class", task_class), f("success", standing.success), f("failure", standing.failure);
    f("accepted", standing.accepted), f("rejected", standing.rejected), f("at_ns", standing.at_ns);
  }
};

struct IdentityLine {
  IdentityStep step = IdentityStep::rotated;
  Digest previous{}, signer{}, key{};
  std::string text;
  std::vector<uint8_t> signature;
  template <class F>
  void fields(F&& f) {
    f("step", step), f("previous", previous), f("signer", signer), f("key", key);
    f("text", text), f("signature", signature);
  }
};

// An agent that came with a passport: what is new in its history, and its standing elsewhere.
struct PassportAdmittedRecord {
  static constexpr RecordType type = RecordType::passport_admitted;
  uint32_t agent = 0;
  Digest source{};    // root of the journal that it came from
  Digest document{};  // of the passport
  std::vector<IdentityLine> entries;
  std::vector<StandingLine> standings;
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("source", source), f("document", document), f("entries", entries);
    f("standings", standings);
  }
};

}  // namespace hanse
