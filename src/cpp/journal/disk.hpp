// The disk, injected: the same journal code runs over files and over a simulated disk that loses,
// keeps or tears what was not synced. Every failure is an Error(6xxx) that names the file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/view.hpp"

namespace hanse {

class File {
 public:
  virtual ~File() = default;
  virtual uint64_t size() const = 0;
  virtual void read(uint64_t offset, std::span<uint8_t> out) = 0;  // exactly, or Error(corrupt)
  virtual void write(uint64_t offset, Bytes bytes) = 0;
  virtual void sync() = 0;                         // fdatasync
  virtual void allocate(uint64_t size_bytes) = 0;  // zero-filled up to size; Error(storage_full)
  virtual void truncate(uint64_t size_bytes) = 0;
};

enum class OpenMode : uint8_t { read, write, create };  // create fails where the file exists

// Paths are relative to the disk's root directory.
class Disk {
 public:
  virtual ~Disk() = default;
  virtual std::unique_ptr<File> open(const std::string& path, OpenMode mode) = 0;
  virtual bool exists(const std::string& path) = 0;
  virtual std::vector<std::string> list(const std::string& directory) = 0;  // names, sorted
  virtual void create_directory(const std::string& path) = 0;               // fine if it exists
  virtual void rename(const std::string& from, const std::string& to) = 0;
  virtual void remove(const std::string& path) = 0;
  virtual void sync_directory(const std::string& path) = 0;
  // Exclusive for the life of this object; Error(locked) names the holder's pid where known.
  virtual void lock(const std::string& path) = 0;
  virtual void unlock() = 0;
};

// `directory` is created where it is missing (not when read_only). Error(unusable_directory).
std::unique_ptr<Disk> open_real_disk(const std::string& directory, bool read_only);

}  // namespace hanse
