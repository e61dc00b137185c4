#include "journal/simulated_disk.hpp"

#include <algorithm>
#include <mutex>
#include <set>

#include "base/error.hpp"

namespace hanse {

namespace {

constexpr uint64_t sector_size = 512;

// What a boot finds: files by number, so that an entry and its content can be lost separately.
struct Image {
  std::map<uint64_t, std::vector<uint8_t>> files;
  std::map<std::string, uint64_t> entries;
  std::set<std::string> directories;
};

enum class ChangeKind : uint8_t { write, resize, create, rename, remove, create_directory };

struct Change {
  ChangeKind kind;
  uint64_t file = 0;
  uint64_t offset = 0;           // resize: the new size
  std::vector<uint8_t> bytes{};  // write
  std::string path{}, to{};      // entries
  // A sync that covered this one failed: the kernel takes such pages for clean, so no later sync
  // saves them. Entries are the file system's own journal, which does not forget.
  bool dropped = false;
};

bool is_content(const Change& change) {
  return change.kind == ChangeKind::write || change.kind == ChangeKind::resize;
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

void write_into(std::vector<uint8_t>& content, uint64_t offset, Bytes bytes) {
  if (bytes.empty()) return;
  if (content.size() < offset + bytes.size()) content.resize(offset + bytes.size());
  std::copy(bytes.begin(), bytes.end(), content.begin() + std::ptrdiff_t(offset));
}

void apply(Image& image, const Change& change) {
  switch (change.kind) {
    case ChangeKind::write:
      return write_into(image.files[change.file], change.offset, change.bytes);
    case ChangeKind::resize:
      return image.files[change.file].resize(change.offset);
    case ChangeKind::create:
      image.entries[change.path] = change.file;
      return;
    case ChangeKind::rename:
      image.entries.erase(change.path);
      image.entries[change.to] = change.file;
      return;
    case ChangeKind::remove:
      image.entries.erase(change.path);
      return;
    case ChangeKind::create_directory:
      image.directories.insert(change.path);
      return;
  }
}

// Each sector of a write, and each other change, survives by the toss of a coin.
void apply_random(Image& image, const Change& change, Random& random) {
  if (change.kind != ChangeKind::write) {
    if (random.chance(500)) apply(image, change);
    return;
  }
  const Bytes bytes(change.bytes);
  for (uint64_t at = 0; at < bytes.size();) {
    const uint64_t sector_end = ((change.offset + at) / sector_size + 1) * sector_size;
    const uint64_t part = std::min(sector_end - change.offset - at, bytes.size() - at);
    if (random.chance(500))
      write_into(image.files[change.file], change.offset + at, bytes.subspan(at, part));
    at += part;
  }
}

// The changes survive in order up to one that is cut, even in the middle of a sector.
void apply_torn(Image& image, const std::vector<Change>& changes, Random& random) {
  const uint64_t whole = random.below(changes.size() + 1);
  for (uint64_t i = 0; i < whole; ++i) apply(image, changes[i]);
  if (whole == changes.size() || changes[whole].kind != ChangeKind::write) return;
  const Change& torn = changes[whole];
  write_into(image.files[torn.file], torn.offset,
             Bytes(torn.bytes).first(random.below(torn.bytes.size() + 1)));
}

// Entries whose directory did not survive are gone with it.
void drop_orphans(Image& image) {
  std::erase_if(image.entries, [&](const auto& entry) {
    const std::string parent = parent_of(entry.first);
    return !parent.empty() && image.directories.count(parent) == 0;
  });
}

}  // namespace

struct SimulatedDisk::World {
  std::mutex mutex;
  Image now, durable;
  std::vector<Change> unsynced;  // in the order they were made
  DiskFaults faults;
  uint64_t operations = 0;
  uint64_t next_file = 1;
  bool crashed = false;

  void require_alive() const {
    if (crashed) throw SimulatedCrash{};
  }
  void begin_operation() {
    require_alive();
    if (operations >= faults.crash_at) {
      crashed = true;
      throw SimulatedCrash{};
    }
    ++operations;
  }
  void change(Change change) {
    apply(now, change);
    unsynced.push_back(std::move(change));
  }
  void require_room(const std::string& path) const {
    if (operations > faults.full_at) throw Error(ErrorCode::storage_full, path, "disk is full");
  }
  uint64_t file_at(const std::string& path) const {
    const auto entry = now.entries.find(path);
    if (entry == now.entries.end()) throw Error(ErrorCode::storage_failed, path, "no such file");
    return entry->second;
  }
  // Makes durable all that `covers` says.
  template <class Covers>
  void sync(const std::string& path, Covers covers) {
    begin_operation();
    const bool fails = operations > faults.fail_sync_at;
    if (fails) faults.fail_sync_at = UINT64_MAX;
    std::vector<Change> left;
    for (Change& change : unsynced) {
      if (covers(change) && !change.dropped) {
        if (!fails) {
          apply(durable, change);
          continue;
        }
        change.dropped = is_content(change);
      }
      left.push_back(std::move(change));
    }
    unsynced = std::move(left);
    if (fails) throw Error(ErrorCode::storage_failed, path, "sync: Input/output error");
  }
};

class SimulatedFile final : public File {
 public:
  SimulatedFile(std::shared_ptr<SimulatedDisk::World> world, std::string path, uint64_t file,
                bool writable)
      : world_(std::move(world)), path_(std::move(path)), file_(file), writable_(writable) {}

  uint64_t size() const override {
    const std::lock_guard lock(world_->mutex);
    world_->require_alive();
    return world_->now.files[file_].size();
  }

  void read(uint64_t offset, std::span<uint8_t> out) override {
    const std::lock_guard lock(world_->mutex);
    world_->require_alive();
    const auto& content = world_->now.files[file_];
    if (offset > content.size() || out.size() > content.size() - offset) {
      throw Error(ErrorCode::corrupt, path_,
                  "offset " + std::to_string(offset) + ": the file ends at " +
                      std::to_string(content.size()));
    }
    std::copy_n(content.begin() + std::ptrdiff_t(offset), out.size(), out.begin());
  }

  void write(uint64_t offset, Bytes bytes) override {
    const std::lock_guard lock(world_->mutex);
    begin_change();
    if (offset + bytes.size() > world_->now.files[file_].size()) world_->require_room(path_);
    world_->change({.kind = ChangeKind::write,
                    .file = file_,
                    .offset = offset,
                    .bytes = {bytes.begin(), bytes.end()}});
  }

  void sync() override {
    const std::lock_guard lock(world_->mutex);
    world_->sync(
        path_, [this](const Change& change) { return is_content(change) && change.file == file_; });
  }

  void allocate(uint64_t size_bytes) override {
    const std::lock_guard lock(world_->mutex);
    begin_change();
    world_->require_room(path_);
    if (size_bytes <= world_->now.files[file_].size()) return;
    world_->change({.kind = ChangeKind::resize, .file = file_, .offset = size_bytes});
  }

  void truncate(uint64_t size_bytes) override {
    const std::lock_guard lock(world_->mutex);
    begin_change();
    world_->change({.kind = ChangeKind::resize, .file = file_, .offset = size_bytes});
  }

 private:
  void begin_change() {
    if (!writable_) throw Error(ErrorCode::read_only, path_, "the file was opened for reading");
    world_->begin_operation();
  }

  std::shared_ptr<SimulatedDisk::World> world_;
  std::string path_;
  uint64_t file_;
  bool writable_;
};

SimulatedDisk::SimulatedDisk() : world_(std::make_shared<World>()) {}
SimulatedDisk::~SimulatedDisk() = default;

void SimulatedDisk::set_faults(const DiskFaults& faults) {
  const std::lock_guard lock(world_->mutex);
  world_->faults = faults;
}

DiskFaults SimulatedDisk::faults() const {
  const std::lock_guard lock(world_->mutex);
  return world_->faults;
}

uint64_t SimulatedDisk::operations() const {
  const std::lock_guard lock(world_->mutex);
  return world_->operations;
}

std::unique_ptr<SimulatedDisk> SimulatedDisk::recover(Unsynced unsynced, uint64_t seed) const {
  const std::lock_guard lock(world_->mutex);
  Image image = world_->durable;
  Random random(seed);
  switch (unsynced) {
    case Unsynced::none:
      break;
    case Unsynced::all:
      image = world_->now;
      break;
    case Unsynced::random:
      for (const Change& change : world_->unsynced) apply_random(image, change, random);
      break;
    case Unsynced::torn:
      apply_torn(image, world_->unsynced, random);
      break;
  }
  drop_orphans(image);
  auto disk = std::make_unique<SimulatedDisk>();
  disk->world_->next_file = world_->next_file;
  disk->world_->now = image;
  disk->world_->durable = std::move(image);
  return disk;
}

std::unique_ptr<SimulatedDisk> SimulatedDisk::restart() const {
  const std::lock_guard lock(world_->mutex);
  auto disk = std::make_unique<SimulatedDisk>();
  disk->world_->next_file = world_->next_file;
  disk->world_->now = world_->now;
  disk->world_->durable = world_->durable;
  disk->world_->unsynced = world_->unsynced;
  return disk;
}

void SimulatedDisk::flip_bit(const std::string& path, uint64_t bit) {
  const std::lock_guard lock(world_->mutex);
  const uint64_t file = world_->file_at(path);
  for (Image* image : {&world_->now, &world_->durable}) {
    auto& content = image->files[file];
    if (bit / 8 < content.size()) content[bit / 8] ^= uint8_t(1u << (bit % 8));
  }
}

std::unique_ptr<File> SimulatedDisk::open(const std::string& path, OpenMode mode) {
  const std::lock_guard lock(world_->mutex);
  world_->require_alive();
  if (mode == OpenMode::create) {
    if (world_->now.entries.count(path) != 0)
      throw Error(ErrorCode::storage_failed, path, "open: File exists");
    const std::string parent = parent_of(path);
    if (!parent.empty() && world_->now.directories.count(parent) == 0)
      throw Error(ErrorCode::storage_failed, path, "open: no such directory");
    world_->begin_operation();
    const uint64_t file = world_->next_file++;
    world_->now.files[file];
    world_->change({.kind = ChangeKind::create, .file = file, .path = path});
  }
  return std::make_unique<SimulatedFile>(world_, path, world_->file_at(path),
                                         mode != OpenMode::read);
}

bool SimulatedDisk::exists(const std::string& path) {
  const std::lock_guard lock(world_->mutex);
  world_->require_alive();
  return path.empty() || world_->now.entries.count(path) != 0 ||
         world_->now.directories.count(path) != 0;
}

std::vector<std::string> SimulatedDisk::list(const std::string& directory) {
  const std::lock_guard lock(world_->mutex);
  world_->require_alive();
  if (!directory.empty() && world_->now.directories.count(directory) == 0)
    throw Error(ErrorCode::storage_failed, directory, "no such directory");
  const size_t prefix = directory.empty() ? 0 : directory.size() + 1;
  std::vector<std::string> names;
  for (const auto& [path, file] : world_->now.entries)
    if (parent_of(path) == directory) names.push_back(path.substr(prefix));
  for (const std::string& path : world_->now.directories)
    if (parent_of(path) == directory) names.push_back(path.substr(prefix));
  std::sort(names.begin(), names.end());
  return names;
}

void SimulatedDisk::create_directory(const std::string& path) {
  const std::lock_guard lock(world_->mutex);
  world_->begin_operation();
  if (world_->now.directories.count(path) == 0)
    world_->change({.kind = ChangeKind::create_directory, .path = path});
}

void SimulatedDisk::rename(const std::string& from, const std::string& to) {
  const std::lock_guard lock(world_->mutex);
  world_->begin_operation();
  const uint64_t file = world_->file_at(from);
  world_->change({.kind = ChangeKind::rename, .file = file, .path = from, .to = to});
}

void SimulatedDisk::remove(const std::string& path) {
  const std::lock_guard lock(world_->mutex);
  world_->begin_operation();
  const uint64_t file = world_->file_at(path);
  world_->change({.kind = ChangeKind::remove, .file = file, .path = path});
}

void SimulatedDisk::sync_directory(const std::string& path) {
  const std::lock_guard lock(world_->mutex);
  world_->sync(path, [&](const Change& change) {
    return !is_content(change) && parent_of(change.path) == path;
  });
}

// Nobody else can reach this disk: another boot is another object.
void SimulatedDisk::lock(const std::string&) {
  const std::lock_guard lock(world_->mutex);
  world_->require_alive();
}

}  // namespace hanse
