// The inside of the kernel: all state, the writer's mutex, and the steps that commands share.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <set>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "agent/attention.hpp"
#include "kernel/codec.hpp"
#include "kernel/durable_records.hpp"
#include "kernel/flow.hpp"
#include "kernel/history.hpp"
#include "kernel/kernel.hpp"
#include "kernel/records.hpp"
#include "kernel/snapshot.hpp"

namespace hanse {

constexpr uint32_t expiries_per_command_max = 256;
constexpr uint32_t undelivered_requests_max = 1u << 16;    // kept until somebody asks for them
constexpr uint32_t refusal_records_per_second_max = 1000;  // per tenant; above, they are counted
constexpr uint32_t publish_rows_per_record = 16'384;
constexpr uint32_t transfers_per_record_max = 8'190;
constexpr uint32_t rule_size_max = 256;  // the name of a rule that asks for approval
constexpr uint32_t search_rounds = 3;    // each looks further than the one before

// A task waiting to be handed to its worker; out when its record is durable.
struct PendingDelivery {
  Position position;
  uint32_t task;
  uint16_t attempt;
};

// Who a dispatch may go to, best first: filled without the writer's mutex.
struct Candidates {
  std::vector<Match> matches;
  bool complete = false;  // there are no more feasible ones
  bool dearer = false;    // none that the budget can pay, but a dearer one (escalation only)
  bool busy = false;      // one that the budget can pay has no room at the moment (likewise)
};

// What a batch has taken so far without having applied it (atomic batches only).
struct Tentative {
  u128 reserved = 0;
  std::unordered_map<uint64_t, uint32_t> slots;  // space << 32 | row
  std::unordered_set<std::string> keys;
  std::unordered_map<std::string, uint32_t> rates;  // by unit
};

// Everything that `place` decided, before it becomes a record.
struct Choice {
  Outcome outcome = Outcome::no_match;
  bool retry = false;     // the candidates were stale or all denied: look further
  bool recorded = false;  // refusals by policy or budget are events
  uint32_t worker = index_none, row = index_none;
  uint32_t space = 0, offer = 0, version = 0;
  uint8_t tier = 0;
  uint64_t price = 0, epoch = 0;
  float score = 0;
  uint8_t obligations = 0;  // what the permits that fired ask for
  std::vector<Considered> considered;
  std::vector<uint16_t> rules;
  std::vector<uint16_t> obliging;  // the permits that ask for something
  std::vector<RateLine> rates;     // taken with it
  std::string approval;            // the rule that wants a person to approve first; empty: none
  AgentId approver = id_none;      // who that is; none: whoever may
  Request question;                // of the last candidate that policy was asked about
  Decision decision;
  bool asked = false;
  std::string reason;
};

struct LogFloor;  // journal/log_index.hpp

struct Kernel::Inner {
  KernelOptions options;
  std::shared_ptr<Clock> clock;
  std::shared_ptr<Disk> disk;  // null: memory only
  Durability durability = Durability::memory;

  // Everything down to `journal` is guarded by the writer's mutex (the journal's own methods say
  // which of them need it).
  mutable std::mutex writer;
  AgentTable agents;
  CapabilityStore capabilities;
  Ledger ledger;
  IdentityTable identities;
  // By the first bytes of the identity, for agents below `identities_indexed`: made when asked.
  std::unordered_map<uint64_t, std::vector<uint32_t>> agents_of_identity;
  uint32_t identities_indexed = 0;
  ReputationTable reputation;
  AttentionTable attention;
  TaskTable tasks;
  DurableTable durable;
  DurableDraft durable_draft;               // reused by every command
  std::vector<uint64_t> durable_sequences;  // of the last committed record, one a line
  Governance governance;
  std::shared_ptr<const Program> program;  // of governance
  uint64_t epoch = 0;
  GenesisRecord genesis;
  uint64_t last_time_ns = 0;
  ByteWriter record_bytes;                              // reused by every command
  std::set<std::pair<uint64_t, HoldId>> rate_expiries;  // (when, hold): of the open holds of rates
  std::deque<PendingDelivery> deliveries;
  std::unordered_map<uint32_t, std::deque<PendingDelivery>>
      deliveries_of;                                                 // by worker, for receive
  std::unordered_map<uint32_t, std::vector<LatentId>> task_latents;  // live handles
  std::vector<uint16_t> delivered;  // attempt last handed out, by task
  struct RefusalRate {
    uint64_t second = 0;
    uint32_t recorded = 0;
    uint64_t counted = 0;
  };
  std::unordered_map<uint32_t, RefusalRate> refusal_rates;  // by tenant
  // The last decisions, for dry runs; a ring, not part of the state.
  struct Remembered {
    Request request;
    std::string task_class;
    Decision decision;
    Position position = 0;
  };
  std::vector<Remembered> remembered;
  uint64_t decisions_made = 0;
  std::string broken;  // why the kernel stopped accepting commands

  std::mutex history_mutex;          // taken before `snapshot_mutex` and `writer`
  std::unique_ptr<History> history;  // derived; catches up when it is asked
  std::atomic<uint64_t> history_bytes{0};
  // What check_memory knows; under the writer's mutex.
  uint64_t memory_counted = 0, memory_promised = 0;
  uint32_t memory_checks = 0;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<LatentPool> latents;
  std::unique_ptr<Flow> flow;
  std::atomic<uint64_t> directory_version{1};  // agents, revocations or policy changed
  std::atomic<bool> any_untrusted{false};      // some agent is; then every message is looked at
  std::atomic<bool> closed{false};
  uint32_t fork_count = 0;  // of the process, when the kernel was opened

  // Flusher.
  std::thread flusher;
  std::mutex flusher_mutex;
  std::condition_variable flusher_wake;
  bool flush_wanted = false, stopping = false;
  uint64_t armed_deadline_ns = UINT64_MAX;
  std::atomic<int> notify_fd{-1};

  // Snapshots.
  std::mutex snapshot_mutex;  // one snapshot or compaction at a time; before `writer`
  std::thread keeper;         // takes them as the journal grows; wakes with the flusher's mutex
  std::condition_variable keeper_wake;
  std::atomic<uint64_t> keeper_failures{0};  // snapshots that it could not take

  // --- open.cpp
  static std::shared_ptr<Disk> disk_for(const KernelOptions& options);
  void prepare(const KernelOptions& given, std::shared_ptr<Disk> on);
  void begin_journal(std::optional<JournalStart> start);
  void replay(Position position, Bytes record);
  void start_threads();
  void stop();
  void run_flusher();
  void redeliver_unfinished();

  // --- snapshots.cpp
  JournalStart restore(uint64_t count);  // into what was just prepared; throws corrupt, log_version
  void decode_section(const SectionEntry& entry, SnapshotReader& in, JournalStart& start);
  uint64_t write_snapshot(const JournalStart& start, const Digest& root) const;
  SnapshotInfo snapshot();
  CompactionInfo compact(Position keep_from, uint32_t snapshots);
  static KernelOptions quiet(const KernelOptions& live);
  void drop_old_snapshots();
  void write_floor(const LogFloor& floor);
  Position retained_from() const;
  void run_keeper();

  // --- checks; the writer's mutex is held unless said otherwise
  void check_open() const;               // closed, forked, poisoned; needs no mutex
  void begin();                          // check_open, not read only, due expiries applied
  uint32_t acting(AgentId actor) const;  // index; throws unknown, revoked
  uint32_t within(uint32_t actor, AgentId target) const;   // index; throws unknown, not_permitted
  uint32_t visible(uint32_t actor, AgentId target) const;  // index; throws unknown_agent
  bool same_view(uint32_t actor, uint32_t target) const;
  Lineage lineage(uint32_t agent) const;
  // --- policy.cpp
  // What is known of two parties; resource index_none: there is none.
  Request question(uint32_t actor, Action action, uint32_t resource) const;
  void require_policy(uint32_t actor, Action action, uint32_t resource, int64_t amount = 0);
  // A refusal by policy is a record and a typed error, and nothing else.
  void require_policy(uint32_t actor, const Request& request, AgentId id);
  Position record_denial(uint32_t actor, const Request& request, const Decision& decision);
  // Whether a refusal of this tenant still gets a record of its own in this second.
  bool records_refusal(uint32_t tenant, bool always);
  void remember(const Request& request, const Decision& decision);  // policy_check.cpp, as `recall`
  const Remembered* recall(size_t n) const;
  std::string name_rules(std::span<const uint16_t> rules) const;
  void check_memory(uint64_t more, const char* field);
  uint32_t check_publication(AgentId actor, const PublishRequest& request,
                             const CapabilityStore& store, uint32_t space, const Offers& offers,
                             std::span<uint32_t> indices_out);

  // --- commit
  uint64_t next_time_ns();
  // Encode, reserve, append, apply. The record may be moved from by `apply`.
  template <class Record>
  Position commit(uint32_t actor, Record&& record) {
    return commit_at(actor, next_time_ns(), record);
  }
  template <class Record>
  Position commit_at(uint32_t actor, uint64_t time_ns, Record& record) {
    Envelope envelope;
    envelope.tenant = agents.id_at(agents.tenant(actor));
    envelope.actor = agents.id_at(actor);
    envelope.time_ns = time_ns;
    encode_record(record, envelope, record_bytes);
    journal->reserve(record_bytes.size());
    const Position position = journal->append(record_bytes.bytes());
    last_time_ns = time_ns;
    apply_or_break(envelope, position, record);
    return position;
  }
  // As commit_at, for a record whose effects are applied already, in room that is reserved already.
  template <class Record>
  Position commit_applied(uint32_t actor, uint64_t time_ns, const Record& record) {
    Envelope envelope;
    envelope.tenant = agents.id_at(agents.tenant(actor));
    envelope.actor = agents.id_at(actor);
    envelope.time_ns = time_ns;
    encode_record(record, envelope, record_bytes);
    const Position position = journal->append(record_bytes.bytes());
    last_time_ns = time_ns;
    return position;
  }
  template <class Record>
  void apply_or_break(const Envelope& envelope, Position position, Record& record) {
    try {
      apply(envelope, position, record);
    } catch (const std::exception& error) {
      // The record is in the journal and its effect is not: nothing may follow.
      broken = error.what();
      journal->poison(broken);
      throw;
    }
  }
  void wait(Position position);  // without the mutex
  uint32_t expire_due(uint64_t now_ns);
  void expire_before_search();  // takes the mutex
  void rearm(uint64_t deadline_ns);

  // Puts bytes over payload_inline_max into an extent. Without the mutex: it waits for the disk.
  Bulk make_bulk(Bytes bytes);
  Bulk name_bulk(Bytes bytes) const;  // as make_bulk, but the extent is not kept
  Bytes bulk_bytes(const Bulk& bulk, std::vector<uint8_t>& scratch) const;

  // --- apply.cpp: one a record type
  void apply(const Envelope&, Position, GenesisRecord&);
  void apply(const Envelope&, Position, AgentsAddedRecord&);
  void apply(const Envelope&, Position, AgentRevokedRecord&);
  void apply(const Envelope&, Position, SpaceCreatedRecord&);
  void apply(const Envelope&, Position, PublishedRecord&);
  void apply(const Envelope&, Position, WithdrawnRecord&);
  void apply(const Envelope&, Position, PolicyLoadedRecord&);
  void apply(const Envelope&, Position, FundedRecord&);
  void apply(const Envelope&, Position, RatesSetRecord&);
  void apply(const Envelope&, Position, TransferredRecord&);
  void apply(const Envelope&, Position, DispatchedRecord&);
  void apply(const Envelope&, Position, RefusedRecord&);
  void apply(const Envelope&, Position, CompletedRecord&);
  void apply(const Envelope&, Position, JudgedRecord&);
  void apply(const Envelope&, Position, EscalatedRecord&);
  void apply(const Envelope&, Position, ExpiredRecord&);
  void apply(const Envelope&, Position, RedeliveredRecord&);
  void apply(const Envelope&, Position, RefusalsCountedRecord&);
  void apply(const Envelope&, Position, DurableDeclaredRecord&);
  void apply(const Envelope&, Position, DurableCommittedRecord&);
  void apply(const Envelope&, Position, DurableReturnedRecord&);
  void apply(const Envelope&, Position, DurableOnTermsRecord&);
  void apply(const Envelope&, Position, DurableResentRecord&);
  void apply(const Envelope&, Position, MovedRecord&);  // transfers.cpp, as those below
  void apply(const Envelope&, Position, AccountOpenedRecord&);
  void apply(const Envelope&, Position, BudgetSetRecord&);
  void apply(const Envelope&, Position, SettledRecord&);
  void apply(const Envelope&, Position, IdentityChangedRecord&);
  void apply(const Envelope&, Position, AgentMovedRecord&);
  void apply(const Envelope&, Position, AgentNarrowedRecord&);
  void apply(const Envelope&, Position, ReclaimedRecord&);
  void apply(const Envelope&, Position, SteeredRecord&);
  void apply(const Envelope&, Position, RatedRecord&);
  void apply(const Envelope&, Position, RoleSetRecord&);
  void apply(const Envelope&, Position, ReputationTermsRecord&);
  void apply(const Envelope&, Position, PassportAdmittedRecord&);
  void apply(const Envelope&, Position, TaskedRecord&);
  void apply(const Envelope&, Position, TaskedUnpaidRecord&);
  void apply_tasked(const Envelope& envelope, Position position, TaskedRecord& record, bool unpaid);
  void apply(const Envelope&, Position, TaskStartedRecord&);
  void apply(const Envelope&, Position, TaskReturnedRecord&);
  void apply(const Envelope&, Position, TaskVerifiedRecord&);
  void apply(const Envelope&, Position, TaskUnknownRecord&);
  void apply(const Envelope&, Position, CancelledRecord&);
  void apply(const Envelope&, Position, ApprovalAnsweredRecord&);
  void apply(const Envelope&, Position, AttentionSetRecord&);
  uint32_t apply_dispatched(const Envelope&, Position, DispatchedRecord&, TaskMore* more);
  void apply_verdict(const Envelope&, uint32_t task, bool success, uint64_t house);
  void apply(const Envelope&, Position, DeniedRecord&) {}
  void apply(const Envelope&, Position, TypedPolicyLoadedRecord&);  // governance.cpp
  void apply(const Envelope&, Position, GovernedRecord&);
  void apply(const Envelope&, Position, LessonRepealedRecord&);
  void apply(const Envelope&, Position, LabelChangedRecord&);  // labels.cpp
  void release_slot(const Task& task, uint32_t space, uint32_t agent, uint32_t offer);
  void settle_task(uint32_t task, HoldState state);
  std::shared_ptr<const Program> compile(std::string_view text, std::string_view schema = {}) const;

  // --- labels.cpp
  uint8_t distance_of(uint32_t agent) const;
  Outcome label_flow(uint32_t from, uint32_t to);
  bool label_ends(uint32_t from, uint32_t to) const;
  bool label_forbids(uint32_t actor, Action action) const;

  // --- governance.cpp
  static constexpr uint16_t policy_section_version = 2;
  void encode_policy(SnapshotWriter& out) const;  // governance_snapshot.cpp, as the next two
  void decode_policy(SnapshotReader& in, uint16_t version);
  void restore_policy();
  void adopt(uint64_t next_epoch);  // the program of what governance holds now
  std::shared_ptr<const Program> compile_next(std::string_view text, std::string_view schema) const;
  void require_author(uint32_t actor, Action action);
  void check_lesson(std::string_view rule, Position event) const;

  // --- placing.cpp: from a request to a choice
  void check_request(const DispatchRequest& request) const;
  Digest body_digest(const DispatchRequest& request, std::span<const LatentManifest> latents) const;
  // Without the mutex. One set of candidates a request; k grows with the round.
  void find_candidates(uint32_t actor, std::span<const DispatchRequest* const> requests,
                       uint32_t round, std::vector<Candidates>& candidates_out);
  Choice choose(uint32_t actor, const DispatchRequest& request, const Candidates& candidates,
                uint64_t budget, Action action, bool last_round, const Tentative* tentative);
  Outcome consider(uint32_t actor, const DispatchRequest& request, const Match& match,
                   uint64_t budget, Action action, const Tentative* tentative, Choice& choice);
  bool direct_match(const DispatchRequest& request, Match& match_out) const;
  void refresh_live();
  uint64_t label_of(uint32_t actor, const DispatchRequest& request) const;
  Position record_refusal(uint32_t actor, const DispatchRequest& request, const Digest& body,
                          const Choice& choice);

  // --- dispatch.cpp
  struct Prepared {
    const DispatchRequest* request = nullptr;
    Digest body{};
    Bulk payload;
    std::vector<LatentManifest> latents;
    std::vector<ReadLine> reads;  // what its latents cost, without those of the requester's own
    uint64_t reads_amount = 0;
    Outcome outcome = Outcome::ok;  // latent_unavailable
    bool done = false;
  };
  void dispatch_all(AgentId actor, std::span<const DispatchRequest> requests,
                    std::span<Receipt> receipts_out, bool atomic, bool single, bool wait_for_disk);
  void prepare(AgentId actor, std::span<const DispatchRequest> requests, bool single,
               std::vector<Prepared>& prepared_out);
  bool place(uint32_t actor, Prepared& prepared, const Candidates& candidates, bool last_round,
             Receipt& receipt_out);
  bool replayed(uint32_t actor, Prepared& prepared, Receipt& receipt_out) const;
  void place_atomic(uint32_t actor, std::vector<Prepared>& prepared,
                    const std::vector<Candidates>& candidates, std::span<Receipt> receipts_out);
  void abort_batch(uint32_t actor, size_t at, const DispatchRequest& request, const Choice& choice,
                   std::span<Receipt> receipts_out);
  void commit_dispatch(uint32_t actor, Prepared& prepared, const Choice& choice,
                       Receipt& receipt_out);
  Position commit_tasked(uint32_t actor, const DispatchRequest& request, const Choice& choice,
                         std::span<const ReadLine> reads, DispatchedRecord&& base);
  Receipt receipt_of(const KeyedResult& keyed) const;

  // --- obligations.cpp: what a dispatch owes the rules that permit it
  // Turns `ok` into `pending` or `rate_limited` where an obligation says so; else leaves it.
  uint8_t redactions(const Choice& choice) const;
  void oblige(uint32_t actor, Choice& choice, Tentative* tentative);
  void seek_approval(uint32_t actor, Choice& choice);
  uint64_t rate_taken(uint32_t tenant, std::string_view unit_name) const;

  // --- transfers.cpp
  void resolve_parties(uint32_t actor, std::span<Transfer> transfers,
                       std::vector<uint32_t>& debits_out, std::vector<uint32_t>& credits_out) const;
  bool may_resolve(uint32_t actor, const Hold& hold, TransferKind kind) const;
  void require_right(uint32_t actor, const Hold& hold, TransferKind kind) const;
  bool sees(uint32_t actor, const Hold& hold) const;
  bool execute_or_break(const Ledger::Batch& batch, std::span<Moved> moved_out,
                        Ledger::Marks& marks_out);
  Position commit_transfers(uint32_t actor, const Ledger::Batch& batch,
                            std::span<const Moved> moved);

  // --- past.cpp
  void begin_history();
  void catch_up(const Kernel::Progress& progress);  // history_mutex is held, the writer's is not
  // The house's own accounts are the root's to see.
  bool owns_view(uint32_t actor, uint32_t owner) const {
    return actor == 0 || (owner != 0 && same_view(actor, owner));
  }

  // --- tasks.cpp
  uint32_t task_for(uint32_t actor, TaskId task, bool as_worker) const;
  Position complete_one(uint32_t actor, const Completion& completion);
  Position judge_one(uint32_t actor, TaskId task, Verdict verdict, AgentId verifier);
  bool escalate_one(uint32_t actor, TaskId task, const DispatchRequest& to,
                    const Candidates& candidates, bool last_round, Receipt& receipt_out);
  void commit_escalation(uint32_t actor, uint32_t index, uint64_t left, const Choice& choice,
                         Receipt& receipt_out);
  bool busy_but_affordable(uint32_t actor, const DispatchRequest& request) const;
  void find_affordable(uint32_t actor, std::span<const DispatchRequest* const> requests,
                       uint32_t round, std::vector<Candidates>& candidates_out);
  void escalate_all(AgentId actor, std::span<const TaskId> ids, std::span<const DispatchRequest> to,
                    std::span<Receipt> receipts_out, bool single);

  // --- identity.cpp, reputation.cpp, lifecycle.cpp, people.cpp
  void commit_reclaim(uint32_t actor, uint32_t target);
  void deliver_below(uint32_t agent);
  uint32_t agent_of(const Digest& identity);                     // index_none
  bool holds_role(uint32_t agent, std::string_view role) const;  // throws unknown_role
  void check_more(uint32_t actor, const DispatchRequest& request) const;
  uint64_t deadline_of(const DispatchRequest& request) const;
  void return_tasks(uint32_t actor, std::span<const uint32_t> indices, Outcome reason);
  bool may_approve(uint32_t human, uint32_t task) const;
  std::vector<ApprovalItem> approvals(uint32_t human, Position asked_to) const;
  void check_verifier(uint32_t by, uint32_t task) const;

  // --- durable.cpp
  struct DurablePrepared {
    Bulk payload;
    Digest body{};
    Outcome outcome = Outcome::ok;
  };
  // A record that is being put together, and which message each of its lines is.
  struct DurablePending {
    struct Row {
      size_t message, line;
    };
    DurableCommittedRecord record;
    std::vector<DurableTermsLine> terms;
    std::vector<Row> rows;
    size_t size_bytes = 0;
    uint32_t group = index_none;  // of the receiver for which `allowed` was asked last
    bool allowed = false;
  };
  void prepare_durable(std::span<const DurableMessage> messages,
                       std::vector<DurablePrepared>& prepared_out);
  bool durable_key_used(uint32_t sender, size_t at, const DurableMessage& message,
                        const Digest& body, DurablePending& pending, DurableSent& sent_out) const;
  Outcome check_durable(uint32_t sender, const DurableMessage& message, DurablePending& pending);
  void add_durable(uint32_t sender, size_t at, const DurableMessage& message,
                   DurablePrepared& prepared, DurablePending& pending, DurableSent& sent_out);
  Position commit_pending(uint32_t agent, DurablePending& pending, std::span<DurableSent> sent_out);
  void send_durable_all(AgentId sender, std::span<const DurableMessage> messages,
                        std::span<DurableSent> sent_out, bool single);
  void redeliver_durable();
  uint32_t expire_durable(uint64_t now_ns);
  void expire_all_durable(uint64_t now_ns);
  void apply_committed(Position position, DurableCommittedRecord& record,
                       std::span<const DurableTermsLine> terms);
  // The mutex is held; the payloads are fetched without it.
  void take_durable(size_t count_max, std::vector<Delivery>& deliveries,
                    std::vector<Bulk>& payloads);
  bool take_durable_of(uint32_t agent, Delivery& delivery_out, Bulk& payload_out);

  // --- flow
  void queue_delivery(uint32_t task, Position position);
  LatentId hand_over(LatentId latent, uint32_t worker);
  void hold_latents(uint32_t task, uint32_t worker, std::span<const LatentId> latents);
  void drop_latents(uint32_t task);
  std::exception_ptr fetch_payloads(std::vector<Delivery>& deliveries, std::span<Bulk> payloads);
  void put_back(const Delivery& delivery);
  bool take_delivery(std::deque<PendingDelivery>& queue, Delivery& delivery_out, Bulk& payload_out);
  void sync_flow(uint32_t here);  // takes the mutex; the caller drives that shard
  bool send_allowed(uint32_t sender_group, uint32_t receiver_group);  // takes the mutex
  // Without the mutex. here: the shard that the caller drives, or index_none.
  Outcome admit(uint32_t here, AgentId sender, AgentId to);
  ShardOptions shard_options();
  void wake_by_descriptor();
  ConceptHashes state_hash() const;
};

Outcome outcome_of(const Error& error);
// The effects of these records on any books: the kernel's, and those of the history.
void apply_reclaimed(const ReclaimedRecord& record, uint64_t time_ns, Ledger& ledger);
void apply_attention(uint32_t human, uint64_t renewed, uint64_t taken, Ledger& ledger);
// The effects of a record of transfers on the books.
void replay_transfers(const TransferredRecord& record, uint64_t time_ns, Ledger& ledger);
void replay_transfers(const MovedRecord& record, uint64_t time_ns, Ledger& ledger);
uint32_t process_fork_count();

}  // namespace hanse
