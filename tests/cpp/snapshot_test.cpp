// Snapshots through the kernel, over a simulated disk: what is opened from one is what the records
// come to, whatever happened while it was taken.
#include <gtest/gtest.h>

#include "base/random.hpp"
#include "journal/leaf_file.hpp"
#include "journal/simulated_disk.hpp"
#include "kernel/kernel.hpp"
#include "kernel/snapshot.hpp"

namespace hanse {
namespace {

constexpr uint64_t start_ns = 1'700'000'000'000'000'000;
constexpr uint32_t dim = 8;

Bytes bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// Everything that a record plane can hold, by steps that follow from their number.
struct House {
  std::shared_ptr<SimulatedDisk> disk;
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>(start_ns);
  std::unique_ptr<Kernel> kernel;

  explicit House(std::shared_ptr<SimulatedDisk> on = std::make_shared<SimulatedDisk>())
      : disk(std::move(on)) {
    open();
  }
  void open(bool read_only = false) {
    KernelOptions options;
    options.disk = disk;
    options.clock = clock;
    options.background = false;
    options.read_only = read_only;
    options.seed = 11;
    options.segment_size_bytes_max = 1 << 16;
    kernel = Kernel::open(options);
  }
  AgentId agent(uint32_t index) const { return make_id(index, 1); }
  AgentId add(AgentId parent, const std::string& name, AgentKind kind) {
    AgentsAdded added;
    added.parent = parent;
    added.kind = kind;
    added.names = {name};
    AgentId id;
    kernel->add_agents(kernel->root(), added, {&id, 1});
    return id;
  }

  void begin() {
    const AgentId team = add(kernel->root(), "team", AgentKind::group);
    add(team, "worker", AgentKind::agent);
    add(team, "other", AgentKind::tool);
    kernel->fund(kernel->root(), team, 1'000'000, "usd_micro");
    kernel->declare_durable(kernel->root(), std::vector{agent(2)}, {});
    std::vector<float> vectors(dim, 0.5f);
    const std::vector<AgentId> agents{agent(2)};
    Kernel::PublishRequest request;
    request.agents = agents;
    const int64_t price = 3;
    const uint64_t bits = 5;
    const uint8_t tier = 1;
    const uint16_t small = 0;
    request.offers.vectors = {vectors.data(), 1, dim};
    request.offers.price.values = {&price, 1};
    request.offers.tier.values = {&tier, 1};
    request.offers.skills.values = request.offers.policy_bits.values = {&bits, 1};
    request.offers.region.values = request.offers.slots.values = {&small, 1};
    uint32_t version;
    kernel->publish(kernel->root(), request, {&version, 1});
  }

  void step(uint64_t number) {
    clock->advance(1'000'000);
    const std::string text(20 + number * 37 % 6'000, char('a' + number % 26));
    switch (number % 4) {
      case 0: {
        DispatchRequest request;
        request.to = agent(2);
        request.budget = 50;
        request.payload = bytes_of(text);
        const std::string key = "key-" + std::to_string(number);
        request.key = bytes_of(key);
        if (number % 8 == 0) request.deadline_ns = clock->now_ns() + 20'000'000;
        (void)kernel->dispatch(agent(1), request);
        return;
      }
      case 1:
        (void)kernel->send_durable(agent(1),
                                   {agent(2), bytes_of(text), bytes_of(text.substr(0, 9)), {}});
        return;
      case 2:
        add(agent(1), "agent-" + std::to_string(number), AgentKind::agent);
        return;
      default:
        kernel->fund(kernel->root(), agent(3 + uint32_t(number % 2)), number + 1, "usd_micro");
        return;
    }
  }
  Digest hash() const { return kernel->state_hash().all; }
};

struct Filled {
  House house;
  explicit Filled(uint64_t steps) {
    house.begin();
    house.add(house.agent(1), "payee", AgentKind::agent);
    for (uint64_t i = 0; i < steps; ++i) house.step(i);
  }
};

TEST(Snapshot, OpeningFromOneIsOpeningFromTheFirstRecord) {
  Filled filled(120);
  House& house = filled.house;
  const SnapshotInfo first = house.kernel->snapshot();
  EXPECT_TRUE(first.taken);
  EXPECT_EQ(first.state_hash, house.hash());
  EXPECT_FALSE(house.kernel->snapshot().taken) << "there is one of this position";
  for (uint64_t i = 120; i < 150; ++i) house.step(i);
  const Digest hash = house.hash(), root = house.kernel->journal().root();
  const auto plain = house.disk->restart();
  for (const uint64_t count : list_snapshots(*plain)) plain->remove(snapshot_path(count));

  House whole{std::shared_ptr<SimulatedDisk>(plain->restart())};
  House short_cut{std::shared_ptr<SimulatedDisk>(house.disk->restart())};
  EXPECT_EQ(whole.kernel->journal().status().replayed_from, 0u);
  EXPECT_EQ(short_cut.kernel->journal().status().replayed_from, first.count);
  EXPECT_EQ(whole.hash(), short_cut.hash());
  EXPECT_EQ(whole.kernel->journal().root(), short_cut.kernel->journal().root());
  const uint64_t count = house.kernel->journal().count();
  EXPECT_EQ(short_cut.kernel->journal().root_at(count), root);
  EXPECT_NE(hash, short_cut.hash()) << "unfinished tasks were delivered again";
  for (uint64_t i = 0; i < count; i += 7) {
    EXPECT_EQ(whole.kernel->journal().prove(i, count), short_cut.kernel->journal().prove(i, count));
    EXPECT_EQ(whole.kernel->journal().read(i), short_cut.kernel->journal().read(i));
  }
}

TEST(Snapshot, ALaterOneGoesOnFromTheOneBefore) {
  Filled filled(40);
  House& house = filled.house;
  std::vector<Digest> hashes;
  for (uint64_t i = 40; i < 440; ++i) {
    house.step(i);
    if (i % 50 != 0) continue;
    EXPECT_EQ(house.kernel->snapshot().state_hash, house.hash());
  }
  EXPECT_EQ(list_snapshots(*house.disk).size(), snapshots_kept);
  const KernelVerification verified =
      verify_disk(std::shared_ptr<Disk>(house.disk->restart()), 1, nullptr);
  EXPECT_EQ(verified.state.all, house.hash());
  EXPECT_EQ(verified.snapshot_count, snapshots_kept);
  EXPECT_TRUE(verified.balanced);
  EXPECT_EQ(verified.journal.root, house.kernel->journal().root());
}

TEST(Snapshot, WhatWasDroppedIsRefusedByNameAndStillProven) {
  Filled filled(300);
  House& house = filled.house;
  house.kernel->snapshot();
  EXPECT_EQ(house.kernel->compact(0).count, 0u) << "one snapshot alone is not relied on";
  for (uint64_t i = 300; i < 400; ++i) house.step(i);
  house.kernel->snapshot();
  const uint64_t count = house.kernel->journal().count();
  std::vector<std::vector<Digest>> proofs;
  for (uint64_t i = 0; i < count; ++i) proofs.push_back(house.kernel->journal().prove(i, count));
  const CompactionInfo info = house.kernel->compact(10);
  ASSERT_GT(info.oldest, 0u);
  EXPECT_GT(info.freed_bytes, 0u);
  const Digest hash = house.hash();

  const auto check = [&](Kernel& kernel) {
    EXPECT_EQ(kernel.journal().status().oldest, info.oldest);
    for (uint64_t i = 0; i < count; ++i) EXPECT_EQ(kernel.journal().prove(i, count), proofs[i]);
    EXPECT_FALSE(kernel.journal().read(info.oldest).empty());
    try {
      (void)kernel.journal().read(info.oldest - 1);
      FAIL() << "it was dropped";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unknown_event);
      EXPECT_EQ(error.position(), info.oldest);
    }
  };
  check(*house.kernel);
  const auto disk = std::shared_ptr<SimulatedDisk>(house.disk->restart());
  {
    House reader{std::shared_ptr<SimulatedDisk>(disk->restart())};
    check(*reader.kernel);
  }
  const KernelVerification verified = verify_disk(disk, 2, nullptr);
  EXPECT_EQ(verified.state.all, hash);
  EXPECT_EQ(verified.journal.oldest, info.oldest);
  EXPECT_GT(verified.folded_from, 0u);
}

TEST(Snapshot, ADamagedOneIsPassedOverWhereTheRecordsAreThere) {
  Filled filled(200);
  House& house = filled.house;
  const uint64_t older = house.kernel->snapshot().count;
  for (uint64_t i = 200; i < 260; ++i) house.step(i);
  const uint64_t newer = house.kernel->snapshot().count;
  const uint64_t bits = house.disk->open(snapshot_path(newer), OpenMode::read)->size() * 8;
  House sound{std::shared_ptr<SimulatedDisk>(house.disk->restart())};
  for (uint64_t bit = 3; bit < bits; bit += bits / 97) {
    const auto disk = std::shared_ptr<SimulatedDisk>(house.disk->restart());
    disk->flip_bit(snapshot_path(newer), bit);
    EXPECT_THROW(verify_disk(disk, 1, nullptr), Error) << "bit " << bit;
    House reader(disk);
    EXPECT_EQ(reader.kernel->journal().status().replayed_from, older) << "bit " << bit;
    EXPECT_EQ(reader.hash(), sound.hash());
  }
  // Without the records, and with no snapshot left, there is nothing to guess from.
  const Position oldest = house.kernel->compact(0, 1).oldest;
  // One that goes on with what was dropped is gone, too.
  const std::vector<uint64_t> left = list_snapshots(*house.disk);
  EXPECT_EQ(std::count(left.begin(), left.end(), older), oldest <= older);
  for (const uint64_t count : left)
    if (count != oldest) house.disk->flip_bit(snapshot_path(count), 99);
  if (oldest != 0) {
    // The state at the first record that was kept is a third one to begin with.
    House reader{std::shared_ptr<SimulatedDisk>(house.disk->restart())};
    EXPECT_EQ(reader.kernel->journal().status().replayed_from, oldest);
    EXPECT_EQ(reader.hash(), sound.hash());
    house.disk->flip_bit(snapshot_path(oldest), 99);
  }
  try {
    House reader{std::shared_ptr<SimulatedDisk>(house.disk->restart())};
    FAIL() << "opened from nothing";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::corrupt);
    EXPECT_EQ(error.field(), snapshot_path(newer));
  }
}

// Whatever was on its way when the machine died, the records are all there, and the state too.
TEST(Snapshot, ACrashAtAnyOperationOfTakingOneLosesNothing) {
  Filled filled(300);
  House& house = filled.house;
  house.kernel->snapshot();
  for (uint64_t i = 300; i < 380; ++i) house.step(i);
  house.kernel->flush();
  const std::shared_ptr<SimulatedDisk> before = house.disk->restart();
  const Digest root = house.kernel->journal().root();
  const uint64_t count = house.kernel->journal().count();
  const auto take = [](House& at) {
    at.kernel->snapshot();
    at.kernel->compact(0);
  };
  uint64_t first = 0, last = 0;
  Digest hash;
  {
    House at{std::shared_ptr<SimulatedDisk>(before->restart())};
    first = at.disk->operations();
    hash = at.hash();
    take(at);
    last = at.disk->operations();
  }
  ASSERT_GT(last, first + 10);
  for (uint64_t crash_at = first; crash_at <= last; ++crash_at) {
    const auto disk = std::shared_ptr<SimulatedDisk>(before->restart());
    House at(disk);
    disk->set_faults({.crash_at = crash_at});
    try {
      take(at);
      if (crash_at != last) ADD_FAILURE() << "no crash at " << crash_at;
    } catch (const SimulatedCrash&) {
    }
    for (const Unsynced mode : {Unsynced::none, Unsynced::all, Unsynced::random, Unsynced::torn}) {
      for (const uint64_t second : {uint64_t(5), UINT64_MAX}) {
        SCOPED_TRACE("crash at " + std::to_string(crash_at) + ", mode " +
                     std::to_string(int(mode)) + ", again at " + std::to_string(second));
        std::shared_ptr<SimulatedDisk> boot = disk->recover(mode, crash_at);
        boot->set_faults({.crash_at = second});
        try {
          House again(boot);
        } catch (const SimulatedCrash&) {
        }
        if (second != UINT64_MAX) boot = boot->recover(mode, second);
        House reader(boot);
        EXPECT_EQ(reader.kernel->journal().root_at(count), root);
        const KernelVerification verified =
            verify_disk(std::shared_ptr<Disk>(boot->restart()), 1, nullptr);
        EXPECT_EQ(verified.state.all, reader.hash());
        take(reader);
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST(Snapshot, BytesThatNoStateCouldHaveAreRefused) {
  Filled filled(60);
  House& house = filled.house;
  const uint64_t count = house.kernel->snapshot().count;
  const auto file = house.disk->open(snapshot_path(count), OpenMode::read);
  const SnapshotHeader header = read_snapshot_header(*file, "snapshot");
  const auto bytes_of_section = [&](SnapshotSection section) {
    for (const SectionEntry& entry : header.sections)
      if (entry.section == section) return read_section(*file, "snapshot", entry);
    return std::vector<uint8_t>{};
  };
  Random random(5);
  const auto decode = [](SnapshotSection section, Bytes bytes) {
    SnapshotReader in(bytes, 1);
    if (section == SnapshotSection::agent) AgentTable().decode(in);
    if (section == SnapshotSection::ledger) Ledger().decode(in);
    if (section == SnapshotSection::task) TaskTable().decode(in);
    if (section == SnapshotSection::mailbox) DurableTable().decode(in, 1000);
    if (section == SnapshotSection::capability) CapabilityStore().decode(in);
  };
  using enum SnapshotSection;
  for (const SnapshotSection section : {agent, ledger, task, mailbox, capability}) {
    const std::vector<uint8_t> sound = bytes_of_section(section);
    ASSERT_FALSE(sound.empty());
    decode(section, sound);
    for (size_t cut = 0; cut < sound.size(); cut += 1 + sound.size() / 60)
      EXPECT_THROW(decode(section, Bytes(sound).first(cut)), Error) << "cut to " << cut;
    for (int i = 0; i < 400; ++i) {
      std::vector<uint8_t> damaged = sound;
      damaged[random.below(damaged.size())] ^= uint8_t(1 + random.below(255));
      try {
        decode(section, damaged);  // another value is another state; it must not be a crash
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::corrupt);
      }
    }
  }
}

TEST(LeafFile, GivesBackWhatWasWrittenAndNamesWhatIsNot) {
  SimulatedDisk disk;
  const LeafFile file(disk, {1, 2, 3});
  std::vector<Digest> leaves(1000);
  for (uint64_t i = 0; i < leaves.size(); ++i) leaves[i][0] = uint8_t(i), leaves[i][1] = 9;
  EXPECT_EQ(file.write(0, leaves), leaves_in_blocks(leaves.size()));
  EXPECT_EQ(file.write(leaves_in_block, std::span(leaves).subspan(leaves_in_block)),
            leaves_in_blocks(leaves.size()) - leaves_in_block);
  for (const uint64_t count : {0u, 1u, 126u, 127u, 128u, 888u, 889u, 1000u}) {
    const auto read = file.read(count);
    EXPECT_EQ(read,
              std::vector(leaves.begin(), leaves.begin() + ptrdiff_t(leaves_in_blocks(count))));
  }
  EXPECT_THROW(file.read(2000), Error);
  EXPECT_THROW(LeafFile(disk, {9}).read(500), Error);
  disk.flip_bit(leaf_file_name, (2 * block_size + 5) * 8);
  try {
    file.read(500);
    FAIL() << "a flipped bit was read";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::corrupt);
    EXPECT_EQ(error.position(), leaves_in_block);
  }
}

TEST(MerkleTree, GoesOnFromAFrontierAsFromItsLeaves) {
  MerkleTree whole;
  for (uint64_t base = 0; base < 70; ++base) {
    MerkleTree rest(base, whole.frontier());
    MerkleTree copy = whole;
    for (uint64_t i = base; i < base + 40; ++i) {
      EXPECT_EQ(rest.root(), copy.root());
      const Digest leaf = merkle_leaf(bytes_of(std::to_string(i)));
      rest.add(leaf), copy.add(leaf);
      EXPECT_EQ(rest.frontier(), copy.frontier());
      EXPECT_EQ(rest.root_at(base), copy.root_at(base));
      EXPECT_EQ(rest.leaf(i), leaf);
    }
    if (base > 1) {
      EXPECT_THROW(rest.leaf(0), Error);
    }
    whole.add(merkle_leaf(bytes_of(std::to_string(base))));
  }
  EXPECT_THROW(MerkleTree(3, std::vector<Digest>(1)), Error);
}

}  // namespace
}  // namespace hanse
