// The one list of everything that can go wrong, and the exception that carries it.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>

namespace hanse {

// The first column is pinned: C callers have compiled it in. Append, never reuse.
//   number, C++ name, public name, class
#define HANSE_ERROR_CODES(X)                                              \
  X(1001, wrong_type, "WrongType", invalid)                               \
  X(1002, out_of_range, "OutOfRange", invalid)                            \
  X(1003, too_large, "TooLarge", invalid)                                 \
  X(1004, empty, "Empty", invalid)                                        \
  X(1005, dimension_mismatch, "DimensionMismatch", invalid)               \
  X(1006, bad_vector, "BadVector", invalid)                               \
  X(1007, bad_array, "BadArray", invalid)                                 \
  X(1008, policy_compile, "PolicyCompileError", invalid)                  \
  X(1009, payload_too_large, "PayloadTooLarge", invalid)                  \
  X(1010, usage_inconsistent, "UsageInconsistent", invalid)               \
  X(1011, unknown_tier, "UnknownTier", invalid)                           \
  X(1012, delegation_depth, "DelegationDepth", invalid)                   \
  X(1013, attenuation_violation, "AttenuationViolation", invalid)         \
  X(1014, unit_mismatch, "UnitMismatch", invalid)                         \
  X(1015, wrong_thread, "WrongThread", invalid)                           \
  X(1016, closed, "Closed", invalid)                                      \
  X(1017, forked, "Forked", invalid)                                      \
  X(1018, read_only, "ReadOnly", invalid)                                 \
  X(1019, policy_lockout, "PolicyLockout", invalid)                       \
  X(1020, window_mismatch, "WindowMismatch", invalid)                     \
  X(1021, delegation_cycle, "DelegationCycle", invalid)                   \
  X(1022, broken_lineage, "BrokenLineage", invalid)                       \
  X(2001, unknown_agent, "UnknownAgent", not_found)                       \
  X(2002, unknown_space, "UnknownSpace", not_found)                       \
  X(2003, unknown_offer, "UnknownOffer", not_found)                       \
  X(2004, unknown_task, "UnknownTask", not_found)                         \
  X(2005, unknown_account, "UnknownAccount", not_found)                   \
  X(2006, unknown_transfer, "UnknownTransfer", not_found)                 \
  X(2007, unknown_latent, "UnknownLatent", not_found)                     \
  X(2008, unknown_event, "UnknownEvent", not_found)                       \
  X(2009, no_feasible_agent, "NoFeasibleAgent", not_found)                \
  X(2010, no_receipt, "NoReceipt", not_found)                             \
  X(2011, unknown_role, "UnknownRole", not_found)                         \
  X(2101, stale_version, "StaleVersion", conflict)                        \
  X(2102, idempotency_conflict, "IdempotencyConflict", conflict)          \
  X(2103, already_resolved, "AlreadyResolved", conflict)                  \
  X(2104, name_taken, "NameTaken", conflict)                              \
  X(2105, illegal_transition, "IllegalTransition", conflict)              \
  X(2106, duplicate_artifact, "DuplicateArtifact", conflict)              \
  X(2107, batch_aborted, "BatchAborted", conflict)                        \
  X(2108, transfer_exists_different, "TransferExistsDifferent", conflict) \
  X(2109, id_already_failed, "IdAlreadyFailed", conflict)                 \
  X(2110, key_expired, "KeyExpired", conflict)                            \
  X(2111, account_closed, "AccountClosed", conflict)                      \
  X(2112, account_exists, "AccountExistsDifferent", conflict)             \
  X(2113, identity_fork, "IdentityFork", conflict)                        \
  X(2114, already_rated, "AlreadyRated", conflict)                        \
  X(2115, approval_stale, "ApprovalStale", conflict)                      \
  X(3001, policy_denied, "PolicyDenied", denied)                          \
  X(3002, revoked, "Revoked", denied)                                     \
  X(3003, lease_expired, "LeaseExpired", denied)                          \
  X(3004, not_permitted, "NotPermitted", denied)                          \
  X(3005, verifier_required, "VerifierRequired", denied)                  \
  X(3006, key_retired, "KeyRetired", denied)                              \
  X(3007, bad_signature, "BadSignature", denied)                          \
  X(3008, role_missing, "RoleMissing", denied)                            \
  X(3009, self_dealing, "SelfDealing", denied)                            \
  X(3010, approval_expired, "ApprovalExpired", denied)                    \
  X(3011, paused, "Paused", denied)                                       \
  X(4001, insufficient_funds, "InsufficientFunds", budget)                \
  X(4002, exceeds_hold, "ExceedsHold", budget)                            \
  X(4003, amount_overflow, "AmountOverflow", budget)                      \
  X(4004, budget_exceeded, "BudgetExceeded", budget)                      \
  X(4005, exceeds_debits, "ExceedsDebits", budget)                        \
  X(5001, backpressure, "Backpressure", busy)                             \
  X(5002, quota_exceeded, "QuotaExceeded", busy)                          \
  X(5003, timed_out, "TimedOut", timeout)                                 \
  X(5004, undeliverable, "Undeliverable", busy)                           \
  X(5005, cancelled, "Cancelled", busy)                                   \
  X(5006, settlement_unknown, "SettlementUnknown", busy)                  \
  X(6001, storage_full, "LogFull", storage)                               \
  X(6002, storage_failed, "StorageFailed", storage)                       \
  X(6003, corrupt, "LogCorrupt", storage)                                 \
  X(6004, log_version, "LogVersion", storage)                             \
  X(6005, locked, "Locked", storage)                                      \
  X(6006, poisoned, "Poisoned", storage)                                  \
  X(6007, unusable_directory, "UnusableDirectory", storage)               \
  X(6008, extent_missing, "ExtentMissing", storage)                       \
  X(7001, latent_incompatible, "LatentIncompatible", latent)              \
  X(7002, latent_corrupt, "LatentCorrupt", latent)                        \
  X(7003, position_overlap, "PositionOverlap", latent)                    \
  X(7101, no_device, "NoDevice", device)                                  \
  X(7102, device_failed, "DeviceFailed", device)                          \
  X(9001, invariant, "Invariant", internal)

enum class ErrorCode : int32_t {
#define HANSE_X(number, name, text, kind) name = number,
  HANSE_ERROR_CODES(HANSE_X)
#undef HANSE_X
};

// The class a caller catches; each becomes one exception class in Python.
enum class ErrorKind : uint8_t {
  invalid,
  not_found,
  conflict,
  denied,
  budget,
  busy,
  timeout,
  storage,
  latent,
  device,
  internal
};

struct ErrorCodeInfo {
  ErrorCode code;
  const char* name;  // public name, "InsufficientFunds"
  ErrorKind kind;
};

const ErrorCodeInfo& error_code_info(ErrorCode code);
// All rows in the order of the table; for bindings and tests.
struct ErrorCodeTable {
  const ErrorCodeInfo* rows;
  size_t count;
};
ErrorCodeTable error_code_table();

// Names the field at fault, the limit and the value. `id` is the agent, task or account concerned
// (0: none), `position` the journal position (no_position: none).
class Error : public std::exception {
 public:
  static constexpr uint64_t no_position = UINT64_MAX;

  Error(ErrorCode code, std::string_view field, std::string_view detail, uint64_t id = 0,
        uint64_t position = no_position);
  // "field: value exceeds limit"
  Error(ErrorCode code, std::string_view field, uint64_t value, uint64_t limit, uint64_t id = 0);

  const char* what() const noexcept override { return what_.c_str(); }
  ErrorCode code() const noexcept { return code_; }
  const std::string& field() const noexcept { return field_; }
  const std::string& detail() const noexcept { return detail_; }
  uint64_t id() const noexcept { return id_; }
  uint64_t position() const noexcept { return position_; }

 private:
  ErrorCode code_;
  std::string field_, detail_, what_;
  uint64_t id_, position_;
};

// Throws Error(invariant) naming the expression and its place. The kernel catches it at its border
// and stops accepting commands. On in every build.
[[noreturn]] void assertion_failed(const char* expression, const char* file, int line);
#define HANSE_ASSERT(expression) \
  ((expression) ? void(0) : ::hanse::assertion_failed(#expression, __FILE__, __LINE__))

}  // namespace hanse
