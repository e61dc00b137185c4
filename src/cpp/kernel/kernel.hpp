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
#include "kernel/entries.hpp"
#include "kernel/governance.hpp"
#include "latent/latent.hpp"
#include "ledger/ledger.hpp"
#include "mailbox/durable.hpp"
#include "mailbox/mailbox.hpp"
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
  MailboxOptions mailbox;
  LatentPoolOptions latents;
};

struct DispatchRequest {
  AgentId to = id_none;          // none: match by query
  std::span<const float> query;  // [dim] of the space
  uint32_t space = 0;
  Feasible feasible;  // price_max is lowered to budget; tenants see `tenant`
  std::string_view task_class;
  Bytes payload;
  std::span<const LatentId> latents;
  uint64_t budget = 0;  // reserved in full
  UnitId unit = 0;
  uint64_t deadline_ns = 0;  // absolute; 0: none
  Bytes key;                 // idempotency; empty: none
  bool verifier_required = false;
};

// What a caller keeps. With `outcome` other than ok or replayed there is no task.
struct Receipt {
  Outcome outcome = Outcome::ok;
  Durability durability = Durability::memory;
  TaskId task = id_none;
  AgentId agent = id_none;
  uint32_t offer = 0, version = 0;  // version 0: addressed directly
  uint16_t attempt = 1;
  float score = 0;
  uint64_t price = 0, reserved = 0;
  uint64_t epoch = 0;                 // of the policy decision
  Position position = position_none;  // of the record: also its Merkle leaf; refusals have one too
  std::string reason;                 // of a refusal, for people
};

struct Completion {
  TaskId task = id_none;
  Digest artifact{};
  Usage usage;
  std::optional<uint64_t> total_tokens;  // must equal the sum of usage: usage_inconsistent
};

enum class Verdict : uint8_t { accept = 0, reject = 1, withdraw = 2 };  // withdraw: void the task

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
};

struct DurableMessage {
  AgentId to = id_none;
  Bytes payload;
  Bytes key;  // idempotency, at most 64 bytes; empty: none
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

// What the context says besides hanse's own facts: "amount" or "context.amount", "resource.price".
struct PolicyColumn {
  std::string name;
  std::vector<Value> values;  // one for all questions, or one each
};

struct PolicyQuestions {
  Action action = Action::dispatch;
  std::span<const AgentId> principals;  // one for all, or one each; resources alike, or none
  std::span<const AgentId> resources;
  std::span<const PolicyColumn> context;
};

struct DryRun {
  struct Difference {
    Position position = position_none;  // about where in the journal
    Action action = Action::dispatch;
    AgentId principal = id_none, resource = id_none;
    std::string task_class;
    bool allowed_before = false, allowed_after = false;
    uint8_t obligations_before = 0, obligations_after = 0;
    std::vector<std::string> rules_before, rules_after;
  };
  size_t decisions = 0;    // that were tried again
  size_t differences = 0;  // all of them; the newest are listed
  std::vector<Difference> listed;
};
constexpr size_t decisions_remembered_max = 4096;  // for dry_run and shelved; not in the journal
constexpr size_t differences_listed_max = 1000;

struct GovernanceEvent {
  std::string_view kind;        // "lesson", "incident": at most 64 bytes
  std::string_view note;        // for people, at most 4 KiB
  std::string_view rule;        // one rule, or empty
  uint64_t cause = UINT64_MAX;  // the journal position of what led to it; UINT64_MAX: itself
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
  // What the rules would say, without effect. One decision a question; all by one program, which is
  // the return value. Throws unknown_agent, bad_array (sizes), out_of_range, wrong_type (context).
  std::shared_ptr<const Program> check_policy(AgentId actor, const PolicyQuestions& questions,
                                              std::span<Decision> decisions_out) const;
  // The last decisions, newest first, by other rules: which of them would have come out otherwise.
  DryRun dry_run(AgentId actor, std::string_view text, std::string_view schema, size_t last) const;
  // By rule: 1 where none of the last dispatches came to it. Returns how many there were.
  size_t shelved(size_t last, std::vector<uint8_t>& shelved_out) const;
  // An event of governance; with a rule it is a lesson, part of every epoch from the next one on
  // until it is repealed. A lesson forbids or asks for something; it grants nothing. The author is
  // the root, or whom a rule permits that names Action::"learn". Throws policy_denied,
  // policy_compile (field "rule" or "policy"), policy_lockout, unknown_event (cause), too_large …
  Position govern(AgentId actor, const GovernanceEvent& event);
  uint64_t repeal_lesson(AgentId actor, Position lesson, uint64_t cause = UINT64_MAX);  // -> epoch
  Governance governance() const;
  // What the agent says is untrusted from now on, or no longer. Whoever hears it is untrusted too,
  // and what is untrusted can't transfer, fund, add agents or change rules, nor be passed on over
  // more than untrusted_hops_max hops. Throws not_permitted.
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
  // One record for all; sets the owner of the keys. Chains are all or none; with `atomic` the whole
  // batch is, and one that fails leaves no trace but its outcomes (position_none).
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
  // end first (`progress(done, total)` in records); so there is none in memory mode: unknown_event.
  // Entries of accounts that the actor may not see are left out.
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
  // As dispatch, but returns before the record is durable: only for a caller that holds the receipt
  // back until durable_count() > receipt.position.
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
  // MailboxTable::subscribers. Returns how many took it. Owner thread (else wrong_thread).
  size_t publish(uint64_t topic, const MessageHeader& header, Bytes payload,
                 std::vector<Outcome>& outcomes_out);
  size_t publish(uint64_t topic, const MessageHeader& header, const Payload& payload,
                 std::vector<Outcome>& outcomes_out);
  // Deliveries of durable tasks first, then messages.
  size_t drain(MessageBatch& batch, std::vector<Delivery>& deliveries, size_t count_max);
  bool receive(AgentId agent, MessageBatch& batch, std::vector<Delivery>& deliveries);
  // The calling thread owns the boxes from now on, and they know every agent there is. Throws
  // wrong_thread.
  void own_flow();
  // Native handlers, up to count_max messages. Owner thread.
  size_t run_native(size_t count_max);
  MailboxTable& mailboxes();
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
  bool is_durable(AgentId agent) const;
  DurableBoxInfo durable_box(AgentId actor, AgentId agent) const;  // throws not_permitted, unknown
  // The newest 64 of the box, oldest first, with their payloads.
  std::vector<DurableDead> durable_dead_letters(AgentId actor, AgentId agent) const;
  std::vector<uint8_t> durable_state(AgentId actor, AgentId agent) const;  // empty: never written

  // --- journal
  Journal& journal();
  EventInfo event(AgentId actor, Position position);
  ConceptHashes state_hash() const;
  void flush();
  uint64_t durable_count() const;
  // Written (8 bytes) by the flusher when the durable watermark moves; -1: none. For event loops.
  void set_notify_fd(int fd);
  void request_flush();  // wakes the flusher; never blocks

  MemoryReport memory() const;

  struct Inner;  // kernel/inner.hpp

 private:
  Kernel();
  std::unique_ptr<Inner> inner_;
};

// Offline: verify_journal, then the fold. Throws the first corruption.
struct KernelVerification {
  VerifyReport journal;
  ConceptHashes state;
  bool balanced = false;  // debits = credits in every unit
};
KernelVerification verify_directory(const std::string& directory,
                                    const std::function<void(uint64_t, uint64_t)>& progress);

}  // namespace hanse
