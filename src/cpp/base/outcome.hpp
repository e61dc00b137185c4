// What a daily verb answers, one byte an element. The same numbers in C++, C and Python.
#pragma once

#include <cstdint>

namespace hanse {

#define HANSE_OUTCOMES(X)                                                \
  X(0, ok)       /* accepted, dispatched, applied */                     \
  X(1, replayed) /* same key and body seen before: the stored result */  \
  X(2, full)     /* back pressure: a bounded box or table has no room */ \
  X(3, unknown)  /* no such agent, task or offer (or a foreign one) */   \
  X(4, too_large)                                                        \
  X(5, denied) /* by policy */                                           \
  X(6, revoked)                                                          \
  X(7, no_match) /* nothing feasible */                                  \
  X(8, insufficient_funds)                                               \
  X(9, budget_exceeded)                                                  \
  X(10, conflict) /* same key, other body */                             \
  X(11, stale)    /* the version moved */                                \
  X(12, invalid)                                                         \
  X(13, expired)                                                         \
  X(14, aborted) /* another element of an atomic batch failed */         \
  X(15, latent_unavailable)                                              \
  X(16, illegal_transition)                                              \
  X(17, duplicate_artifact)                                              \
  X(18, exceeds_hold)                                                    \
  X(19, closed)                                                          \
  X(20, dropped)   /* by the policy of a full box: a dead letter */      \
  X(21, coalesced) /* replaced by a newer one of its key */              \
  X(22, cancelled)                                                       \
  X(23, undeliverable)                                                   \
  X(24, pending) /* reserved, and waiting for a person's approval */     \
  X(25, role_missing)                                                    \
  X(26, paused)

enum class Outcome : uint8_t {
#define HANSE_X(number, name) name = number,
  HANSE_OUTCOMES(HANSE_X)
#undef HANSE_X
};

}  // namespace hanse
