#include "latent/spill.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <optional>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "base/random.hpp"

namespace hanse {

namespace {

constexpr size_t jobs_max = 1024;
constexpr char file_prefix[] = "hanse-", file_suffix[] = ".latent";
constexpr size_t file_name_size =
    sizeof(file_prefix) - 1 + 2 * sizeof(Digest) + sizeof(file_suffix) - 1;

bool write_file(const std::string& path, Bytes bytes) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return false;
  bool good = true;
  for (size_t at = 0; good && at < bytes.size();) {
    const ssize_t wrote = ::write(file, bytes.data() + at, bytes.size() - at);
    if (wrote < 0 && errno == EINTR) continue;
    good = wrote > 0;
    if (good) at += size_t(wrote);
  }
  good = close(file) == 0 && good;
  if (!good) unlink(path.c_str());
  return good;
}

bool read_file(const std::string& path, std::span<uint8_t> bytes_out) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  size_t at = 0;
  while (at < bytes_out.size()) {
    const ssize_t got = ::read(file, bytes_out.data() + at, bytes_out.size() - at);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    at += size_t(got);
  }
  close(file);
  return at == bytes_out.size();
}

[[noreturn]] void unusable(const std::string& directory, const std::string& reason) {
  throw Error(ErrorCode::unusable_directory, "directory", directory + ": " + reason);
}

// The lock that says that this directory is ours; what ends with a process that is killed.
int own_directory(const std::string& directory) {
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    unusable(directory, std::strerror(errno));
  const std::string path = directory + "/hanse-latents.lock";
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) unusable(directory, std::strerror(errno));
  if (flock(file, LOCK_EX | LOCK_NB) == 0) return file;
  close(file);
  throw Error(ErrorCode::locked, "directory", directory + ": another pool spills there");
}

void remove_leftovers(const std::string& directory) {
  DIR* listed = opendir(directory.c_str());
  if (!listed) unusable(directory, std::strerror(errno));
  while (const dirent* found = readdir(listed)) {
    const std::string name = found->d_name;
    if (name.size() == file_name_size && name.starts_with(file_prefix) &&
        name.ends_with(file_suffix))
      unlink((directory + "/" + name).c_str());
  }
  closedir(listed);
}

}  // namespace

LatentSpill::LatentSpill(LatentPool::State& state, const LatentSpillOptions& options)
    : state_(state), options_(options), prefixes_(mix64(state.seed + 1)) {
  if (options.size_bytes_max == 0)
    throw Error(ErrorCode::out_of_range, "size_bytes_max", "0 where at least 1 is needed");
  if (options.staging_bytes_max == 0)
    throw Error(ErrorCode::out_of_range, "staging_bytes_max", "0 where at least 1 is needed");
  lock_file_ = own_directory(options.directory);
  try {
    remove_leftovers(options.directory);
    thread_ = std::thread([this] { run(); });
  } catch (...) {
    close(lock_file_);
    throw;
  }
}

LatentSpill::~LatentSpill() {
  {
    const Lock lock(state_.mutex);
    ending_ = true;
  }
  work_.notify_all();
  thread_.join();
  LatentPool::State::Remains remains;
  const Lock lock(state_.mutex);
  for (Entry& entry : entries_) {
    if (!entry.body) continue;
    state_.arena.unlend(entry.lent_bytes);
    state_.drop(lock, entry.body, remains);
  }
  for (const auto& [digest, count] : files_) unlink(path_of(digest).c_str());
  close(lock_file_);
}

std::string LatentSpill::path_of(const Digest& digest) const {
  return options_.directory + "/" + file_prefix + hex(digest) + file_suffix;
}

void LatentSpill::offer(const Lock&, LatentBody& body) {
  const bool by_tokens = body.prefix_node != index_none, by_step = body.step_slot != index_none;
  // Nobody could find it again; or it lies there already, of the same tokens.
  if ((!by_tokens && !by_step) || (by_step && steps_.contains(body.step_hash))) return;
  LatentImage image = body.layout->image_of(body.pieces);
  const uint64_t size_bytes = body.layout->image_bytes(image);
  uint64_t lent_bytes = 0;
  if (body.handles == 0)
    for (const Piece& piece : body.pieces)
      if (piece.page->references == 1 && !piece.page->extent->release)
        lent_bytes += piece.page->extent->page_bytes;
  if (queue_.size() >= jobs_max || size_bytes > options_.size_bytes_max ||
      staging_bytes_ + size_bytes > options_.staging_bytes_max) {
    ++dropped_count_;
    return;
  }
  entries_.emplace_back();
  Entry& entry = entries_.back();
  entry.at = std::prev(entries_.end());
  entry.shell = body.shell();
  entry.image = std::move(image);
  entry.body = &body;
  ++body.references;
  entry.size_bytes = size_bytes;
  entry.lent_bytes = lent_bytes;
  state_.arena.lend(lent_bytes);
  staging_bytes_ += size_bytes;
  if (by_tokens)
    prefixes_.add(body.tenant, body.layout->fingerprint, body.run, body.tokens, entry);
  else
    steps_.emplace(body.step_hash, &entry);
  queue_.push_back(&entry);
  work_.notify_one();
}

uint32_t LatentSpill::expect(const Lock& lock, uint32_t tenant, const Digest& fingerprint,
                             std::span<const uint32_t> tokens, uint32_t resident) {
  const PrefixIndex::Match match = prefixes_.longest(tenant, fingerprint, tokens);
  if (!match.entry || match.matched <= resident) return 0;
  return begin_to_load(lock, static_cast<Entry&>(*match.entry)) ? match.matched : 0;
}

bool LatentSpill::expect_step(const Lock& lock, uint64_t step_hash) {
  const auto found = steps_.find(step_hash);
  return found != steps_.end() && begin_to_load(lock, *found->second);
}

bool LatentSpill::begin_to_load(const Lock&, Entry& entry) {
  if (entry.loading) return true;
  if (queue_.size() >= jobs_max) return false;
  entry.loading = true;
  ++loading_count_;
  queue_.push_back(&entry);
  work_.notify_one();
  return true;
}

void LatentSpill::wait(Lock& lock, std::chrono::steady_clock::time_point until) {
  done_.wait_until(lock, until, [&] { return loading_count_ == 0 || ending_; });
}

void LatentSpill::fill(const Lock&, LatentPoolStatus& status_out) const {
  status_out.spilled_bytes = file_bytes_;
  status_out.spilled_count = entries_.size();
  status_out.spilling_bytes = staging_bytes_;
  status_out.spill_written_count = written_count_;
  status_out.spill_loaded_count = loaded_count_;
  status_out.spill_dropped_count = dropped_count_;
  status_out.spill_lost_count = lost_count_;
}

void LatentSpill::run() {
  Lock lock(state_.mutex);
  for (;;) {
    work_.wait(lock, [&] { return ending_ || !queue_.empty(); });
    if (ending_) break;
    Entry& entry = *queue_.front();
    queue_.pop_front();
    if (entry.body)
      write(lock, entry);
    else
      load(lock, entry);
    done_.notify_all();
  }
  done_.notify_all();
}

// Drops the oldest files that nobody waits for.
bool LatentSpill::make_room(const Lock& lock, uint64_t size_bytes) {
  for (auto at = entries_.begin();
       at != entries_.end() && file_bytes_ + size_bytes > options_.size_bytes_max;) {
    Entry& entry = *at++;
    if (!entry.stored || entry.loading) continue;
    remove(lock, entry);
    ++dropped_count_;
  }
  return file_bytes_ + size_bytes <= options_.size_bytes_max;
}

void LatentSpill::remove(const Lock&, Entry& entry) {
  const LatentBody& shell = *entry.shell;
  if (entry.prefix_node != index_none)
    prefixes_.remove(shell.tenant, shell.layout->fingerprint, entry);
  else
    std::erase_if(steps_, [&](const auto& step) { return step.second == &entry; });
  if (entry.stored && --files_[entry.digest] == 0) {
    files_.erase(entry.digest);
    file_bytes_ -= entry.size_bytes;
    unlink(path_of(entry.digest).c_str());
  }
  if (entry.loading) {
    --loading_count_;
    std::erase(queue_, &entry);
  }
  entries_.erase(entry.at);
}

void LatentSpill::write(Lock& lock, Entry& entry) {
  const LatentBody& body = *entry.body;
  const bool room = make_room(lock, entry.size_bytes);
  lock.unlock();
  bool good = false;
  Digest digest{};
  try {
    std::vector<uint8_t> image(entry.size_bytes);
    body.layout->write_image(body.pieces, image);
    digest = sha256(image);
    good = room && write_file(path_of(digest), image);
  } catch (const std::bad_alloc&) {
    good = false;
  }
  LatentPool::State::Remains remains;
  lock.lock();
  state_.arena.unlend(entry.lent_bytes);
  staging_bytes_ -= entry.size_bytes;
  state_.drop(lock, std::exchange(entry.body, nullptr), remains);
  if (!good) {
    ++dropped_count_;
    remove(lock, entry);
  } else {
    entry.digest = digest;
    entry.stored = true;
    if (++files_[digest] == 1) file_bytes_ += entry.size_bytes;
    ++written_count_;
  }
  // What the remains free is freed without the mutex.
  lock.unlock();
  remains.finish();
  lock.lock();
}

void LatentSpill::load(Lock& lock, Entry& entry) {
  const LatentBody& shell = *entry.shell;
  const std::string path = path_of(entry.digest);
  const bool ended = shell.lease_ns != 0 && state_.clock->now_ns() >= shell.lease_ns;
  std::vector<uint8_t> image;
  std::unique_ptr<LatentBody> body;
  bool good = !ended, memory = true;
  lock.unlock();
  try {
    body = shell.shell();
    if (good) image.resize(entry.size_bytes);
    good = good && read_file(path, image) && sha256(image) == entry.digest;
  } catch (const std::bad_alloc&) {
    memory = false;
  }
  lock.lock();
  if (memory && !good) {
    lost_count_ += !ended;
    return remove(lock, entry);
  }
  std::vector<Page*> pages;
  LatentPool::State::Remains remains;
  memory = memory && admit(lock, entry, pages, remains);
  lock.unlock();
  remains.finish();
  try {
    if (memory) body->pieces = shell.layout->read_image(entry.image, image, pages);
  } catch (const std::bad_alloc&) {
    memory = false;
  }
  lock.lock();
  if (!memory) {  // It stays where it is.
    for (Page* page : pages) state_.drop_page(lock, page, remains);
    entry.loading = false;
    --loading_count_;
    return;
  }
  ++body->references;
  uint64_t bytes = 0;
  for (const Page* page : pages) bytes += page->extent->page_bytes;
  state_.retention.keep(body->tenant, *body, bytes, body->cost);
  state_.add_to_index(lock, *body.release());
  ++loaded_count_;
  remove(lock, entry);
}

// Pages for it within the pool's bound and what its tenant may keep. False: there is no room.
bool LatentSpill::admit(const Lock& lock, Entry& entry, std::vector<Page*>& pages,
                        LatentPool::State::Remains& remains_out) {
  const LatentBody& shell = *entry.shell;
  uint64_t bytes = 0;
  for (const auto& [page_bytes, capacity, count] : shell.layout->image_pages(entry.image))
    bytes += page_bytes * count;
  if (!state_.make_quota(lock, shell.tenant, bytes, remains_out)) return false;
  try {
    for (const auto& [page_bytes, capacity, count] : shell.layout->image_pages(entry.image))
      state_.take_pages(lock, shell.tenant, page_bytes, count, capacity, pages, remains_out);
    return true;
  } catch (const Error&) {
    for (Page* page : pages) state_.drop_page(lock, page, remains_out);
    pages.clear();
    return false;
  }
}

}  // namespace hanse
