#include "journal/journal.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "journal_fixture.hpp"

namespace hanse {
namespace {

TEST(Journal, ReplaysWhatWasAppendedInOrderAfterEveryReopening) {
  const Directory directory;
  for (uint64_t count = 0; count <= 60; count += 12) {
    const auto journal = open_checked(directory.disk(), small_options());
    append_until(*journal, count);
    EXPECT_EQ(journal->root(), root_of_first(count)) << "without a flush";
  }
  const auto report = verify_journal(*directory.disk(true), {});
  EXPECT_EQ(report.count, 60u);
  EXPECT_EQ(report.root, root_of_first(60));
  EXPECT_EQ(report.torn_bytes, 0u);
  EXPECT_GT(report.segment_count, 5u);
  EXPECT_EQ(report.size_bytes,
            Journal::open(directory.disk(true), reading_options(), nullptr)->status().size_bytes);
}

TEST(Journal, ThatIsOpenedAndClosedUnchangedDoesNotGrow) {
  const auto disk = std::make_shared<SimulatedDisk>();
  append_until(*open_checked(disk, small_options()), 5);
  const uint64_t size = open_checked(disk, small_options())->status().size_bytes;
  for (int i = 0; i < 20; ++i) open_checked(disk, small_options());
  EXPECT_EQ(open_checked(disk, small_options())->status().size_bytes, size);
}

TEST(Journal, ReadsEveryRecordBackFlushedOrNot) {
  const auto disk = std::make_shared<SimulatedDisk>();
  const auto journal = open_checked(disk, small_options());
  append_until(*journal, 30);
  journal->flush();
  append_until(*journal, 40);
  for (Position i = 0; i < 40; ++i) EXPECT_EQ(journal->read(i), record_of(i));
  for (Position i = 40; i-- > 0;) EXPECT_EQ(journal->read(i), record_of(i));
  EXPECT_EQ(expect_error(ErrorCode::unknown_event, [&] { journal->read(40); }).position(), 40u);
}

TEST(Journal, SaysWhereARecordIsDamagedWhenItIsReadBack) {
  const auto disk = std::make_shared<SimulatedDisk>();
  const auto journal = open_checked(disk, small_options());
  append_until(*journal, 2);
  journal->flush();
  disk->flip_bit("segment-00000000", 8 * (4096 + 100));
  const Error error = expect_error(ErrorCode::corrupt, [&] { journal->read(1); });
  EXPECT_EQ(error.field(), "segment-00000000");
  EXPECT_NE(error.detail().find("offset 4096"), std::string::npos) << error.detail();
  journal->poison("the damage is ours");
}

TEST(Journal, TakesTheLargestRecordAndRefusesALargerOrAnEmptyOne) {
  const auto disk = std::make_shared<SimulatedDisk>();
  Digest root;
  {
    const auto journal = Journal::open(disk, small_options(), nullptr);
    const Record largest(record_size_bytes_max, 9);
    journal->reserve(largest.size());
    journal->append(largest);
    expect_error(ErrorCode::too_large,
                 [&] { journal->append(Record(record_size_bytes_max + 1, 9)); });
    expect_error(ErrorCode::empty, [&] { journal->append({}); });
    expect_error(ErrorCode::too_large, [&] { journal->reserve(uint64_t(1) << 40); });
    expect_error(ErrorCode::too_large, [&] { journal->reserve(1, uint64_t(1) << 40); });
    EXPECT_EQ(journal->count(), 1u);
    EXPECT_EQ(journal->read(0), largest);
    root = journal->root();
  }
  EXPECT_EQ(verify_journal(*disk, {}).root, root);
}

TEST(Journal, ProvesWhatItHoldsAndRefusesWhatItDoesNot) {
  JournalOptions options;
  options.durability = Durability::memory;
  const auto journal = Journal::open(nullptr, options, nullptr);
  append_until(*journal, 20);
  const Digest root = journal->root_at(17);
  EXPECT_EQ(root, root_of_first(17));
  EXPECT_TRUE(verify_inclusion(journal->leaf(11), 11, 17, journal->prove(11, 17), root));
  EXPECT_EQ(journal->leaf(11), merkle_leaf(record_of(11)));
  EXPECT_TRUE(
      verify_consistency(5, journal->root_at(5), 17, root, journal->prove_consistency(5, 17)));
  expect_error(ErrorCode::unknown_event, [&] { journal->root_at(21); });
  expect_error(ErrorCode::unknown_event, [&] { journal->leaf(20); });
  expect_error(ErrorCode::unknown_event, [&] { journal->prove(17, 17); });
  expect_error(ErrorCode::unknown_event, [&] { journal->prove(0, 21); });
  expect_error(ErrorCode::unknown_event, [&] { journal->prove_consistency(6, 5); });
  expect_error(ErrorCode::unknown_event, [&] { journal->prove_consistency(6, 21); });
  expect_error(ErrorCode::unknown_event, [&] { journal->wait_durable(20); });
}

TEST(Journal, InMemoryHasTheSameRootAndKeepsNoRecords) {
  const auto journal = Journal::open(nullptr, {}, nullptr);
  append_until(*journal, 100);
  EXPECT_EQ(journal->durable_count(), 100u);
  journal->wait_durable(99);
  journal->flush();
  append_until(*journal, 200);
  EXPECT_EQ(journal->root(), root_of_first(200));
  expect_error(ErrorCode::unknown_event, [&] { journal->read(0); });
  const uint64_t before = journal->memory_bytes();
  const Digest digest = journal->put_extent(Record(50'000, 1));
  EXPECT_EQ(journal->get_extent(digest), Record(50'000, 1));
  EXPECT_GE(journal->memory_bytes(), before + 50'000);
  EXPECT_EQ(journal->status().segment_count, 0u);
}

TEST(Journal, HashesMemoryRecordsNowAndThenSoThatTheyDoNotPileUp) {
  const auto journal = Journal::open(nullptr, {}, nullptr);
  const Record record(1'000, 3);
  for (int i = 0; i < 20'000; ++i) {
    journal->reserve(record.size());
    journal->append(record);
  }
  EXPECT_LT(journal->memory_bytes(), 10u << 20) << "of 20 MB appended";
}

TEST(Journal, IsHeldByOneWriter) {
  const Directory directory;
  auto first = open_checked(directory.disk(), small_options());
  expect_error(ErrorCode::locked, [&] { open_checked(directory.disk(), small_options()); });
  first.reset();
  open_checked(directory.disk(), small_options());
}

TEST(Journal, OpenedForReadingRefusesEveryChange) {
  const Directory directory;
  append_until(*open_checked(directory.disk(), small_options()), 10);
  const auto journal = open_checked(directory.disk(true), reading_options());
  EXPECT_EQ(journal->count(), 10u);
  EXPECT_EQ(journal->read(3), record_of(3));
  expect_error(ErrorCode::read_only, [&] { journal->reserve(1); });
  expect_error(ErrorCode::read_only, [&] { journal->append(record_of(0)); });
  expect_error(ErrorCode::read_only, [&] { journal->put_extent(record_of(0)); });
  const Directory empty;
  expect_error(ErrorCode::unusable_directory,
               [&] { open_checked(empty.disk(true), reading_options()); });
  expect_error(ErrorCode::unusable_directory, [&] { verify_journal(*empty.disk(true), {}); });
}

TEST(Journal, RefusesSegmentSizesItCannotUse) {
  for (const uint64_t size : {uint64_t(0), uint64_t(8192), uint64_t(100'000), uint64_t(1) << 40}) {
    JournalOptions options;
    options.segment_size_bytes_max = size;
    const Error error =
        expect_error(ErrorCode::out_of_range, [&] { Journal::open(nullptr, options, nullptr); });
    EXPECT_EQ(error.field(), "segment_size_bytes_max");
  }
}

TEST(Journal, CanBeReadBesideALiveWriter) {
  const Directory directory;
  const auto journal = open_checked(directory.disk(), small_options());
  std::atomic<uint64_t> acknowledged{0};
  std::jthread writer([&] {
    while (journal->count() < 400) {
      append_next(*journal);
      journal->wait_durable(journal->count() - 1);
      acknowledged = journal->count();
    }
  });
  uint64_t seen = 0;
  do {
    const uint64_t before = acknowledged;
    if (before == 0) continue;
    const auto reader = open_checked(directory.disk(true), reading_options());
    EXPECT_GE(reader->count(), before);
    EXPECT_GE(reader->count(), seen);
    seen = reader->count();
  } while (seen < 400 && !::testing::Test::HasFailure());
  writer.join();
}

TEST(Journal, CommitsForManyThreadsAtOnce) {
  for (const Durability durability : {Durability::each, Durability::batch}) {
    const Directory directory;
    JournalOptions options = small_options();
    options.durability = durability;
    constexpr uint64_t thread_count = 4, each = 150;
    {
      const auto journal = Journal::open(directory.disk(), options, nullptr);
      std::mutex writer;
      std::vector<std::thread> threads;
      for (uint64_t i = 0; i < thread_count; ++i) {
        threads.emplace_back([&] {
          for (uint64_t done = 0; done < each; ++done) {
            Position position;
            {
              const std::lock_guard lock(writer);
              position = append_next(*journal);
            }
            journal->wait_durable(position);
            EXPECT_GT(journal->durable_count(), position);
            EXPECT_EQ(journal->leaf(position), merkle_leaf(record_of(position)));
          }
        });
      }
      for (std::thread& thread : threads) thread.join();
      EXPECT_LE(journal->status().flush_count, thread_count * each);
    }
    EXPECT_EQ(open_checked(directory.disk(), options)->count(), thread_count * each);
  }
}

TEST(Extent, IsFoundByItsDigestAndCheckedOnEveryRead) {
  const auto disk = std::make_shared<SimulatedDisk>();
  const Record bytes(10'000, 4);
  Digest digest;
  {
    const auto journal = open_checked(disk, small_options());
    digest = journal->put_extent(bytes);
    EXPECT_EQ(digest, sha256(bytes));
    EXPECT_EQ(journal->put_extent(bytes), digest) << "a second time";
    append_until(*journal, 1);
  }
  const std::string path = "extents/" + hex(digest) + ".ext";
  EXPECT_EQ(disk->list("extents").size(), 1u);
  EXPECT_EQ(verify_journal(*disk, {}).extent_count, 1u);
  const auto journal = open_checked(disk, small_options());
  EXPECT_EQ(journal->get_extent(digest), bytes);
  disk->flip_bit(path, 12'345);
  EXPECT_EQ(expect_error(ErrorCode::corrupt, [&] { journal->get_extent(digest); }).field(), path);
  EXPECT_EQ(expect_error(ErrorCode::corrupt, [&] { verify_journal(*disk, {}); }).field(), path);
  disk->open(path, OpenMode::write)->truncate(10);
  expect_error(ErrorCode::corrupt, [&] { journal->get_extent(digest); });
  EXPECT_EQ(journal->put_extent(bytes), digest) << "of another size, so it is written again";
  EXPECT_EQ(journal->get_extent(digest), bytes);
  disk->remove(path);
  expect_error(ErrorCode::extent_missing, [&] { journal->get_extent(digest); });
}

TEST(Verify, TellsHowFarItIs) {
  const auto disk = std::make_shared<SimulatedDisk>();
  append_until(*open_checked(disk, small_options()), 30);
  uint64_t last = 0, total_seen = 0;
  VerifyOptions options;
  options.progress = [&](uint64_t done, uint64_t total) {
    EXPECT_GE(done, last);
    EXPECT_LE(done, total);
    last = done;
    total_seen = total;
  };
  verify_journal(*disk, options);
  EXPECT_EQ(last, total_seen);
  EXPECT_GT(total_seen, 16'384u);
}

}  // namespace
}  // namespace hanse
