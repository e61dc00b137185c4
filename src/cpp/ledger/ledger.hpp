// Integer double entry after TigerBeetle: accounts in a named unit, two-phase transfers, holds.
//
// Sum of debits = sum of credits, posted and pending, per unit, at every position. The order of
// checks is part of the contract. Record plane: one thread at a time; `check_*` is const and says
// the outcome, `apply_*` follows from a record and cannot fail after its check.
#pragma once

#include <array>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/chunked_hash.hpp"
#include "base/hash_map.hpp"
#include "base/ids.hpp"

namespace hanse {

using UnitId = uint16_t;  // index into the table of unit names; 0 is "usd_micro"
constexpr UnitId unit_none = UINT16_MAX;
constexpr uint32_t unit_name_size_max = 32;
constexpr uint32_t unit_count_max = 65535;
using AccountIndex = uint32_t;
using u128 = unsigned __int128;

// An agent has at most one account of each purpose and unit. All but `balance` belong to the root.
enum class AccountPurpose : uint8_t {
  balance = 0,   // of an agent; debits never exceed credits
  issuance = 1,  // of a unit; the only one that may go negative
  fees = 2,      // what the house earns
  usage = 3,     // what model usage costs
  escrow = 4,    // counter-account of task reservations: only pending credits
};

struct AccountInfo {
  AgentId owner = id_none;
  AccountPurpose purpose = AccountPurpose::balance;
  UnitId unit = 0;
  u128 debits_pending = 0, debits_posted = 0, credits_pending = 0, credits_posted = 0;
  uint32_t remainder = 0;  // micro-units of a unit not yet charged: usage prices are per million
};

enum class TransferOutcome : uint8_t {
  ok = 0,
  exists = 1,             // same id, same fields: done before
  id_already_failed = 2,  // a transient failure has used the id up
  exists_with_different_accounts = 3,
  exists_with_different_amount = 4,
  exists_with_different_unit = 5,
  exists_with_different_pending = 6,  // kind, hold or expiry
  accounts_must_differ = 7,
  amount_must_not_be_zero = 8,
  unknown_account = 9,     // transient: poisons the id
  unit_mismatch = 10,      // no such unit
  overflow = 11,           // pending + posted of one side would pass 2^64 - 1
  exceeds_credits = 12,    // transient
  pending_not_found = 13,  // transient
  exceeds_pending = 14,
  already_posted = 15,
  already_voided = 16,
  already_expired = 17,
  aborted = 18,  // another element of an atomic batch failed
};

enum class TransferKind : uint8_t { single = 0, pending = 1, post = 2, voided = 3 };

// Post and void act on the accounts and in the unit of their hold: `debit`, `credit`, `unit` and
// `expires_ns` are not read then, nor is the amount of a void. They still count as fields of a key.
struct Transfer {
  TransferKind kind = TransferKind::single;
  AgentId debit = id_none, credit = id_none;  // balance accounts (issuance: the root's, by `fund`)
  uint64_t amount = 0;                        // post: 0 means all of it
  UnitId unit = 0;
  uint64_t key = 0;         // client's id for idempotency; 0: none
  uint32_t key_owner = 0;   // whose key it is: each tenant has keys of its own
  uint64_t pending = 0;     // post, void: the hold it resolves
  uint64_t expires_ns = 0;  // pending: absolute; 0: never
};

enum class HoldState : uint8_t { open = 0, posted = 1, voided = 2, expired = 3 };

// A reservation: a pending debit of one account and pending credit of another.
struct Hold {
  AccountIndex debit = 0, credit = 0;
  uint64_t amount = 0;  // at the start
  uint64_t left = 0;    // not yet drawn or released
  uint64_t expires_ns = 0;
  HoldState state = HoldState::open;
};
using HoldId = uint64_t;  // index + 1; never reused

struct Rates {  // integer micro-units per million tokens
  uint64_t fresh = 0, cache_read = 0, cache_write = 0, output = 0;
};
struct Usage {
  uint64_t fresh = 0, cache_read = 0, cache_write = 0, output = 0;
};

class Ledger {
 public:
  Ledger();

  // Units: names of at most 32 bytes, at most 65,535 of them.
  UnitId unit_find(std::string_view name) const;  // unit_none
  // Throws empty, too_large (name), quota_exceeded (a new unit where the table is full).
  void check_unit(std::string_view name) const;
  UnitId apply_unit(std::string_view name);  // finds or adds, with its system accounts
  const std::string& unit_name(UnitId unit) const;
  uint16_t unit_count() const;

  // index_none where the agent has none yet; `apply_*` open accounts on first credit.
  AccountIndex account_find(uint32_t agent_index, UnitId unit,
                            AccountPurpose purpose = AccountPurpose::balance) const;
  AccountIndex apply_account(uint32_t agent_index, UnitId unit,
                             AccountPurpose purpose = AccountPurpose::balance);
  AccountInfo account(AccountIndex account) const;  // throws unknown_account
  // credits_posted - debits_posted - debits_pending; 0 where the agent has no account.
  uint64_t available(uint32_t agent_index, UnitId unit) const;
  uint32_t account_count() const;

  // The outcome that `apply_transfer` would have now. Agents are indices in the AgentTable; the
  // caller has checked that they exist (else it passes index_none).
  TransferOutcome check_transfer(const Transfer& transfer, uint32_t debit_agent,
                                 uint32_t credit_agent) const;
  // The outcomes of a batch whose elements see the effects of those before them. With `atomic` the
  // first that fails keeps its outcome and the others are `aborted`; `exists` is no failure, so a
  // batch may be sent again. All spans are of one size. Applies the batch and takes it back: the
  // ledger ends as it was. Then `apply_transfer` follows element by element.
  void try_transfers(std::span<const Transfer> transfers, std::span<const uint32_t> debit_agents,
                     std::span<const uint32_t> credit_agents, bool atomic,
                     std::span<TransferOutcome> outcomes_out);
  // Applies a checked transfer; with any outcome (a transient failure poisons the key). Returns
  // the new hold's id for kind pending, for `exists` what it returned the first time, else 0.
  HoldId apply_transfer(const Transfer& transfer, uint32_t debit_agent, uint32_t credit_agent,
                        TransferOutcome outcome);
  // Issuance -> agent. check: ok, overflow, amount_must_not_be_zero, unknown_account (index_none).
  // A unit that does not exist yet (unit_none) is taken for one that the same record opens.
  TransferOutcome check_fund(uint32_t agent, uint64_t amount, UnitId unit) const;
  void apply_fund(uint32_t agent, uint64_t amount, UnitId unit);

  // Reservations of tasks: agent -> escrow of the unit. Transfers can't post or void them.
  // check: amount_must_not_be_zero, unit_mismatch, unknown_account, overflow, exceeds_credits.
  TransferOutcome check_hold(uint32_t agent, uint64_t amount, UnitId unit) const;
  HoldId apply_hold(uint32_t agent, uint64_t amount, UnitId unit, uint64_t expires_ns);
  const Hold& hold(HoldId hold) const;  // throws unknown_transfer
  uint64_t hold_count() const { return holds_.size(); }
  // Posts `amount` <= left of an open hold to `to`, of the same unit; the rest stays reserved.
  // Can't overflow: counters have 128 bits, and only `check_*` keeps them below 2^64.
  void apply_draw(HoldId hold, uint64_t amount, AccountIndex to);
  // Resolves exactly once; releases what is left.
  void apply_resolve(HoldId hold, HoldState state);
  // Open holds with expires_ns <= now that belong to two-phase transfers (task reservations expire
  // with their task), ascending by (expires_ns, id), at most `limit`.
  void due(uint64_t now_ns, uint32_t limit, std::vector<HoldId>& holds_out) const;
  uint64_t earliest_expiry_ns() const;  // UINT64_MAX: none

  void apply_rates(UnitId unit, uint8_t tier, const Rates& rates);
  Rates rates(UnitId unit, uint8_t tier) const;  // zero where not set
  // Cost of `usage` for the payer: floor((remainder + sum(tokens * rate)) / 1e6), and the new
  // remainder. Throws amount_overflow.
  struct Charge {
    uint64_t amount = 0;
    uint32_t remainder = 0;
  };
  Charge charge(AccountIndex payer, const Usage& usage, const Rates& rates) const;
  void apply_remainder(AccountIndex payer, uint32_t remainder);

  struct Totals {
    u128 debits_posted = 0, credits_posted = 0, debits_pending = 0, credits_pending = 0;
  };
  Totals totals(UnitId unit) const;  // O(1), kept with every change

  Digest state_hash() const;
  uint64_t memory_bytes() const;

 private:
  enum Counter : uint8_t { debits_pending, debits_posted, credits_pending, credits_posted };
  using Counters = std::array<u128, 4>;
  struct Account {
    Counters counters{};
    uint32_t agent = 0;
    uint32_t remainder = 0;
    UnitId unit = 0;
    AccountPurpose purpose = AccountPurpose::balance;
  };
  struct Done {  // what a key was used for
    Transfer transfer;
    TransferOutcome outcome;
    HoldId hold;
  };

  static uint64_t key_hash(const Transfer& transfer);
  TransferOutcome check_key(const Transfer& transfer) const;
  TransferOutcome check_resolution(const Transfer& transfer) const;
  TransferOutcome check_room(AccountIndex debit, AccountIndex credit, uint64_t amount) const;
  const Done* done_find(const Transfer& transfer) const;
  bool of_task(const Hold& hold) const;

  void add(AccountIndex account, Counter counter, uint64_t amount);
  void subtract(AccountIndex account, Counter counter, uint64_t amount);
  void assert_balanced(UnitId unit) const;
  void assert_limit(AccountIndex account) const;
  HoldId open_hold(AccountIndex debit, AccountIndex credit, uint64_t amount, uint64_t expires_ns);
  Hold& open_hold_at(HoldId hold);
  void take_back(const Transfer& transfer, uint32_t debit_agent, uint32_t credit_agent);
  void truncate(size_t account_count, size_t hold_count, size_t done_count);
  static uint64_t account_hash_of(uint32_t agent, UnitId unit, AccountPurpose purpose);

  Digest units_hash() const;

  std::vector<std::string> units_;
  HashMap unit_of_;
  std::vector<Account> accounts_;
  HashMap account_of_;
  std::vector<Hold> holds_;
  std::set<std::pair<uint64_t, HoldId>> expiries_;  // open two-phase holds that expire
  std::vector<Done> done_;                          // in the order of the journal
  HashMap done_of_;
  std::map<uint32_t, Rates> rates_;  // unit << 8 | tier
  std::vector<Counters> totals_;
  mutable ChunkedHash account_hash_, hold_hash_, done_hash_;
};

}  // namespace hanse
