#include "ledger/ledger.hpp"

#include <gtest/gtest.h>

#include "base/random.hpp"
#include "ledger_fixture.hpp"

namespace hanse {
namespace {

using Outcome = TransferOutcome;

TEST_F(LedgerTest, the_first_unit_is_micro_dollars_with_its_system_accounts) {
  EXPECT_EQ(ledger.unit_name(usd), "usd_micro");
  EXPECT_EQ(ledger.unit_find("usd_micro"), usd);
  EXPECT_EQ(ledger.unit_find("gold"), unit_none);
  EXPECT_EQ(ledger.account_count(), 4u);
  const UnitId tokens = ledger.apply_unit("tokens");
  EXPECT_EQ(ledger.apply_unit("tokens"), tokens);
  EXPECT_EQ(ledger.unit_count(), 2u);
  for (const auto purpose : {AccountPurpose::issuance, AccountPurpose::fees, AccountPurpose::usage,
                             AccountPurpose::escrow}) {
    const AccountInfo info = ledger.account(ledger.account_find(0, tokens, purpose));
    EXPECT_EQ(info.owner, make_id(0, 1));
    EXPECT_EQ(info.purpose, purpose);
    EXPECT_EQ(info.unit, tokens);
  }
}

TEST_F(LedgerTest, unit_names_are_checked) {
  const auto code_of = [&](const std::string& name) {
    try {
      ledger.check_unit(name);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::invariant;
  };
  EXPECT_EQ(code_of(""), ErrorCode::empty);
  EXPECT_EQ(code_of(std::string(33, 'x')), ErrorCode::too_large);
  EXPECT_EQ(code_of(std::string(32, 'x')), ErrorCode::invariant) << "thirty-two are fine";
  for (uint32_t unit = ledger.unit_count(); unit < unit_count_max; ++unit)
    EXPECT_EQ(ledger.apply_unit(std::to_string(unit)), unit);
  EXPECT_EQ(code_of("one too many"), ErrorCode::quota_exceeded);
  EXPECT_EQ(code_of("usd_micro"), ErrorCode::invariant) << "a unit that is there is fine";
  EXPECT_THROW(ledger.apply_unit("one too many"), Error);
}

TEST_F(LedgerTest, funding_debits_the_issuance_account) {
  fund(ada, 1000);
  EXPECT_EQ(ledger.available(ada, usd), 1000u);
  EXPECT_EQ(ledger.available(bob, usd), 0u);
  EXPECT_TRUE(account(0, AccountPurpose::issuance).debits_posted == 1000);
  EXPECT_EQ(ledger.check_fund(ada, 0, usd), Outcome::amount_must_not_be_zero);
  EXPECT_EQ(ledger.check_fund(index_none, 1, usd), Outcome::unknown_account);
  EXPECT_EQ(ledger.check_fund(ada, UINT64_MAX, usd), Outcome::overflow);
  EXPECT_EQ(ledger.check_fund(bob, UINT64_MAX - 999, usd), Outcome::overflow)
      << "no more than 2^64 - 1 is ever issued";
  EXPECT_EQ(ledger.check_fund(bob, UINT64_MAX - 1000, usd), Outcome::ok);
  EXPECT_EQ(ledger.check_fund(ada, 1, unit_none), Outcome::ok) << "the record opens the unit";
}

TEST_F(LedgerTest, a_transfer_moves_money_and_opens_the_account_of_the_payee) {
  fund(ada, 100);
  EXPECT_EQ(ledger.account_find(bob, usd), index_none);
  EXPECT_EQ(apply(single(ada, bob, 60)).outcome, Outcome::ok);
  EXPECT_EQ(ledger.available(ada, usd), 40u);
  EXPECT_EQ(ledger.available(bob, usd), 60u);
  EXPECT_EQ(apply(single(ada, bob, 40)).outcome, Outcome::ok) << "down to zero";
  EXPECT_EQ(apply(single(bob, 0, 100)).outcome, Outcome::ok) << "the root has a balance, too";
  EXPECT_EQ(ledger.available(0, usd), 100u);
  EXPECT_TRUE(ledger.totals(usd).debits_posted == 300);
  EXPECT_TRUE(ledger.totals(usd).credits_posted == 300);
}

TEST_F(LedgerTest, refusals_come_in_the_order_of_the_contract) {
  fund(ada, 101);
  apply(single(ada, eve, 1));
  Transfer bad = single(ada, ada, 0);
  expect_refused(bad, Outcome::accounts_must_differ);
  bad.credit = agent_id(index_none);
  bad.unit = 7;
  expect_refused(bad, Outcome::amount_must_not_be_zero);
  bad.amount = UINT64_MAX;
  expect_refused(bad, Outcome::unknown_account);
  bad.credit = agent_id(bob);
  expect_refused(bad, Outcome::unit_mismatch);
  bad.unit = usd;
  expect_refused(bad, Outcome::overflow);
  bad.amount = 101;
  expect_refused(bad, Outcome::exceeds_credits);
  expect_refused(single(index_none, bob, 1), Outcome::unknown_account);
  expect_refused(single(bob, ada, 1), Outcome::unknown_account);
  bad.amount = 100;
  EXPECT_EQ(check(bad), Outcome::ok);
}

TEST_F(LedgerTest, a_payee_never_receives_more_than_fits_sixty_four_bits) {
  fund(ada, UINT64_MAX - 5);
  EXPECT_EQ(apply(single(ada, bob, UINT64_MAX - 5)).outcome, Outcome::ok);
  EXPECT_EQ(apply(single(bob, eve, 10)).outcome, Outcome::ok);
  expect_refused(single(eve, bob, 6), Outcome::overflow);
  expect_refused(pending(eve, bob, 6), Outcome::overflow);
  EXPECT_EQ(apply(pending(eve, bob, 5)).outcome, Outcome::ok);
  expect_refused(single(eve, bob, 1), Outcome::overflow);
}

TEST_F(LedgerTest, the_same_key_and_fields_exist_and_other_fields_are_named) {
  fund(ada, 1000);
  const Moved first = apply(pending(ada, bob, 10, 7));
  ASSERT_EQ(first.outcome, Outcome::ok);
  const Digest before = ledger.state_hash();
  const Moved again = apply(pending(ada, bob, 10, 7));
  EXPECT_EQ(again.outcome, Outcome::exists);
  EXPECT_EQ(again.hold, first.hold) << "a retry learns the hold of the first try";

  EXPECT_EQ(apply(single(ada, bob, 10, 7)).outcome, Outcome::exists_with_different_flags);
  Transfer other = pending(ada, bob, 10, 7);
  other.expires_ns = 1;
  EXPECT_EQ(apply(other).outcome, Outcome::exists_with_different_expiry);
  EXPECT_EQ(apply(pending(ada, eve, 10, 7)).outcome, Outcome::exists_with_different_credit);
  EXPECT_EQ(apply(pending(bob, bob, 10, 7)).outcome, Outcome::exists_with_different_debit)
      << "the key is looked up before the fields are checked";
  EXPECT_EQ(apply(pending(ada, bob, 0, 7)).outcome, Outcome::exists_with_different_amount);
  other = pending(ada, bob, 10, 7);
  other.unit = 9;
  EXPECT_EQ(apply(other).outcome, Outcome::exists_with_different_unit);
  EXPECT_EQ(ledger.state_hash(), before);
}

TEST_F(LedgerTest, a_transient_failure_uses_the_key_up) {
  fund(ada, 10);
  EXPECT_EQ(apply(single(ada, bob, 11, 1)).outcome, Outcome::exceeds_credits);
  EXPECT_EQ(apply(single(bob, ada, 1, 2)).outcome, Outcome::unknown_account);
  EXPECT_EQ(apply(resolve(TransferKind::post, 5, 0, 3)).outcome, Outcome::pending_not_found);
  fund(ada, 1000);
  fund(bob, 1000);
  EXPECT_EQ(apply(single(ada, bob, 11, 1)).outcome, Outcome::id_already_failed);
  EXPECT_EQ(apply(single(bob, ada, 1, 2)).outcome, Outcome::id_already_failed);
  EXPECT_EQ(apply(resolve(TransferKind::post, 5, 0, 3)).outcome, Outcome::id_already_failed);
}

TEST_F(LedgerTest, invalid_fields_leave_the_key_free) {
  fund(ada, 11);
  apply(single(ada, eve, 1));
  EXPECT_EQ(apply(single(ada, bob, 0, 1)).outcome, Outcome::amount_must_not_be_zero);
  EXPECT_EQ(apply(single(ada, ada, 1, 1)).outcome, Outcome::accounts_must_differ);
  EXPECT_EQ(apply(single(ada, bob, UINT64_MAX, 1)).outcome, Outcome::overflow);
  EXPECT_EQ(apply(single(ada, bob, 5, 1)).outcome, Outcome::ok);
  EXPECT_EQ(apply(single(ada, bob, 5, 1)).outcome, Outcome::exists);
  EXPECT_EQ(ledger.available(ada, usd), 5u);
}

TEST_F(LedgerTest, a_hold_is_posted_in_part_or_in_full_or_voided) {
  fund(ada, 100);
  const HoldId part = apply(pending(ada, bob, 30)).hold;
  const HoldId all = apply(pending(ada, bob, 20)).hold;
  const HoldId none = apply(pending(ada, bob, 50)).hold;
  EXPECT_EQ(ledger.available(ada, usd), 0u);
  EXPECT_EQ(ledger.available(bob, usd), 0u) << "what is pending can't be spent";
  expect_refused(single(ada, bob, 1), Outcome::exceeds_credits);
  expect_refused(single(bob, ada, 1), Outcome::exceeds_credits);

  expect_refused(resolve(TransferKind::post, part, 31), Outcome::exceeds_pending);
  EXPECT_EQ(apply(resolve(TransferKind::post, part, 10)).outcome, Outcome::ok);
  EXPECT_EQ(ledger.available(ada, usd), 20u) << "the rest is released";
  EXPECT_EQ(apply(resolve(TransferKind::post, all)).outcome, Outcome::ok);
  EXPECT_EQ(apply(resolve(TransferKind::voided, none)).outcome, Outcome::ok);
  EXPECT_EQ(ledger.available(ada, usd), 70u);
  EXPECT_EQ(ledger.available(bob, usd), 30u);
  EXPECT_TRUE(ledger.totals(usd).debits_pending == 0);
  EXPECT_EQ(ledger.hold(part).state, HoldState::posted);
  EXPECT_EQ(ledger.hold(part).left, 0u);
  EXPECT_EQ(ledger.hold(none).state, HoldState::voided);
}

TEST_F(LedgerTest, a_hold_resolves_exactly_once) {
  fund(ada, 100);
  const HoldId posted = apply(pending(ada, bob, 10)).hold;
  const HoldId voided = apply(pending(ada, bob, 10)).hold;
  const HoldId expired = apply(pending(ada, bob, 10)).hold;
  apply(resolve(TransferKind::post, posted));
  apply(resolve(TransferKind::voided, voided));
  ledger.apply_resolve(expired, HoldState::expired);
  for (const auto kind : {TransferKind::post, TransferKind::voided}) {
    expect_refused(resolve(kind, posted), Outcome::already_posted);
    expect_refused(resolve(kind, voided), Outcome::already_voided);
    expect_refused(resolve(kind, expired), Outcome::already_expired);
    expect_refused(resolve(kind, 0), Outcome::pending_must_not_be_none);
    expect_refused(resolve(kind, 4), Outcome::pending_not_found);
    expect_refused(resolve(kind, UINT64_MAX), Outcome::pending_not_found);
  }
  EXPECT_THROW(ledger.apply_resolve(posted, HoldState::voided), Error);
  EXPECT_THROW(ledger.apply_draw(voided, 1, 0), Error);
  EXPECT_THROW(ledger.hold(0), Error);
  EXPECT_THROW(ledger.hold(4), Error);
  EXPECT_EQ(ledger.available(ada, usd), 90u);
}

// At most so many expire with a command; what is left over is over all the same.
TEST_F(LedgerTest, a_hold_past_its_time_cannot_be_resolved_though_nothing_has_expired_it) {
  fund(ada, 100);
  now_ns = 5;
  Transfer transfer = pending(ada, bob, 10);
  transfer.expires_ns = 20;
  const HoldId hold = apply(transfer).hold;
  for (const auto kind : {TransferKind::post, TransferKind::voided}) {
    now_ns = 19;
    EXPECT_EQ(check(resolve(kind, hold)), Outcome::ok);
    now_ns = 20;
    expect_refused(resolve(kind, hold), Outcome::already_expired);
  }
  EXPECT_EQ(ledger.hold(hold).state, HoldState::open);
}

TEST_F(LedgerTest, holds_fall_due_in_the_order_of_their_expiry) {
  fund(ada, 100);
  std::vector<HoldId> due;
  std::vector<HoldId> holds;
  now_ns = 0;
  for (const uint64_t expires_ns : {30u, 10u, 0u, 20u, 10u}) {
    Transfer transfer = pending(ada, bob, 1);
    transfer.expires_ns = expires_ns;
    holds.push_back(apply(transfer).hold);
  }
  EXPECT_EQ(ledger.earliest_expiry_ns(), 10u);
  ledger.due(9, 10, due);
  EXPECT_TRUE(due.empty()) << "never early";
  ledger.due(20, 10, due);
  EXPECT_EQ(due, (std::vector<HoldId>{holds[1], holds[4], holds[3]}));
  ledger.due(UINT64_MAX, 2, due);
  EXPECT_EQ(due, (std::vector<HoldId>{holds[1], holds[4]}));
  apply(resolve(TransferKind::post, holds[1]));
  ledger.apply_resolve(holds[4], HoldState::expired);
  EXPECT_EQ(ledger.earliest_expiry_ns(), 20u);
  ledger.apply_resolve(holds[3], HoldState::expired);
  apply(resolve(TransferKind::voided, holds[0]));
  EXPECT_EQ(ledger.earliest_expiry_ns(), UINT64_MAX);
}

TEST_F(LedgerTest, a_reservation_is_drawn_in_parts_and_the_rest_is_released) {
  fund(ada, 1000);
  ASSERT_EQ(ledger.check_hold(ada, 300, usd), Outcome::ok);
  const HoldId hold = ledger.apply_hold(ada, 300, usd, 5);
  EXPECT_EQ(ledger.earliest_expiry_ns(), UINT64_MAX) << "it expires with its task";
  EXPECT_TRUE(account(0, AccountPurpose::escrow).credits_pending == 300);
  EXPECT_EQ(ledger.available(ada, usd), 700u);

  const AccountIndex usage = ledger.account_find(0, usd, AccountPurpose::usage);
  ledger.apply_draw(hold, 100, usage);
  ledger.apply_draw(hold, 0, usage);
  ledger.apply_draw(hold, 50, ledger.apply_account(bob, usd));
  EXPECT_EQ(ledger.hold(hold).left, 150u);
  EXPECT_EQ(ledger.hold(hold).amount, 300u);
  EXPECT_EQ(ledger.available(bob, usd), 50u);
  EXPECT_EQ(ledger.available(ada, usd), 700u);
  EXPECT_THROW(ledger.apply_draw(hold, 151, usage), Error);
  ledger.apply_resolve(hold, HoldState::posted);
  EXPECT_EQ(ledger.available(ada, usd), 850u);
  EXPECT_TRUE(account(0, AccountPurpose::escrow).credits_pending == 0);
  EXPECT_TRUE(account(0, AccountPurpose::escrow).credits_posted == 0);
  EXPECT_TRUE(account(0, AccountPurpose::usage).credits_posted == 100);
}

TEST_F(LedgerTest, a_transfer_can_not_resolve_what_is_reserved_for_a_task) {
  fund(ada, 1000);
  const HoldId hold = ledger.apply_hold(ada, 300, usd, 0);
  expect_refused(resolve(TransferKind::voided, hold), Outcome::pending_not_found);
  expect_refused(resolve(TransferKind::post, hold), Outcome::pending_not_found);
}

TEST_F(LedgerTest, reservations_are_checked) {
  fund(ada, 101);
  apply(single(ada, eve, 1));
  EXPECT_EQ(ledger.check_hold(ada, 0, usd), Outcome::amount_must_not_be_zero);
  EXPECT_EQ(ledger.check_hold(ada, 1, 9), Outcome::unit_mismatch);
  EXPECT_EQ(ledger.check_hold(bob, 1, usd), Outcome::unknown_account);
  EXPECT_EQ(ledger.check_hold(ada, UINT64_MAX, usd), Outcome::overflow);
  EXPECT_EQ(ledger.check_hold(ada, 101, usd), Outcome::exceeds_credits);
  EXPECT_EQ(ledger.check_hold(ada, 100, usd), Outcome::ok);
}

TEST_F(LedgerTest, a_draw_into_another_unit_breaks_the_balance_and_is_caught) {
  fund(ada, 100);
  const UnitId tokens = ledger.apply_unit("tokens");
  const HoldId hold = ledger.apply_hold(ada, 10, usd, 0);
  EXPECT_THROW(ledger.apply_draw(hold, 1, ledger.apply_account(bob, tokens)), Error);
}

constexpr Rates trace_rates{3'000'000, 300'000, 3'750'000, 15'000'000};
constexpr Usage trace_usage{8'000'000, 61'304'550, 4'000'000, 645'450};

TEST_F(LedgerTest, the_trace_costs_exactly_67073115_micro_dollars) {
  fund(ada, 1);
  const AccountIndex payer = ledger.account_find(ada, usd);
  const Ledger::Charge charge = ledger.charge(payer, trace_usage, trace_rates);
  EXPECT_EQ(charge.amount, 67'073'115u);
  EXPECT_EQ(charge.remainder, 0u);
  EXPECT_EQ(charge.amount / 100, 670'731u);
  EXPECT_EQ(charge.amount % 100, 15u);
  Usage uncached = trace_usage;
  uncached.fresh += uncached.cache_read + uncached.cache_write;
  uncached.cache_read = uncached.cache_write = 0;
  EXPECT_EQ(ledger.charge(payer, uncached, trace_rates).amount, 229'595'400u);
}

TEST_F(LedgerTest, many_small_charges_cost_what_one_big_charge_costs) {
  fund(ada, 1);
  const AccountIndex payer = ledger.account_find(ada, usd);
  const Rates rates{1'234'567, 7, 999'999, 3};
  Random random(5);
  Usage sum;
  u128 charged = 0;
  for (int i = 0; i < 10'000; ++i) {
    const Usage usage{random.below(50), random.below(3), random.below(2), random.below(1000)};
    sum.fresh += usage.fresh;
    sum.cache_read += usage.cache_read;
    sum.cache_write += usage.cache_write;
    sum.output += usage.output;
    const Ledger::Charge charge = ledger.charge(payer, usage, rates);
    charged += charge.amount;
    ledger.apply_remainder(payer, charge.remainder);
  }
  const AccountIndex fresh = ledger.apply_account(bob, usd);
  const Ledger::Charge whole = ledger.charge(fresh, sum, rates);
  EXPECT_TRUE(charged == whole.amount);
  EXPECT_EQ(ledger.account(payer).remainder, whole.remainder);
}

TEST_F(LedgerTest, a_charge_beyond_sixty_four_bits_is_an_error) {
  fund(ada, 1);
  const AccountIndex payer = ledger.account_find(ada, usd);
  const auto code_of = [&](const Usage& usage, const Rates& rates) {
    try {
      ledger.charge(payer, usage, rates);
    } catch (const Error& error) {
      return error.code();
    }
    return ErrorCode::invariant;
  };
  constexpr uint64_t most = UINT64_MAX;
  EXPECT_EQ(code_of({most, most, 0, 0}, {most, most, 0, 0}), ErrorCode::amount_overflow);
  EXPECT_EQ(code_of({most, 0, 0, 0}, {1'000'001, 0, 0, 0}), ErrorCode::amount_overflow);
  EXPECT_EQ(ledger.charge(payer, {most, 0, 0, 0}, {1'000'000, 0, 0, 0}).amount, most);
  EXPECT_THROW(ledger.charge(index_none, {}, {}), Error);
}

TEST_F(LedgerTest, rates_belong_to_a_unit_and_a_tier) {
  const UnitId tokens = ledger.apply_unit("tokens");
  ledger.apply_rates(usd, 1, trace_rates);
  EXPECT_EQ(ledger.rates(usd, 1).output, trace_rates.output);
  EXPECT_EQ(ledger.rates(usd, 0).output, 0u);
  EXPECT_EQ(ledger.rates(tokens, 1).output, 0u);
}

TEST_F(LedgerTest, an_atomic_batch_fails_as_one_and_may_be_sent_again_once_it_succeeded) {
  fund(ada, 10);
  const Digest before = ledger.state_hash();
  const std::vector<Transfer> batch{single(ada, bob, 6, 1), single(bob, eve, 5, 2),
                                    single(ada, bob, 5, 3)};
  EXPECT_EQ(outcomes_of(batch, true),
            (std::vector<Outcome>{Outcome::aborted, Outcome::aborted, Outcome::exceeds_credits}));
  EXPECT_EQ(ledger.state_hash(), before) << "not even the key is used up";
  const std::vector<Transfer> good{single(ada, bob, 6, 1), single(bob, eve, 5, 2)};
  for (const Outcome expected : {Outcome::ok, Outcome::exists})
    EXPECT_EQ(outcomes_of(good, true), std::vector<Outcome>(2, expected));
  EXPECT_EQ(ledger.available(eve, usd), 5u);
}

TEST_F(LedgerTest, the_state_hash_depends_on_accounts_holds_keys_units_and_rates) {
  std::vector<Digest> hashes{ledger.state_hash()};
  const auto expect_new = [&](const char* what) {
    const Digest hash = ledger.state_hash();
    for (const Digest& other : hashes) EXPECT_NE(hash, other) << what;
    hashes.push_back(hash);
    EXPECT_EQ(ledger.state_hash(), hash);
  };
  fund(ada, 100);
  expect_new("account");
  const HoldId hold = ledger.apply_hold(ada, 10, usd, 0);
  expect_new("hold");
  ledger.apply_resolve(hold, HoldState::voided);
  expect_new("resolved");
  apply(single(bob, ada, 1, 9));
  expect_new("failed key");
  ledger.apply_unit("tokens");
  expect_new("unit");
  ledger.apply_rates(usd, 0, trace_rates);
  expect_new("rates");
  ledger.apply_remainder(ledger.account_find(ada, usd), 17);
  expect_new("remainder");
  EXPECT_GT(ledger.memory_bytes(), 0u);
}

}  // namespace
}  // namespace hanse
