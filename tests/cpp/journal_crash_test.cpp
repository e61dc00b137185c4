#include <gtest/gtest.h>

#include "journal_fixture.hpp"

namespace hanse {
namespace {

// Groups of one to five fill segments with many batches; single records leave some segments empty,
// because the next record was too long for them.
struct Workload {
  uint64_t record_count;
  uint64_t group_max;
};
constexpr Workload workloads[] = {{40, 5}, {27, 1}};
constexpr Unsynced all_modes[] = {Unsynced::none, Unsynced::all, Unsynced::random, Unsynced::torn};

Record extent_bytes() { return Record(10'000, 5); }

struct Acknowledged {
  uint64_t count = 0;
  bool extent = false;
};

// Notes what was promised on the way. Ends with a clean close.
void run_workload(const std::shared_ptr<Disk>& disk, const Workload& workload,
                  Acknowledged& acknowledged) {
  const auto journal = Journal::open(disk, small_options(), nullptr);
  acknowledged.count = journal->count();
  while (journal->count() < workload.record_count) {
    const uint64_t group = 1 + journal->count() % workload.group_max;
    for (uint64_t i = 0; i < group; ++i) append_next(*journal);
    journal->wait_durable(journal->count() - 1);
    acknowledged.count = journal->count();
    if (acknowledged.count >= workload.record_count / 2 && !acknowledged.extent) {
      journal->put_extent(extent_bytes());
      acknowledged.extent = true;
    }
  }
}

// Reports what was acknowledged before the machine died.
Acknowledged run_until_crash(const std::shared_ptr<SimulatedDisk>& disk, const Workload& workload) {
  Acknowledged acknowledged;
  EXPECT_THROW(
      {
        run_workload(disk, workload, acknowledged);
        disk->open("end", OpenMode::create);  // the crash may only hit the closing marker
      },
      SimulatedCrash);
  return acknowledged;
}

uint64_t operations_of(const Workload& workload) {
  const auto disk = std::make_shared<SimulatedDisk>();
  Acknowledged acknowledged;
  run_workload(disk, workload, acknowledged);
  return disk->operations();
}

void expect_kept(const std::shared_ptr<SimulatedDisk>& disk, const Acknowledged& acknowledged) {
  const auto journal = open_checked(disk, small_options());
  EXPECT_GE(journal->count(), acknowledged.count);
  if (acknowledged.extent) {
    EXPECT_EQ(journal->get_extent(sha256(extent_bytes())), extent_bytes());
  }
}

void crash_anywhere(const Workload& workload) {
  const uint64_t operations = operations_of(workload);
  ASSERT_GT(operations, 80u);
  for (uint64_t crash_at = 0; crash_at <= operations; ++crash_at) {
    const auto disk = std::make_shared<SimulatedDisk>();
    disk->set_faults({.crash_at = crash_at});
    const Acknowledged acknowledged = run_until_crash(disk, workload);
    for (const Unsynced mode : all_modes) {
      for (uint64_t seed = 0; seed < (mode == Unsynced::none || mode == Unsynced::all ? 1 : 4);
           ++seed) {
        SCOPED_TRACE("crash at " + std::to_string(crash_at) + ", mode " +
                     std::to_string(int(mode)) + ", seed " + std::to_string(seed));
        const std::shared_ptr<SimulatedDisk> boot = disk->recover(mode, seed);
        expect_kept(boot, acknowledged);
        Acknowledged more;
        run_workload(boot, workload, more);  // goes on to the end from whatever was found
        EXPECT_EQ(verify_journal(*boot, {}).root, root_of_first(more.count));
        if (::testing::Test::HasFailure()) return;
      }
    }
  }
}

TEST(JournalCrash, AtAnyOperationLosesNothingAcknowledged) {
  for (const Workload& workload : workloads) crash_anywhere(workload);
}

void crash_twice(const Workload& workload) {
  const uint64_t operations = operations_of(workload);
  for (uint64_t crash_at = 0; crash_at <= operations; crash_at += 3) {
    const auto disk = std::make_shared<SimulatedDisk>();
    disk->set_faults({.crash_at = crash_at});
    const Acknowledged acknowledged = run_until_crash(disk, workload);
    for (const Unsynced mode : {Unsynced::random, Unsynced::torn}) {
      for (uint64_t second = 0;; ++second) {
        SCOPED_TRACE("crash at " + std::to_string(crash_at) + ", again at " +
                     std::to_string(second));
        const std::shared_ptr<SimulatedDisk> boot = disk->recover(mode, crash_at);
        boot->set_faults({.crash_at = second});
        bool crashed = false;
        try {
          Journal::open(boot, small_options(), nullptr)->poison("left without a close");
        } catch (const SimulatedCrash&) {
          crashed = true;
        }
        for (const Unsynced again : all_modes)
          expect_kept(boot->recover(again, second), acknowledged);
        if (::testing::Test::HasFailure()) return;
        if (!crashed) break;
      }
    }
  }
}

TEST(JournalCrash, DuringRecoveryLosesNothingEither) {
  for (const Workload& workload : workloads) crash_twice(workload);
}

void crash_process(const Workload& workload) {
  const uint64_t operations = operations_of(workload);
  for (uint64_t crash_at = 0; crash_at <= operations; ++crash_at) {
    const auto disk = std::make_shared<SimulatedDisk>();
    disk->set_faults({.crash_at = crash_at});
    run_until_crash(disk, workload);
    // The process died but the machine did not: everything is there, and nothing was synced.
    disk->set_faults({});
    const std::shared_ptr<SimulatedDisk> boot = disk->restart();
    Acknowledged reported;
    {
      const auto journal = open_checked(boot, small_options());
      reported.count = journal->durable_count();
      journal->poison("left without a close");
    }
    expect_kept(boot->recover(Unsynced::none, 0), reported);
    if (::testing::Test::HasFailure()) FAIL() << "crash at " << crash_at;
  }
}

TEST(JournalCrash, AfterARecoveryKeepsAllThatItReported) {
  for (const Workload& workload : workloads) crash_process(workload);
}

TEST(JournalCrash, LeavesATornTailThatIsCutAndReported) {
  const auto disk = std::make_shared<SimulatedDisk>();
  const auto journal = Journal::open(disk, small_options(), nullptr);
  append_until(*journal, 2);
  journal->flush();
  append_until(*journal, 4);
  disk->set_faults({.crash_at = disk->operations() + 1});
  EXPECT_THROW(journal->flush(), SimulatedCrash);  // written, not synced
  bool torn = false;
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::shared_ptr<SimulatedDisk> boot = disk->recover(Unsynced::torn, seed);
    const auto before = verify_journal(*boot, {});
    const auto again = open_checked(boot, small_options());
    EXPECT_EQ(again->status().torn_bytes_cut, before.torn_bytes);
    EXPECT_EQ(before.torn_bytes % 4096, 0u);
    if (again->count() == 2 && before.torn_bytes != 0) torn = true;
    EXPECT_EQ(verify_journal(*boot, {}).torn_bytes, 0u) << "it is gone for good";
  }
  EXPECT_TRUE(torn);
}

TEST(JournalSync, ThatFailsPoisonsForGoodAndLosesNothingAcknowledged) {
  const uint64_t operations = operations_of(workloads[0]);
  uint64_t poisoned = 0;
  for (uint64_t fail_at = 0; fail_at < operations; ++fail_at) {
    SCOPED_TRACE("sync fails at " + std::to_string(fail_at));
    const auto disk = std::make_shared<SimulatedDisk>();
    Acknowledged acknowledged;
    std::unique_ptr<Journal> journal;
    try {
      journal = Journal::open(disk, small_options(), nullptr);
      disk->set_faults({.fail_sync_at = fail_at});
      while (journal->count() < workloads[0].record_count) {
        append_next(*journal);
        journal->wait_durable(journal->count() - 1);
        acknowledged.count = journal->count();
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::poisoned) << error.what();
    }
    const std::string reason = journal->status().poisoned;
    if (reason.empty()) continue;  // only the close, or nothing, was left to sync
    ++poisoned;
    EXPECT_NE(reason.find("Input/output error"), std::string::npos) << reason;
    journal->poison("a second reason");
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(expect_error(ErrorCode::poisoned, [&] { journal->reserve(1); }).detail(), reason);
      EXPECT_EQ(expect_error(ErrorCode::poisoned, [&] { journal->flush(); }).detail(), reason);
    }
    if (journal->durable_count() < journal->count()) {
      expect_error(ErrorCode::poisoned, [&] { journal->wait_durable(journal->count() - 1); });
    }
    journal.reset();
    for (const Unsynced mode : all_modes) expect_kept(disk->recover(mode, fail_at), acknowledged);
  }
  EXPECT_GT(poisoned, 40u);
}

TEST(JournalRoom, IsRefusedBeforeAnyEffectAndFoundAgainLater) {
  const auto disk = std::make_shared<SimulatedDisk>();
  const auto journal = open_checked(disk, small_options());
  append_until(*journal, 5);
  journal->flush();
  disk->set_faults({.full_at = disk->operations()});
  uint64_t refusals = 0;
  while (refusals < 3) {
    const uint64_t before = journal->count();
    try {
      append_next(*journal);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::storage_full) << error.what();
      ++refusals;
      EXPECT_EQ(journal->count(), before);
    }
    journal->flush();  // what was accepted has its room
  }
  EXPECT_EQ(journal->durable_count(), journal->count());
  EXPECT_EQ(journal->status().poisoned, "");
  EXPECT_EQ(journal->root(), root_of_first(journal->count()));
  expect_error(ErrorCode::storage_full, [&] { journal->put_extent(extent_bytes()); });

  disk->set_faults({});
  append_until(*journal, 40);
  journal->put_extent(extent_bytes());
  journal->flush();
  open_checked(disk->recover(Unsynced::none, 0), reading_options());
}

TEST(JournalRoom, ReservedForManyIsThereHoweverTheyAreFlushed) {
  for (const uint64_t flush_every : {1, 3, 100}) {
    const auto disk = std::make_shared<SimulatedDisk>();
    const auto journal = Journal::open(disk, small_options(), nullptr);
    uint64_t size = 0;
    for (Position i = 0; i < 100; ++i) size += record_of(i).size();
    journal->reserve(size, 100);
    disk->set_faults({.full_at = disk->operations()});
    for (Position i = 0; i < 100; ++i) {
      journal->append(record_of(i));
      if (i % flush_every == 0) journal->flush();
    }
    journal->flush();
    open_checked(disk->recover(Unsynced::none, 0), reading_options());
  }
}

}  // namespace
}  // namespace hanse
