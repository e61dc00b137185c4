// The ledger against an oracle that was written apart from it: plain maps, no shared code, balances
// folded from a list of entries.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/random.hpp"
#include "ledger/ledger.hpp"

namespace hanse {
namespace {

using Outcome = TransferOutcome;
constexpr uint64_t most = UINT64_MAX;

struct Oracle {
  struct Books {
    u128 pending_out = 0, out = 0, pending_in = 0, in = 0;
  };
  struct Pending {
    uint32_t from, to;
    UnitId unit;
    uint64_t amount, expires_ns;
    char state;  // o, p, v, e
  };
  struct Used {
    bool failed;
    Transfer transfer;
    uint64_t hold;
  };
  uint16_t units = 3;
  std::map<std::pair<UnitId, uint32_t>, Books> books;
  std::map<uint64_t, Pending> pendings;
  std::map<uint64_t, Used> used;

  Outcome same(const Transfer& a, const Transfer& b) const {
    if (a.kind != b.kind || a.pending != b.pending || a.expires_ns != b.expires_ns)
      return Outcome::exists_with_different_pending;
    if (a.debit != b.debit || a.credit != b.credit) return Outcome::exists_with_different_accounts;
    if (a.amount != b.amount) return Outcome::exists_with_different_amount;
    return a.unit == b.unit ? Outcome::exists : Outcome::exists_with_different_unit;
  }

  Outcome judge(const Transfer& t, uint32_t from, uint32_t to) const {
    if (t.key != 0 && used.count(t.key)) {
      const Used& before = used.at(t.key);
      return before.failed ? Outcome::id_already_failed : same(before.transfer, t);
    }
    if (t.kind == TransferKind::post || t.kind == TransferKind::voided) {
      if (!pendings.count(t.pending)) return Outcome::pending_not_found;
      const Pending& pending = pendings.at(t.pending);
      if (t.kind == TransferKind::post && t.amount > pending.amount)
        return Outcome::exceeds_pending;
      if (pending.state == 'p') return Outcome::already_posted;
      if (pending.state == 'v') return Outcome::already_voided;
      if (pending.state == 'e') return Outcome::already_expired;
      return Outcome::ok;
    }
    if (t.debit == t.credit) return Outcome::accounts_must_differ;
    if (t.amount == 0) return Outcome::amount_must_not_be_zero;
    if (from == index_none || to == index_none) return Outcome::unknown_account;
    if (t.unit >= units) return Outcome::unit_mismatch;
    if (!books.count({t.unit, from})) return Outcome::unknown_account;
    const Books& payer = books.at({t.unit, from});
    const Books payee = books.count({t.unit, to}) ? books.at({t.unit, to}) : Books{};
    if (payer.pending_out + payer.out + t.amount > most) return Outcome::overflow;
    if (payee.pending_in + payee.in + t.amount > most) return Outcome::overflow;
    if (payer.in < payer.pending_out + payer.out + t.amount) return Outcome::exceeds_credits;
    return Outcome::ok;
  }

  void release(Pending& pending, char state) {
    books[{pending.unit, pending.from}].pending_out -= pending.amount;
    books[{pending.unit, pending.to}].pending_in -= pending.amount;
    pending.state = state;
  }

  Outcome transfer(const Transfer& t, uint32_t from, uint32_t to, uint64_t hold) {
    const Outcome outcome = judge(t, from, to);
    const bool poisons = outcome == Outcome::unknown_account ||
                         outcome == Outcome::exceeds_credits ||
                         outcome == Outcome::pending_not_found;
    if (t.key != 0 && (outcome == Outcome::ok || poisons))
      used[t.key] = {poisons, t, t.kind == TransferKind::pending ? hold : 0};
    if (outcome != Outcome::ok) return outcome;
    if (t.kind == TransferKind::pending) {
      pendings[hold] = {from, to, t.unit, t.amount, t.expires_ns, 'o'};
      books[{t.unit, from}].pending_out += t.amount;
      books[{t.unit, to}].pending_in += t.amount;
    } else if (t.kind == TransferKind::single) {
      books[{t.unit, from}].out += t.amount;
      books[{t.unit, to}].in += t.amount;
    } else {
      Pending& pending = pendings[t.pending];
      release(pending, t.kind == TransferKind::post ? 'p' : 'v');
      if (t.kind == TransferKind::voided) return outcome;
      const uint64_t amount = t.amount == 0 ? pending.amount : t.amount;
      books[{pending.unit, pending.from}].out += amount;
      books[{pending.unit, pending.to}].in += amount;
    }
    return outcome;
  }

  std::vector<uint64_t> due(uint64_t now_ns, size_t limit) const {
    std::vector<std::pair<uint64_t, uint64_t>> found;
    for (const auto& [id, pending] : pendings)
      if (pending.state == 'o' && pending.expires_ns != 0 && pending.expires_ns <= now_ns)
        found.push_back({pending.expires_ns, id});
    std::sort(found.begin(), found.end());
    if (found.size() > limit) found.resize(limit);
    std::vector<uint64_t> ids;
    for (const auto& [expires_ns, id] : found) ids.push_back(id);
    return ids;
  }
};

constexpr uint32_t agent_count = 24;

struct Market {
  Ledger ledger;
  Oracle oracle;
  Random random;
  uint64_t now_ns = 1, hold_count = 0;
  std::vector<Transfer> keyed;
  std::array<uint64_t, 19> seen{};

  explicit Market(uint64_t seed) : random(seed) {
    ledger.apply_unit("tokens");
    ledger.apply_unit("gold");
  }

  static uint32_t agent_of(AgentId id) {
    return index_of(id) < agent_count && generation_of(id) == 1 ? index_of(id) : index_none;
  }
  AgentId any_agent() {
    return random.chance(10) ? make_id(77, 1) : make_id(uint32_t(random.below(agent_count)), 1);
  }
  uint64_t any_amount(UnitId unit) {
    if (random.chance(20)) return 0;
    if (unit == 2 && random.chance(300)) return most / (1 + random.below(6));
    return 1 + random.below(random.chance(50) ? 100'000 : 400);
  }

  Transfer any_transfer() {
    if (!keyed.empty() && random.chance(120)) {
      Transfer again = keyed[random.below(keyed.size())];
      if (random.chance(150)) again.amount += 1;
      if (random.chance(100)) again.unit = UnitId((again.unit + 1) % 3);
      if (random.chance(100)) std::swap(again.debit, again.credit);
      if (random.chance(100)) again.expires_ns += 1;
      return again;
    }
    Transfer t;
    t.kind = TransferKind(random.below(4));
    t.unit = random.chance(5) ? UnitId(9) : UnitId(random.below(3));
    t.debit = any_agent();
    t.credit = any_agent();
    t.amount = any_amount(t.unit);
    if (t.kind == TransferKind::pending && random.chance(500))
      t.expires_ns = now_ns + 1 + random.below(2'000);
    if (t.kind == TransferKind::post || t.kind == TransferKind::voided) {
      const uint64_t window = std::min<uint64_t>(hold_count, 200);
      t.pending =
          random.chance(10) ? random.below(3) * 1'000'000 : hold_count - random.below(window + 1);
      if (random.chance(500)) t.amount = 0;
    }
    if (random.chance(400)) {
      t.key = 1 + random.next() % 1'000'000'007;
      keyed.push_back(t);
    }
    return t;
  }

  void fund() {
    const auto agent = uint32_t(random.below(agent_count));
    const auto unit = UnitId(random.below(3));
    const uint64_t amount = any_amount(unit);
    u128 issued = 0;
    for (const auto& [where, books] : oracle.books)
      if (where.first == unit && where.second == index_none) issued = books.out;
    Outcome expected = Outcome::ok;
    if (amount == 0) {
      expected = Outcome::amount_must_not_be_zero;
    } else if (issued + amount > most) {
      expected = Outcome::overflow;
    } else if (oracle.books.count({unit, agent})) {
      const Oracle::Books& books = oracle.books[{unit, agent}];
      if (books.in + books.pending_in + amount > most) expected = Outcome::overflow;
    }
    ASSERT_EQ(ledger.check_fund(agent, amount, unit), expected);
    if (expected != Outcome::ok) return;
    ledger.apply_fund(agent, amount, unit);
    oracle.books[{unit, index_none}].out += amount;
    oracle.books[{unit, agent}].in += amount;
  }

  void transfer() {
    const Transfer t = any_transfer();
    const uint32_t debit = agent_of(t.debit), credit = agent_of(t.credit);
    const Outcome expected = oracle.judge(t, debit, credit);
    const Outcome outcome = ledger.check_transfer(t, debit, credit);
    ASSERT_EQ(outcome, expected);
    ++seen[size_t(outcome)];
    const HoldId hold = ledger.apply_transfer(t, debit, credit, outcome);
    oracle.transfer(t, debit, credit, hold_count + 1);
    if (outcome == Outcome::exists) {
      ASSERT_EQ(hold, oracle.used[t.key].hold);
    } else if (outcome == Outcome::ok && t.kind == TransferKind::pending) {
      ASSERT_EQ(hold, ++hold_count);
    } else {
      ASSERT_EQ(hold, 0u);
    }
    if (debit != index_none && t.unit < 3) compare_account(debit, t.unit);
    if (credit != index_none && t.unit < 3) compare_account(credit, t.unit);
  }

  void expire() {
    now_ns += random.below(500);
    std::vector<HoldId> due;
    ledger.due(now_ns, 50, due);
    ASSERT_EQ(due, oracle.due(now_ns, 50));
    for (const HoldId hold : due) {
      ledger.apply_resolve(hold, HoldState::expired);
      oracle.release(oracle.pendings[hold], 'e');
    }
  }

  void compare_account(uint32_t agent, UnitId unit) {
    const AccountIndex index = ledger.account_find(agent, unit);
    const auto found = oracle.books.find({unit, agent});
    ASSERT_EQ(index == index_none, found == oracle.books.end());
    if (index == index_none) return;
    const AccountInfo account = ledger.account(index);
    const Oracle::Books& books = found->second;
    ASSERT_TRUE(account.debits_pending == books.pending_out && account.debits_posted == books.out);
    ASSERT_TRUE(account.credits_pending == books.pending_in && account.credits_posted == books.in);
    ASSERT_TRUE(account.debits_pending + account.debits_posted <= account.credits_posted);
    ASSERT_EQ(ledger.available(agent, unit), uint64_t(books.in - books.out - books.pending_out));
  }

  void compare_totals() {
    for (UnitId unit = 0; unit < 3; ++unit) {
      const Ledger::Totals totals = ledger.totals(unit);
      ASSERT_TRUE(totals.debits_posted == totals.credits_posted);
      ASSERT_TRUE(totals.debits_pending == totals.credits_pending);
    }
  }

  void compare_all() {
    for (UnitId unit = 0; unit < 3; ++unit) {
      Oracle::Books sum;
      for (const auto& [where, books] : oracle.books) {
        if (where.first != unit) continue;
        sum.out += books.out;
        sum.in += books.in;
        sum.pending_out += books.pending_out;
        sum.pending_in += books.pending_in;
      }
      const Ledger::Totals totals = ledger.totals(unit);
      ASSERT_TRUE(totals.debits_posted == sum.out && totals.credits_posted == sum.in);
      ASSERT_TRUE(totals.debits_pending == sum.pending_out);
      ASSERT_TRUE(totals.credits_pending == sum.pending_in);
      for (uint32_t agent = 0; agent < agent_count; ++agent) compare_account(agent, unit);
    }
  }

  void try_batch(bool atomic) {
    std::vector<Transfer> batch;
    std::vector<uint32_t> debits, credits;
    for (size_t i = 0, size = 1 + random.below(atomic ? 4 : 40); i < size; ++i) {
      batch.push_back(any_transfer());
      // Some resolve a hold that the batch itself opens.
      if (batch.back().pending != 0 && random.chance(500)) batch.back().pending = hold_count + 1;
      debits.push_back(agent_of(batch.back().debit));
      credits.push_back(agent_of(batch.back().credit));
    }
    std::vector<Outcome> expected, outcomes(batch.size());
    Oracle copy = oracle;
    uint64_t holds = hold_count;
    for (size_t i = 0; i < batch.size(); ++i) {
      const Outcome outcome = copy.transfer(batch[i], debits[i], credits[i], holds + 1);
      expected.push_back(outcome);
      if (outcome == Outcome::ok && batch[i].kind == TransferKind::pending) ++holds;
      if (!atomic || outcome == Outcome::ok || outcome == Outcome::exists) continue;
      expected.assign(batch.size(), Outcome::aborted);
      expected[i] = outcome;
      break;
    }
    const Digest before = ledger.state_hash();
    const uint32_t accounts = ledger.account_count();
    ledger.try_transfers(batch, debits, credits, atomic, outcomes);
    ASSERT_EQ(ledger.state_hash(), before);
    ASSERT_EQ(ledger.account_count(), accounts);
    compare_all();
    ASSERT_EQ(outcomes, expected);
  }
};

TEST(LedgerOracle, agrees_on_three_hundred_thousand_random_transfers) {
  Market market(20'260'101);
  for (int step = 0; step < 300'000 && !testing::Test::HasFatalFailure(); ++step) {
    if (market.random.chance(15)) market.fund();
    if (market.random.chance(4)) market.expire();
    market.transfer();
    market.compare_totals();
    if (step % 512 == 0) market.compare_all();
  }
  market.compare_all();
  for (size_t outcome = 0; outcome < size_t(Outcome::aborted); ++outcome)
    EXPECT_GT(market.seen[outcome], 20u) << "outcome " << outcome << " is hardly ever tried";
}

TEST(LedgerOracle, a_batch_that_is_tried_leaves_no_trace) {
  Market market(4);
  for (int step = 0; step < 6'000 && !testing::Test::HasFatalFailure(); ++step) {
    if (market.random.chance(50)) market.fund();
    if (market.random.chance(30)) market.expire();
    if (step % 10 == 0) market.try_batch(step % 20 == 0);
    market.transfer();
  }
  market.compare_all();
}

}  // namespace
}  // namespace hanse
