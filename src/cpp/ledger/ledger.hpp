// Integer double entry after TigerBeetle: accounts in a named unit, two-phase transfers, holds,
// budgets, settlements. What a transfer is, and where it differs from TigerBeetle's, is in
// transfer.hpp; the order of checks, which is part of the contract, is in check.cpp.
//
// Sum of debits = sum of credits, posted and pending, per unit, at every position. Record plane:
// one thread at a time; `check_*` is const and says the outcome, `apply_*` follows from a record
// and cannot fail after its check.
#pragma once

#include <array>
#include <functional>
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
#include "ledger/budget.hpp"
#include "ledger/keys.hpp"
#include "ledger/transfer.hpp"

namespace hanse {

constexpr uint32_t unit_name_size_max = 32;
constexpr uint32_t unit_count_max = 65535;

// An agent has at most one account of each purpose and unit. All but `balance` belong to the root.
enum class AccountPurpose : uint8_t {
  balance = 0,   // of an agent
  issuance = 1,  // of a unit; may go negative
  fees = 2,      // what the house earns
  usage = 3,     // what model usage costs
  escrow = 4,    // counter-account of task reservations: only pending credits
};

namespace account_flag {
constexpr uint8_t debits_limited = 1;   // debits must not exceed credits: every balance, at first
constexpr uint8_t credits_limited = 2;  // credits must not exceed debits
constexpr uint8_t closed = 4;           // by a pending transfer; voiding it reopens
}  // namespace account_flag

// What the opener of an account says of it; of accounts that open by themselves, nothing.
struct AccountTerms {
  uint8_t flags = account_flag::debits_limited;  // without `closed`; not both limits
  uint16_t code = 0;
  uint32_t user_data_32 = 0;
  uint64_t user_data_64 = 0;
  uint64_t user_data_128[2] = {0, 0};  // high, low
  bool operator==(const AccountTerms&) const = default;

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.flags, self.code, self.user_data_32, self.user_data_64, self.user_data_128);
  }
};

struct AccountInfo {
  AgentId owner = id_none;
  AccountPurpose purpose = AccountPurpose::balance;
  UnitId unit = 0;
  u128 debits_pending = 0, debits_posted = 0, credits_pending = 0, credits_posted = 0;
  uint32_t remainder = 0;  // micro-units of a unit not yet charged: usage prices are per million
  AccountTerms terms;      // flags: with `closed`
};

enum class Settlement : uint8_t { unknown = 0, posted = 1, voided = 2 };

// One movement, for those who keep a history: `credit` is who got it, or would get it.
enum class EntryKind : uint8_t { funded = 0, transferred = 1, held = 2, posted = 3, released = 4 };
struct Entry {
  EntryKind kind = EntryKind::funded;
  AccountIndex debit = 0, credit = 0;
  uint64_t amount = 0;
  HoldId hold = 0;
};

struct Rates {  // integer micro-units per million tokens
  uint64_t fresh = 0, cache_read = 0, cache_write = 0, output = 0;

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.fresh, self.cache_read, self.cache_write, self.output);
  }
};
struct Usage {
  uint64_t fresh = 0, cache_read = 0, cache_write = 0, output = 0;

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.fresh, self.cache_read, self.cache_write, self.output);
  }
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

  // Opens the balance account of an agent on terms of its own. check: ok, exists (the same terms),
  // exists_with_different_flags, flags_exclude_each_other (both limits).
  TransferOutcome check_open(uint32_t agent, UnitId unit, const AccountTerms& terms) const;
  void apply_open(uint32_t agent, UnitId unit, const AccountTerms& terms);

  // A batch of transfers at a time of the journal. Agents are indices in the AgentTable, index_none
  // where there is none that the actor may name.
  struct Batch {
    std::span<const Transfer> transfers;
    std::span<const uint32_t> debits, credits;
    uint64_t now_ns = 0;
    bool atomic = false;
    // Who may post or void a hold is the caller's to say; empty: anyone.
    std::function<bool(const Hold&, TransferKind)> may;
  };
  // What a batch has added, so that it can be taken back.
  struct Marks {
    size_t accounts = 0, holds = 0;
  };
  // Checks and applies, each transfer after those before it; chains all or nothing. With `atomic`
  // the first that fails keeps its outcome, the others are `aborted`, and nothing has changed;
  // `exists` is no failure there, so that a batch may be sent again. All spans are of one size.
  // Returns whether the batch took place, that is, false for an atomic one that failed.
  bool execute(const Batch& batch, std::span<Moved> moved_out, Marks& marks_out);
  // Takes back what `execute` did, if nothing came after it.
  void roll_back(const Batch& batch, std::span<const Moved> moved, const Marks& marks);
  // From a record: the same effects, the outcomes being known.
  void apply_batch(const Batch& batch, std::span<const Moved> moved);
  // Time has come to `now_ns`: keys behind the horizon are forgotten.
  void apply_time(uint64_t now_ns);
  // The outcome of one transfer now, and what it would move.
  Moved check_transfer(const Batch& batch, size_t at) const;

  // A hold whose settlement lies outside. unknown: open -> unknown. posted, voided: from either,
  // for good; amount 0 posts all. check: pending_not_found, already_*, exceeds_pending,
  // settlement_unknown (unknown again: whoever asks must not pay again), credit_closed and
  // debit_closed (posted).
  TransferOutcome check_settlement(HoldId hold, Settlement verdict, uint64_t amount,
                                   uint64_t now_ns) const;
  void apply_settlement(HoldId hold, Settlement verdict, uint64_t amount);

  // Of posted escrows that bear one; tasks bring theirs along. At most 10,000.
  void apply_fee(uint32_t basis_points) { fee_basis_points_ = basis_points; }

  const BudgetTree& budgets() const { return budgets_; }
  void set_parents(std::function<uint32_t(uint32_t)> parent_of) {
    budgets_.set_parents(std::move(parent_of));
  }
  // Counts what is pending out of `agent` and those below it from the holds that are open.
  void apply_budget(uint32_t agent, UnitId unit, uint64_t limit);

  // Issuance -> agent. check: ok, overflow, amount_must_not_be_zero, unknown_account (index_none),
  // credit_closed, exceeds_debits.
  // A unit that does not exist yet (unit_none) is taken for one that the same record opens.
  TransferOutcome check_fund(uint32_t agent, uint64_t amount, UnitId unit) const;
  void apply_fund(uint32_t agent, uint64_t amount, UnitId unit);

  // Reservations of tasks: agent -> escrow of the unit. Transfers can't post or void them.
  // check: amount_must_not_be_zero, unit_mismatch, unknown_account, debit_closed, overflow,
  // exceeds_credits, exceeds_budget. What is reserved is settled even where an account has been
  // closed since.
  TransferOutcome check_hold(uint32_t agent, uint64_t amount, UnitId unit) const;
  HoldId apply_hold(uint32_t agent, uint64_t amount, UnitId unit, uint64_t expires_ns);
  const Hold& hold(HoldId hold) const;  // throws unknown_transfer
  bool of_task(const Hold& hold) const;
  uint64_t hold_count() const { return holds_.size(); }
  // Posts `amount` <= left of an open hold to `to`, of the same unit; the rest stays reserved.
  // Can't overflow: counters have 128 bits, and only `check_*` keeps them below 2^64.
  void apply_draw(HoldId hold, uint64_t amount, AccountIndex to);
  // Resolves exactly once; releases what is left. Not with `unknown`.
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

  // Called with every movement from now on, as it is applied; empty: no one.
  void observe(std::function<void(const Entry&)> observer) { observer_ = std::move(observer); }

  const UsedKey* key_find(const TransferKey& key, uint32_t owner) const {
    return keys_.find(key, owner);
  }
  uint64_t key_count() const { return keys_.count() + chains_.count(); }
  Digest state_hash() const;
  static constexpr uint16_t snapshot_version = 1;
  void encode(SnapshotWriter& out) const;
  void decode(SnapshotReader& in);
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
    uint8_t flags = 0;
    bool has_terms = false;  // in terms_

    template <class Coder, class Self>
    static void each_field(Coder& coder, Self& self) {
      coder(self.agent, self.unit, self.purpose, self.flags, self.remainder, self.counters,
            self.has_terms);
    }
  };

  // check.cpp
  static TransferOutcome check_key(const TransferKey& key, uint64_t now_ns, uint64_t untimed_count);
  TransferOutcome check_seen(const UsedKey& seen, const Transfer& transfer) const;
  static TransferOutcome check_fields(const Transfer& transfer);
  TransferOutcome check_resolution(const Batch& batch, const Transfer& transfer,
                                   Moved& moved_out) const;
  TransferOutcome check_held(const Hold& hold, const Transfer& transfer) const;
  TransferOutcome check_room(AccountIndex debit, AccountIndex credit, uint32_t credit_agent,
                             uint64_t amount) const;
  uint64_t balanced(const Transfer& transfer, AccountIndex debit, AccountIndex credit) const;
  bool is_closed(AccountIndex account) const {
    return account != index_none && (accounts_[account].flags & account_flag::closed) != 0;
  }

  // batch.cpp
  void apply_moved(const Batch& batch, size_t at, Moved& moved);
  void apply_chain(const Batch& batch, size_t first, size_t end, std::span<const Moved> moved);
  bool replay_chain(const Batch& batch, size_t first, size_t end, std::span<Moved> moved_out) const;
  void execute_chain(const Batch& batch, size_t first, size_t end, std::span<Moved> moved_out);
  void take_back(const Batch& batch, size_t at, const Moved& moved);
  void truncate(const Marks& marks);
  void use_key(const Batch& batch, size_t at, const Moved& moved);

  // hold.cpp
  void add(AccountIndex account, Counter counter, uint64_t amount);
  void subtract(AccountIndex account, Counter counter, uint64_t amount);
  void assert_balanced(UnitId unit) const;
  void assert_limit(AccountIndex account) const;
  void tell(EntryKind kind, AccountIndex debit, AccountIndex credit, uint64_t amount, HoldId hold) {
    if (observer_) observer_({kind, debit, credit, amount, hold});
  }
  // Whom budgets take for the payee while a hold is pending: a fee leaves every level.
  uint32_t pending_payee(const Hold& hold) const {
    return (hold.flags & transfer_flag::fee) != 0 ? 0 : accounts_[hold.credit].agent;
  }
  HoldId open_hold(Hold hold);
  void post_hold(HoldId hold, uint64_t amount);
  void set_closed(const Hold& hold, bool closed);
  uint64_t fee_of(const Hold& hold, uint64_t amount) const;
  Hold& unresolved_at(HoldId hold);
  static uint64_t account_hash_of(uint32_t agent, UnitId unit, AccountPurpose purpose);
  static uint64_t unit_hash_of(std::string_view name);
  void decode_account(SnapshotReader& in, size_t at, FieldReader& fields);

  void encode_account(uint32_t index, ByteWriter& writer) const;
  void encode_hold(uint32_t index, ByteWriter& writer) const;
  Digest units_hash() const;

  std::vector<std::string> units_;
  HashMap unit_of_;
  std::vector<Account> accounts_;
  HashMap account_of_;
  std::vector<Hold> holds_;
  std::set<std::pair<uint64_t, HoldId>> expiries_;  // open two-phase holds that expire
  KeyTable<UsedKey> keys_;
  KeyTable<UsedChain> chains_;
  BudgetTree budgets_;
  std::map<AccountIndex, AccountTerms> terms_;  // of accounts that were opened on terms
  uint32_t fee_basis_points_ = 0;
  std::function<void(const Entry&)> observer_;
  std::map<uint32_t, Rates> rates_;  // unit << 8 | tier
  std::vector<Counters> totals_;
  mutable ChunkedHash account_hash_, hold_hash_;
};

}  // namespace hanse
