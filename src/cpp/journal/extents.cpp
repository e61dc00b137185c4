#include "journal/extents.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/seeded_bug.hpp"

namespace hanse {

namespace {
constexpr char temporary_suffix[] = ".tmp";
constexpr char extent_suffix[] = ".ext";
// Rough size of a node of the map, for the account of memory.
constexpr uint64_t map_node_size = 96;
}  // namespace

std::string extent_path(const Digest& digest) {
  return std::string(extent_directory) + "/" + hex(digest) + extent_suffix;
}

std::vector<uint8_t> read_extent(Disk& disk, const std::string& path, const std::string& digest) {
  const auto file = disk.open(path, OpenMode::read);
  std::vector<uint8_t> bytes(file->size());
  file->read(0, bytes);
  if (hex(sha256(bytes)) != digest)
    throw Error(ErrorCode::corrupt, path, "offset 0: the content does not match the digest");
  return bytes;
}

std::vector<uint8_t> read_extent(Disk& disk, const Digest& digest) {
  const std::string path = extent_path(digest);
  if (!disk.exists(path)) throw Error(ErrorCode::extent_missing, path, "there is no such extent");
  return read_extent(disk, path, hex(digest));
}

void ExtentStore::recover() {
  if (!disk_ || !disk_->exists(extent_directory)) return;
  for (const std::string& name : disk_->list(extent_directory))
    if (name.ends_with(temporary_suffix)) disk_->remove(std::string(extent_directory) + "/" + name);
}

void ExtentStore::ensure_directory() {
  const std::lock_guard lock(mutex_);
  if (directory_exists_) return;
  disk_->create_directory(extent_directory);
  disk_->sync_directory("");
  directory_exists_ = true;
}

ExtentPin ExtentStore::pin(const Digest& digest) {
  // What is allocated comes first: where that fails, nothing is pinned.
  struct Pin {
    std::shared_ptr<Pins> pins;
    Digest digest{};
    bool counted = false;
    ~Pin() {
      if (!counted) return;
      const std::lock_guard lock(pins->mutex);
      const auto found = pins->counts.find(digest);
      if (--found->second == 0) pins->counts.erase(found);
    }
  };
  const auto one = std::make_shared<Pin>(Pin{pins_, digest, false});
  const std::lock_guard lock(pins_->mutex);
  if (pins_->collecting) pins_->put.insert(digest);
  ++pins_->counts[digest];
  one->counted = true;
  return one;
}

Digest ExtentStore::put(Bytes bytes, ExtentPin* pin_out) {
  const Digest digest = sha256(bytes);
  if (!disk_) {
    const std::lock_guard lock(mutex_);
    const auto [entry, is_new] = memory_.try_emplace(digest, bytes.begin(), bytes.end());
    if (is_new) memory_bytes_ += bytes.size() + map_node_size;
    return digest;
  }
  // Before it is looked for: what is found must not be removed then.
  const ExtentPin pinned = pin(digest);
  if (pin_out != nullptr) *pin_out = pinned;
  ensure_directory();
  const std::string path = extent_path(digest);
  const bool held =
      disk_->exists(path) && disk_->open(path, OpenMode::read)->size() == bytes.size();
  if (!held) write_new(path, bytes);
  // Where it was held already, its entry may be as new as that of one just renamed.
  if (!HANSE_SEEDED_BUG(3)) disk_->sync_directory(extent_directory);
  return digest;
}

void ExtentStore::write_new(const std::string& path, Bytes bytes) {
  const std::string temporary =
      path + "." + std::to_string(next_temporary_.fetch_add(1)) + temporary_suffix;
  try {
    const auto file = disk_->open(temporary, OpenMode::create);
    file->write(0, bytes);
    if (!HANSE_SEEDED_BUG(4)) file->sync();
  } catch (const Error&) {
    if (disk_->exists(temporary)) disk_->remove(temporary);
    throw;
  }
  disk_->rename(temporary, path);
}

std::vector<uint8_t> ExtentStore::get(const Digest& digest) {
  const std::string path = extent_path(digest);
  if (disk_) {
    if (disk_->exists(path)) return read_extent(*disk_, path, hex(digest));
  } else {
    const std::lock_guard lock(mutex_);
    const auto found = memory_.find(digest);
    if (found != memory_.end()) return found->second;
  }
  throw Error(ErrorCode::extent_missing, path, "there is no such extent");
}

void ExtentStore::begin_collecting() {
  const std::lock_guard lock(pins_->mutex);
  pins_->put.clear();
  // A record that names one of these may be applied, and its pin let go of, after what is named was
  // gathered.
  for (const auto& [digest, count] : pins_->counts) pins_->put.insert(digest);
  pins_->collecting = true;
}

ExtentStore::Collected ExtentStore::collect(const std::set<Digest>& named) {
  struct End {
    Pins& pins;
    ~End() {
      const std::lock_guard lock(pins.mutex);
      pins.collecting = false;
      pins.put.clear();
    }
  } const end{*pins_};
  Collected collected;
  std::set<std::string> kept;
  for (const Digest& digest : named) kept.insert(hex(digest) + extent_suffix);
  for (const std::string& name : disk_->list(extent_directory)) {
    if (!name.ends_with(extent_suffix) || kept.contains(name)) continue;
    const std::string path = std::string(extent_directory) + "/" + name;
    const std::lock_guard lock(pins_->mutex);
    const auto is_it = [&](const Digest& digest) { return hex(digest) + extent_suffix == name; };
    if (std::ranges::any_of(pins_->put, is_it) ||
        std::ranges::any_of(pins_->counts, [&](const auto& one) { return is_it(one.first); }))
      continue;
    const uint64_t size = disk_->open(path, OpenMode::read)->size();
    disk_->remove(path);
    ++collected.count;
    collected.bytes += size;
  }
  return collected;
}

uint64_t ExtentStore::memory_bytes() const {
  const std::lock_guard lock(mutex_);
  return memory_bytes_;
}

}  // namespace hanse
