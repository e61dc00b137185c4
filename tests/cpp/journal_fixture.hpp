// What the tests of the journal share: records whose content follows from their position, small
// segments, and a look at what a journal holds.
#pragma once

#include <gtest/gtest.h>

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"
#include "journal/journal.hpp"
#include "journal/simulated_disk.hpp"

namespace hanse {

using Record = std::vector<uint8_t>;

// A temporary directory, gone with all its files at the end of the test.
class Directory {
 public:
  Directory() {
    std::string name = (std::filesystem::temp_directory_path() / "hanse-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~Directory() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_; }
  std::shared_ptr<Disk> disk(bool read_only = false) const {
    return open_real_disk(path_, read_only);
  }

 private:
  std::string path_;
};

// Mostly short, some longer than a batch, a few longer than a whole small segment.
inline Record record_of(Position position) {
  Random random(position + 1);
  size_t size = 1 + random.below(300);
  if (position % 7 == 3) size = 3'000 + random.below(3'000);
  if (position % 13 == 12) size = 20'000;
  Record record(size);
  for (uint8_t& byte : record) byte = uint8_t(random.next());
  return record;
}

inline Digest root_of_first(uint64_t count) {
  MerkleTree tree;
  for (Position i = 0; i < count; ++i) tree.add(merkle_leaf(record_of(i)));
  return tree.root();
}

inline JournalOptions small_options() {
  JournalOptions options;
  options.segment_size_bytes_max = 16 << 10;
  options.identity_seed = 7;
  return options;
}

inline JournalOptions reading_options() {
  JournalOptions options = small_options();
  options.read_only = true;
  return options;
}

// Opens, and checks that what is replayed are the first records of `record_of`, in order.
inline std::unique_ptr<Journal> open_checked(std::shared_ptr<Disk> disk,
                                             const JournalOptions& options) {
  Position expected = 0;
  auto journal = Journal::open(std::move(disk), options, [&](Position position, Bytes record) {
    ASSERT_EQ(position, expected++);
    ASSERT_EQ(Record(record.begin(), record.end()), record_of(position));
  });
  EXPECT_EQ(journal->count(), expected);
  EXPECT_EQ(journal->durable_count(), expected);
  EXPECT_EQ(journal->root(), root_of_first(expected));
  return journal;
}

inline Position append_next(Journal& journal) {
  const Record record = record_of(journal.count());
  journal.reserve(record.size());
  return journal.append(record);
}

inline void append_until(Journal& journal, uint64_t count) {
  while (journal.count() < count) append_next(journal);
}

template <class Call>
Error expect_error(ErrorCode code, Call call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    return error;
  }
  ADD_FAILURE() << "no " << error_code_info(code).name;
  return Error(ErrorCode::invariant, "", "");
}

inline Record content_of(Disk& disk, const std::string& path) {
  const auto file = disk.open(path, OpenMode::read);
  Record content(file->size());
  file->read(0, content);
  return content;
}

inline void replace(Disk& disk, const std::string& path, const Record& content) {
  if (disk.exists(path)) disk.remove(path);
  const auto file = disk.open(path, OpenMode::create);
  file->write(0, content);
  file->sync();
  disk.sync_directory("");
}

}  // namespace hanse
