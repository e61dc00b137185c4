#include "journal/disk.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <string>

#include "journal_fixture.hpp"

namespace hanse {
namespace {

std::vector<uint8_t> filled(size_t size, uint8_t value) { return std::vector(size, value); }

void expect_a_disk_that_works(Disk& disk) {
  EXPECT_FALSE(disk.exists("a"));
  const auto file = disk.open("a", OpenMode::create);
  file->allocate(10'000);
  EXPECT_EQ(content_of(disk, "a"), filled(10'000, 0));
  file->write(9'999, filled(2, 7));
  file->sync();
  EXPECT_EQ(file->size(), 10'001u);
  file->allocate(5);
  EXPECT_EQ(file->size(), 10'001u) << "allocate never shrinks";
  file->truncate(4);
  EXPECT_EQ(file->size(), 4u);
  std::vector<uint8_t> five(5);
  expect_error(ErrorCode::corrupt, [&] { file->read(0, five); });
  expect_error(ErrorCode::storage_failed, [&] { disk.open("a", OpenMode::create); });
  expect_error(ErrorCode::storage_failed, [&] { disk.open("b", OpenMode::read); });
  expect_error(ErrorCode::storage_failed, [&] { disk.open("b", OpenMode::write); });
  expect_error(ErrorCode::storage_failed, [&] { disk.remove("b"); });
  expect_error(ErrorCode::storage_failed, [&] { disk.list("sub"); });

  disk.create_directory("sub");
  disk.create_directory("sub");
  disk.sync_directory("");
  disk.open("sub/z", OpenMode::create)->write(0, filled(1, 1));
  disk.rename("sub/z", "sub/y");
  disk.sync_directory("sub");
  EXPECT_EQ(disk.list("sub"), std::vector<std::string>{"y"});
  EXPECT_EQ(disk.list(""), (std::vector<std::string>{"a", "sub"}));
  EXPECT_TRUE(disk.exists("sub"));
  disk.remove("a");
  EXPECT_FALSE(disk.exists("a"));
}

TEST(RealDisk, DoesWhatADiskPromises) {
  const Directory directory;
  expect_a_disk_that_works(*open_real_disk(directory.path() + "/made/here", false));
}

TEST(SimulatedDisk, DoesWhatADiskPromises) {
  SimulatedDisk disk;
  expect_a_disk_that_works(disk);
}

TEST(RealDisk, ReadOnlyRefusesEveryChangeAndMakesNoDirectory) {
  const Directory directory;
  expect_error(ErrorCode::unusable_directory,
               [&] { open_real_disk(directory.path() + "/none", true); });
  EXPECT_FALSE(std::filesystem::exists(directory.path() + "/none"));
  open_real_disk(directory.path(), false)->open("a", OpenMode::create);
  const auto disk = open_real_disk(directory.path(), true);
  expect_error(ErrorCode::read_only, [&] { disk->open("b", OpenMode::create); });
  expect_error(ErrorCode::read_only, [&] { disk->open("a", OpenMode::write); });
  expect_error(ErrorCode::read_only, [&] { disk->remove("a"); });
  expect_error(ErrorCode::read_only, [&] { disk->rename("a", "b"); });
  expect_error(ErrorCode::read_only, [&] { disk->create_directory("b"); });
  expect_error(ErrorCode::read_only, [&] { disk->lock("lock"); });
  EXPECT_EQ(disk->list(""), std::vector<std::string>{"a"});
}

TEST(RealDisk, RefusesADirectoryThatIsNone) {
  const Directory directory;
  open_real_disk(directory.path(), false)->open("file", OpenMode::create);
  expect_error(ErrorCode::unusable_directory, [] { open_real_disk("", false); });
  expect_error(ErrorCode::unusable_directory,
               [&] { open_real_disk(directory.path() + "/file", false); });
  expect_error(ErrorCode::unusable_directory,
               [&] { open_real_disk(directory.path() + "/file/below", false); });
}

TEST(RealDisk, IsLockedByOneAndNamesTheHolder) {
  const Directory directory;
  auto first = open_real_disk(directory.path(), false);
  first->lock("lock");
  const auto second = open_real_disk(directory.path(), false);
  try {
    second->lock("lock");
    FAIL() << "two holders";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::locked);
    EXPECT_NE(error.detail().find(std::to_string(::getpid())), std::string::npos) << error.what();
  }
  first.reset();
  second->lock("lock");
}

TEST(SimulatedDisk, LosesWhatWasNotSyncedAndKeepsWhatWas) {
  SimulatedDisk disk;
  const auto file = disk.open("a", OpenMode::create);
  file->write(0, filled(1024, 1));
  file->sync();
  EXPECT_FALSE(disk.recover(Unsynced::none, 0)->exists("a")) << "its entry was not synced";
  disk.sync_directory("");
  file->write(0, filled(2048, 2));
  EXPECT_EQ(content_of(*disk.recover(Unsynced::none, 0), "a"), filled(1024, 1));
  EXPECT_EQ(content_of(*disk.recover(Unsynced::all, 0), "a"), filled(2048, 2));
  EXPECT_EQ(content_of(disk, "a"), filled(2048, 2)) << "recover leaves this disk as it is";
}

TEST(SimulatedDisk, KeepsARandomSetOfSectors) {
  SimulatedDisk disk;
  const auto file = disk.open("a", OpenMode::create);
  file->write(0, filled(2048, 1));
  file->sync();
  disk.sync_directory("");
  file->write(0, filled(2048, 2));
  std::set<std::vector<uint8_t>> seen;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const auto content = content_of(*disk.recover(Unsynced::random, seed), "a");
    EXPECT_EQ(content, content_of(*disk.recover(Unsynced::random, seed), "a")) << "same seed";
    for (size_t i = 0; i < content.size(); ++i) ASSERT_EQ(content[i], content[i / 512 * 512]);
    seen.insert(content);
  }
  EXPECT_EQ(seen.size(), 16u) << "each of the four sectors either way";
}

TEST(SimulatedDisk, TearsAWriteAtAnyByte) {
  SimulatedDisk disk;
  const auto file = disk.open("a", OpenMode::create);
  file->write(0, filled(1000, 1));
  file->sync();
  disk.sync_directory("");
  file->write(0, filled(1000, 2));
  std::set<size_t> cuts;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const auto content = content_of(*disk.recover(Unsynced::torn, seed), "a");
    const auto cut = size_t(std::find(content.begin(), content.end(), 1) - content.begin());
    EXPECT_EQ(std::count(content.begin(), content.end(), 2), std::ptrdiff_t(cut));
    cuts.insert(cut);
  }
  EXPECT_GT(cuts.size(), 50u);
}

TEST(SimulatedDisk, MayLoseARenameOrARemovalThatWasNotSynced) {
  SimulatedDisk disk;
  disk.open("a", OpenMode::create);
  disk.sync_directory("");
  disk.rename("a", "b");
  EXPECT_EQ(disk.recover(Unsynced::none, 0)->list(""), std::vector<std::string>{"a"});
  EXPECT_EQ(disk.recover(Unsynced::all, 0)->list(""), std::vector<std::string>{"b"});
  disk.sync_directory("");
  EXPECT_EQ(disk.recover(Unsynced::none, 0)->list(""), std::vector<std::string>{"b"});
  disk.remove("b");
  EXPECT_TRUE(disk.recover(Unsynced::none, 0)->exists("b"));
  EXPECT_FALSE(disk.recover(Unsynced::all, 0)->exists("b"));
}

TEST(SimulatedDisk, DiesBeforeTheOperationThatWasNamedAndStaysDead) {
  SimulatedDisk disk;
  disk.set_faults({.crash_at = 2});
  const auto file = disk.open("a", OpenMode::create);
  file->write(0, filled(1, 1));
  EXPECT_EQ(disk.operations(), 2u);
  EXPECT_THROW(file->sync(), SimulatedCrash);
  EXPECT_THROW(file->size(), SimulatedCrash);
  EXPECT_THROW(disk.exists("a"), SimulatedCrash);
  EXPECT_EQ(disk.operations(), 2u);
  EXPECT_TRUE(disk.recover(Unsynced::all, 0)->exists("a"));
}

TEST(SimulatedDisk, NeverSavesWhatAFailedSyncDropped) {
  SimulatedDisk disk;
  const auto file = disk.open("a", OpenMode::create);
  disk.sync_directory("");
  disk.set_faults({.fail_sync_at = disk.operations()});
  file->write(0, filled(3, 1));
  expect_error(ErrorCode::storage_failed, [&] { file->sync(); });
  file->sync();
  EXPECT_TRUE(content_of(*disk.recover(Unsynced::none, 0), "a").empty());
}

TEST(SimulatedDisk, WhenFullRefusesGrowthAndNothingElse) {
  SimulatedDisk disk;
  const auto file = disk.open("a", OpenMode::create);
  file->allocate(1000);
  disk.set_faults({.full_at = disk.operations()});
  expect_error(ErrorCode::storage_full, [&] { file->allocate(2000); });
  expect_error(ErrorCode::storage_full, [&] { file->write(999, filled(2, 1)); });
  file->write(0, filled(1000, 1));
  EXPECT_EQ(content_of(disk, "a"), filled(1000, 1));
}

TEST(SimulatedDisk, FlipsOneBit) {
  SimulatedDisk disk;
  disk.open("a", OpenMode::create)->write(0, filled(4, 0));
  disk.flip_bit("a", 17);
  EXPECT_EQ(content_of(disk, "a"), (std::vector<uint8_t>{0, 0, 2, 0}));
}

}  // namespace
}  // namespace hanse
