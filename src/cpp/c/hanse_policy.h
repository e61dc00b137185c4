/* Policy: what the rules are, and what they would say. The conventions of hanse.h hold. Any thread;
 * in the child of a fork hanse_error_forked. */
#ifndef HANSE_POLICY_H
#define HANSE_POLICY_H

#include "hanse.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Replaces the policy, at most 64 KiB of text in Cedar's syntax. epoch_out: of decisions from now
 * on; or NULL. Errors policy_compile (line and column in the text), policy_lockout, policy_denied:
 * the rules are as they were. */
HANSE_API hanse_status hanse_load_policy(hanse_kernel* kernel, hanse_id actor, const char* text,
                                         uint64_t* epoch_out);
/* Of the rules in force. */
HANSE_API hanse_status hanse_policy_epoch(hanse_kernel* kernel, uint64_t* epoch_out);

typedef struct hanse_question {
  uint32_t size_bytes;
  uint32_t zero;
  const char* action; /* "dispatch", "send", "transfer" …, as rules name it */
  hanse_id principal;
  hanse_id resource; /* HANSE_ID_NONE: none */
} hanse_question;

/* What a permit asks for beside saying yes. */
enum {
  hanse_obligation_approval = 1, /* the bits of hanse_decision.obligations */
  hanse_obligation_verifier = 2,
  hanse_obligation_redact = 4,
  hanse_obligation_rate = 8
};

typedef struct hanse_decision {
  uint32_t size_bytes;
  uint8_t allowed;
  uint8_t failed;      /* 1: a rule could not be evaluated, which denies */
  uint8_t obligations; /* hanse_obligation_… */
  uint8_t zero;
  uint64_t epoch;
  char reason[160]; /* the rules that decided, by their ids, cut; or "" */
} hanse_decision;

/* What the rules would say, without effect and without a record. Returns 0 when it is allowed, or
 * hanse_outcome_denied, with the same in decision_out. */
HANSE_API hanse_status hanse_check_policy(hanse_kernel* kernel, hanse_id actor,
                                          const hanse_question* question,
                                          hanse_decision* decision_out);

#ifdef __cplusplus
}
#endif

#endif
