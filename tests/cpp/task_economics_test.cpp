// The cost of accepted work, driven through the task table and the ledger as the kernel drives
// them.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/random.hpp"
#include "task/task.hpp"

namespace hanse {
namespace {

constexpr uint32_t payer = 1, small_worker = 2, large_worker = 3;
constexpr UnitId usd = 0;

class Shop {
 public:
  Shop(uint64_t money) { ledger.apply_fund(payer, money, usd); }

  uint32_t dispatch(uint8_t tier, uint64_t price, uint64_t budget) {
    EXPECT_EQ(ledger.check_hold(payer, budget, usd), TransferOutcome::ok);
    Task task;
    task.task_class = tasks.class_find_or_add("work");
    task.tier = tier;
    task.price = price;
    task.budget = budget;
    task.hold = ledger.apply_hold(payer, budget, usd, 0);
    return tasks.apply_dispatch(std::move(task));
  }
  void complete(uint32_t task, const Usage& usage) {
    const AccountIndex account = ledger.account_find(payer, usd);
    const Ledger::Charge charge =
        ledger.charge(account, usage, ledger.rates(usd, tasks.at(task).tier));
    EXPECT_LE(charge.amount, ledger.hold(tasks.at(task).hold).left);
    ledger.apply_draw(tasks.at(task).hold, charge.amount,
                      ledger.account_find(0, usd, AccountPurpose::usage));
    ledger.apply_remainder(account, charge.remainder);
    Digest artifact{};
    ++artifacts;
    for (size_t i = 0; i < 4; ++i) artifact[i] = uint8_t(artifacts >> (8 * i));
    tasks.check_complete(task);
    tasks.apply_complete(task, artifact, usage, charge.amount, ++position);
  }
  void accept(uint32_t task) {
    tasks.check_accept(task);
    const uint64_t fee = tasks.at(task).price;
    const uint32_t worker = tasks.at(task).tier == 0 ? small_worker : large_worker;
    if (fee != 0) ledger.apply_draw(tasks.at(task).hold, fee, ledger.apply_account(worker, usd));
    ledger.apply_resolve(tasks.at(task).hold, HoldState::posted);
    tasks.apply_accept(task, id_none, fee, ++position);
  }
  void reject(uint32_t task) {
    tasks.check_reject(task);
    tasks.apply_reject(task, id_none, ++position);
  }
  void escalate(uint32_t task, uint64_t price, uint64_t budget) {
    tasks.check_escalate(task);
    ledger.apply_resolve(tasks.at(task).hold, HoldState::voided);
    const HoldId hold = ledger.apply_hold(payer, budget, usd, 0);
    tasks.apply_escalate(task, {make_id(large_worker, 1), 0, 0, 0, 1, price, hold, 1, 0},
                         ++position);
  }
  void settle(uint32_t task) {
    ledger.apply_resolve(tasks.at(task).hold, HoldState::voided);
    tasks.check_void(task);
    tasks.apply_void(task, ++position);
  }

  Ledger ledger;
  TaskTable tasks;
  uint32_t artifacts = 0;
  Position position = 0;
};

TEST(TaskEconomics, reads_are_most_of_the_trace_and_each_accepted_artifact_costs_670731) {
  constexpr uint64_t money = 1'000'000'000;
  Shop shop(money);
  shop.ledger.apply_rates(usd, 0, {3'000'000, 300'000, 3'750'000, 15'000'000});
  Usage left{8'000'000, 61'304'550, 4'000'000, 645'450};
  Random random(11);
  for (uint32_t i = 0; i < 120; ++i) {
    // Uneven shares, so that single charges leave remainders.
    const auto take = [&](uint64_t& part) {
      const uint64_t share = i == 119 ? part : random.below(2 * part / (120 - i) + 1);
      part -= share;
      return share;
    };
    const Usage usage{take(left.fresh), take(left.cache_read), take(left.cache_write),
                      take(left.output)};
    const uint32_t task = shop.dispatch(0, 0, 5'000'000);
    shop.complete(task, usage);
    if (i < 100) {
      shop.accept(task);
    } else {
      shop.reject(task);
      shop.settle(task);
    }
  }
  const Economics& economics = shop.tasks.economics();
  EXPECT_EQ(economics.dispatched, 120u);
  EXPECT_EQ(economics.accepted, 100u);
  EXPECT_TRUE(economics.spend == 67'073'115);
  EXPECT_EQ(uint64_t(economics.spend / economics.accepted), 670'731u);
  EXPECT_EQ(uint64_t(economics.spend % economics.accepted), 15u);
  const Usage& usage = economics.usage;
  const uint64_t tokens = usage.fresh + usage.cache_read + usage.cache_write + usage.output;
  EXPECT_EQ(tokens, 73'950'000u);
  EXPECT_EQ(usage.cache_read * 1000, tokens * 829) << "82.9 %, exactly";
  EXPECT_EQ(shop.ledger.available(payer, usd), money - 67'073'115) << "all else was released";
  EXPECT_TRUE(shop.ledger.totals(usd).debits_pending == 0);
}

// The difficulty of task i is (i + 1/2) / 10,000: the small tier solves the first 7,000 in some
// order, the large tier the first 9,800.
std::vector<uint32_t> difficulties() {
  std::vector<uint32_t> order(10'000);
  std::iota(order.begin(), order.end(), 0u);
  Random random(3);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

// A tier costs its price for each try, right or wrong: usage of that many million tokens at 1.
void set_prices(Shop& shop) {
  shop.ledger.apply_rates(usd, 0, {1, 0, 0, 0});
  shop.ledger.apply_rates(usd, 1, {20, 0, 0, 0});
}
constexpr Usage one_try{1'000'000, 0, 0, 0};

TEST(TaskEconomics, small_first_costs_70000_where_all_large_costs_200000) {
  Shop small_first(1'000'000), all_large(1'000'000);
  set_prices(small_first);
  set_prices(all_large);
  for (const uint32_t difficulty : difficulties()) {
    uint32_t task = small_first.dispatch(0, 0, 1);
    small_first.complete(task, one_try);
    if (difficulty >= 7'000) {
      small_first.reject(task);
      small_first.escalate(task, 0, 20);
      small_first.complete(task, one_try);
    }
    difficulty < 9'800 ? small_first.accept(task) : small_first.settle(task);

    task = all_large.dispatch(1, 0, 20);
    all_large.complete(task, one_try);
    difficulty < 9'800 ? all_large.accept(task) : all_large.settle(task);
  }
  const Economics& cheap = small_first.tasks.economics();
  EXPECT_TRUE(cheap.spend == 70'000);
  EXPECT_EQ(cheap.accepted, 9'800u);
  EXPECT_EQ(cheap.escalated, 3'000u);
  EXPECT_EQ(cheap.dispatched, 10'000u);
  EXPECT_TRUE(small_first.tasks.economics_of_tier(0).spend == 10'000);
  EXPECT_TRUE(small_first.tasks.economics_of_tier(1).spend == 60'000);
  EXPECT_EQ(small_first.tasks.economics_of_tier(1).dispatched, 3'000u);
  EXPECT_TRUE(all_large.tasks.economics().spend == 200'000);
  EXPECT_EQ(all_large.tasks.economics().accepted, 9'800u);
  EXPECT_EQ(uint64_t(all_large.tasks.economics().spend * 1000 / cheap.spend), 2'857u);
  for (const Shop* shop : {&small_first, &all_large}) {
    EXPECT_EQ(shop->ledger.available(payer, usd),
              1'000'000 - uint64_t(shop->tasks.economics().spend));
    EXPECT_TRUE(shop->ledger.totals(usd).credits_pending == 0);
  }
}

TEST(TaskEconomics, a_fee_is_paid_on_acceptance_alone) {
  Shop shop(1'000);
  const uint32_t good = shop.dispatch(0, 285, 300), bad = shop.dispatch(0, 285, 300);
  shop.complete(good, one_try);
  shop.complete(bad, one_try);
  shop.accept(good);
  shop.reject(bad);
  shop.settle(bad);
  EXPECT_EQ(shop.ledger.available(small_worker, usd), 285u);
  EXPECT_EQ(shop.ledger.available(payer, usd), 715u);
  EXPECT_TRUE(shop.tasks.economics().spend == 285);
  EXPECT_EQ(shop.tasks.at(good).spent, 285u);
  EXPECT_EQ(shop.tasks.at(bad).spent, 0u);
}

TEST(TaskEconomics, the_same_commands_give_the_same_state_hash) {
  const auto run = [](uint64_t seed) {
    Shop shop(1'000'000);
    set_prices(shop);
    Random random(seed);
    std::vector<uint32_t> open;
    for (int step = 0; step < 3'000; ++step) {
      open.push_back(shop.dispatch(0, random.below(5), 30));
      const uint32_t task = open[random.below(open.size())];
      const TaskState state = shop.tasks.at(task).state;
      if (state == TaskState::dispatched) {
        shop.complete(task, {random.below(3'000'000), 0, 0, 0});
      } else if (state == TaskState::completed) {
        random.chance(500) ? shop.accept(task) : shop.reject(task);
      } else if (state == TaskState::rejected) {
        random.chance(500) ? shop.escalate(task, 2, 90) : shop.settle(task);
      }
      if (step % 700 == 0) shop.tasks.state_hash();
    }
    return std::pair{shop.tasks.state_hash(), shop.ledger.state_hash()};
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

}  // namespace
}  // namespace hanse
