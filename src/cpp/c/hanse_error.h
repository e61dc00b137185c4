/* What a call returns: statuses, error numbers, outcomes, and the text of the last error of a
 * thread. The functions here never fail, need no kernel, and may be called by any thread and in the
 * child of a fork.
 */
#ifndef HANSE_ERROR_H
#define HANSE_ERROR_H

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
  hanse_error_rate_limited = 5007,
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
  hanse_outcome_paused = 26,
  hanse_outcome_rate_limited = 27 /* by a rule: later it may pass */
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

#ifdef __cplusplus
}
#endif

#endif
