// The kernel as a whole, over a simulated disk: the spine from open to accept, refusals, replay.
#include "kernel/kernel.hpp"

#include <gtest/gtest.h>

#include "journal/simulated_disk.hpp"

namespace hanse {
namespace {

constexpr uint64_t start_ns = 1'700'000'000'000'000'000;

struct World {
  std::shared_ptr<SimulatedDisk> disk = std::make_shared<SimulatedDisk>();
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>(start_ns);
  std::unique_ptr<Kernel> kernel;
  AgentId team = id_none, buyer = id_none, worker = id_none, other = id_none;

  explicit World(uint32_t fee_basis_points = 0) {
    open(fee_basis_points);
    team = add(id_none, "team", AgentKind::group);
    buyer = add(team, "buyer");
    worker = add(team, "worker");
    other = add(team, "other");
    kernel->fund(kernel->root(), buyer, 1000, "usd_micro");
  }

  void open(uint32_t fee_basis_points = 0) {
    KernelOptions options;
    options.disk = disk;
    options.clock = clock;
    options.background = false;
    options.fee_basis_points = fee_basis_points;
    options.segment_size_bytes_max = 1 << 16;
    kernel = Kernel::open(options);
  }
  void reopen() {
    kernel->close();
    kernel.reset();
    open();
  }
  AgentId add(AgentId parent, const std::string& name, AgentKind kind = AgentKind::agent) {
    AgentsAdded added;
    added.parent = parent;
    added.kind = kind;
    added.names = {name};
    AgentId id;
    kernel->add_agents(kernel->root(), added, {&id, 1});
    return id;
  }
  uint32_t publish(AgentId agent, std::vector<float> vector, int64_t price, uint16_t slots = 0) {
    const uint8_t tier = 1;
    const uint64_t zero = 0;
    const uint16_t region = 0;
    Kernel::PublishRequest request;
    request.agents = {&agent, 1};
    request.offers.vectors = {vector.data(), 1, vector.size()};
    request.offers.price = {{&price, 1}};
    request.offers.tier = {{&tier, 1}};
    request.offers.skills = {{&zero, 1}};
    request.offers.region = {{&region, 1}};
    request.offers.policy_bits = {{&zero, 1}};
    request.offers.slots = {{&slots, 1}};
    uint32_t version;
    kernel->publish(kernel->root(), request, {&version, 1});
    return version;
  }
  Receipt dispatch(std::vector<float> query, uint64_t budget, const std::string& key = "",
                   AgentId to = id_none) {
    DispatchRequest request;
    request.to = to;
    request.query = query;
    request.budget = budget;
    request.task_class = "sum";
    request.key = {reinterpret_cast<const uint8_t*>(key.data()), key.size()};
    return kernel->dispatch(buyer, request);
  }
  uint64_t available(AgentId agent) {
    const AccountInfo info = kernel->account(kernel->root(), agent, 0);
    return uint64_t(info.credits_posted - info.debits_posted - info.debits_pending);
  }
  void complete(TaskId task, uint8_t artifact) {
    Completion completion;
    completion.task = task;
    completion.artifact.fill(artifact);
    kernel->complete(worker, completion);
  }
};

ErrorCode code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "did not throw";
  return ErrorCode::invariant;
}

TEST(Kernel, PaysForAnAcceptedArtifactAndTakesItsFee) {
  World world(500);
  const Receipt receipt = world.dispatch({}, 300, "order-1", world.worker);
  ASSERT_EQ(receipt.outcome, Outcome::ok);
  EXPECT_EQ(world.available(world.buyer), 700u);

  MessageBatch batch;
  std::vector<Delivery> deliveries;
  world.kernel->drain(batch, deliveries, 16);
  ASSERT_EQ(deliveries.size(), 1u);
  EXPECT_EQ(deliveries[0].task, receipt.task);
  EXPECT_EQ(deliveries[0].worker, world.worker);

  world.complete(receipt.task, 7);
  world.kernel->judge(world.buyer, receipt.task, Verdict::accept, world.other);
  EXPECT_EQ(world.available(world.buyer), 700u);
  EXPECT_EQ(world.available(world.worker), 285u);
  const AccountInfo fees =
      world.kernel->account(world.kernel->root(), world.kernel->root(), 0, AccountPurpose::fees);
  EXPECT_EQ(uint64_t(fees.credits_posted), 15u);
  const Ledger::Totals totals = world.kernel->totals(0);
  EXPECT_TRUE(totals.debits_posted == totals.credits_posted);
  EXPECT_TRUE(totals.debits_pending == 0 && totals.credits_pending == 0);

  const uint64_t count = world.kernel->journal().count();
  const Receipt again = world.dispatch({}, 300, "order-1", world.worker);
  EXPECT_EQ(again.outcome, Outcome::replayed);
  EXPECT_EQ(again.task, receipt.task);
  EXPECT_EQ(again.position, receipt.position);
  EXPECT_EQ(world.kernel->journal().count(), count);
  EXPECT_EQ(world.dispatch({}, 301, "order-1", world.worker).outcome, Outcome::conflict);
}

TEST(Kernel, ReopensToTheSameStateAndRoot) {
  World world;
  world.publish(world.worker, {1, 0}, 10);
  world.publish(world.other, {0, 1}, 20);
  world.kernel->load_policy(
      world.kernel->root(),
      "permit(principal, action, resource);\n"
      "@id(\"dear\") forbid(principal, action == Action::\"dispatch\", resource) "
      "when { resource.price > 15 };");
  const Receipt first = world.dispatch({1, 0.1f}, 100);
  ASSERT_EQ(first.outcome, Outcome::ok) << first.reason;
  EXPECT_EQ(first.agent, world.worker);
  world.complete(first.task, 1);
  world.kernel->judge(world.buyer, first.task, Verdict::accept, id_none);
  const ConceptHashes before = world.kernel->state_hash();
  const Digest root = world.kernel->journal().root();
  world.reopen();
  EXPECT_EQ(world.kernel->state_hash().all, before.all);
  EXPECT_EQ(world.kernel->journal().root(), root);
  EXPECT_EQ(world.available(world.worker), 10u);
}

TEST(Kernel, PassesOverWhatPolicyForbidsAndRecordsADenial) {
  World world;
  world.publish(world.worker, {1, 0}, 10);
  world.publish(world.other, {0.9f, 0.1f}, 20);
  world.kernel->load_policy(
      world.kernel->root(),
      "permit(principal, action, resource);\n"
      "@id(\"cheap\") forbid(principal, action == Action::\"dispatch\", resource) "
      "when { resource.price < 15 };");
  EXPECT_EQ(world.dispatch({1, 0}, 100).agent, world.other);
  world.kernel->withdraw(world.kernel->root(), world.other, 0, 0);
  const uint64_t count = world.kernel->journal().count();
  const Receipt denied = world.dispatch({1, 0}, 100, "k");
  EXPECT_EQ(denied.outcome, Outcome::denied);
  EXPECT_NE(denied.reason.find("cheap"), std::string::npos) << denied.reason;
  EXPECT_EQ(world.kernel->journal().count(), count + 1);
  EXPECT_EQ(denied.position, count);
  EXPECT_EQ(world.kernel->event(world.kernel->root(), count).type, "refused");
}

TEST(Kernel, RefusesWhatTheRequesterCannotPay) {
  World world;
  EXPECT_EQ(world.dispatch({}, 1001, "a", world.worker).outcome, Outcome::insufficient_funds);
  EXPECT_EQ(world.available(world.buyer), 1000u);
  EXPECT_EQ(world.dispatch({}, 1001, "a", world.worker).outcome, Outcome::insufficient_funds);
  EXPECT_EQ(world.dispatch({}, 1000, "b", world.worker).outcome, Outcome::ok);
  EXPECT_EQ(world.dispatch({}, 1, "c", world.worker).outcome, Outcome::insufficient_funds);
}

TEST(Kernel, NeverFindsAnOldVersionAgain) {
  World world;
  EXPECT_EQ(world.publish(world.worker, {1, 0}, 10), 1u);
  EXPECT_EQ(world.publish(world.worker, {0, 1}, 30), 2u);
  const Receipt receipt = world.dispatch({1, 0}, 100);
  EXPECT_EQ(receipt.version, 2u);
  EXPECT_EQ(receipt.price, 30u);
}

TEST(Kernel, VoidsATaskAtItsDeadlineAndGivesTheMoneyBack) {
  World world;
  DispatchRequest request;
  request.to = world.worker;
  request.budget = 400;
  request.deadline_ns = start_ns + 1'000'000'000;
  const Receipt receipt = world.kernel->dispatch(world.buyer, request);
  ASSERT_EQ(receipt.outcome, Outcome::ok);
  EXPECT_EQ(world.kernel->tick(), 0u);
  world.clock->advance(2'000'000'000);
  EXPECT_EQ(world.kernel->tick(), 1u);
  EXPECT_EQ(world.available(world.buyer), 1000u);
  EXPECT_EQ(code_of([&] { world.complete(receipt.task, 1); }), ErrorCode::already_resolved);
}

TEST(Kernel, EscalatesInOneTransitionWithinTheTasksBudget) {
  World world;
  world.kernel->set_rates(world.kernel->root(), "usd_micro", 0, {1'000'000, 0, 0, 0});
  const Receipt receipt = world.dispatch({}, 100, "", world.worker);
  Completion completion;
  completion.task = receipt.task;
  completion.usage.fresh = 30;
  world.kernel->complete(world.worker, completion);
  world.kernel->judge(world.buyer, receipt.task, Verdict::reject, id_none);
  const uint64_t count = world.kernel->journal().count();
  DispatchRequest to;
  to.to = world.other;
  const Receipt second = world.kernel->escalate(world.buyer, receipt.task, to);
  EXPECT_EQ(second.outcome, Outcome::ok) << second.reason;
  EXPECT_EQ(second.task, receipt.task);
  EXPECT_EQ(second.attempt, 2);
  EXPECT_EQ(second.reserved, 70u);
  EXPECT_EQ(world.kernel->journal().count(), count + 1);
  EXPECT_EQ(world.available(world.buyer), 900u);
  EXPECT_EQ(code_of([&] { world.complete(receipt.task, 1); }), ErrorCode::not_permitted);
}

TEST(Kernel, StopsARevokedTeamAndEveryoneBelowIt) {
  World world;
  world.publish(world.worker, {1, 0}, 10);
  world.kernel->revoke(world.kernel->root(), world.team);
  EXPECT_EQ(code_of([&] { world.dispatch({1, 0}, 10); }), ErrorCode::revoked);
  EXPECT_EQ(world.kernel->send({world.worker, world.kernel->root()}, {}), Outcome::revoked);
}

// A clock that was put back between two runs does not put records before those that are there.
TEST(Kernel, NeverGoesBackInTimeThoughTheClockDoes) {
  World world;
  world.clock->set(start_ns + 1'000'000);
  const Position before = world.kernel->fund(world.kernel->root(), world.buyer, 1, "usd_micro");
  const uint64_t then = world.kernel->event(world.kernel->root(), before).time_ns;
  world.clock->set(start_ns - 1'000'000);
  world.reopen();
  const Position after = world.kernel->fund(world.kernel->root(), world.buyer, 1, "usd_micro");
  EXPECT_GT(world.kernel->event(world.kernel->root(), after).time_ns, then);
}

TEST(Kernel, RedeliversUnfinishedWorkAfterReopening) {
  World world;
  const Receipt receipt = world.dispatch({}, 100, "", world.worker);
  MessageBatch batch;
  std::vector<Delivery> deliveries;
  world.kernel->drain(batch, deliveries, 16);
  ASSERT_EQ(deliveries.size(), 1u);
  EXPECT_EQ(deliveries[0].attempt, 1);
  world.reopen();
  world.kernel->drain(batch, deliveries, 16);
  ASSERT_EQ(deliveries.size(), 1u);
  EXPECT_EQ(deliveries[0].task, receipt.task);
  EXPECT_EQ(deliveries[0].attempt, 2);
}

TEST(Kernel, TakesAnAtomicBatchWhollyOrNotAtAll) {
  World world;
  std::vector<DispatchRequest> requests(3);
  for (DispatchRequest& request : requests) request.to = world.worker, request.budget = 400;
  std::vector<Receipt> receipts(3);
  world.kernel->dispatch_many(world.buyer, requests, receipts, true);
  EXPECT_EQ(receipts[0].outcome, Outcome::aborted);
  EXPECT_EQ(receipts[1].outcome, Outcome::aborted);
  EXPECT_EQ(receipts[2].outcome, Outcome::insufficient_funds);
  EXPECT_EQ(world.available(world.buyer), 1000u);
  world.kernel->dispatch_many(world.buyer, requests, receipts, false);
  EXPECT_EQ(receipts[0].outcome, Outcome::ok);
  EXPECT_EQ(receipts[1].outcome, Outcome::ok);
  EXPECT_EQ(receipts[2].outcome, Outcome::insufficient_funds);
}

TEST(Kernel, RefusesAPolicyThatWouldForbidItsOwnRepeal) {
  World world;
  EXPECT_EQ(code_of([&] { world.kernel->load_policy(world.kernel->root(), ""); }),
            ErrorCode::policy_lockout);
  EXPECT_EQ(world.kernel->policy_epoch(), 0u);
}

TEST(Kernel, HidesOneTenantFromAnother) {
  World world;
  const AgentId foreign_team = world.add(id_none, "rivals", AgentKind::group);
  const AgentId foreign = world.add(foreign_team, "spy");
  EXPECT_EQ(code_of([&] { (void)world.kernel->agent(foreign, world.worker); }),
            ErrorCode::unknown_agent);
  EXPECT_EQ(code_of([&] { (void)world.kernel->account(foreign, world.buyer, 0); }),
            ErrorCode::unknown_agent);
  const Receipt receipt = world.dispatch({}, 100, "", world.worker);
  EXPECT_EQ(code_of([&] { (void)world.kernel->task(foreign, receipt.task); }),
            ErrorCode::unknown_task);
}

}  // namespace
}  // namespace hanse
