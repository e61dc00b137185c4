/* The C face of hanse: one kernel, its agents, and the way of a task from dispatch to acceptance.
 *
 * Every call returns 0 for success, a positive number for an everyday refusal (hanse_outcome: no
 * match, denied, no room), or a negative one for an error: minus a hanse_error, with its text in
 * hanse_error_text(). Nothing has changed after an error. No C++ exception leaves this library.
 *
 * Threads: any thread may call any function on one kernel, with two exceptions. hanse_receive and
 * hanse_next_delivery belong to the first thread that calls one of them; hanse_close must not
 * overlap with any other call on that kernel.
 *
 * Memory: what goes in is read during the call and never kept; what comes out is copied into the
 * caller's memory. Texts are UTF-8 and end with NUL. Output pointers are never NULL unless the
 * comment says "or NULL".
 *
 * Structs begin with `size_bytes`, which the caller sets to sizeof the struct, in each element of
 * an array; the library reads and writes no more than that, so that a struct can grow. What the
 * other fields mean when they are 0 is always a sensible default; `zero` fields must be 0.
 *
 * `actor` is who acts: itself or above the agents it acts on. HANSE_ID_NONE stands for the root.
 */
#ifndef HANSE_H
#define HANSE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HANSE_API __attribute__((visibility("default")))
#else
#define HANSE_API
#endif

#define HANSE_VERSION "0.1.0"

typedef int32_t hanse_status;
typedef uint64_t hanse_id; /* of an agent or task; never reused */
typedef struct hanse_kernel hanse_kernel;

#define HANSE_ID_NONE ((hanse_id)0)
#define HANSE_POSITION_NONE UINT64_MAX
#define HANSE_DIGEST_SIZE 32
#define HANSE_BUDGET_UNLIMITED UINT64_MAX
#define HANSE_PERMISSIONS_ALL UINT64_MAX

/* The numbers are pinned for ever. */
typedef enum hanse_error {
  hanse_error_wrong_type = 1001,
  hanse_error_out_of_range = 1002,
  hanse_error_too_large = 1003,
  hanse_error_empty = 1004,
  hanse_error_dimension_mismatch = 1005,
  hanse_error_bad_vector = 1006,
  hanse_error_bad_array = 1007,
  hanse_error_policy_compile = 1008,
  hanse_error_payload_too_large = 1009,
  hanse_error_usage_inconsistent = 1010,
  hanse_error_unknown_tier = 1011,
  hanse_error_delegation_depth = 1012,
  hanse_error_attenuation_violation = 1013,
  hanse_error_unit_mismatch = 1014,
  hanse_error_wrong_thread = 1015,
  hanse_error_closed = 1016,
  hanse_error_forked = 1017,
  hanse_error_read_only = 1018,
  hanse_error_policy_lockout = 1019,
  hanse_error_window_mismatch = 1020,
  hanse_error_delegation_cycle = 1021,
  hanse_error_broken_lineage = 1022,
  hanse_error_unknown_agent = 2001,
  hanse_error_unknown_space = 2002,
  hanse_error_unknown_offer = 2003,
  hanse_error_unknown_task = 2004,
  hanse_error_unknown_account = 2005,
  hanse_error_unknown_transfer = 2006,
  hanse_error_unknown_latent = 2007,
  hanse_error_unknown_event = 2008,
  hanse_error_no_feasible_agent = 2009,
  hanse_error_no_receipt = 2010,
  hanse_error_unknown_role = 2011,
  hanse_error_stale_version = 2101,
  hanse_error_idempotency_conflict = 2102,
  hanse_error_already_resolved = 2103,
  hanse_error_name_taken = 2104,
  hanse_error_illegal_transition = 2105,
  hanse_error_duplicate_artifact = 2106,
  hanse_error_batch_aborted = 2107,
  hanse_error_transfer_exists_different = 2108,
  hanse_error_id_already_failed = 2109,
  hanse_error_key_expired = 2110,
  hanse_error_account_closed = 2111,
  hanse_error_account_exists = 2112,
  hanse_error_identity_fork = 2113,
  hanse_error_already_rated = 2114,
  hanse_error_approval_stale = 2115,
  hanse_error_policy_denied = 3001,
  hanse_error_revoked = 3002,
  hanse_error_lease_expired = 3003,
  hanse_error_not_permitted = 3004,
  hanse_error_verifier_required = 3005,
  hanse_error_key_retired = 3006,
  hanse_error_bad_signature = 3007,
  hanse_error_role_missing = 3008,
  hanse_error_self_dealing = 3009,
  hanse_error_approval_expired = 3010,
  hanse_error_paused = 3011,
  hanse_error_insufficient_funds = 4001,
  hanse_error_exceeds_hold = 4002,
  hanse_error_amount_overflow = 4003,
  hanse_error_budget_exceeded = 4004,
  hanse_error_exceeds_debits = 4005,
  hanse_error_backpressure = 5001,
  hanse_error_quota_exceeded = 5002,
  hanse_error_timed_out = 5003,
  hanse_error_undeliverable = 5004,
  hanse_error_cancelled = 5005,
  hanse_error_settlement_unknown = 5006,
  hanse_error_storage_full = 6001,
  hanse_error_storage_failed = 6002,
  hanse_error_corrupt = 6003,
  hanse_error_log_version = 6004,
  hanse_error_locked = 6005,
  hanse_error_poisoned = 6006,
  hanse_error_unusable_directory = 6007,
  hanse_error_extent_missing = 6008,
  hanse_error_latent_incompatible = 7001,
  hanse_error_latent_corrupt = 7002,
  hanse_error_position_overlap = 7003,
  hanse_error_no_device = 7101,
  hanse_error_device_failed = 7102,
  hanse_error_invariant = 9001
} hanse_error;

typedef enum hanse_outcome {
  hanse_outcome_ok = 0,
  hanse_outcome_replayed = 1,  /* same key and body seen before: the stored result */
  hanse_outcome_full = 2,      /* back pressure: a bounded box or table has no room */
  hanse_outcome_unknown = 3,   /* no such agent, task or offer (or a foreign one) */
  hanse_outcome_too_large = 4, /* also: the caller's buffer is too small */
  hanse_outcome_denied = 5,    /* by policy */
  hanse_outcome_revoked = 6,
  hanse_outcome_no_match = 7, /* nothing feasible */
  hanse_outcome_insufficient_funds = 8,
  hanse_outcome_budget_exceeded = 9,
  hanse_outcome_conflict = 10, /* same key, other body */
  hanse_outcome_stale = 11,    /* the version moved */
  hanse_outcome_invalid = 12,
  hanse_outcome_expired = 13,
  hanse_outcome_aborted = 14, /* another element of an atomic batch failed */
  hanse_outcome_latent_unavailable = 15,
  hanse_outcome_illegal_transition = 16,
  hanse_outcome_duplicate_artifact = 17,
  hanse_outcome_exceeds_hold = 18,
  hanse_outcome_closed = 19,
  hanse_outcome_dropped = 20,   /* by the policy of a full box: a dead letter */
  hanse_outcome_coalesced = 21, /* replaced by a newer one of its key */
  hanse_outcome_cancelled = 22,
  hanse_outcome_undeliverable = 23,
  hanse_outcome_pending = 24, /* reserved, and waiting for a person's approval */
  hanse_outcome_role_missing = 25,
  hanse_outcome_paused = 26
} hanse_outcome;

/* --- the library and its errors; these four never fail */

/* Of the library that was loaded; HANSE_VERSION is that of this header. */
HANSE_API const char* hanse_version(void);
/* Of the last call of this thread that returned a negative number: its hanse_error (0: none yet),
 * and what was wrong, with field, value and limit. The text stays valid until the next such call.
 */
HANSE_API int32_t hanse_error_code(void);
HANSE_API const char* hanse_error_text(void);
/* "InsufficientFunds", "no_match"; NULL for a number that is not in the table. */
HANSE_API const char* hanse_error_name(int32_t error);
HANSE_API const char* hanse_outcome_name(int32_t outcome);

/* --- the kernel */

typedef enum hanse_durability {
  hanse_durability_default = 0, /* each with a directory, memory without */
  hanse_durability_memory = 1,  /* nothing on disk */
  hanse_durability_batch = 2,   /* a call returns when its records are on disk, gathered for 1 ms */
  hanse_durability_each = 3     /* a call returns when its records are on disk */
} hanse_durability;

typedef struct hanse_kernel_options {
  uint32_t size_bytes;
  int32_t durability;              /* hanse_durability */
  uint64_t memory_max;             /* bytes; 0: 8 GiB */
  uint64_t segment_size_bytes_max; /* of the journal; 0: 64 MiB */
  uint64_t seed;
  uint32_t fee_basis_points; /* of a worker's fee; fixed when the journal is created */
  uint32_t read_only;        /* 1: never writes */
  uint32_t shards;           /* of the mailboxes: see hanse_shard_run; 0: 1, at most 64 */
  uint32_t zero;
} hanse_kernel_options;

/* directory: NULL for memory only. options: NULL for the defaults. On 0 the caller owns *kernel_out
 * and gives it back to hanse_close. */
HANSE_API hanse_status hanse_open(const char* directory, const hanse_kernel_options* options,
                                  hanse_kernel** kernel_out);
/* Flushes and frees. The handle is gone whatever this returns. NULL is fine. */
HANSE_API hanse_status hanse_close(hanse_kernel* kernel);
/* Until everything so far is on disk. */
HANSE_API hanse_status hanse_flush(hanse_kernel* kernel);
HANSE_API hanse_status hanse_root(hanse_kernel* kernel, hanse_id* root_out);

/* --- agents */

typedef enum hanse_agent_kind {
  hanse_agent_kind_agent = 0,
  hanse_agent_kind_human = 1,
  hanse_agent_kind_group = 2,
  hanse_agent_kind_tool = 3
} hanse_agent_kind;

typedef struct hanse_agents {
  uint32_t size_bytes;
  uint32_t kind;             /* hanse_agent_kind */
  hanse_id parent;           /* HANSE_ID_NONE: the actor */
  const char* const* names;  /* [count], at most 256 bytes each, one name a parent; or NULL */
  const uint8_t* identities; /* [count][32], hash of each genesis key; or NULL */
  uint64_t permissions;      /* bits; narrowed to the parent's. 0 with narrowed 0: all of them */
  uint64_t budget_max;       /* of one dispatch; 0 with narrowed 0: the parent's */
  uint32_t narrowed;         /* 1: permissions and budget_max mean what they say, 0 included */
  uint32_t zero;
} hanse_agents;

/* `count` agents alike, one record. ids_out: [count]. */
HANSE_API hanse_status hanse_agents_add(hanse_kernel* kernel, hanse_id actor,
                                        const hanse_agents* agents, uint32_t count,
                                        hanse_id* ids_out);
/* parent: HANSE_ID_NONE for any. hanse_outcome_unknown, and *id_out = HANSE_ID_NONE: no such name.
 */
HANSE_API hanse_status hanse_agent_find(hanse_kernel* kernel, hanse_id actor, const char* name,
                                        hanse_id parent, hanse_id* id_out);
/* The agent and all below it cause no new effect. position_out: of the journal's record; or NULL.
 */
HANSE_API hanse_status hanse_agent_revoke(hanse_kernel* kernel, hanse_id actor, hanse_id agent,
                                          uint64_t* position_out);

/* --- ledger. unit: NULL for "usd_micro"; amounts are whole units. */

/* Issues money: the root's right. */
HANSE_API hanse_status hanse_fund(hanse_kernel* kernel, hanse_id actor, hanse_id agent,
                                  uint64_t amount, const char* unit, uint64_t* position_out);
/* What the agent can spend now: credits less debits less reservations. */
HANSE_API hanse_status hanse_balance(hanse_kernel* kernel, hanse_id actor, hanse_id agent,
                                     const char* unit, uint64_t* available_out);

/* --- capabilities. space: NULL for "default", which the first publish creates. */

typedef enum hanse_metric { hanse_metric_cosine = 0, hanse_metric_inner_product = 1 } hanse_metric;

/* model: which embedding model makes the vectors; or NULL. dim: 1 to 4,096. */
HANSE_API hanse_status hanse_space_create(hanse_kernel* kernel, hanse_id actor, const char* name,
                                          uint32_t dim, int32_t metric, const char* model);

typedef struct hanse_offers {
  uint32_t size_bytes;
  uint32_t offer; /* which offer of each agent; most have one, 0 */
  const char* space;
  uint32_t count;
  uint32_t dim;
  const hanse_id* agents; /* [count] */
  const float* vectors;   /* [count][dim], finite, not all 0 */
  /* Columns of [count]; NULL: 0 for every row. */
  const int64_t* prices; /* of one accepted task, in whole units */
  const uint8_t* tiers;
  const uint64_t* skills; /* bits */
  const uint16_t* regions;
  const uint64_t* policy_bits;
  const uint16_t* slots;    /* open tasks at most; 0: no limit */
  const uint32_t* versions; /* that each offer must get, else stale_version; NULL: the next */
} hanse_offers;

/* versions_out: [count]; or NULL. */
HANSE_API hanse_status hanse_publish(hanse_kernel* kernel, hanse_id actor,
                                     const hanse_offers* offers, uint32_t* versions_out);

/* What an offer must satisfy: all of it. The tests whose switch is 0 are not made. */
typedef struct hanse_feasible {
  uint32_t size_bytes;
  uint8_t price_limited; /* 1: price_max */
  uint8_t tier_limited;  /* 1: tier_min <= tier <= tier_max */
  uint8_t tier_min, tier_max;
  int64_t price_max;
  uint64_t skills_all, skills_any, skills_none; /* bits; 0: no test */
  uint64_t policy_all, policy_none;
  uint16_t region;
  uint8_t region_limited; /* 1: this region only */
  uint8_t zero[5];
  hanse_id tenant; /* offers of the tenant that this agent belongs to; HANSE_ID_NONE: of any */
} hanse_feasible;

typedef struct hanse_match_request {
  uint32_t size_bytes;
  uint32_t k; /* 1 to 1,024 */
  const char* space;
  const float* queries; /* [query_count][dim] */
  uint32_t query_count;
  uint32_t dim;
  const hanse_feasible* feasible; /* for all queries; NULL: everyone */
  uint32_t threads;               /* 0: one */
  uint32_t zero;
} hanse_match_request;

/* Fixed for ever: arrays of it have no size_bytes. */
typedef struct hanse_found {
  hanse_id agent;
  uint32_t offer, version;
  float score;
  uint32_t zero;
} hanse_found;

/* found_out: [query_count][k], best first, padded with agent HANSE_ID_NONE. counts_out:
 * [query_count], how many are real. */
HANSE_API hanse_status hanse_match(hanse_kernel* kernel, hanse_id actor,
                                   const hanse_match_request* request, hanse_found* found_out,
                                   int32_t* counts_out);

/* --- messages, which are volatile, and deliveries of tasks, which are not */

typedef enum hanse_message_kind {
  hanse_message_kind_data = 0,
  hanse_message_kind_request = 1,
  hanse_message_kind_reply = 2,
  hanse_message_kind_failure = 3,
  hanse_message_kind_task = 4,
  hanse_message_kind_cancellation = 5
} hanse_message_kind;

#define HANSE_TASK_CLASS_SIZE_MAX 64

typedef struct hanse_delivery {
  uint32_t size_bytes;
  int32_t kind;          /* hanse_message_kind */
  hanse_id to;           /* HANSE_ID_NONE: nothing was waiting */
  hanse_id sender;       /* of a task: its requester */
  uint64_t payload_size; /* bytes, also where the buffer was too small */
  uint64_t sequence;     /* of a message: in the receiver's box, gap-free */
  uint64_t request;      /* of a request, reply or failure: which one */
  hanse_id task;         /* HANSE_ID_NONE: a message */
  uint64_t deadline_ns;  /* of a task, UNIX; 0: none */
  uint32_t attempt;      /* of a task or durable message: from 1 */
  uint32_t latent_missing;
  char task_class[72];
  uint32_t durable; /* 1: of a durable box; it waits for hanse_commit (hanse_mailbox.h) */
  uint32_t lane;
} hanse_delivery;

/* Sets the sender to `actor`. Returns a hanse_outcome: full, unknown, denied, too_large, revoked.
 */
HANSE_API hanse_status hanse_send(hanse_kernel* kernel, hanse_id actor, hanse_id to,
                                  const void* payload, size_t payload_size);
/* The oldest that waits for `agent`: tasks first, then messages. Copies the payload to `buffer`.
 * hanse_outcome_too_large: the buffer is smaller than delivery_out->payload_size; the delivery
 * waits for the next call. */
HANSE_API hanse_status hanse_receive(hanse_kernel* kernel, hanse_id agent,
                                     hanse_delivery* delivery_out, void* buffer,
                                     size_t buffer_size);
/* The same, for whichever agent has waited longest. */
HANSE_API hanse_status hanse_next_delivery(hanse_kernel* kernel, hanse_delivery* delivery_out,
                                           void* buffer, size_t buffer_size);

/* --- tasks */

typedef struct hanse_dispatch_request {
  uint32_t size_bytes;
  uint32_t dim;       /* of query */
  hanse_id to;        /* HANSE_ID_NONE: the best match of query */
  const float* query; /* [dim]; NULL with `to` */
  const char* space;
  const hanse_feasible* feasible; /* NULL: everyone */
  const char* task_class;         /* at most 64 bytes; NULL: "" */
  const void* payload;            /* NULL: empty */
  size_t payload_size;            /* at most 16 MiB */
  const void* key;                /* idempotency, at most 64 bytes; NULL: none */
  size_t key_size;
  uint64_t budget; /* whole units, reserved in full */
  const char* unit;
  uint64_t deadline_ns;       /* UNIX; 0: none */
  uint32_t verifier_required; /* 1: acceptance must name a verifier */
  uint32_t zero;
} hanse_dispatch_request;

typedef struct hanse_receipt {
  uint32_t size_bytes;
  int32_t outcome;    /* hanse_outcome; a task exists with ok and replayed only */
  int32_t durability; /* hanse_durability that the record has */
  uint32_t attempt;
  hanse_id task, agent;
  uint32_t offer, version; /* version 0: addressed directly */
  float score;
  uint32_t zero;
  uint64_t price, held; /* held: what was reserved */
  uint64_t epoch;       /* of the policy decision */
  uint64_t position;    /* of the record, its Merkle leaf too; HANSE_POSITION_NONE: none */
  char reason[160];     /* of a refusal, cut */
} hanse_receipt;

/* Match, policy, reservation, record, delivery: all or nothing. Returns receipt_out->outcome. */
HANSE_API hanse_status hanse_dispatch(hanse_kernel* kernel, hanse_id actor,
                                      const hanse_dispatch_request* request,
                                      hanse_receipt* receipt_out);
/* One flush for all of them; a record each. Returns 0, and an outcome in each of receipts_out
 * [count]. atomic 1: all or none. */
HANSE_API hanse_status hanse_dispatch_many(hanse_kernel* kernel, hanse_id actor,
                                           const hanse_dispatch_request* requests, uint32_t count,
                                           int32_t atomic, hanse_receipt* receipts_out);

typedef struct hanse_completion {
  uint32_t size_bytes;
  uint32_t total_given; /* 1: total_tokens must be the sum of the four */
  hanse_id task;
  uint8_t artifact[HANSE_DIGEST_SIZE];
  uint64_t fresh, cache_read, cache_write, output; /* tokens used */
  uint64_t total_tokens;
} hanse_completion;

/* The worker is done: usage is charged whatever the verdict will be. position_out, here and below:
 * or NULL. */
HANSE_API hanse_status hanse_complete(hanse_kernel* kernel, hanse_id actor,
                                      const hanse_completion* completion, uint64_t* position_out);
/* The worker's fee is paid, the rest of the reservation released. verifier: HANSE_ID_NONE for none.
 */
HANSE_API hanse_status hanse_accept(hanse_kernel* kernel, hanse_id actor, hanse_id task,
                                    hanse_id verifier, uint64_t* position_out);
HANSE_API hanse_status hanse_reject(hanse_kernel* kernel, hanse_id actor, hanse_id task,
                                    hanse_id verifier, uint64_t* position_out);
/* The task is withdrawn and its reservation released. */
HANSE_API hanse_status hanse_void(hanse_kernel* kernel, hanse_id actor, hanse_id task,
                                  uint64_t* position_out);
/* The same task goes elsewhere, on what is left of its budget. Returns receipt_out->outcome. */
HANSE_API hanse_status hanse_escalate(hanse_kernel* kernel, hanse_id actor, hanse_id task,
                                      const hanse_dispatch_request* to, hanse_receipt* receipt_out);

typedef enum hanse_task_state_name {
  hanse_task_dispatched = 0,
  hanse_task_completed = 1,
  hanse_task_accepted = 2,
  hanse_task_rejected = 3,
  hanse_task_voided = 4,
  hanse_task_expired = 5
} hanse_task_state_name;

typedef struct hanse_task {
  uint32_t size_bytes;
  int32_t state; /* hanse_task_state_name */
  hanse_id requester, worker, verifier;
  uint32_t attempt;
  uint32_t tier;
  uint32_t offer, version;
  uint64_t price, budget, spent; /* whole units */
  uint64_t dispatched_ns, deadline_ns;
  uint64_t dispatched_at, changed_at; /* journal positions */
  uint8_t artifact[HANSE_DIGEST_SIZE];
} hanse_task;

HANSE_API hanse_status hanse_task_state(hanse_kernel* kernel, hanse_id actor, hanse_id task,
                                        hanse_task* task_out);

/* --- policy */

/* Replaces the policy, at most 64 KiB of text. epoch_out: of decisions from now on; or NULL. */
HANSE_API hanse_status hanse_load_policy(hanse_kernel* kernel, hanse_id actor, const char* text,
                                         uint64_t* epoch_out);

/* --- evidence */

/* RFC 6962 root of all records. root_out: [32]. */
HANSE_API hanse_status hanse_journal_root(hanse_kernel* kernel, uint8_t* root_out);
/* durable_count_out: how many of them survive a crash; or NULL. */
HANSE_API hanse_status hanse_journal_count(hanse_kernel* kernel, uint64_t* count_out,
                                           uint64_t* durable_count_out);
/* Of the record plane; the same after every replay. hash_out: [32]. */
HANSE_API hanse_status hanse_state_hash(hanse_kernel* kernel, uint8_t* hash_out);

typedef struct hanse_verification {
  uint32_t size_bytes;
  uint32_t balanced; /* 1: debits equal credits in every unit */
  uint64_t record_count, segment_count, journal_size_bytes, extent_count;
  uint64_t torn_bytes; /* behind the last valid record */
  uint8_t root[HANSE_DIGEST_SIZE];
  uint8_t state_hash[HANSE_DIGEST_SIZE];
} hanse_verification;

/* Off-line and read only: every checksum, the hash chain, the Merkle root, then the state that
 * follows from the records. The first corruption is an error that names file, offset and position.
 */
HANSE_API hanse_status hanse_verify(const char* directory, hanse_verification* verification_out);

#ifdef __cplusplus
}
#endif

#endif
