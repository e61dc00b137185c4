// A disk in memory with a crash in it. Every mutating operation (write, sync, allocate, truncate,
// create, rename, remove, sync_directory) counts one; before operation number `crash_at` the
// machine dies: that call and all later ones throw SimulatedCrash. `recover` gives the disk as the
// next boot finds it.
#pragma once

#include <map>

#include "base/random.hpp"
#include "journal/disk.hpp"

namespace hanse {

struct SimulatedCrash {};

// What became of the bytes (by 512-byte sector) and directory entries that were not synced.
enum class Unsynced : uint8_t { none, all, random, torn };

struct DiskFaults {
  uint64_t crash_at = UINT64_MAX;      // operation number
  uint64_t fail_sync_at = UINT64_MAX;  // this sync throws Error(storage_failed), once
  uint64_t full_at = UINT64_MAX;  // from here on allocate and growing writes throw storage_full
};

class SimulatedDisk final : public Disk {
 public:
  SimulatedDisk();
  ~SimulatedDisk() override;

  void set_faults(const DiskFaults& faults);
  DiskFaults faults() const;
  uint64_t operations() const;
  // A fresh disk with what survived; this one is left as it is.
  std::unique_ptr<SimulatedDisk> recover(Unsynced unsynced, uint64_t seed) const;
  // The process died and the machine did not: a fresh disk with all that was written, and with what
  // was not synced still at risk.
  std::unique_ptr<SimulatedDisk> restart() const;
  // For corruption tests: flips one bit of the durable bytes.
  void flip_bit(const std::string& path, uint64_t bit);

  std::unique_ptr<File> open(const std::string& path, OpenMode mode) override;
  bool exists(const std::string& path) override;
  std::vector<std::string> list(const std::string& directory) override;
  void create_directory(const std::string& path) override;
  void rename(const std::string& from, const std::string& to) override;
  void remove(const std::string& path) override;
  void sync_directory(const std::string& path) override;
  void lock(const std::string& path) override;
  void unlock() override {}

 private:
  struct World;
  std::shared_ptr<World> world_;
  friend class SimulatedFile;
};

}  // namespace hanse
