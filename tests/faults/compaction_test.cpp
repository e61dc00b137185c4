// What is left after records were dropped: the state, the books since then, and the extents that
// are still named. And what a snapshot must hold so that the rest can go.
#include <gtest/gtest.h>

#include "journal/extents.hpp"
#include "journal/simulated_disk.hpp"
#include "kernel/kernel.hpp"
#include "kernel/snapshot.hpp"
#include "simulation/faulty_disk.hpp"

namespace hanse {
namespace {

using simulation::Fault;
using simulation::FaultKind;
using simulation::FaultyDisk;

constexpr uint64_t start_ns = 1'700'000'000'000'000'000;
constexpr size_t large = 6000;  // over what is kept inside of a record

struct House {
  std::shared_ptr<SimulatedDisk> below;
  std::shared_ptr<FaultyDisk> disk;
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>(start_ns);
  std::unique_ptr<Kernel> kernel;
  AgentId team = id_none, buyer = id_none, worker = id_none;

  explicit House(std::shared_ptr<SimulatedDisk> on = std::make_shared<SimulatedDisk>())
      : below(std::move(on)), disk(std::make_shared<FaultyDisk>(below)) {
    KernelOptions options;
    options.disk = disk;
    options.clock = clock;
    options.background = false;
    options.seed = 3;
    options.segment_size_bytes_max = 1 << 14;
    kernel = Kernel::open(options);
    kernel->own_flow();
    if (kernel->agent_count() == 1) return;
    team = make_id(1, 1), buyer = make_id(2, 1), worker = make_id(3, 1);
  }
  void begin() {
    team = add(kernel->root(), AgentKind::group, "team");
    buyer = add(team, AgentKind::agent, "buyer");
    worker = add(team, AgentKind::agent, "worker");
    kernel->fund(kernel->root(), buyer, 1'000'000, "usd_micro");
  }
  AgentId add(AgentId parent, AgentKind kind, const std::string& name) {
    AgentsAdded added;
    added.parent = parent;
    added.kind = kind;
    added.names = {name};
    AgentId id;
    kernel->add_agents(kernel->root(), added, {&id, 1});
    return id;
  }
  Receipt dispatch(size_t payload_size, uint8_t fill) {
    const std::vector<uint8_t> payload(payload_size, fill);
    DispatchRequest request;
    request.to = worker;
    request.budget = 10;
    request.payload = payload;
    request.task_class = "work";
    return kernel->dispatch(buyer, request);
  }
  void work(int steps) {
    for (int i = 0; i < steps; ++i) kernel->fund(kernel->root(), worker, 1, "usd_micro");
  }
  CompactionInfo drop() {
    work(300);
    kernel->snapshot();
    work(300);
    kernel->snapshot();
    return kernel->compact(0);
  }
  Digest hash() const { return kernel->state_hash().all; }
};

std::vector<Delivery> drain(Kernel& kernel) {
  MessageBatch batch;
  std::vector<Delivery> deliveries;
  kernel.drain(batch, deliveries, 100);
  return deliveries;
}

void govern(Kernel& kernel, std::string_view rule) {
  GovernanceEvent event;
  event.kind = "lesson";
  event.rule = rule;
  kernel.govern(kernel.root(), event);
}

TEST(Compaction, LessonsLabelsAndEpochsOutliveTheirRecords) {
  House house;
  house.begin();
  govern(*house.kernel, "forbid(principal, action == Action::\"transfer\", resource);");
  house.kernel->set_trusted(house.kernel->root(), house.buyer, false);
  house.kernel->steer(house.kernel->root(), house.worker, true);
  ASSERT_GT(house.drop().freed_bytes, 0u);
  House again{std::shared_ptr<SimulatedDisk>(house.below->restart())};
  EXPECT_EQ(again.hash(), house.hash());
  EXPECT_GT(again.kernel->journal().oldest(), 0u);
  EXPECT_EQ(again.kernel->policy_epoch(), house.kernel->policy_epoch());
  EXPECT_EQ(again.kernel->governance().lessons.size(), 1u);
  EXPECT_EQ(again.kernel->untrusted_hops(again.kernel->root(), again.buyer), 0);
  std::vector<Transfer> transfers(1);
  transfers[0].debit = again.kernel->root();
  transfers[0].credit = again.buyer;
  transfers[0].amount = 1;
  std::vector<Moved> moved(1);
  EXPECT_THROW(again.kernel->transfer(again.kernel->root(), transfers, false, moved), Error);
}

// Checksums alone would let records go that rest on a state which cannot be made again.
TEST(Compaction, RestsOnASnapshotThatOpensAndNotOnChecksums) {
  House house;
  house.begin();
  house.work(300);
  const uint64_t older = house.kernel->snapshot().count;
  house.work(300);
  const uint64_t newer = house.kernel->snapshot().count;
  ASSERT_NE(older, newer);
  house.below->flip_bit(snapshot_path(older), 8 * (snapshot_header_size + 9));
  EXPECT_EQ(house.kernel->compact(0).freed_bytes, 0u) << "one is left, and two were asked for";
  EXPECT_GT(house.kernel->compact(0, 1).freed_bytes, 0u);
}

TEST(Compaction, ExtentsGoWhenNothingNamesThemAnyMore) {
  House house;
  house.begin();
  const Receipt kept = house.dispatch(large, 'k');
  ASSERT_EQ(kept.outcome, Outcome::ok);
  // A request that comes to nothing leaves its bytes, and rules their text.
  DispatchRequest nothing;
  const std::vector<uint8_t> orphan(large, 'o');
  nothing.to = make_id(999, 1);
  nothing.budget = 1;
  nothing.payload = orphan;
  EXPECT_EQ(house.kernel->dispatch(house.buyer, nothing).outcome, Outcome::unknown);
  const std::string rules =
      "permit(principal, action, resource);\n// " + std::string(large, 'x') + "\n";
  house.kernel->load_policy(house.kernel->root(), rules);
  EXPECT_EQ(house.below->list(extent_directory).size(), 3u);
  const CompactionInfo info = house.drop();
  EXPECT_EQ(info.freed_extents, 2u);
  EXPECT_GT(info.freed_extent_bytes, 2 * large);
  EXPECT_EQ(house.below->list(extent_directory).size(), 1u);
  House again{std::shared_ptr<SimulatedDisk>(house.below->restart())};
  EXPECT_EQ(again.kernel->task(again.kernel->root(), kept.task).payload.size(), large);
  EXPECT_EQ(again.hash() == house.hash(), false) << "the task was delivered again";
  const auto verified = verify_disk(std::shared_ptr<Disk>(house.below->restart()), 1, nullptr);
  EXPECT_EQ(verified.journal.extent_count, 1u);
}

TEST(Compaction, AnExtentThatIsPutMeanwhileStays) {
  SimulatedDisk disk;
  ExtentStore store{std::shared_ptr<Disk>(&disk, [](Disk*) {})};
  const std::vector<uint8_t> a(large, 'a'), b(large, 'b'), c(large, 'c');
  ExtentPin pin;
  store.put(a, &pin);
  store.put(c);
  store.begin_collecting();
  store.put(b);
  EXPECT_EQ(store.collect({}).count, 1u) << "the one that nobody holds";
  EXPECT_EQ(store.get(sha256(a)), a);
  EXPECT_EQ(store.get(sha256(b)), b);
  EXPECT_THROW(store.get(sha256(c)), Error);
  pin = nullptr;
  store.begin_collecting();
  EXPECT_EQ(store.collect({sha256(b)}).count, 1u);
  EXPECT_THROW(store.get(sha256(a)), Error);
}

TEST(Compaction, AnExtentWhoseRecordIsAppliedMeanwhileStays) {
  SimulatedDisk disk;
  ExtentStore store{std::shared_ptr<Disk>(&disk, [](Disk*) {})};
  const std::vector<uint8_t> a(large, 'a');
  ExtentPin pin;
  store.put(a, &pin);
  store.begin_collecting();
  pin = nullptr;  // what is named was gathered before, so its record is not in there
  EXPECT_EQ(store.collect({}).count, 0u);
  EXPECT_EQ(store.get(sha256(a)), a);
}

TEST(Compaction, TheBooksAreKnownFromTheFirstRecordKept) {
  House house;
  house.begin();
  house.dispatch(10, 'x');
  ASSERT_GT(house.drop().freed_bytes, 0u);
  const auto check = [](Kernel& kernel) {
    const AgentId root = kernel.root();
    const uint64_t count = kernel.journal().count();
    EntryQuery query;
    query.limit = entries_per_page_max;
    const EntryPage page = kernel.entries(root, query, nullptr);
    EXPECT_EQ(page.floor, kernel.journal().oldest());
    ASSERT_FALSE(page.position.empty());
    EXPECT_EQ(page.position.front(), page.floor);
    for (const AccountInfo& then : kernel.accounts_at(root, count - 1, nullptr)) {
      const AccountInfo now = kernel.account(root, then.owner, then.unit, then.purpose);
      EXPECT_TRUE(then.credits_posted == now.credits_posted);
      EXPECT_TRUE(then.debits_posted == now.debits_posted);
      EXPECT_TRUE(then.debits_pending == now.debits_pending);
    }
    // The state at the floor is known; what came before it is refused by its name.
    EXPECT_FALSE(kernel.accounts_at(root, page.floor - 1, nullptr).empty());
    for (const auto& ask :
         {std::function<void()>([&] { kernel.accounts_at(root, page.floor - 2, nullptr); }),
          std::function<void()>([&] {
            EntryQuery early;
            early.start = page.floor - 1;
            kernel.entries(root, early, nullptr);
          })}) {
      try {
        ask();
        ADD_FAILURE() << "it was dropped";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::unknown_event);
        EXPECT_EQ(error.position(), page.floor);
      }
    }
  };
  check(*house.kernel);
  House again{std::shared_ptr<SimulatedDisk>(house.below->restart())};
  check(*again.kernel);
  // What was asked before it was dropped is asked anew.
  again.drop();
  check(*again.kernel);
}

TEST(Delivery, WhatCannotBeReadGoesOutWithTheNextTurn) {
  House house;
  house.begin();
  house.kernel->declare_durable(house.kernel->root(), std::vector{house.worker}, {});
  const Receipt small = house.dispatch(10, 's');
  const Receipt task = house.dispatch(large, 't');
  const std::vector<uint8_t> text(large, 'm');
  house.kernel->send_durable(house.buyer, {house.worker, text, {}});
  const Digest before = house.hash();

  house.disk->set({FaultKind::read_error, house.disk->calls(), UINT64_MAX});
  const std::vector<Delivery> first = drain(*house.kernel);
  ASSERT_EQ(first.size(), 1u) << "the one that needs no reading";
  EXPECT_EQ(first[0].task, small.task);
  EXPECT_THROW(drain(*house.kernel), Error);
  MessageBatch batch;
  std::vector<Delivery> one;
  EXPECT_THROW(house.kernel->receive(house.worker, batch, one), Error);
  house.disk->set({});
  EXPECT_EQ(house.hash(), before);

  const std::vector<Delivery> second = drain(*house.kernel);
  ASSERT_EQ(second.size(), 2u);
  EXPECT_EQ(second[0].task, task.task);
  EXPECT_EQ(second[0].attempt, 1);
  EXPECT_EQ(second[0].payload.size(), large);
  EXPECT_TRUE(second[1].durable);
  EXPECT_EQ(second[1].attempt, 1);
  EXPECT_EQ(second[1].payload, text);
  EXPECT_TRUE(drain(*house.kernel).empty());
}

TEST(Delivery, OfATaskReachesAWorkerThatWasMovedFromAPausedTeam) {
  House house;
  house.begin();
  const AgentId other = house.add(house.team, AgentKind::group, "other");
  const AgentId moved = house.add(other, AgentKind::agent, "moved");
  const AgentId root = house.kernel->root();
  DispatchRequest request;
  request.to = moved;
  request.budget = 10;
  ASSERT_EQ(house.kernel->dispatch(house.buyer, request).outcome, Outcome::ok);
  house.kernel->steer(root, other, true);
  EXPECT_TRUE(drain(*house.kernel).empty());
  house.kernel->move_agent(root, moved, house.team);
  ASSERT_EQ(drain(*house.kernel).size(), 1u);
}

TEST(Labels, AreNeverOnTheRootWhichNoOneCouldTrustAgain) {
  House house;
  house.begin();
  Kernel& kernel = *house.kernel;
  EXPECT_THROW(kernel.set_trusted(kernel.root(), kernel.root(), false), Error);
  kernel.set_trusted(kernel.root(), house.buyer, false);
  MessageHeader header;
  header.sender = house.buyer;
  header.to = kernel.root();
  EXPECT_EQ(kernel.send(header, {}), Outcome::ok);
  EXPECT_FALSE(kernel.untrusted_hops(kernel.root(), kernel.root()).has_value());
  kernel.fund(kernel.root(), house.buyer, 1, "usd_micro");
}

TEST(Labels, GoWithATaskToWhoeverItIsEscalatedTo) {
  House house;
  house.begin();
  Kernel& kernel = *house.kernel;
  const AgentId expert = house.add(house.team, AgentKind::agent, "expert");
  kernel.set_trusted(kernel.root(), house.buyer, false);
  const Receipt receipt = house.dispatch(10, 'x');
  Completion completion;
  completion.task = receipt.task;
  completion.artifact[0] = 1;
  kernel.complete(house.worker, completion);
  DispatchRequest to;
  to.to = expert;
  to.budget = 1;
  ASSERT_EQ(kernel.escalate(house.buyer, receipt.task, to).outcome, Outcome::ok);
  EXPECT_EQ(kernel.untrusted_hops(kernel.root(), expert), 1);
}

// Words that have come to their last hop are refused before anything of the batch is placed.
TEST(Labels, ThatEndABatchLeaveNothingOfIt) {
  House house;
  house.begin();
  Kernel& kernel = *house.kernel;
  AgentId last = house.buyer;
  kernel.set_trusted(kernel.root(), last, false);
  for (int hop = 0; hop < untrusted_hops_max; ++hop) {
    const AgentId next = house.add(house.team, AgentKind::agent, "hop " + std::to_string(hop));
    MessageHeader header;
    header.sender = last;
    header.to = next;
    ASSERT_EQ(kernel.send(header, {}), Outcome::ok);
    last = next;
  }
  kernel.fund(kernel.root(), last, 100, "usd_micro");
  std::vector<DispatchRequest> requests(2);
  requests[0].to = last;  // to itself: nobody else hears it
  requests[1].to = house.worker;
  requests[0].budget = requests[1].budget = 10;
  std::vector<Receipt> receipts(2);
  const Digest before = house.hash();
  kernel.dispatch_many(last, requests, receipts, true);
  EXPECT_EQ(receipts[0].outcome, Outcome::aborted);
  EXPECT_EQ(receipts[1].outcome, Outcome::denied);
  EXPECT_EQ(house.hash(), before);
}

}  // namespace
}  // namespace hanse
