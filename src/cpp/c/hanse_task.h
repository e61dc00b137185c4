/* Tasks: dispatch, and every transition from there to acceptance. Any thread. The conventions of
 * hanse.h hold. */
#ifndef HANSE_TASK_H
#define HANSE_TASK_H

#include "hanse.h"

#ifdef __cplusplus
extern "C" {
#endif

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

#ifdef __cplusplus
}
#endif

#endif
