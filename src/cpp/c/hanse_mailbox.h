/* Everything about messages beyond hanse_send and hanse_receive: options, batches, loans, native
 * handlers, requests, topics, bounds, and durable boxes. The conventions of hanse.h hold.
 *
 * Threads: hanse_send_with, hanse_send_many, hanse_loan_create and everything about durable boxes
 * may be called by any thread. All else belongs to the thread that owns the boxes: the first that
 * receives, drains, runs handlers or calls one of them (else wrong_thread).
 */
#ifndef HANSE_MAILBOX_H
#define HANSE_MAILBOX_H

#include "hanse.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HANSE_LANE_COUNT 4

/* --- sending */

typedef struct hanse_message_options {
  uint32_t size_bytes;
  uint32_t lane;        /* 0 to 3, the most urgent */
  uint64_t deadline_ns; /* UNIX; 0: none */
  uint64_t key;         /* what a coalescing box tells messages apart by; 0: none */
  uint64_t trace;       /* carried along; 0: none */
  uint64_t latent;      /* carried along; 0: none */
  uint64_t parent;      /* of hanse_ask: the request on whose behalf it asks; 0: none */
} hanse_message_options;

/* As hanse_send. options: NULL for none. */
HANSE_API hanse_status hanse_send_with(hanse_kernel* kernel, hanse_id actor, hanse_id to,
                                       const void* payload, size_t payload_size,
                                       const hanse_message_options* options);
/* to: [count]. payloads: [count][width]. sizes: [count], each at most width; NULL: all are width.
 * outcomes_out: [count], a hanse_outcome each. */
HANSE_API hanse_status hanse_send_many(hanse_kernel* kernel, hanse_id actor, const hanse_id* to,
                                       uint32_t count, const void* payloads, size_t width,
                                       const uint32_t* sizes, int32_t* outcomes_out);

/* Memory of the kernel that is written to and then sent without a copy. */
typedef struct hanse_loan hanse_loan;
/* On 0 the caller owns *loan_out until hanse_loan_send takes it, and may write `size` bytes at
 * *data_out. hanse_outcome_full: payloads hold all the memory that they may. */
HANSE_API hanse_status hanse_loan_create(hanse_kernel* kernel, size_t size, hanse_loan** loan_out,
                                         void** data_out);
/* On 0 the loan is gone, else it is still the caller's. */
HANSE_API hanse_status hanse_loan_send(hanse_kernel* kernel, hanse_id actor, hanse_id to,
                                       hanse_loan* loan, const hanse_message_options* options);
/* NULL is fine. */
HANSE_API hanse_status hanse_loan_destroy(hanse_loan* loan);

/* --- taking */

typedef struct hanse_message {
  uint32_t size_bytes;
  int32_t kind; /* hanse_message_kind */
  hanse_id to, sender;
  const void* payload; /* borrowed: see who gave the message */
  uint64_t payload_size;
  uint64_t sequence; /* in the receiver's box and lane, or in its durable box: gap-free */
  uint64_t request;
  uint64_t deadline_ns, key, trace, latent;
  hanse_id task;    /* HANSE_ID_NONE: a message */
  uint32_t attempt; /* of a task or durable message: from 1 */
  uint32_t lane;
  uint32_t durable; /* 1: of a durable box; it waits for hanse_commit */
  uint32_t zero;
} hanse_message;

/* What one drain took out. Belongs to one thread. */
typedef struct hanse_batch hanse_batch;
HANSE_API hanse_status hanse_batch_create(hanse_batch** batch_out);
/* NULL is fine. */
HANSE_API hanse_status hanse_batch_destroy(hanse_batch* batch);
/* Replaces what is in the batch by up to count_max: tasks, durable messages, then messages. What a
 * too small buffer left behind waits for hanse_receive. count_out: how many there are. */
HANSE_API hanse_status hanse_drain(hanse_kernel* kernel, hanse_batch* batch, uint32_t count_max,
                                   uint32_t* count_out);
/* message_out->payload is valid until the batch is drained into again or destroyed. */
HANSE_API hanse_status hanse_batch_message(const hanse_batch* batch, uint32_t index,
                                           hanse_message* message_out);

/* --- native handlers */

/* Runs inside hanse_run, on its thread, never twice at once for an agent. `message` and its payload
 * are valid until it returns. It may call anything but hanse_close, and what drains, receives or
 * runs (illegal_transition); it must return, not jump out. */
typedef void (*hanse_handler)(void* context, hanse_kernel* kernel, const hanse_message* message);

/* Volatile messages of `agent` go to the handler, and are left out of drains. handler: NULL removes
 * it. */
HANSE_API hanse_status hanse_on(hanse_kernel* kernel, hanse_id agent, hanse_handler handler,
                                void* context);
/* Up to count_max messages, those sent meanwhile included. handled_out: how many; or NULL. */
HANSE_API hanse_status hanse_run(hanse_kernel* kernel, uint32_t count_max, uint32_t* handled_out);

/* --- shards: with hanse_kernel_options.shards above 1. Shard 0 is the thread that owns the boxes,
 * and where all agents are unless their parent was placed elsewhere. The others run native
 * handlers, each on a thread that calls hanse_shard_run. What a handler sends to another shard goes
 * by a ring, in order, and leaves at the end of a turn. Topics, dead letters and counters are those
 * of all shards, for any thread. Whoever asks is on shard 0; any shard answers. */

/* The children of `group`, those to come too, and what waits for them move to a shard; those that
 * run rest meanwhile. Error wrong_thread: another thread owns the boxes of shard 0;
 * illegal_transition: inside of a handler. */
HANSE_API hanse_status hanse_shard_place(hanse_kernel* kernel, hanse_id actor, hanse_id group,
                                         uint32_t shard);
HANSE_API hanse_status hanse_shard_of(hanse_kernel* kernel, hanse_id agent, uint32_t* shard_out);
/* Returns after hanse_shards_stop or hanse_close. Set handlers with hanse_on before it. Error
 * out_of_range: 0, or there is none; wrong_thread: another thread runs it. */
HANSE_API hanse_status hanse_shard_run(hanse_kernel* kernel, uint32_t shard);
/* One turn of it, on this thread. handled_out: or NULL. */
HANSE_API hanse_status hanse_shard_turn(hanse_kernel* kernel, uint32_t shard,
                                        uint32_t* handled_out);
/* For good. Any thread. */
HANSE_API hanse_status hanse_shards_stop(hanse_kernel* kernel);

/* --- requests: each ends exactly once */

typedef enum hanse_request_end {
  hanse_request_waiting = 0,
  hanse_request_reply = 1,
  hanse_request_error = 2,
  hanse_request_cancelled = 3,
  hanse_request_expired = 4,
  hanse_request_undeliverable = 5 /* its receiver was revoked */
} hanse_request_end;

/* Sends a message of kind request. *request_out: its one-shot number. hanse_outcome_full also where
 * 65,536 wait or have answers that nobody fetched. */
HANSE_API hanse_status hanse_ask(hanse_kernel* kernel, hanse_id actor, hanse_id to,
                                 const void* payload, size_t payload_size,
                                 const hanse_message_options* options, uint64_t* request_out);
/* Whoever was handed the request answers it, or says that it failed. hanse_outcome_unknown: nobody
 * waits for it any more. On the thread of another shard than 0 the answer is on its way: 0, whoever
 * waits; hanse_outcome_full: 65,536 others are. */
HANSE_API hanse_status hanse_answer(hanse_kernel* kernel, uint64_t request, const void* payload,
                                    size_t payload_size);
HANSE_API hanse_status hanse_answer_error(hanse_kernel* kernel, uint64_t request);
/* Ends it and what was asked on its behalf; what still waits in a box is taken out again. */
HANSE_API hanse_status hanse_cancel(hanse_kernel* kernel, uint64_t request);

typedef struct hanse_reply {
  uint32_t size_bytes;
  int32_t end; /* hanse_request_end */
  uint64_t payload_size;
} hanse_reply;

/* How it ended: then its number is gone. hanse_request_waiting: ask again later.
 * hanse_outcome_too_large: the buffer is smaller than reply_out->payload_size, the reply is kept.
 * hanse_outcome_unknown: there is no such request. */
HANSE_API hanse_status hanse_reply_fetch(hanse_kernel* kernel, uint64_t request,
                                         hanse_reply* reply_out, void* buffer, size_t buffer_size);

/* As hanse_ask; how it ended is not fetched but told: inside the next hanse_run, once. `payload` is
 * valid until it returns. It may call what a hanse_handler may, and hanse_ask. */
typedef void (*hanse_reply_handler)(void* context, hanse_kernel* kernel, uint64_t request,
                                    const hanse_reply* reply, const void* payload);
HANSE_API hanse_status hanse_ask_then(hanse_kernel* kernel, hanse_id actor, hanse_id to,
                                      const void* payload, size_t payload_size,
                                      const hanse_message_options* options,
                                      hanse_reply_handler then, void* context,
                                      uint64_t* request_out);

/* --- topics: any number */

HANSE_API hanse_status hanse_subscribe(hanse_kernel* kernel, hanse_id agent, uint64_t topic);
/* All topics that begin with the first `bits` (0 to 64) bits of prefix. */
HANSE_API hanse_status hanse_subscribe_prefix(hanse_kernel* kernel, hanse_id agent, uint64_t prefix,
                                              uint32_t bits);
/* hanse_outcome_unknown: it was not subscribed. */
HANSE_API hanse_status hanse_unsubscribe(hanse_kernel* kernel, hanse_id agent, uint64_t topic);
HANSE_API hanse_status hanse_unsubscribe_prefix(hanse_kernel* kernel, hanse_id agent,
                                                uint64_t prefix, uint32_t bits);
/* A consumer group of the topic: of each group one member gets each message, in turns; one whose
 * box refuses is passed over for this message. hanse_outcome_unknown: it was no member. */
HANSE_API hanse_status hanse_group_join(hanse_kernel* kernel, hanse_id agent, uint64_t topic,
                                        uint64_t group);
HANSE_API hanse_status hanse_group_leave(hanse_kernel* kernel, hanse_id agent, uint64_t topic,
                                         uint64_t group);
/* accepted_out: how many boxes of subscribers and of members took it; or NULL. */
HANSE_API hanse_status hanse_publish_topic(hanse_kernel* kernel, hanse_id actor, uint64_t topic,
                                           const void* payload, size_t payload_size,
                                           const hanse_message_options* options,
                                           uint64_t* accepted_out);

/* --- bounds and counters */

typedef enum hanse_box_policy {
  hanse_box_reject = 0,
  hanse_box_credit = 1,
  hanse_box_drop_oldest = 2,
  hanse_box_drop_newest = 3,
  hanse_box_coalesce = 4
} hanse_box_policy;

typedef struct hanse_box_options {
  uint32_t size_bytes;
  int32_t policy;             /* hanse_box_policy, when the box is full */
  uint32_t capacity_messages; /* of each lane; 0: 1,024 */
  uint32_t zero;
} hanse_box_options;

HANSE_API hanse_status hanse_box_set(hanse_kernel* kernel, hanse_id agent,
                                     const hanse_box_options* options);

/* accepted = handled + expired + cancelled + dead + queued, always. */
typedef struct hanse_mailbox_counters {
  uint32_t size_bytes;
  uint32_t zero;
  uint64_t accepted, handled, expired, cancelled, dead, queued;
  uint64_t refused_full, refused_unknown, refused_too_large, refused_other;
  uint64_t lane_entered[HANSE_LANE_COUNT], lane_handled[HANSE_LANE_COUNT];
  uint64_t lane_ended[HANSE_LANE_COUNT], lane_queued[HANSE_LANE_COUNT];
  uint64_t published, resent;
} hanse_mailbox_counters;

/* Of all shards. Any thread. */
HANSE_API hanse_status hanse_mailbox_count(hanse_kernel* kernel,
                                           hanse_mailbox_counters* counters_out);
/* Of one: accepted is what was sent from it. */
HANSE_API hanse_status hanse_shard_count(hanse_kernel* kernel, uint32_t shard,
                                         hanse_mailbox_counters* counters_out);

typedef struct hanse_dead_letter {
  uint32_t size_bytes;
  int32_t kind;    /* hanse_message_kind */
  int32_t reason;  /* hanse_outcome */
  uint32_t cut;    /* 1: too large to keep, it can't be sent again */
  uint64_t number; /* from 0 */
  hanse_id to, sender;
  uint64_t payload_size;
  uint8_t payload[64]; /* the first of it */
} hanse_dead_letter;

/* The newest ones, oldest first, at most count_max of 1,024; each element has its size_bytes set.
 * Any thread. */
HANSE_API hanse_status hanse_dead_letters(hanse_kernel* kernel, hanse_dead_letter* letters_out,
                                          uint32_t count_max, uint32_t* count_out);
/* Returns a hanse_outcome. unknown: there is none of that number. */
HANSE_API hanse_status hanse_dead_letter_resend(hanse_kernel* kernel, uint64_t number);

/* --- durable boxes: messages that outlive the process, handed out at least once until
 * acknowledged. position_out, here and below: of the journal's record; or NULL. */

typedef struct hanse_durable_options {
  uint32_t size_bytes;
  uint32_t capacity_messages; /* that may wait, at most 2^20; 0: 1,024 */
  uint32_t in_flight_max;     /* handed out and not acknowledged, at most 65,536; 0: 256 */
  uint32_t attempts_max;      /* then it is a dead letter, at most 65,535; 0: 5 */
  uint64_t payload_bytes_max; /* of what waits; 0: 16 MiB */
} hanse_durable_options;

/* options: NULL for the defaults. */
HANSE_API hanse_status hanse_durable_declare(hanse_kernel* kernel, hanse_id actor,
                                             const hanse_id* agents, uint32_t count,
                                             const hanse_durable_options* options,
                                             uint64_t* position_out);

typedef struct hanse_durable_message {
  uint32_t size_bytes;
  uint32_t lane; /* 0 to 3, the most urgent */
  hanse_id to;
  const void* payload; /* at most 16 MiB */
  size_t payload_size;
  const void* key; /* idempotency, at most 64 bytes; NULL: none */
  size_t key_size;
  uint64_t deadline_ns; /* UNIX: dead when it was not handed out before; 0: none */
} hanse_durable_message;

/* Returns 0 or a hanse_outcome when the record is on disk: replayed, conflict (same key, other
 * body), full, too_large, unknown, denied, revoked, invalid (not a durable box). */
HANSE_API hanse_status hanse_send_durable(hanse_kernel* kernel, hanse_id actor,
                                          const hanse_durable_message* message,
                                          uint64_t* position_out);
/* One flush, at most 4,096 messages. Returns 0, and an outcome in each of outcomes_out [count]. */
HANSE_API hanse_status hanse_send_durable_many(hanse_kernel* kernel, hanse_id actor,
                                               const hanse_durable_message* messages,
                                               uint32_t count, int32_t* outcomes_out);

typedef struct hanse_commit_request {
  uint32_t size_bytes;
  uint32_t acknowledge_count, send_count;
  uint32_t state_given;              /* 1: state replaces the agent's state, 64 KiB at most */
  const uint64_t* acknowledge;       /* [acknowledge_count], sequences in the agent's own box */
  const hanse_durable_message* send; /* [send_count] */
  const void* state;
  size_t state_size;
} hanse_commit_request;

/* What `agent` has done, in one record: all of it happens, or nothing. Returns the outcome of the
 * first message that was refused; outcomes_out: [send_count], or NULL. Error already_resolved: a
 * message is acknowledged or dead. */
HANSE_API hanse_status hanse_commit(hanse_kernel* kernel, hanse_id agent,
                                    const hanse_commit_request* request, int32_t* outcomes_out,
                                    uint64_t* position_out);
/* They go out again, attempt + 1, or become dead letters. */
HANSE_API hanse_status hanse_give_back(hanse_kernel* kernel, hanse_id agent,
                                       const uint64_t* sequences, uint32_t count,
                                       uint64_t* position_out);

/* accepted = acknowledged + dead + queued, always. */
typedef struct hanse_durable_box {
  uint32_t size_bytes;
  uint32_t queued, in_flight;
  uint32_t zero;
  uint64_t accepted, acknowledged, dead, payload_bytes;
} hanse_durable_box;

HANSE_API hanse_status hanse_durable_count(hanse_kernel* kernel, hanse_id actor, hanse_id agent,
                                           hanse_durable_box* box_out);
/* Its newest dead letters, at most 64, oldest first: `number` is the sequence in the box. */
HANSE_API hanse_status hanse_durable_dead_letters(hanse_kernel* kernel, hanse_id actor,
                                                  hanse_id agent, hanse_dead_letter* letters_out,
                                                  uint32_t count_max, uint32_t* count_out);
/* Sends one of them again, behind what waits in its box and without its deadline. Returns 0 or a
 * hanse_outcome when the record is on disk: unknown (there is none), full, too_large, revoked. */
HANSE_API hanse_status hanse_durable_dead_letter_resend(hanse_kernel* kernel, hanse_id actor,
                                                        hanse_id agent, uint64_t sequence,
                                                        uint64_t* position_out);
/* *size_out: of the state, 0 where there is none. hanse_outcome_too_large: the buffer is smaller.
 */
HANSE_API hanse_status hanse_durable_state(hanse_kernel* kernel, hanse_id actor, hanse_id agent,
                                           void* buffer, size_t buffer_size, size_t* size_out);

#ifdef __cplusplus
}
#endif

#endif
