// What moves money: the transfer, its outcomes, and what a hold remembers.
//
// The state machine is TigerBeetle's (src/state_machine.zig): pending, post, void, expiry, linked
// chains, balancing and closing transfers, limits both ways, ids that a transient failure poisons.
// Where hanse differs, and why:
//
//   ids        A key is optional, belongs to a tenant, and has 128 bits. With a time in its top 48
//              bits (milliseconds since 1970: UUIDv7, ULID) it is kept for `key_horizon_ns`, then
//              refused as expired, so that keys need bounded memory. Below 2^64 it has no time: it
//              is kept for good, and there may be `untimed_keys_max` of them.
//   accounts   are named by agent and unit; a credit account opens on its first credit. An agent
//              that is not there and one of another tenant look the same: unknown_account.
//   amounts    have 64 bits; what is pending and posted on one side stays below 2^64 together, so
//              the six overflows are one. A plain transfer of 0 is refused; a post of 0 or of
//              2^64 - 1 means all of it; a void takes 0 or exactly what is held.
//   expiry     is absolute and journalled, not an interval; one that has passed is refused. A hold
//              past its time can't be posted or voided, even before the record that expires it.
//   balancing  The requested amount is kept beside the one that moved, so a retry is compared with
//              what was asked.
//   resolving  A pending transfer is named by the id of its hold, so `pending_not_pending` can't
//   be.
//              Unit 0 (which exists) means "not said", like the ids 0.
//   chains     have a key of their own: once done, the whole chain is answered `exists` again. In
//              TigerBeetle a retried chain breaks on its first event.
//   added      Who may post and who may void (escrow), fees of an escrow, budgets of an agent and
//   of
//              those above it, and a third end of a settlement: unknown.
//   left out   imported events and the history flag: the journal is the history.
#pragma once

#include "base/ids.hpp"
#include "base/snapshot.hpp"

namespace hanse {

using UnitId = uint16_t;  // index into the table of unit names; 0 is "usd_micro"
constexpr UnitId unit_none = UINT16_MAX;
using AccountIndex = uint32_t;
using HoldId = uint64_t;  // index + 1; never reused

constexpr uint64_t key_horizon_ns = uint64_t(24) * 3600 * 1'000'000'000;
constexpr uint64_t key_ahead_max_ns = uint64_t(60) * 1'000'000'000;
constexpr uint64_t untimed_keys_max = 1 << 24;

// Numbers are on disk and in callers. Append, never reuse.
enum class TransferOutcome : uint8_t {
  ok = 0,
  exists = 1,                          // same key, same fields: done before
  id_already_failed = 2,               // a transient failure has used the key up
  exists_with_different_accounts = 3,  // in old journals only: now said of the debit or the credit
  exists_with_different_amount = 4,
  exists_with_different_unit = 5,
  exists_with_different_pending = 6,  // another hold
  accounts_must_differ = 7,
  amount_must_not_be_zero = 8,
  unknown_account = 9,     // transient: poisons the key
  unit_mismatch = 10,      // no such unit
  overflow = 11,           // pending + posted of one side would pass 2^64 - 1
  exceeds_credits = 12,    // transient
  pending_not_found = 13,  // transient
  exceeds_pending = 14,
  already_posted = 15,
  already_voided = 16,
  already_expired = 17,
  aborted = 18,                      // another element of an atomic batch failed
  exists_with_different_flags = 19,  // kind, or flags
  exists_with_different_expiry = 20,
  exists_with_different_debit = 21,
  exists_with_different_credit = 22,
  exists_with_different_user_data_128 = 23,
  exists_with_different_user_data_64 = 24,
  exists_with_different_user_data_32 = 25,
  exists_with_different_code = 26,
  exists_with_different_terms = 27,  // arbiter, who may post, who may void
  exists_with_different_chain = 28,  // the chain's key, other transfers; or a key of the other kind
  linked_failed = 29,                // another transfer of its chain failed
  chain_open = 30,                   // the batch ends inside a chain
  flags_exclude_each_other = 31,
  pending_must_be_none = 32,      // only post and void name a hold
  pending_must_not_be_none = 33,  // and they must
  expiry_reserved_for_pending = 34,
  closing_must_be_pending = 35,
  terms_reserved_for_pending = 36,
  expiry_has_passed = 37,
  pending_has_different_debit = 38,
  pending_has_different_credit = 39,
  pending_has_different_unit = 40,
  pending_has_different_code = 41,
  pending_has_different_amount = 42,
  debit_closed = 43,    // transient
  credit_closed = 44,   // transient
  exceeds_debits = 45,  // transient
  exceeds_budget = 46,  // transient: of the agent or of one above it
  settlement_unknown = 47,
  key_expired = 48,    // older than the horizon: it may have been used
  key_too_new = 49,    // more than a minute ahead of the journal's time
  too_many_keys = 50,  // keys without a time are kept for good
};
constexpr uint32_t transfer_outcome_count = 51;

enum class TransferKind : uint8_t { single = 0, pending = 1, post = 2, voided = 3 };

namespace transfer_flag {
constexpr uint8_t linked = 1;            // the next transfer belongs to the same chain
constexpr uint8_t balancing_debit = 2;   // at most what the debit account has
constexpr uint8_t balancing_credit = 4;  // at most what the credit account owes
constexpr uint8_t closing_debit = 8;     // pending only: closes the account; void reopens it
constexpr uint8_t closing_credit = 16;
constexpr uint8_t fee = 32;  // pending only: when posted, the house takes its basis points
constexpr uint8_t all = 63;
}  // namespace transfer_flag

// Who may post or void a hold. 0: whoever may debit its account, as in TigerBeetle.
namespace releaser {
constexpr uint8_t debit = 1;   // the buyer, or whoever is above it
constexpr uint8_t credit = 2;  // the seller
constexpr uint8_t arbiter = 4;
constexpr uint8_t all = 7;
}  // namespace releaser

struct TransferKey {
  uint64_t high = 0, low = 0;  // both 0: none
  bool operator==(const TransferKey&) const = default;
  bool none() const { return (high | low) == 0; }
  bool timed() const { return high != 0; }
  // Saturates: no clock reaches the years that 48 bits of milliseconds can name.
  uint64_t time_ns() const {
    const uint64_t ms = high >> 16;
    return ms > UINT64_MAX / 1'000'000 ? UINT64_MAX : ms * 1'000'000;
  }
  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.high, self.low);
  }
};

// Post and void act on the accounts and in the unit of their hold; what they say of them must be
// nothing (0) or the same. User data is the caller's and may differ.
struct Transfer {
  TransferKind kind = TransferKind::single;
  uint8_t flags = 0;                          // transfer_flag
  uint8_t post_by = 0, void_by = 0;           // pending: releaser
  UnitId unit = 0;                            // post, void: 0 is not compared
  uint16_t code = 0;                          // the caller's reason; post, void: 0 is not compared
  AgentId debit = id_none, credit = id_none;  // balance accounts (issuance: the root's, by `fund`)
  uint64_t amount = 0;                        // post: 0 means all of it; balancing: at most
  TransferKey key;                            // client's id for idempotency
  TransferKey chain;       // of the first transfer of a chain: the chain's own key
  uint32_t key_owner = 0;  // whose keys they are: each tenant has keys of its own
  uint32_t user_data_32 = 0;
  uint64_t user_data_64 = 0;
  uint64_t user_data_128[2] = {0, 0};  // high, low
  uint64_t pending = 0;                // post, void: the hold it resolves
  uint64_t expires_ns = 0;             // pending: absolute; 0: never
  AgentId arbiter = id_none;           // pending

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.kind, self.flags, self.post_by, self.void_by, self.unit, self.code, self.debit,
          self.credit, self.amount, self.key, self.chain, self.key_owner, self.user_data_32,
          self.user_data_64, self.user_data_128, self.pending, self.expires_ns, self.arbiter);
  }
};

// What a transfer did, beside its outcome.
struct Moved {
  TransferOutcome outcome = TransferOutcome::ok;
  uint64_t amount = 0;  // that moved or was held: balancing moves less than was asked
  HoldId hold = 0;      // pending: the new one; `exists`: what the first try returned

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.outcome, self.amount, self.hold);
  }
};

// `unknown`: the world outside was asked to settle and has not answered. The funds stay pending,
// nothing expires, posts or voids the hold but a settlement.
enum class HoldState : uint8_t { open = 0, posted = 1, voided = 2, expired = 3, unknown = 4 };

// A reservation: a pending debit of one account and pending credit of another.
struct Hold {
  AccountIndex debit = 0, credit = 0;
  uint64_t amount = 0;  // at the start
  uint64_t left = 0;    // not yet drawn or released
  uint64_t expires_ns = 0;
  HoldState state = HoldState::open;
  uint8_t flags = 0;  // transfer_flag closing_*, fee
  uint8_t post_by = 0, void_by = 0;
  uint16_t code = 0;
  uint32_t arbiter = index_none;  // an agent
  bool unresolved() const { return state == HoldState::open || state == HoldState::unknown; }

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.debit, self.credit, self.amount, self.left, self.expires_ns, self.state, self.flags,
          self.post_by, self.void_by, self.code, self.arbiter);
  }
};

inline bool is_resolution(const Transfer& transfer) {
  return transfer.kind == TransferKind::post || transfer.kind == TransferKind::voided;
}
inline bool is_linked(const Transfer& transfer) {
  return (transfer.flags & transfer_flag::linked) != 0;
}
// Another try, later, might succeed.
bool is_transient(TransferOutcome outcome);

}  // namespace hanse
