// The records of the journal: one struct a transition, its fields listed once and used for
// encoding, decoding and showing.
//
// A record is an envelope and a body. It holds outcomes (the agent that was chosen, the price),
// never queries, so replay needs no index. Agents, rows and tasks are named by index.
#pragma once

#include <string>
#include <vector>

#include "agent/agent.hpp"
#include "base/bytes.hpp"
#include "capability/capability.hpp"
#include "journal/journal.hpp"
#include "ledger/ledger.hpp"
#include "task/task.hpp"

namespace hanse {

// Pinned: they are on disk. Append, never reuse.
enum class RecordType : uint16_t {
  genesis = 1,
  agents_added = 2,
  agent_revoked = 3,
  space_created = 4,
  published = 5,
  withdrawn = 6,
  policy_loaded = 7,
  funded = 8,
  rates_set = 9,
  transferred = 10,
  dispatched = 11,
  refused = 12,
  completed = 13,
  judged = 14,
  escalated = 15,
  expired = 16,
  redelivered = 17,
  refusals_counted = 18,
  durable_declared = 19,
  durable_committed = 20,
  durable_returned = 21,
  durable_on_terms = 22,
  durable_resent = 23,
  // 19 to 39 are the mailboxes'.
  moved = 40,
  account_opened = 41,
  budget_set = 42,
  settled = 43,
  // 60 to 69 are the agents', 70 to 79 the tasks' and the people's.
  identity_changed = 60,
  agent_moved = 61,
  agent_narrowed = 62,
  reclaimed = 63,
  steered = 64,
  rated = 65,
  role_set = 66,
  reputation_terms = 67,
  passport_admitted = 68,
  tasked = 70,
  task_started = 71,
  task_returned = 72,
  task_verified = 73,
  task_unknown = 74,
  cancelled = 75,
  approval_answered = 76,
  attention_set = 77,
  tasked_unpaid = 78,
  // 50 to 59 are the policy's.
  denied = 50,
  typed_policy_loaded = 51,
  governed = 52,
  lesson_repealed = 53,
  label_changed = 54,
};
// Those of policy, each with its struct.
#define HANSE_POLICY_RECORDS(X)                   \
  X(denied, DeniedRecord)                         \
  X(typed_policy_loaded, TypedPolicyLoadedRecord) \
  X(governed, GovernedRecord)                     \
  X(lesson_repealed, LessonRepealedRecord)        \
  X(label_changed, LabelChangedRecord)

// Those of agents, tasks and people, each with its struct.
#define HANSE_POPULATION_RECORDS(X)            \
  X(identity_changed, IdentityChangedRecord)   \
  X(agent_moved, AgentMovedRecord)             \
  X(agent_narrowed, AgentNarrowedRecord)       \
  X(reclaimed, ReclaimedRecord)                \
  X(steered, SteeredRecord)                    \
  X(rated, RatedRecord)                        \
  X(role_set, RoleSetRecord)                   \
  X(reputation_terms, ReputationTermsRecord)   \
  X(passport_admitted, PassportAdmittedRecord) \
  X(tasked, TaskedRecord)                      \
  X(task_started, TaskStartedRecord)           \
  X(task_returned, TaskReturnedRecord)         \
  X(task_verified, TaskVerifiedRecord)         \
  X(task_unknown, TaskUnknownRecord)           \
  X(cancelled, CancelledRecord)                \
  X(approval_answered, ApprovalAnsweredRecord) \
  X(attention_set, AttentionSetRecord)         \
  X(tasked_unpaid, TaskedUnpaidRecord)

const char* record_type_name(RecordType type);

struct Envelope {
  RecordType type = RecordType::genesis;
  uint16_t version = 1;
  uint32_t length = 0;       // of the body
  AgentId tenant = id_none;  // of the actor
  AgentId actor = id_none;
  uint64_t time_ns = 0;
};
constexpr size_t envelope_size = 2 + 2 + 4 + 8 + 8 + 8;

// Columns and texts over payload_inline_max go to an extent; then `bytes` is empty.
struct Bulk {
  uint32_t size = 0;
  Digest extent{};
  std::vector<uint8_t> bytes;
  ExtentPin pin;  // until the record that names the extent is applied; not recorded
  bool in_extent() const { return size > payload_inline_max; }
};

struct GenesisRecord {
  static constexpr RecordType type = RecordType::genesis;
  uint32_t format = 1;
  uint32_t fee_basis_points = 0;
  uint64_t instance = 0;
  template <class F>
  void fields(F&& f) {
    f("format", format), f("fee_basis_points", fee_basis_points), f("instance", instance);
  }
};

struct AgentsAddedRecord {
  static constexpr RecordType type = RecordType::agents_added;
  uint32_t parent = 0, count = 0;
  AgentKind kind = AgentKind::agent;
  uint64_t permissions = 0, budget_max = 0;
  Bulk names, identities;
  template <class F>
  void fields(F&& f) {
    f("parent", parent), f("count", count), f("kind", kind), f("permissions", permissions);
    f("budget_max", budget_max), f("names", names), f("identities", identities);
  }
};

struct AgentRevokedRecord {
  static constexpr RecordType type = RecordType::agent_revoked;
  uint32_t agent = 0;
  template <class F>
  void fields(F&& f) {
    f("agent", agent);
  }
};

struct SpaceCreatedRecord {
  static constexpr RecordType type = RecordType::space_created;
  std::string name, model;
  uint32_t dim = 0;
  Metric metric = Metric::cosine;
  template <class F>
  void fields(F&& f) {
    f("name", name), f("dim", dim), f("metric", metric), f("model", model);
  }
};

struct PublishedRecord {
  static constexpr RecordType type = RecordType::published;
  uint32_t space = 0, offer = 0, count = 0;
  Bulk columns;  // see kernel/capabilities.cpp
  template <class F>
  void fields(F&& f) {
    f("space", space), f("offer", offer), f("count", count), f("columns", columns);
  }
};

struct WithdrawnRecord {
  static constexpr RecordType type = RecordType::withdrawn;
  uint32_t space = 0, row = 0, agent = 0, offer = 0;
  template <class F>
  void fields(F&& f) {
    f("space", space), f("row", row), f("agent", agent), f("offer", offer);
  }
};

struct PolicyLoadedRecord {
  static constexpr RecordType type = RecordType::policy_loaded;
  uint64_t epoch = 0;
  Bulk text;
  template <class F>
  void fields(F&& f) {
    f("epoch", epoch), f("text", text);
  }
};

struct FundedRecord {
  static constexpr RecordType type = RecordType::funded;
  uint32_t agent = 0;
  uint64_t amount = 0;
  std::string unit;
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("amount", amount), f("unit", unit);
  }
};

struct RatesSetRecord {
  static constexpr RecordType type = RecordType::rates_set;
  std::string unit;
  uint8_t tier = 0;
  Rates rates;
  template <class F>
  void fields(F&& f) {
    f("unit", unit), f("tier", tier), f("fresh", rates.fresh), f("cache_read", rates.cache_read);
    f("cache_write", rates.cache_write), f("output", rates.output);
  }
};

struct TransferLine {
  TransferKind kind = TransferKind::single;
  TransferOutcome outcome = TransferOutcome::ok;
  UnitId unit = 0;
  uint32_t debit = 0, credit = 0;  // agent indices
  uint64_t amount = 0, key = 0, pending = 0, expires_ns = 0;
  uint32_t key_owner = 0;
  template <class F>
  void fields(F&& f) {
    f("kind", kind), f("outcome", outcome), f("unit", unit), f("debit", debit);
    f("credit", credit), f("amount", amount), f("key", key), f("pending", pending);
    f("expires_ns", expires_ns), f("key_owner", key_owner);
  }
};

struct TransferredRecord {
  static constexpr RecordType type = RecordType::transferred;
  std::vector<TransferLine> lines;
  template <class F>
  void fields(F&& f) {
    f("lines", lines);
  }
};

// A transfer with all that it may say. `has` tells which groups follow, so that a plain one is
// short.
struct MoveLine {
  enum Has : uint8_t {
    keyed = 1,
    resolves = 2,
    expires = 4,
    balances = 8,
    notes = 16,
    terms = 32,
    chained = 64
  };
  uint8_t has = 0;
  TransferKind kind = TransferKind::single;
  TransferOutcome outcome = TransferOutcome::ok;
  uint8_t flags = 0;
  UnitId unit = 0;
  uint32_t debit = index_none, credit = index_none;  // agent indices
  uint64_t amount = 0, moved = 0, key_high = 0, key_low = 0, chain_high = 0, chain_low = 0,
           pending = 0, expires_ns = 0;
  uint16_t code = 0;
  uint32_t user_data_32 = 0;
  uint64_t user_data_64 = 0, user_data_128_high = 0, user_data_128_low = 0;
  uint32_t arbiter = index_none;
  uint8_t post_by = 0, void_by = 0;
  template <class F>
  void fields(F&& f) {
    f("has", has), f("kind", kind), f("outcome", outcome), f("flags", flags), f("unit", unit);
    f("debit", debit), f("credit", credit), f("amount", amount);
    if (has & keyed) f("key_high", key_high), f("key_low", key_low);
    if (has & resolves) f("pending", pending);
    if (has & expires) f("expires_ns", expires_ns);
    if (has & balances) f("moved", moved);
    if (has & notes) {
      f("code", code), f("user_data_32", user_data_32), f("user_data_64", user_data_64);
      f("user_data_128_high", user_data_128_high), f("user_data_128_low", user_data_128_low);
    }
    if (has & terms) f("arbiter", arbiter), f("post_by", post_by), f("void_by", void_by);
    if (has & chained) f("chain_high", chain_high), f("chain_low", chain_low);
  }
};
constexpr size_t move_line_size_max = 22 + 16 + 3 * 8 + 30 + 6 + 16;

struct MovedRecord {
  static constexpr RecordType type = RecordType::moved;
  uint32_t key_owner = 0;
  std::vector<MoveLine> lines;
  template <class F>
  void fields(F&& f) {
    f("key_owner", key_owner), f("lines", lines);
  }
};

struct AccountOpenedRecord {
  static constexpr RecordType type = RecordType::account_opened;
  uint32_t agent = 0;
  std::string unit;
  AccountTerms terms;
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("unit", unit), f("flags", terms.flags), f("code", terms.code);
    f("user_data_32", terms.user_data_32), f("user_data_64", terms.user_data_64);
    f("user_data_128_high", terms.user_data_128[0]), f("user_data_128_low", terms.user_data_128[1]);
  }
};

struct BudgetSetRecord {
  static constexpr RecordType type = RecordType::budget_set;
  uint32_t agent = 0;
  std::string unit;
  uint64_t limit = 0;
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("unit", unit), f("limit", limit);
  }
};

struct SettledRecord {
  static constexpr RecordType type = RecordType::settled;
  uint64_t hold = 0, amount = 0;
  Settlement verdict = Settlement::unknown;
  Digest evidence{};  // of what the world outside answered; zero: nothing
  template <class F>
  void fields(F&& f) {
    f("hold", hold), f("verdict", verdict), f("amount", amount), f("evidence", evidence);
  }
};

// A candidate that was looked at, and what became of it; the chosen one is the last, with ok.
struct Considered {
  uint32_t agent = 0;
  float score = 0;
  Outcome outcome = Outcome::ok;
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("score", score), f("outcome", outcome);
  }
};
constexpr size_t considered_max = 16;

struct ManifestLine {
  LatentManifest manifest;
  template <class F>
  void fields(F&& f) {
    f("content", manifest.content), f("fingerprint", manifest.fingerprint);
    f("tokens", manifest.tokens), f("size_bytes", manifest.size_bytes);
  }
};

struct DispatchedRecord {
  static constexpr RecordType type = RecordType::dispatched;
  uint32_t requester = 0, worker = 0, space = 0, row = index_none, offer = 0, version = 0;
  uint8_t tier = 0;
  UnitId unit = 0;
  uint64_t price = 0, budget = 0, deadline_ns = 0, epoch = 0;
  float score = 0;
  bool verifier_required = false;
  std::string task_class;
  std::vector<uint8_t> key;
  Digest body{};
  Bulk payload;
  std::vector<ManifestLine> latents;
  std::vector<Considered> considered;
  std::vector<uint16_t> rules;
  template <class F>
  void fields(F&& f) {
    f("requester", requester), f("worker", worker), f("space", space), f("row", row);
    f("offer", offer), f("version", version), f("tier", tier), f("unit", unit), f("price", price);
    f("budget", budget), f("deadline_ns", deadline_ns), f("epoch", epoch), f("score", score);
    f("verifier_required", verifier_required), f("task_class", task_class), f("key", key);
    f("body", body), f("payload", payload), f("latents", latents), f("considered", considered);
    f("rules", rules);
  }
};

// What one agent is paid for its tokens of a latent that goes with a task.
struct ReadLine {
  uint32_t latent = 0;  // which of the record's latents
  uint32_t producer = 0, tokens = 0;
  uint64_t amount = 0;
  template <class F>
  void fields(F&& f) {
    f("latent", latent), f("producer", producer), f("tokens", tokens), f("amount", amount);
  }
};

struct RefusedRecord {
  static constexpr RecordType type = RecordType::refused;
  uint32_t requester = 0;
  Outcome outcome = Outcome::denied;
  uint64_t budget = 0, epoch = 0;
  std::string task_class;
  std::vector<uint8_t> key;
  Digest body{};
  std::vector<Considered> considered;
  std::vector<uint16_t> rules;
  template <class F>
  void fields(F&& f) {
    f("requester", requester), f("outcome", outcome), f("budget", budget), f("epoch", epoch);
    f("task_class", task_class), f("key", key), f("body", body), f("considered", considered);
    f("rules", rules);
  }
};

struct CompletedRecord {
  static constexpr RecordType type = RecordType::completed;
  uint32_t task = 0;
  Digest artifact{};
  Usage usage;
  uint64_t cost = 0;
  uint32_t remainder = 0;  // of the payer's account afterwards
  template <class F>
  void fields(F&& f) {
    f("task", task), f("artifact", artifact), f("fresh", usage.fresh);
    f("cache_read", usage.cache_read), f("cache_write", usage.cache_write);
    f("output", usage.output), f("cost", cost), f("remainder", remainder);
  }
};

struct JudgedRecord {
  static constexpr RecordType type = RecordType::judged;
  uint32_t task = 0;
  uint8_t verdict = 0;
  uint32_t verifier = index_none;
  uint64_t fee = 0, house = 0, epoch = 0;
  Outcome reason = Outcome::ok;  // of a withdrawal: budget_exceeded when escalation ran out
  template <class F>
  void fields(F&& f) {
    f("task", task), f("verdict", verdict), f("verifier", verifier), f("fee", fee);
    f("house", house), f("epoch", epoch), f("reason", reason);
  }
};

struct EscalatedRecord {
  static constexpr RecordType type = RecordType::escalated;
  uint32_t task = 0, worker = 0, space = 0, row = index_none, offer = 0, version = 0;
  uint8_t tier = 0;
  uint64_t price = 0, reserved = 0, epoch = 0;
  float score = 0;
  std::vector<Considered> considered;
  std::vector<uint16_t> rules;
  template <class F>
  void fields(F&& f) {
    f("task", task), f("worker", worker), f("space", space), f("row", row), f("offer", offer);
    f("version", version), f("tier", tier), f("price", price), f("reserved", reserved);
    f("epoch", epoch), f("score", score), f("considered", considered), f("rules", rules);
  }
};

struct ExpiredRecord {
  static constexpr RecordType type = RecordType::expired;
  std::vector<uint32_t> tasks;
  std::vector<uint64_t> holds;
  template <class F>
  void fields(F&& f) {
    f("tasks", tasks), f("holds", holds);
  }
};

struct RedeliveredRecord {
  static constexpr RecordType type = RecordType::redelivered;
  std::vector<uint32_t> tasks;
  template <class F>
  void fields(F&& f) {
    f("tasks", tasks);
  }
};

// Refusals above the rate at which each gets a record of its own.
struct RefusalsCountedRecord {
  static constexpr RecordType type = RecordType::refusals_counted;
  uint32_t tenant = 0;
  uint64_t count = 0;
  template <class F>
  void fields(F&& f) {
    f("tenant", tenant), f("count", count);
  }
};

}  // namespace hanse
