// The coordination kernel: the only place that knows all concepts.
//
// Record plane: any thread may call. A command is checked completely under the writer's mutex,
// becomes one record, is appended, then applied; the call returns when the record is durable.
// `actor` is who acts; the root may act on everything, others on themselves and their descendants.
// A foreign tenant's object looks absent. Flow plane (`send`, `drain`, `receive`): see mailbox.hpp.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/agent.hpp"
#include "base/clock.hpp"
#include "capability/capability.hpp"
#include "journal/journal.hpp"
#include "kernel/dispatch.hpp"
#include "kernel/entries.hpp"
#include "kernel/governance.hpp"
#include "kernel/people.hpp"
#include "latent/latent.hpp"
#include "ledger/ledger.hpp"
#include "mailbox/durable.hpp"
#include "mailbox/mailbox.hpp"
#include "mailbox/shards.hpp"
#include "policy/policy.hpp"
#include "task/task.hpp"

namespace hanse {

constexpr uint32_t durable_batch_max = 4096;  // messages or acknowledgements in one call

struct KernelOptions {
  std::string directory;                 // empty: memory only
  std::optional<Durability> durability;  // default: each with a directory, memory without
  uint64_t memory_max = uint64_t(8) << 30;
  uint64_t segment_size_bytes_max = uint64_t(64) << 20;
  bool read_only = false;
  uint64_t seed = 0;              // keys latent ids and, not 0, fixes a new journal's identity
  uint32_t fee_basis_points = 0;  // of a worker's fee; fixed when the journal is created
  std::shared_ptr<Clock> clock;   // null: the system's
  std::shared_ptr<Disk> disk;     // null: real files in `directory`
  bool background = true;         // a flusher thread; false: the caller flushes (simulation)
  // With `background`: a snapshot whenever the journal has grown by so many bytes; 0: never.
  uint64_t snapshot_every_bytes = 0;
  // After such a snapshot, records that it holds and that are beyond either of these are dropped.
  std::optional<uint64_t> retain_bytes;  // of segments
  std::optional<uint64_t> retain_ns;     // of age
  MailboxOptions mailbox;
  uint32_t shard_count = 1;  // 1 … 64, of the mailboxes: see kernel/sharding.cpp
  LatentPoolOptions latents;
};

// A task on its way to its worker, or a message from a durable box. Out only when its record is
// durable.
struct Delivery {
  TaskId task = id_none;
  AgentId worker = id_none, requester = id_none;
  uint16_t attempt = 1;
  uint64_t deadline_ns = 0;
  std::string task_class;
  std::vector<uint8_t> payload;
  std::vector<LatentId> latents;  // live handles, id_none where the content is gone
  bool latent_missing = false;
  bool durable = false;   // a message: worker is who it is for, requester who sent it
  uint64_t sequence = 0;  // of a message, in its box
  uint8_t lane = 0;       // of a message
};

struct DurableMessage {
  AgentId to = id_none;
  Bytes payload;
  Bytes key;             // idempotency, at most 64 bytes; empty: none
  DurableTerms terms{};  // not part of what a key stands for: a retry may come later
};

// ok, replayed (then of the first one), or why not: conflict, unknown, revoked, denied (the policy
// bit of `send`), invalid (not a durable box), too_large, full, aborted.
struct DurableSent {
  Outcome outcome = Outcome::ok;
  uint64_t sequence = 0;              // in the receiver's box
  Position position = position_none;  // of the record
};

// What an agent does at once: all of it in one record, or none of it.
struct DurableCommit {
  std::span<const uint64_t> acknowledge;  // sequences in the agent's own box
  std::span<const DurableMessage> send;
  std::optional<Bytes> state;  // replaces the agent's state
};

// One event as people read it. `fields` are in the order of the record.
struct EventInfo {
  Position position = 0;
  uint64_t time_ns = 0;
  std::string type;
  AgentId tenant = id_none;
  std::vector<std::pair<std::string, std::string>> fields;
};

struct MemoryReport {
  uint64_t agents = 0, capabilities = 0, ledger = 0, tasks = 0, journal = 0, mailboxes = 0,
           latents = 0, latent_pages = 0;
};

struct ConceptHashes {
  Digest agent{}, capability{}, policy{}, ledger{}, task{}, all{};
  // Of durable boxes; none while there never was one, so that older journals keep their hash.
  std::optional<Digest> mailbox;
};

struct SnapshotInfo {
  uint64_t count = 0;  // records that it holds
  uint64_t size_bytes = 0;
  bool taken = false;  // by this call; else there was one of this position
  Digest state_hash{};
};

struct CompactionInfo {
  uint64_t freed_bytes = 0;    // of segments
  uint64_t freed_extents = 0;  // that neither a record nor the state names any more
  uint64_t freed_extent_bytes = 0;
  Position oldest = 0;  // the first record that is still there
  uint64_t count = 0;   // of the snapshot that was relied on; 0: none was, and nothing was dropped
};

class Kernel {
 public:
  static std::unique_ptr<Kernel> open(const KernelOptions& options);
  ~Kernel();
  void close();  // flushes; later calls throw closed. Idempotent.

  AgentId root() const;
  Clock& clock();

  // --- agents
  // ids_out: one for each. Throws as AgentTable::check_add, and not_permitted.
  void add_agents(AgentId actor, const AgentsAdded& added, std::span<AgentId> ids_out);
  Position revoke(AgentId actor, AgentId agent);
  AgentInfo agent(AgentId actor, AgentId agent) const;
  uint32_t agent_count() const;
  AgentId find_agent(AgentId actor, std::string_view name,
                     AgentId parent = id_none) const;  // id_none

  // A delegation that gets narrower, or goes under another parent; see AgentTable.
  Position narrow(AgentId actor, const AgentNarrowed& narrowed);
  Position move_agent(AgentId actor, AgentId agent, AgentId parent);
  // Pauses or resumes an agent and all below it, from the next operation on.
  Position steer(AgentId actor, AgentId agent, bool paused);
  // By the agent or whoever is above it; the caller has checked the signature. See IdentityTable.
  Position change_identity(AgentId actor, AgentId agent, const IdentityEntry& entry);
  IdentityHistory identity(AgentId actor, AgentId agent) const;  // throws unknown_agent: none
  // A new agent below the parent, or the one that came before with the same identity: then what
  // is new in its history is added. Throws identity_fork, broken_lineage, key_retired. The caller
  // has checked signatures and proofs.
  AgentId admit(AgentId actor, const PassportAdmission& passport);
  std::vector<OfferHeld> offers_of(AgentId agent) const;  // in all spaces

  // --- reputation and roles (kernel/reputation.cpp)
  Position set_reputation_terms(AgentId actor, const ReputationTerms& terms);  // the root's
  // The requester's opinion of a settled task, once. Throws no_receipt, already_rated,
  // self_dealing, not_permitted.
  Position rate(AgentId actor, TaskId task, bool success);
  Standing standing(AgentId actor, AgentId agent, std::string_view task_class) const;
  std::vector<NamedStanding> standings(AgentId actor, AgentId agent) const;
  Position set_role(AgentId actor, const Role& role);  // the root's
  std::vector<Role> roles() const;
  bool has_role(AgentId actor, AgentId agent,
                std::string_view role) const;  // throws unknown_role
  std::vector<Attempt> judged_attempts(AgentId actor, AgentId agent) const;
  Odds odds(std::string_view task_class, uint8_t tier, AgentId agent) const;  // none: of the tier
  CostFound cost(AgentId actor, const CostAsked& asked) const;

  // --- capabilities
  uint32_t create_space(AgentId actor, const SpaceSpec& spec);
  uint32_t space(std::string_view name) const;       // throws unknown_space
  uint32_t space_find(std::string_view name) const;  // index_none
  SpaceSpec space_spec(uint32_t space) const;
  // offers.agents are ids here; `space` index_none: "default", created by the first publish.
  struct PublishRequest {
    std::span<const AgentId> agents;
    uint32_t space = index_none;
    Offers offers;                       // .agents ignored
    std::span<const uint32_t> expected;  // versions, or empty
  };
  void publish(AgentId actor, const PublishRequest& request, std::span<uint32_t> versions_out);
  Position withdraw(AgentId actor, AgentId agent, uint32_t offer, uint32_t space);
  struct MatchRequest {
    MatrixView<const float> queries;
    uint32_t space = 0;
    std::span<const Feasible> feasible;  // one, or one a query
    SearchOptions options;
  };
  // Ids instead of indices; see CapabilityStore::search for the shapes.
  void match(AgentId actor, const MatchRequest& request, std::span<AgentId> agents_out,
             std::span<uint32_t> offers_out, std::span<uint32_t> versions_out,
             std::span<float> scores_out, std::span<int32_t> counts_out);
  Refusals explain_match(AgentId actor, uint32_t space, const Feasible& feasible);

  // --- policy
  // -> epoch. The lessons that stand are part of every program. schema: see Program::compile.
  uint64_t load_policy(AgentId actor, std::string_view text, std::string_view schema = {});
  // What the rules would say, without effect. One decision a question; all by one program, which
  // is the return value. Throws unknown_agent, bad_array (sizes), out_of_range, wrong_type
  // (context).
  std::shared_ptr<const Program> check_policy(AgentId actor, const PolicyQuestions& questions,
                                              std::span<Decision> decisions_out) const;
  // The last decisions, newest first, by other rules: which of them would have come out
  // otherwise.
  DryRun dry_run(AgentId actor, std::string_view text, std::string_view schema, size_t last) const;
  // By rule: 1 where none of the last dispatches came to it. Returns how many there were.
  size_t shelved(size_t last, std::vector<uint8_t>& shelved_out) const;
  // An event of governance; with a rule it is a lesson, part of every epoch from the next one on
  // until it is repealed. A lesson forbids or asks for something; it grants nothing. The author
  // is the root, or whom a rule permits that names Action::"learn". Throws policy_denied,
  // policy_compile (field "rule" or "policy"), policy_lockout, unknown_event (cause), too_large …
  Position govern(AgentId actor, const GovernanceEvent& event);
  uint64_t repeal_lesson(AgentId actor, Position lesson,
                         uint64_t cause = UINT64_MAX);  // -> epoch
  Governance governance() const;
  // What the agent says is untrusted from now on, or no longer. Whoever hears it is untrusted
  // too, and what is untrusted can't transfer, fund, add agents or change rules, nor be passed on
  // over more than untrusted_hops_max hops. Throws not_permitted.
  Position set_trusted(AgentId actor, AgentId agent, bool trusted);
  std::optional<uint8_t> untrusted_hops(AgentId actor, AgentId agent) const;  // none: trusted
  // What the kernel knows of a question, for programs that are asked without it.
  Request policy_question(AgentId principal, Action action, AgentId resource) const;
  std::shared_ptr<const Program> policy() const;
  uint64_t policy_epoch() const;

  // --- ledger
  UnitId unit(std::string_view name) const;  // throws unknown_account
  const std::string& unit_name(UnitId unit) const;
  uint16_t unit_count() const;
  Position fund(AgentId actor, AgentId agent, uint64_t amount, std::string_view unit);
  Position set_rates(AgentId actor, std::string_view unit, uint8_t tier, const Rates& rates);
  // One record for all; sets the owner of the keys. Chains are all or none; with `atomic` the
  // whole batch is, and one that fails leaves no trace but its outcomes (position_none).
  Position transfer(AgentId actor, std::span<Transfer> transfers, bool atomic,
                    std::span<Moved> moved_out);
  // Opens an account on terms before its first credit; without the limit on debits: the root's
  // right. position_none: it was opened so before. Throws account_exists.
  Position open_account(AgentId actor, AgentId agent, std::string_view unit,
                        const AccountTerms& terms);
  // For whoever is above the agent. A limit may be set below what is used already.
  Position set_budget(AgentId actor, AgentId agent, std::string_view unit, uint64_t limit);
  std::optional<Budget> budget(AgentId actor, AgentId agent, UnitId unit) const;
  // The three-valued end of a hold whose settlement lies outside: see Ledger::check_settlement.
  // unknown, posted: whoever may post it; voided: whoever may void it, or post it once unknown.
  Position settle(AgentId actor, HoldId hold, Settlement verdict, uint64_t amount,
                  const Digest& evidence);
  struct HoldInfo {
    HoldId id = 0;
    Hold hold;
    AgentId debit = id_none, credit = id_none, arbiter = id_none;
    UnitId unit = 0;
    bool of_task = false;
  };
  HoldInfo hold(AgentId actor, HoldId hold) const;  // throws unknown_transfer
  // What a key of the actor's tenant was used for; throws unknown_transfer, key_expired.
  struct KeyInfo {
    Moved moved;
    Transfer transfer;
  };
  KeyInfo find_key(AgentId actor, const TransferKey& key) const;
  AccountInfo account(AgentId actor, AgentId agent, UnitId unit,
                      AccountPurpose purpose = AccountPurpose::balance) const;
  std::vector<AccountInfo> accounts(AgentId actor) const;
  Ledger::Totals totals(UnitId unit) const;
  // The history of the books, by entries. It is derived from the journal, which is read up to its
  // end first (`progress(done, total)` in records); so there is none in memory mode:
  // unknown_event. Entries of accounts that the actor may not see are left out.
  using Progress = std::function<void(uint64_t, uint64_t)>;
  EntryPage entries(AgentId actor, const EntryQuery& query, const Progress& progress);
  // Accounts as they were after the record at `position`; remainders are not in the history: 0.
  std::vector<AccountInfo> accounts_at(AgentId actor, Position position, const Progress& progress);
  AccountInfo account_at(AgentId actor, AgentId agent, UnitId unit, AccountPurpose purpose,
                         Position position, const Progress& progress);

  // --- tasks
  // Refusals are outcomes here; the bindings raise for the single call.
  Receipt dispatch(AgentId actor, const DispatchRequest& request);
  // One flush for all; a record and a leaf for each. atomic: all or none (outcome aborted).
  void dispatch_many(AgentId actor, std::span<const DispatchRequest> requests,
                     std::span<Receipt> receipts_out, bool atomic);
  // As dispatch, but returns before the record is durable: only for a caller that holds the
  // receipt back until durable_count() > receipt.position.
  Receipt dispatch_begin(AgentId actor, const DispatchRequest& request);
  // Throws unknown_task, not_permitted, illegal_transition, usage_inconsistent, exceeds_hold …
  Position complete(AgentId actor, const Completion& completion);
  Position judge(AgentId actor, TaskId task, Verdict verdict, AgentId verifier);
  // The task goes elsewhere: to `to`, or to the best match of `query`; budget: what is left.
  Receipt escalate(AgentId actor, TaskId task, const DispatchRequest& to);
  void complete_many(AgentId actor, std::span<const Completion> completions,
                     std::span<Outcome> outcomes_out);
  void judge_many(AgentId actor, std::span<const TaskId> tasks, Verdict verdict, AgentId verifier,
                  std::span<Outcome> outcomes_out);
  void escalate_many(AgentId actor, std::span<const TaskId> tasks,
                     std::span<const DispatchRequest> to, std::span<Receipt> receipts_out);
  // What a worker says while it works: it has begun, or is still alive; and that it gives up.
  Position start_task(AgentId actor, TaskId task);
  Position give_back(AgentId actor, TaskId task);
  // No one knows what came of it: its money stays reserved until someone completes or voids it.
  Position declare_unknown(AgentId actor, TaskId task);
  // By who was named for it, or anyone of the role, or anyone but its worker. Not good: rejected.
  Position verify_task(AgentId actor, TaskId task, bool good);
  // With all tasks below it that are not settled, in one record.
  std::vector<TaskId> cancel(AgentId actor, TaskId task);
  TaskMore task_more(AgentId actor, TaskId task) const;

  // --- people (kernel/people.cpp)
  Position set_attention(AgentId actor, AgentId human, uint64_t per_day);
  std::vector<ApprovalItem> inbox(AgentId actor, AgentId human) const;
  // Throws policy_denied (no approver of it), approval_expired, approval_stale,
  // insufficient_funds.
  std::vector<TaskId> answer(AgentId human, const ApprovalAnswer& answer);

  Task task(AgentId actor, TaskId task) const;  // payload included; extents are read
  std::string task_class(const Task& task) const;
  uint32_t task_count() const;
  Receipt lookup(AgentId actor, Bytes key) const;  // what a key was used for; unknown_task
  Economics economics() const;
  std::optional<Economics> economics_of_class(std::string_view task_class) const;
  Economics economics_of_tier(uint8_t tier) const;
  // Due expiries, as a command would apply them first; returns how many. The flusher calls it.
  uint32_t tick();

  // --- flow plane
  Outcome send(const MessageHeader& header, Bytes payload);  // policy bit, liveness, box
  Outcome send_payload(const MessageHeader& header, Payload&& payload);
  void send_many(AgentId sender, std::span<const AgentId> to, MatrixView<const uint8_t> payloads,
                 std::span<const uint32_t> sizes, std::span<Outcome> outcomes_out);
  // To each subscriber that the sender may send to; an outcome a subscriber, in the order of
  // MailboxTable::subscribers; and to one member of each consumer group, an outcome a group.
  // Returns how many took it. The thread that owns the messages or drives a shard (else
  // wrong_thread).
  size_t publish(uint64_t topic, const MessageHeader& header, Bytes payload,
                 std::vector<Outcome>& outcomes_out, std::vector<Outcome>& groups_out);
  size_t publish(uint64_t topic, const MessageHeader& header, const Payload& payload,
                 std::vector<Outcome>& outcomes_out, std::vector<Outcome>& groups_out);
  // Deliveries of durable tasks first, then messages; wanted: see MailboxTable::drain.
  size_t drain(MessageBatch& batch, std::vector<Delivery>& deliveries, size_t count_max,
               const WantedBoxes* wanted = nullptr);
  bool receive(AgentId agent, MessageBatch& batch, std::vector<Delivery>& deliveries);
  // The calling thread owns the boxes from now on, and they know every agent there is. Throws
  // wrong_thread.
  void own_flow();
  // Native handlers, up to count_max messages. Owner thread.
  size_t run_native(size_t count_max);
  MailboxTable& mailboxes();
  // body(topics): what holds the subscriptions, MailboxTable or TopicDirectory, which have the same
  // functions. Several shards: any thread. Throws wrong_thread.
  template <class Body>
  auto at_topics(Body&& body) {
    if (shards()) return shards()->at_topics(body);
    own_flow();
    return body(mailboxes());
  }
  // As MailboxTable::cancel, on the shard where the agent is. From a thread that owns no messages
  // and drives no shard: nothing.
  void cancel_message(AgentId to, uint64_t request);
  // Of all shards; any thread.
  MailboxCounters mailbox_counters() const;
  QueueAges queue_ages() const;
  std::vector<TraceRecord> traces() const;
  std::vector<DeadLetter> dead_letters() const;
  Outcome resend(uint64_t number);
  // Several shards, and the caller drains shard 0: from now on what comes wakes it.
  void rest();
  // As MailboxTable::take_undelivered, of all shards. Any thread.
  void take_undelivered(std::vector<Undelivered>& undelivered_out);

  // --- shards (kernel/sharding.cpp). The thread that drains is shard 0. The others are driven by
  // who runs them: native handlers, and batches. An agent is where its parent's children are.
  uint32_t shard_count() const;
  // The children of `group` and what waits for them move to a shard, and later children are born
  // there: see Shards::migrate. For whoever may act on the group. Throws not_permitted,
  // out_of_range, wrong_thread, illegal_transition.
  void place(AgentId actor, AgentId group, uint32_t shard);
  uint32_t shard_of(AgentId agent) const;  // throws unknown_agent
  // Turns until stop_shards or close; the calling thread drives the shard meanwhile. handler
  // null: native handlers alone. Throws out_of_range (shard 0 too: it is driven by draining),
  // wrong_thread.
  void run_shard(uint32_t shard, ShardHandler handler, void* context);
  // One turn of it, which is nobody's again afterwards: all shards in turns on one thread are a
  // run that can be repeated.
  size_t turn_shard(uint32_t shard, ShardHandler handler, void* context);
  void stop_shards();  // any thread; for good
  Shards* shards();    // null: there is one
  // body(MailboxTable&): the table that the agent's box is in. Shard 0: owned by the caller from
  // now on; another: by the caller, or by nobody before and afterwards. Throws wrong_thread,
  // unknown_agent.
  template <class Body>
  void at_box(AgentId agent, Body&& body) {
    const uint32_t shard = shard_of(agent);
    if (shard == 0) {
      own_flow();
      body(mailboxes());
    } else {
      const Shards::Visit visit(*shards(), shard);
      body(visit.table);
    }
  }
  // The table of the shard that the caller drives; that of shard 0 where it drives none.
  MailboxTable& mailboxes_here();
  void set_native(AgentId agent, NativeHandler handler, void* context);
  struct ShardReport {
    MailboxCounters counters;
    uint64_t agents = 0;
  };
  ShardReport shard_report(uint32_t shard) const;  // any thread
  struct ShardTotals {
    uint64_t crossed = 0, wakes = 0, migrations = 0;
  };
  ShardTotals shard_totals() const;  // any thread
  TraceDigest digest() const;        // while no shard has a turn
  LatentPool& latents();
  uint32_t tenant_index(AgentId agent) const;  // throws unknown_agent

  // --- durable boxes (kernel/durable.cpp): record plane, any thread
  // One record. Declaring again changes the options; what is queued stays.
  Position declare_durable(AgentId actor, std::span<const AgentId> agents,
                           const DurableOptions& options);
  // Returns when the record is on disk; many: one flush, at most durable_batch_max.
  DurableSent send_durable(AgentId sender, const DurableMessage& message);
  void send_durable_many(AgentId sender, std::span<const DurableMessage> messages,
                         std::span<DurableSent> sent_out);
  // position_none: some message was refused, so nothing happened; sent_out says which. Throws
  // already_resolved where a message is acknowledged or dead already. wait false: returns before
  // the record is durable.
  Position commit_durable(AgentId agent, const DurableCommit& commit,
                          std::span<DurableSent> sent_out, bool wait = true);
  // They go out again, attempt + 1; those whose attempts are used up become dead letters.
  Position return_durable(AgentId agent, std::span<const uint64_t> sequences, bool wait = true);
  // A dead letter of the box, behind what waits there: unknown (it is none of the newest 64), full,
  // too_large, revoked. Throws as durable_box.
  DurableSent resend_durable(AgentId actor, AgentId agent, uint64_t sequence);
  bool is_durable(AgentId agent) const;
  DurableBoxInfo durable_box(AgentId actor,
                             AgentId agent) const;  // throws not_permitted, unknown
  // The newest 64 of the box, oldest first, with their payloads.
  std::vector<DurableDead> durable_dead_letters(AgentId actor, AgentId agent) const;
  std::vector<uint8_t> durable_state(AgentId actor, AgentId agent) const;  // empty: never written

  // --- journal
  Journal& journal();
  EventInfo event(AgentId actor, Position position);
  ConceptHashes state_hash() const;
  void flush();
  uint64_t durable_count() const;

  // The state as of everything appended so far, folded from the journal beside the live state and
  // written to disk; writers go on meanwhile. Takes as much memory again as the state. Throws
  // read_only, storage_full, storage_failed, quota_exceeded, and unusable_directory in memory
  // mode.
  SnapshotInfo snapshot();
  std::vector<SnapshotInfo> snapshots();  // those on disk, newest first; damaged ones left out
  // Drops sealed segments that the oldest of the newest `snapshots` (1 or 2) intact snapshots
  // holds; the newest `keep` records stay. Proofs of every position can still be made.
  CompactionInfo compact(uint64_t keep, uint32_t snapshots = 2);
  // Written (8 bytes) by the flusher when the durable watermark moves; -1: none. For event loops.
  void set_notify_fd(int fd);
  void request_flush();  // wakes the flusher; never blocks

  MemoryReport memory() const;

  struct Inner;  // kernel/inner.hpp

 private:
  Kernel();
  static std::unique_ptr<Kernel> open_whole(const KernelOptions& options,
                                            const std::shared_ptr<Disk>& disk);
  static std::unique_ptr<Kernel> open_newest(const KernelOptions& options,
                                             const std::shared_ptr<Disk>& disk,
                                             std::span<const uint64_t> snapshots);
  std::unique_ptr<Inner> inner_;
};

// A record that came from elsewhere, as people read it; `position` is not known. Throws corrupt,
// log_version.
EventInfo describe_record(Bytes record);

// Offline: verify_journal, every snapshot and the leaf file, and the fold, which must have the
// state hash of each snapshot at its position. Throws the first corruption. Of a journal whose
// first segments were dropped, what is left is checked: see journal.oldest.
struct KernelVerification {
  VerifyReport journal;
  ConceptHashes state;
  bool balanced = false;  // debits = credits in every unit
  uint64_t snapshot_count = 0;
  uint64_t folded_from = 0;  // 0: from the first record; else from the snapshot of that position
};
KernelVerification verify_directory(const std::string& directory, uint32_t jobs,
                                    const std::function<void(uint64_t, uint64_t)>& progress);
KernelVerification verify_disk(const std::shared_ptr<Disk>& disk, uint32_t jobs,
                               const std::function<void(uint64_t, uint64_t)>& progress);

}  // namespace hanse
