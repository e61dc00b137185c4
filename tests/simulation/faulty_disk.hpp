// A disk that fails where it is told to: it counts every call that reaches the simulated disk below
// and makes one of them, or all from one on, fail as real disks do.
#pragma once

#include <memory>
#include <utility>

#include "journal/simulated_disk.hpp"

namespace hanse::simulation {

enum class FaultKind : uint8_t {
  none,
  io_error,     // EIO; nothing was done
  no_space,     // ENOSPC, of calls that may need room
  short_write,  // the first half is written, then EIO
  failed_sync,  // EIO, and the pages that it covered are dropped, as Linux does
  read_error,   // EIO of a read
};
constexpr uint32_t fault_kind_count = 6;

struct Fault {
  FaultKind kind = FaultKind::none;
  uint64_t at = 0;     // number of the first call that fails, from 0
  uint64_t count = 1;  // how many calls fail from there on
};

class FaultyDisk final : public Disk {
 public:
  explicit FaultyDisk(std::shared_ptr<SimulatedDisk> below) : world_(std::make_shared<World>()) {
    world_->below = std::move(below);
  }

  void set(const Fault& fault) { world_->fault = fault; }
  Fault fault() const { return world_->fault; }
  // Each call of the disk takes that long; the caller collects the time and moves its clock.
  void set_delay(uint64_t ns) { world_->delay_ns = ns; }
  uint64_t take_delay() { return std::exchange(world_->spent_ns, 0); }
  uint64_t calls() const { return world_->calls; }
  uint64_t injected() const { return world_->injected; }
  SimulatedDisk& below() { return *world_->below; }

  std::unique_ptr<File> open(const std::string& path, OpenMode mode) override;
  bool exists(const std::string& path) override { return world_->below->exists(path); }
  std::vector<std::string> list(const std::string& directory) override;
  void create_directory(const std::string& path) override;
  void rename(const std::string& from, const std::string& to) override;
  void remove(const std::string& path) override;
  void sync_directory(const std::string& path) override;
  void lock(const std::string& path) override { world_->below->lock(path); }
  void unlock() override { world_->below->unlock(); }

 private:
  enum class Call : uint8_t { read, write, sync, change };
  struct World {
    std::shared_ptr<SimulatedDisk> below;
    Fault fault;
    uint64_t calls = 0, injected = 0, delay_ns = 0, spent_ns = 0;

    FaultKind next(Call call);
    void refuse(FaultKind kind, const std::string& path);
    void admit(Call call, const std::string& path);
    void fail_next_sync();
  };
  class FaultyFile;
  std::shared_ptr<World> world_;
};

}  // namespace hanse::simulation
