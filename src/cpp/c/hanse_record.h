/* What stands in the record: transfers between accounts, holds and their settlement; proofs of the
 * journal; counters. Everything that hanse.h says of statuses, structs, threads and memory holds
 * here, too. In the child of a fork every function but the two verifiers returns
 * hanse_error_forked.
 */
#ifndef HANSE_RECORD_H
#define HANSE_RECORD_H

#include "hanse.h"

#ifdef __cplusplus
extern "C" {
#endif

/* --- transfers */

typedef enum hanse_transfer_kind {
  hanse_transfer_kind_single = 0,
  hanse_transfer_kind_pending = 1, /* a hold: posted or voided later */
  hanse_transfer_kind_post = 2,
  hanse_transfer_kind_void = 3
} hanse_transfer_kind;

enum {                                 /* hanse_transfer.flags */
       hanse_transfer_flag_linked = 1, /* the next one belongs to the same chain: all or none */
       hanse_transfer_flag_balancing_debit = 2,
       hanse_transfer_flag_balancing_credit = 4,
       hanse_transfer_flag_closing_debit = 8,
       hanse_transfer_flag_closing_credit = 16,
       hanse_transfer_flag_fee = 32
};

enum { /* who may post or void a hold; 0: whoever may debit its account */
       hanse_releaser_debit = 1,
       hanse_releaser_credit = 2,
       hanse_releaser_arbiter = 4
};

typedef uint64_t hanse_hold;

typedef struct hanse_transfer {
  uint32_t size_bytes;
  uint8_t kind; /* hanse_transfer_kind */
  uint8_t flags;
  uint8_t post_by, void_by;   /* of a pending one */
  const char* unit;           /* NULL: "usd_micro"; of a post or void: the hold's */
  hanse_id debit, credit;     /* of a post or void: HANSE_ID_NONE, or the hold's */
  uint64_t amount;            /* a post of 0: all of it */
  uint64_t key_high, key_low; /* for idempotency, of the actor's tenant; both 0: none */
  hanse_hold pending;         /* a post or void: which hold */
  uint64_t expires_ns;        /* of a pending one, UNIX; 0: never */
  hanse_id arbiter;
  uint64_t user_data_64;
  uint32_t user_data_32;
  uint16_t code;
  uint16_t zero;
} hanse_transfer;

/* The numbers are pinned for ever. */
typedef enum hanse_transfer_outcome {
  hanse_transfer_ok = 0,
  hanse_transfer_exists = 1,
  hanse_transfer_id_already_failed = 2,
  hanse_transfer_exists_with_different_accounts = 3,
  hanse_transfer_exists_with_different_amount = 4,
  hanse_transfer_exists_with_different_unit = 5,
  hanse_transfer_exists_with_different_pending = 6,
  hanse_transfer_accounts_must_differ = 7,
  hanse_transfer_amount_must_not_be_zero = 8,
  hanse_transfer_unknown_account = 9,
  hanse_transfer_unit_mismatch = 10,
  hanse_transfer_overflow = 11,
  hanse_transfer_exceeds_credits = 12,
  hanse_transfer_pending_not_found = 13,
  hanse_transfer_exceeds_pending = 14,
  hanse_transfer_already_posted = 15,
  hanse_transfer_already_voided = 16,
  hanse_transfer_already_expired = 17,
  hanse_transfer_aborted = 18,
  hanse_transfer_exists_with_different_flags = 19,
  hanse_transfer_exists_with_different_expiry = 20,
  hanse_transfer_exists_with_different_debit = 21,
  hanse_transfer_exists_with_different_credit = 22,
  hanse_transfer_exists_with_different_user_data_128 = 23,
  hanse_transfer_exists_with_different_user_data_64 = 24,
  hanse_transfer_exists_with_different_user_data_32 = 25,
  hanse_transfer_exists_with_different_code = 26,
  hanse_transfer_exists_with_different_terms = 27,
  hanse_transfer_exists_with_different_chain = 28,
  hanse_transfer_linked_failed = 29,
  hanse_transfer_chain_open = 30,
  hanse_transfer_flags_exclude_each_other = 31,
  hanse_transfer_pending_must_be_none = 32,
  hanse_transfer_pending_must_not_be_none = 33,
  hanse_transfer_expiry_reserved_for_pending = 34,
  hanse_transfer_closing_must_be_pending = 35,
  hanse_transfer_terms_reserved_for_pending = 36,
  hanse_transfer_expiry_has_passed = 37,
  hanse_transfer_pending_has_different_debit = 38,
  hanse_transfer_pending_has_different_credit = 39,
  hanse_transfer_pending_has_different_unit = 40,
  hanse_transfer_pending_has_different_code = 41,
  hanse_transfer_pending_has_different_amount = 42,
  hanse_transfer_debit_closed = 43,
  hanse_transfer_credit_closed = 44,
  hanse_transfer_exceeds_debits = 45,
  hanse_transfer_exceeds_budget = 46,
  hanse_transfer_settlement_unknown = 47,
  hanse_transfer_key_expired = 48,
  hanse_transfer_key_too_new = 49,
  hanse_transfer_too_many_keys = 50
} hanse_transfer_outcome;

/* Fixed for ever: arrays of it have no size_bytes. */
typedef struct hanse_moved {
  int32_t outcome; /* hanse_transfer_outcome */
  uint32_t zero;
  uint64_t amount; /* that moved or was held */
  hanse_hold hold; /* of a pending one */
} hanse_moved;

/* One record and one flush for all. Returns 0 with an outcome in each of moved_out [count]; atomic
 * 1: all or none. position_out, here and below: or NULL. */
HANSE_API hanse_status hanse_transfer_many(hanse_kernel* kernel, hanse_id actor,
                                           const hanse_transfer* transfers, uint32_t count,
                                           int32_t atomic, hanse_moved* moved_out,
                                           uint64_t* position_out);

typedef enum hanse_settlement {
  hanse_settlement_unknown = 0, /* asked outside, not answered: nothing expires or resolves it */
  hanse_settlement_posted = 1,
  hanse_settlement_voided = 2
} hanse_settlement;

/* How a hold whose settlement lies outside has ended. amount: of a posted one, 0 for all; evidence:
 * [32], or NULL. */
HANSE_API hanse_status hanse_settle(hanse_kernel* kernel, hanse_id actor, hanse_hold hold,
                                    int32_t settlement, uint64_t amount, const uint8_t* evidence,
                                    uint64_t* position_out);

/* --- proofs of the journal: RFC 6962, SHA-256. Hashes have 32 bytes; a proof at most 64 of them.
 */

#define HANSE_PROOF_COUNT_MAX 64

/* leaf_out: [32]. hanse_error_unknown_event: no such record. */
HANSE_API hanse_status hanse_journal_leaf(hanse_kernel* kernel, uint64_t position,
                                          uint8_t* leaf_out);
/* That record `position` is among the first `count`; root_out: of those, [32]. proof_out:
 * [HANSE_PROOF_COUNT_MAX][32], of which *proof_count_out are written. */
HANSE_API hanse_status hanse_journal_inclusion(hanse_kernel* kernel, uint64_t position,
                                               uint64_t count, uint8_t* proof_out,
                                               uint32_t* proof_count_out, uint8_t* root_out);
/* That the first `count` records begin with the first `old_count`. */
HANSE_API hanse_status hanse_journal_consistency(hanse_kernel* kernel, uint64_t old_count,
                                                 uint64_t count, uint8_t* proof_out,
                                                 uint32_t* proof_count_out);
/* Of whoever has nothing but the proof: no kernel, any thread, any process. hanse_outcome_invalid:
 * it does not hold. */
HANSE_API hanse_status hanse_verify_inclusion(const uint8_t* leaf, uint64_t position,
                                              uint64_t count, const uint8_t* proof,
                                              uint32_t proof_count, const uint8_t* root);
HANSE_API hanse_status hanse_verify_consistency(uint64_t old_count, const uint8_t* old_root,
                                                uint64_t count, const uint8_t* root,
                                                const uint8_t* proof, uint32_t proof_count);

/* --- counters */

typedef struct hanse_counters {
  uint32_t size_bytes;
  uint32_t poisoned; /* 1: a write failed, and nothing is accepted any more */
  uint64_t record_count, durable_count, journal_size_bytes, segment_count, flush_count;
  uint64_t torn_bytes_cut; /* by this opening */
  /* Memory by concept, in bytes. */
  uint64_t agents, capabilities, ledger, tasks, journal, mailboxes, latents, latent_pages;
} hanse_counters;

HANSE_API hanse_status hanse_counters_read(hanse_kernel* kernel, hanse_counters* counters_out);

#ifdef __cplusplus
}
#endif

#endif
