#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "journal_fixture.hpp"

namespace hanse {
namespace {

constexpr uint64_t block = 4096;

// Every bit; but under a sanitizer, where each costs ten times as much, one in 31.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t bit_step = 31;
#else
constexpr uint64_t bit_step = 1;
#endif

Record small_record(Position position) {
  return Record(size_t(20 + position % 50), uint8_t(position));
}

// Three segments of 16 KiB: a block for the header, two of records, one for the seal.
std::shared_ptr<SimulatedDisk> write_log(uint64_t batch_count, bool close) {
  const auto disk = std::make_shared<SimulatedDisk>();
  const auto journal = Journal::open(disk, small_options(), nullptr);
  for (Position i = 0; i < batch_count; ++i) {
    journal->reserve(small_record(i).size());
    journal->append(small_record(i));
    journal->flush();
  }
  if (!close) journal->poison("left without a close");
  return disk;
}

std::vector<std::string> segments_of(SimulatedDisk& disk) {
  std::vector<std::string> names = disk.list("");
  std::erase_if(names, [](const std::string& name) { return !name.starts_with("segment-"); });
  return names;
}

// Flips each bit of each segment, one at a time, and asks `judge` about the outcome.
void flip_every_bit(
    SimulatedDisk& disk,
    const std::function<void(uint64_t segment, uint64_t offset, const VerifyReport* report,
                             const Error* error)>& judge) {
  const auto names = segments_of(disk);
  for (uint64_t segment = 0; segment < names.size(); ++segment) {
    const uint64_t size_bits = content_of(disk, names[segment]).size() * 8;
    for (uint64_t bit = 0; bit < size_bits; bit += bit_step) {
      disk.flip_bit(names[segment], bit);
      try {
        const VerifyReport report = verify_journal(disk, {});
        judge(segment, bit / 8, &report, nullptr);
      } catch (const Error& error) {
        judge(segment, bit / 8, nullptr, &error);
      }
      disk.flip_bit(names[segment], bit);
      if (::testing::Test::HasFailure()) {
        FAIL() << names[segment] << " bit " << bit;
      }
    }
  }
}

TEST(JournalBitFlip, InACleanlyClosedLogIsFoundWhereverItMatters) {
  const auto disk = write_log(5, true);
  ASSERT_EQ(segments_of(*disk).size(), 3u);
  const VerifyReport sound = verify_journal(*disk, {});
  ASSERT_EQ(sound.segment_count, 3u);
  ASSERT_EQ(sound.torn_bytes, 0u);
  // Segment 2 holds the header, one batch, the closing marker, and no seal.
  uint64_t found = 0, harmless = 0;
  flip_every_bit(*disk, [&](uint64_t segment, uint64_t offset, const VerifyReport* report,
                            const Error* error) {
    const bool is_marker_or_unused = segment == 2 && offset >= 2 * block;
    if (error != nullptr) {
      ++found;
      EXPECT_EQ(error->code(), ErrorCode::corrupt) << error->what();
      EXPECT_TRUE(error->field().starts_with("segment-")) << error->what();
      EXPECT_TRUE(error->detail().starts_with("offset ")) << error->what();
      EXPECT_FALSE(is_marker_or_unused) << error->what();
    } else {
      // It is cut as a torn tail, which is reported; no record is in it.
      ++harmless;
      EXPECT_TRUE(is_marker_or_unused);
      EXPECT_GT(report->torn_bytes, 0u);
      EXPECT_EQ(report->count, sound.count);
      EXPECT_EQ(report->root, sound.root);
    }
  });
  EXPECT_GE(found, (4 + 4 + 2) * block * 8 / bit_step);
  EXPECT_GE(harmless, 2 * block * 8 / bit_step);
}

TEST(JournalBitFlip, WithoutACloseIsFoundButInTheLastFlushAndThereItIsReported) {
  const auto disk = write_log(2, false);
  const uint64_t all = 2, before_last = 1;
  flip_every_bit(*disk, [&](uint64_t segment, uint64_t offset, const VerifyReport* report,
                            const Error* error) {
    // Header, first batch, last batch, and no seal yet.
    const bool checked = segment == 0 && offset < 2 * block;
    const bool last_flush = segment == 0 && offset >= 2 * block && offset < 3 * block;
    EXPECT_EQ(error != nullptr, checked);
    if (error != nullptr) return;
    EXPECT_EQ(report->count, last_flush ? before_last : all);
    EXPECT_GT(report->torn_bytes, 0u);
  });
}

class DamagedLog : public ::testing::Test {
 protected:
  DamagedLog() : disk_(write_log(7, true)), names_(segments_of(*disk_)) {}

  void expect_refused(const std::string& file) {
    EXPECT_EQ(expect_error(ErrorCode::corrupt, [&] { verify_journal(*disk_, {}); }).field(), file);
    const auto before = disk_->operations();
    expect_error(ErrorCode::corrupt, [&] { Journal::open(disk_, small_options(), nullptr); });
    EXPECT_EQ(disk_->operations(), before) << "nothing was changed";
  }

  std::shared_ptr<SimulatedDisk> disk_;
  std::vector<std::string> names_;
};

TEST_F(DamagedLog, WithSwappedSegmentsIsRefused) {
  ASSERT_GE(names_.size(), 4u);
  const Record one = content_of(*disk_, names_[1]), two = content_of(*disk_, names_[2]);
  replace(*disk_, names_[1], two);
  replace(*disk_, names_[2], one);
  expect_refused(names_[1]);
}

TEST_F(DamagedLog, WithSwappedBatchesIsRefused) {
  Record content = content_of(*disk_, names_[1]);
  std::swap_ranges(content.begin() + block, content.begin() + 2 * block,
                   content.begin() + 2 * block);
  replace(*disk_, names_[1], content);
  expect_refused(names_[1]);
}

TEST_F(DamagedLog, WithAMissingSegmentIsRefusedWhicheverItIs) {
  for (const std::string& name : names_) {
    const Record content = content_of(*disk_, name);
    disk_->remove(name);
    disk_->sync_directory("");
    expect_refused(name);
    replace(*disk_, name, content);
  }
}

TEST_F(DamagedLog, WithASegmentOfAnotherJournalIsRefused) {
  const auto other = std::make_shared<SimulatedDisk>();
  JournalOptions options = small_options();
  options.identity_seed = 8;
  {
    const auto journal = Journal::open(other, options, nullptr);
    for (Position i = 0; i < 7; ++i) {
      journal->append(small_record(i));
      journal->flush();
    }
  }
  for (const std::string& name : {names_[1], names_[2], names_[3]}) {
    const Record content = content_of(*disk_, name);
    replace(*disk_, name, content_of(*other, name));
    expect_refused(name);
    replace(*disk_, name, content);
  }
}

TEST_F(DamagedLog, WithAnEarlierStateOfASegmentIsRefused) {
  // The same journal when it had three batches; segment 1 was half full then.
  const auto earlier = write_log(3, false);
  const Record stale = content_of(*earlier, names_[1]);
  ASSERT_NE(stale, content_of(*disk_, names_[1]));
  replace(*disk_, names_[1], stale);
  expect_refused(names_[1]);
}

TEST_F(DamagedLog, WithABatchOfAnotherHistoryIsRefused) {
  // The same journal, had its first record been another one: intact, and in its place.
  const auto other = std::make_shared<SimulatedDisk>();
  {
    const auto journal = Journal::open(other, small_options(), nullptr);
    journal->append(small_record(1));
  }
  Record content = content_of(*disk_, names_[0]);
  const Record foreign = content_of(*other, names_[0]);
  std::copy_n(foreign.begin() + block, block, content.begin() + block);
  replace(*disk_, names_[0], content);
  expect_refused(names_[0]);
}

TEST_F(DamagedLog, WithATruncatedSegmentIsRefused) {
  for (const std::string& name : {names_[0], names_[2]}) {
    for (const uint64_t size : {uint64_t(0), uint64_t(100), block, 3 * block}) {
      const Record content = content_of(*disk_, name);
      replace(*disk_, name, Record(content.begin(), content.begin() + std::ptrdiff_t(size)));
      expect_refused(name);
      replace(*disk_, name, content);
    }
  }
}

TEST_F(DamagedLog, WithALostBlockIsRefusedUnlessItWasTheClosingMarker) {
  for (const std::string& name : names_) {
    const Record content = content_of(*disk_, name);
    for (uint64_t at = 0; at < content.size(); at += block) {
      Record lost = content;
      std::fill_n(lost.begin() + std::ptrdiff_t(at), block, uint8_t(0));
      if (lost == content) continue;
      replace(*disk_, name, lost);
      if (name == names_.back() && at == 2 * block) {
        EXPECT_EQ(verify_journal(*disk_, {}).count, 7u);
      } else {
        expect_error(ErrorCode::corrupt, [&] { verify_journal(*disk_, {}); });
      }
      replace(*disk_, name, content);
    }
  }
}

// Nothing but the seal of the segment before says that these had been durable.
TEST(DamagedSegment, WhoseEveryBatchIsLostIsRefusedForItsSealsSake) {
  const auto disk = write_log(4, false);
  const auto names = segments_of(*disk);
  ASSERT_GE(names.size(), 2u);
  const Record first = content_of(*disk, names[0]);
  ASSERT_TRUE(std::any_of(first.end() - block, first.end(), [](uint8_t byte) { return byte; }))
      << "there is no seal";
  Record second = content_of(*disk, names[1]);
  std::fill(second.begin() + block, second.end(), uint8_t(0));
  replace(*disk, names[1], second);
  expect_error(ErrorCode::corrupt, [&] { verify_journal(*disk, {}); });
  expect_error(ErrorCode::corrupt, [&] { Journal::open(disk, small_options(), nullptr); });
}

TEST(JournalVersion, OfANewerBuildIsRefusedAsSuch) {
  const auto disk = write_log(2, true);
  Record content = content_of(*disk, "segment-00000000");
  content[12] = 2;  // behind magic and CRC
  std::fill_n(content.begin() + 8, 4, uint8_t(0));
  const uint32_t crc = crc32c(std::span(content).first(block));
  std::copy_n(reinterpret_cast<const uint8_t*>(&crc), 4, content.begin() + 8);
  replace(*disk, "segment-00000000", content);
  const Error error =
      expect_error(ErrorCode::log_version, [&] { Journal::open(disk, small_options(), nullptr); });
  EXPECT_EQ(error.field(), "segment-00000000");
  EXPECT_NE(error.detail().find("version 2"), std::string::npos) << error.detail();
}

}  // namespace
}  // namespace hanse
