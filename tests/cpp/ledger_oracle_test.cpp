// The ledger against an oracle that was written apart from it, over random batches of transfers
// with every flag, chain, limit, budget, expiry and settlement. HANSE_ORACLE_TRANSFERS: how many.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/random.hpp"
#include "ledger/ledger.hpp"
#include "ledger_oracle.hpp"

namespace hanse {
namespace {

using Outcome = TransferOutcome;
using oracle::agent_count;
using oracle::Answer;
using oracle::Wide;

constexpr uint64_t most = UINT64_MAX;
constexpr uint64_t second = 1'000'000'000;

struct Market {
  Ledger ledger;
  oracle::Books books;
  Random random;
  uint64_t now_ns = 1'700'000'000 * second;
  uint64_t transfers = 0;
  std::vector<Transfer> keyed;
  std::vector<std::vector<Transfer>> chains;
  std::array<uint64_t, transfer_outcome_count> seen{};

  explicit Market(uint64_t seed) : random(seed) {
    ledger.apply_unit("tokens");
    ledger.apply_unit("gold");
    ledger.set_parents(oracle::parent_of);
    ledger.apply_fee(oracle::fee_basis_points);
    // One that may owe, and one that may not be owed more than it owes.
    open(22, 0, 0);
    open(23, 0, account_flag::credits_limited);
    open(23, 1, account_flag::credits_limited);
  }

  void open(uint32_t agent, UnitId unit, uint8_t flags) {
    AccountTerms terms;
    terms.flags = flags;
    terms.code = 7;
    ASSERT_EQ(ledger.check_open(agent, unit, terms), Outcome::ok);
    ledger.apply_open(agent, unit, terms);
    books.open(agent, unit, false, flags == account_flag::credits_limited);
  }

  AgentId any_agent() {
    return random.chance(10) ? make_id(77, 1) : make_id(uint32_t(random.below(agent_count)), 1);
  }
  uint64_t any_amount(UnitId unit) {
    if (random.chance(20)) return 0;
    if (unit == 2 && random.chance(300)) return most / (1 + random.below(6));
    return 1 + random.below(random.chance(50) ? 100'000 : 400);
  }
  TransferKey any_key() {
    if (random.chance(300)) return {0, 1 + random.next() % 1'000'000'007};
    const uint64_t slack = random.chance(20) ? key_horizon_ns + 2 * second : 40 * second;
    const uint64_t at =
        random.chance(30) ? now_ns + random.below(80 * second) : now_ns - random.below(slack);
    return {at / 1'000'000 << 16 | 0x7000 | random.below(4096), random.next()};
  }

  void change_something(Transfer& t) {
    switch (random.below(12)) {
      case 0:
        t.amount += 1;
        break;
      case 1:
        t.unit = UnitId((t.unit + 1) % 3);
        break;
      case 2:
        t.debit = any_agent();
        break;
      case 3:
        t.credit = any_agent();
        break;
      case 4:
        t.expires_ns += 1;
        break;
      case 5:
        t.user_data_128[random.below(2)] ^= 1;
        break;
      case 6:
        t.user_data_64 ^= 1;
        break;
      case 7:
        t.user_data_32 ^= 1;
        break;
      case 8:
        t.code ^= 1;
        break;
      case 9:
        t.flags ^= uint8_t(1 << random.below(6));
        break;
      case 10:
        t.pending += 1;
        break;
      default:
        t.post_by ^= uint8_t(1 << random.below(3));
        break;
    }
  }

  void end_of_hold(Transfer& t) {
    const uint64_t count = books.hold_count(), window = std::min<uint64_t>(count, 60);
    t.pending =
        random.chance(20) ? random.below(3) * 1'000'000'000'000 : count - random.below(window + 1);
    if (random.chance(100)) t.pending = count + 1;  // perhaps one that this batch opens
    t.unit = random.chance(900) ? 0 : UnitId(random.below(3));
    if (!random.chance(30)) t.debit = id_none;
    if (!random.chance(30)) t.credit = id_none;
    if (!random.chance(30)) t.code = 0;
    if (random.chance(700)) t.amount = 0;
    if (random.chance(20)) t.amount = most;
  }

  Transfer any_transfer() {
    if (!keyed.empty() && random.chance(120)) {
      Transfer again = keyed[keyed.size() - 1 - random.below(std::min<size_t>(keyed.size(), 400))];
      if (random.chance(500)) change_something(again);
      return again;
    }
    Transfer t;
    t.kind = TransferKind(random.below(4));
    t.unit = random.chance(5) ? UnitId(9) : UnitId(random.below(3));
    t.debit = any_agent();
    t.credit = any_agent();
    t.amount = any_amount(t.unit);
    t.key_owner = uint32_t(random.below(2));
    t.code = uint16_t(random.below(3));
    if (random.chance(200)) t.user_data_64 = random.below(9);
    const bool pends = t.kind == TransferKind::pending;
    if (is_resolution(t)) end_of_hold(t);
    if (random.chance(pends ? 300 : 5)) t.expires_ns = now_ns + 1 + random.below(2 * second);
    if (random.chance(3)) t.expires_ns = now_ns - random.below(2);
    if (!is_resolution(t) && random.chance(80)) t.flags |= uint8_t(2 << random.below(2));
    if (random.chance(pends ? 25 : 2)) t.flags |= uint8_t(8 << random.below(2));
    if (random.chance(pends ? 80 : 3)) t.flags |= transfer_flag::fee;
    if (random.chance(pends ? 80 : 3)) {
      t.post_by = uint8_t(random.below(8));
      t.void_by = uint8_t(random.below(8));
      if (((t.post_by | t.void_by) & 4) != 0 && !random.chance(20)) t.arbiter = make_id(5, 1);
    }
    if (random.chance(2)) t.flags |= 64;
    if (!is_resolution(t) && random.chance(3)) t.pending = 1;
    if (random.chance(400)) {
      t.key = any_key();
      keyed.push_back(t);
    }
    return t;
  }

  std::vector<Transfer> any_batch() {
    if (!chains.empty() && random.chance(60)) {
      std::vector<Transfer> again =
          chains[chains.size() - 1 - random.below(std::min<size_t>(chains.size(), 50))];
      if (random.chance(200)) change_something(again[random.below(again.size())]);
      return again;
    }
    std::vector<Transfer> batch;
    for (size_t i = 0, size = 1 + random.below(6); i < size; ++i) batch.push_back(any_transfer());
    if (!random.chance(300)) return batch;
    for (size_t i = 0; i < batch.size(); ++i)
      if (random.chance(i + 1 == batch.size() ? 30 : 600)) batch[i].flags |= transfer_flag::linked;
    if (random.chance(600)) {
      batch[0].chain = any_key();
      chains.push_back(batch);
    }
    return batch;
  }

  void run(bool atomic) {
    const std::vector<Transfer> batch = any_batch();
    std::vector<uint32_t> debits, credits;
    for (const Transfer& t : batch) {
      debits.push_back(oracle::agent_of(t.debit).value_or(index_none));
      credits.push_back(oracle::agent_of(t.credit).value_or(index_none));
    }
    const std::vector<Answer> expected = books.run(batch, now_ns, atomic);
    std::vector<Moved> moved(batch.size());
    Ledger::Marks marks;
    const Ledger::Batch given{batch, debits, credits, now_ns, atomic, {}};
    const bool probe = random.chance(2);
    const Digest before = probe ? ledger.state_hash() : Digest{};
    bool done = ledger.execute(given, moved, marks);
    if (probe) {
      // Taken back, it leaves no trace; done again, it answers the same.
      if (done) ledger.roll_back(given, moved, marks);
      ASSERT_EQ(ledger.state_hash(), before);
      done = ledger.execute(given, moved, marks);
    }
    transfers += batch.size();
    for (size_t i = 0; i < batch.size(); ++i) {
      ++seen[size_t(expected[i].said)];
      ASSERT_EQ(moved[i].outcome, expected[i].said) << "transfer " << i << " of " << batch.size();
      ASSERT_EQ(moved[i].amount, uint64_t(expected[i].amount));
      ASSERT_EQ(moved[i].hold, expected[i].hold);
      for (const uint32_t agent : {debits[i], credits[i]})
        if (agent != index_none && batch[i].unit < 3) compare_account(agent, batch[i].unit);
    }
  }

  void fund() {
    const auto agent = uint32_t(random.below(agent_count));
    const auto unit = UnitId(random.below(3));
    const uint64_t amount = any_amount(unit);
    const Outcome expected = books.fund(agent, amount, unit);
    ASSERT_EQ(ledger.check_fund(agent, amount, unit), expected);
    if (expected == Outcome::ok) ledger.apply_fund(agent, amount, unit);
  }

  void budget() {
    const auto agent = uint32_t(1 + random.below(agent_count - 1));
    const auto unit = UnitId(random.below(2));
    const uint64_t limit = random.below(200'000);
    ledger.apply_budget(agent, unit, limit);
    books.set_budget(agent, unit, limit);
  }

  void expire() {
    // Now and then a day passes, and keys with it.
    now_ns += random.chance(3) ? random.below(30 * 3600 * second) : random.below(second / 2);
    std::vector<HoldId> due;
    ledger.due(now_ns, 50, due);
    ASSERT_EQ(due, books.expire(now_ns, 50));
    for (const HoldId hold : due) ledger.apply_resolve(hold, HoldState::expired);
    ledger.apply_time(now_ns);
    books.forget(now_ns);
  }

  void settle() {
    const uint64_t count = books.hold_count();
    const uint64_t hold = count - random.below(std::min<uint64_t>(count, 80) + 1) + random.below(2);
    const auto verdict = Settlement(random.below(3));
    const uint64_t amount = random.chance(300) ? 1 + random.below(100) : 0;
    const Outcome outcome = ledger.check_settlement(hold, verdict, amount, now_ns);
    ASSERT_EQ(outcome, books.settle(hold, int(verdict), amount, now_ns));
    if (outcome == Outcome::ok) ledger.apply_settlement(hold, verdict, amount);
  }

  void step() {
    if (random.chance(15)) fund();
    if (random.chance(2)) budget();
    if (random.chance(20)) expire();
    if (random.chance(20)) settle();
    run(random.chance(50));
  }

  void compare_account(uint32_t agent, UnitId unit) {
    const AccountIndex index = ledger.account_find(agent, unit);
    const oracle::Purse& purse = books.purse(unit, agent);
    ASSERT_EQ(index != index_none, purse.there);
    if (index == index_none) return;
    const AccountInfo account = ledger.account(index);
    ASSERT_TRUE(Wide(account.debits_pending) == purse.out_pending);
    ASSERT_TRUE(Wide(account.debits_posted) == purse.out);
    ASSERT_TRUE(Wide(account.credits_pending) == purse.in_pending);
    ASSERT_TRUE(Wide(account.credits_posted) == purse.in);
    ASSERT_EQ((account.terms.flags & account_flag::closed) != 0, purse.closed);
    ASSERT_TRUE(!purse.debits_limited || purse.out + purse.out_pending <= purse.in);
    ASSERT_TRUE(!purse.credits_limited || purse.in + purse.in_pending <= purse.out);
  }

  void compare_all() {
    for (UnitId unit = 0; unit < 3; ++unit) {
      Wide out = books.issued(unit), in = books.fees(unit), out_pending = 0, in_pending = 0;
      for (uint32_t agent = 0; agent < agent_count; ++agent) {
        compare_account(agent, unit);
        const oracle::Purse& purse = books.purse(unit, agent);
        out += purse.out, in += purse.in;
        out_pending += purse.out_pending, in_pending += purse.in_pending;
      }
      const Ledger::Totals totals = ledger.totals(unit);
      ASSERT_TRUE(out == in && out_pending == in_pending) << "the oracle itself";
      ASSERT_TRUE(Wide(totals.debits_posted) == out && Wide(totals.credits_posted) == in);
      ASSERT_TRUE(Wide(totals.debits_pending) == out_pending);
      ASSERT_TRUE(Wide(totals.credits_pending) == in_pending);
    }
    ASSERT_EQ(ledger.budgets().count(), books.ceilings().size());
    for (const auto& [where, ceiling] : books.ceilings()) {
      const Budget& budget = ledger.budgets().at(ledger.budgets().find(where.first, where.second));
      ASSERT_TRUE(Wide(budget.limit) == ceiling.limit && Wide(budget.posted) == ceiling.used &&
                  Wide(budget.pending) == ceiling.pending);
    }
  }
};

uint64_t transfers_wanted() {
  const char* text = std::getenv("HANSE_ORACLE_TRANSFERS");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  constexpr uint64_t usual = 100'000;
#else
  constexpr uint64_t usual = 2'000'000;
#endif
  return text == nullptr ? usual : std::strtoull(text, nullptr, 10);
}

TEST(LedgerOracle, agrees_on_millions_of_random_transfers) {
  // A new market now and then: a budget is set by looking at all holds there ever were.
  const uint64_t wanted = transfers_wanted();
  std::array<uint64_t, transfer_outcome_count> seen{};
  uint64_t done = 0;
  for (uint64_t seed = 20'260'101; done < wanted; ++seed) {
    Market market(seed);
    for (uint64_t step = 0; market.transfers < std::min<uint64_t>(wanted - done, 100'000); ++step) {
      market.step();
      if (step % 512 == 0) market.compare_all();
      ASSERT_FALSE(testing::Test::HasFatalFailure()) << "seed " << seed << ", step " << step;
    }
    market.compare_all();
    done += market.transfers;
    for (size_t i = 0; i < seen.size(); ++i) seen[i] += market.seen[i];
  }
  for (size_t outcome = 0; outcome < seen.size(); ++outcome) {
    const auto which = Outcome(outcome);
    // One is of old journals, one needs 2^24 keys.
    if (which == Outcome::exists_with_different_accounts || which == Outcome::too_many_keys) {
      EXPECT_EQ(seen[outcome], 0u);
    } else if (wanted >= 2'000'000) {  // some take hundreds of thousands of draws
      EXPECT_GT(seen[outcome], 5u) << "outcome " << outcome << " is hardly ever tried";
    }
  }
}

}  // namespace
}  // namespace hanse
