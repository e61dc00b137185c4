// Blobs outside the log, in files named by their SHA-256. Durable when `put` returns, so before the
// record that names them.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "base/hash.hpp"
#include "journal/disk.hpp"
#include "journal/journal.hpp"

namespace hanse {

class ExtentStore {
 public:
  // Without a disk they are kept in memory.
  explicit ExtentStore(std::shared_ptr<Disk> disk) : disk_(std::move(disk)) {}

  // Removes what a crash left half written.
  void recover();
  // Any thread. Error(storage_full), Error(storage_failed).
  Digest put(Bytes bytes, ExtentPin* pin_out = nullptr);
  // Any thread. Error(extent_missing), Error(corrupt).
  std::vector<uint8_t> get(const Digest& digest);
  uint64_t memory_bytes() const;

  struct Collected {
    uint64_t count = 0, bytes = 0;
  };
  // Removes those that nothing names. What is named is gathered between the two calls: whatever is
  // pinned at the first, or put after it, stays. One at a time; any thread.
  void begin_collecting();
  Collected collect(const std::set<Digest>& named);

 private:
  struct Pins {
    std::mutex mutex;
    std::map<Digest, uint32_t> counts;
    bool collecting = false;
    std::set<Digest> put;  // pinned when it began, or put since
  };
  ExtentPin pin(const Digest& digest);
  void ensure_directory();
  void write_new(const std::string& path, Bytes bytes);

  std::shared_ptr<Disk> disk_;
  std::atomic<uint64_t> next_temporary_{0};
  mutable std::mutex mutex_;
  bool directory_exists_ = false;
  std::map<Digest, std::vector<uint8_t>> memory_;
  uint64_t memory_bytes_ = 0;
  // Pins may outlive the store.
  const std::shared_ptr<Pins> pins_ = std::make_shared<Pins>();
};

constexpr char extent_directory[] = "extents";
std::string extent_path(const Digest& digest);
// Reads a file of the store and checks it against its name.
std::vector<uint8_t> read_extent(Disk& disk, const std::string& path, const std::string& digest);

}  // namespace hanse
