/* The C face of hanse. This header brings everything; a concept beyond kernel, agents, capabilities
 * and messages has a header of its own, included at the end.
 *
 * Every call returns 0 for success, a positive number for an everyday refusal (hanse_outcome: no
 * match, denied, no room), or a negative one for an error: minus a hanse_error, with its text in
 * hanse_error_text(). Nothing has changed after an error. No C++ exception leaves this library.
 *
 * Threads: any thread may call any function on one kernel, with two exceptions. hanse_receive and
 * hanse_next_delivery belong to the first thread that calls one of them; hanse_close must not
 * overlap with any other call on that kernel. Where a header says more of a function, that holds.
 *
 * Forks: in the child a kernel of the parent answers hanse_error_forked to everything but
 * hanse_close, which frees the child's copy and touches no file. Functions without a kernel work in
 * both, unless their comment says otherwise. The library starts threads in hanse_open alone and
 * installs no signal handler.
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

#include "hanse_error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef uint64_t hanse_id; /* of an agent or task; never reused */
typedef struct hanse_kernel hanse_kernel;

#define HANSE_ID_NONE ((hanse_id)0)
#define HANSE_POSITION_NONE UINT64_MAX
#define HANSE_DIGEST_SIZE 32
#define HANSE_BUDGET_UNLIMITED UINT64_MAX
#define HANSE_PERMISSIONS_ALL UINT64_MAX

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
/* Off-line and read only: checksums, hash chain, Merkle root, and the state that follows. The first
 * corruption is an error that names file, offset and position. */
HANSE_API hanse_status hanse_verify(const char* directory, hanse_verification* verification_out);

#ifdef __cplusplus
}
#endif

/* The rest, by concept; each may be included alone as well. */
#include "hanse_latent.h"
#include "hanse_library.h"
#include "hanse_mailbox.h"
#include "hanse_policy.h"
#include "hanse_record.h"
#include "hanse_task.h"

#endif
