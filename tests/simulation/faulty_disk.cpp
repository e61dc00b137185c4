#include "simulation/faulty_disk.hpp"

#include "base/error.hpp"

namespace hanse::simulation {

// What becomes of the next call. A fault that does not fit the call waits for one that it fits.
FaultKind FaultyDisk::World::next(Call call) {
  const uint64_t number = calls++;
  spent_ns += delay_ns;
  if (fault.kind == FaultKind::none || number < fault.at || fault.count == 0)
    return FaultKind::none;
  const bool fits = fault.kind == FaultKind::read_error    ? call == Call::read
                    : fault.kind == FaultKind::failed_sync ? call == Call::sync
                    : fault.kind == FaultKind::short_write ? call == Call::write
                    : fault.kind == FaultKind::no_space
                        ? call == Call::write || call == Call::change
                        : call != Call::read;
  if (!fits) return FaultKind::none;
  --fault.count;
  ++injected;
  return fault.kind;
}

void FaultyDisk::World::refuse(FaultKind kind, const std::string& path) {
  if (kind == FaultKind::no_space)
    throw Error(ErrorCode::storage_full, path, "No space left on device");
  throw Error(ErrorCode::storage_failed, path, "Input/output error");
}

void FaultyDisk::World::admit(Call call, const std::string& path) {
  const FaultKind kind = next(call);
  if (kind != FaultKind::none) refuse(kind, path);
}

// The disk below drops what that sync covered, and throws.
void FaultyDisk::World::fail_next_sync() {
  DiskFaults faults = below->faults();
  faults.fail_sync_at = 0;
  below->set_faults(faults);
}

class FaultyDisk::FaultyFile final : public File {
 public:
  FaultyFile(std::shared_ptr<World> world, std::unique_ptr<File> below, std::string path)
      : world_(std::move(world)), below_(std::move(below)), path_(std::move(path)) {}

  uint64_t size() const override { return below_->size(); }
  void read(uint64_t offset, std::span<uint8_t> out) override {
    world_->admit(Call::read, path_);
    below_->read(offset, out);
  }
  void write(uint64_t offset, Bytes bytes) override {
    const FaultKind kind = world_->next(Call::write);
    if (kind == FaultKind::short_write) below_->write(offset, bytes.first(bytes.size() / 2));
    if (kind != FaultKind::none) world_->refuse(kind, path_);
    below_->write(offset, bytes);
  }
  void sync() override {
    const FaultKind kind = world_->next(Call::sync);
    if (kind == FaultKind::failed_sync)
      world_->fail_next_sync();
    else if (kind != FaultKind::none)
      world_->refuse(kind, path_);
    below_->sync();
  }
  void allocate(uint64_t size_bytes) override {
    world_->admit(Call::change, path_);
    below_->allocate(size_bytes);
  }
  void truncate(uint64_t size_bytes) override {
    world_->admit(Call::change, path_);
    below_->truncate(size_bytes);
  }

 private:
  std::shared_ptr<World> world_;
  std::unique_ptr<File> below_;
  std::string path_;
};

std::unique_ptr<File> FaultyDisk::open(const std::string& path, OpenMode mode) {
  if (mode == OpenMode::create) world_->admit(Call::change, path);
  return std::make_unique<FaultyFile>(world_, world_->below->open(path, mode), path);
}

std::vector<std::string> FaultyDisk::list(const std::string& directory) {
  world_->admit(Call::read, directory);
  return world_->below->list(directory);
}

void FaultyDisk::create_directory(const std::string& path) {
  world_->admit(Call::change, path);
  world_->below->create_directory(path);
}

void FaultyDisk::rename(const std::string& from, const std::string& to) {
  world_->admit(Call::change, from);
  world_->below->rename(from, to);
}

void FaultyDisk::remove(const std::string& path) {
  world_->admit(Call::change, path);
  world_->below->remove(path);
}

void FaultyDisk::sync_directory(const std::string& path) {
  const FaultKind kind = world_->next(Call::sync);
  if (kind == FaultKind::failed_sync)
    world_->fail_next_sync();
  else if (kind != FaultKind::none)
    world_->refuse(kind, path);
  world_->below->sync_directory(path);
}

}  // namespace hanse::simulation
