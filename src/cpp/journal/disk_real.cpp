#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/error.hpp"
#include "journal/disk.hpp"

namespace hanse {

namespace {

[[noreturn]] void throw_errno(const std::string& path, const char* operation, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw Error(full ? ErrorCode::storage_full : ErrorCode::storage_failed, path,
              std::string(operation) + ": " + std::strerror(error));
}

// Runs a system call again for as long as a signal interrupts it.
template <class Call>
auto restarted(Call call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() {
    if (number_ >= 0) ::close(number_);
  }
  int get() const { return number_; }
  bool is_open() const { return number_ >= 0; }

 private:
  int number_;
};

class RealFile final : public File {
 public:
  RealFile(Descriptor descriptor, std::string path)
      : descriptor_(std::move(descriptor)), path_(std::move(path)) {}

  uint64_t size() const override {
    struct stat status;
    if (::fstat(descriptor_.get(), &status) != 0) throw_errno(path_, "fstat", errno);
    return uint64_t(status.st_size);
  }

  void read(uint64_t offset, std::span<uint8_t> out) override {
    for (size_t done = 0; done < out.size();) {
      const ssize_t taken = restarted([&] {
        return ::pread(descriptor_.get(), out.data() + done, out.size() - done,
                       off_t(offset + done));
      });
      if (taken < 0) throw_errno(path_, "read", errno);
      if (taken == 0) {
        throw Error(ErrorCode::corrupt, path_,
                    "offset " + std::to_string(offset + done) + ": the file ends where " +
                        std::to_string(out.size() - done) + " more bytes were expected");
      }
      done += size_t(taken);
    }
  }

  void write(uint64_t offset, Bytes bytes) override {
    for (size_t done = 0; done < bytes.size();) {
      const ssize_t put = restarted([&] {
        return ::pwrite(descriptor_.get(), bytes.data() + done, bytes.size() - done,
                        off_t(offset + done));
      });
      if (put < 0) throw_errno(path_, "write", errno);
      done += size_t(put);
    }
  }

  void sync() override {
    if (restarted([&] { return ::fdatasync(descriptor_.get()); }) != 0)
      throw_errno(path_, "fdatasync", errno);
  }

  // Written rather than posix_fallocate'd: an unwritten extent has to be converted on the first
  // write to it, which makes each later fdatasync flush metadata too.
  void allocate(uint64_t size_bytes) override {
    const uint64_t size_before = size();
    const std::vector<uint8_t> zeros(size_t(
        std::min<uint64_t>(zero_chunk_size, size_bytes - std::min(size_bytes, size_before))));
    try {
      for (uint64_t at = size_before; at < size_bytes; at += zeros.size())
        write(at, Bytes(zeros).first(size_t(std::min<uint64_t>(zeros.size(), size_bytes - at))));
    } catch (const Error&) {
      // Gives back what was taken; the reason that matters is the one being thrown.
      [[maybe_unused]] const int ignored = ::ftruncate(descriptor_.get(), off_t(size_before));
      throw;
    }
  }

  void truncate(uint64_t size_bytes) override {
    if (restarted([&] { return ::ftruncate(descriptor_.get(), off_t(size_bytes)); }) != 0)
      throw_errno(path_, "truncate", errno);
  }

 private:
  static constexpr size_t zero_chunk_size = 1 << 20;

  Descriptor descriptor_;
  std::string path_;
};

class RealDisk final : public Disk {
 public:
  RealDisk(Descriptor root, bool read_only) : root_(std::move(root)), read_only_(read_only) {}

  std::unique_ptr<File> open(const std::string& path, OpenMode mode) override {
    if (mode != OpenMode::read) require_writable(path);
    const int flags = mode == OpenMode::read    ? O_RDONLY
                      : mode == OpenMode::write ? O_RDWR
                                                : O_RDWR | O_CREAT | O_EXCL;
    return std::make_unique<RealFile>(open_at(path, flags), path);
  }

  bool exists(const std::string& path) override {
    struct stat status;
    if (::fstatat(root_.get(), name_of(path), &status, 0) == 0) return true;
    if (errno == ENOENT || errno == ENOTDIR) return false;
    throw_errno(path, "stat", errno);
  }

  std::vector<std::string> list(const std::string& directory) override {
    const int number = restarted([&] {
      return ::openat(root_.get(), name_of(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    });
    if (number < 0) throw_errno(directory, "open directory", errno);
    DIR* stream = ::fdopendir(number);
    if (stream == nullptr) {
      const int error = errno;
      ::close(number);
      throw_errno(directory, "open directory", error);
    }
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(stream)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    const int error = errno;
    ::closedir(stream);
    if (error != 0) throw_errno(directory, "read directory", error);
    std::sort(names.begin(), names.end());
    return names;
  }

  void create_directory(const std::string& path) override {
    require_writable(path);
    if (::mkdirat(root_.get(), path.c_str(), 0777) != 0 && errno != EEXIST)
      throw_errno(path, "create directory", errno);
  }

  void rename(const std::string& from, const std::string& to) override {
    require_writable(from);
    if (::renameat(root_.get(), from.c_str(), root_.get(), to.c_str()) != 0)
      throw_errno(from, "rename", errno);
  }

  void remove(const std::string& path) override {
    require_writable(path);
    if (::unlinkat(root_.get(), path.c_str(), 0) != 0) throw_errno(path, "remove", errno);
  }

  void sync_directory(const std::string& path) override {
    const Descriptor directory = open_at(path, O_RDONLY | O_DIRECTORY);
    if (restarted([&] { return ::fsync(directory.get()); }) != 0)
      throw_errno(path, "fsync directory", errno);
  }

  void lock(const std::string& path) override {
    require_writable(path);
    if (lock_.is_open()) return;
    Descriptor file = open_at(path, O_RDWR | O_CREAT);
    if (restarted([&] { return ::flock(file.get(), LOCK_EX | LOCK_NB); }) != 0) {
      if (errno != EWOULDBLOCK) throw_errno(path, "flock", errno);
      throw Error(ErrorCode::locked, path, "held by process " + holder_of(file));
    }
    RealFile content(Descriptor(::dup(file.get())), path);
    const std::string pid = std::to_string(::getpid()) + "\n";
    content.truncate(0);
    content.write(0, {reinterpret_cast<const uint8_t*>(pid.data()), pid.size()});
    lock_ = std::move(file);
  }

  void unlock() override { lock_ = Descriptor(); }

 private:
  static const char* name_of(const std::string& path) { return path.empty() ? "." : path.c_str(); }

  static std::string holder_of(const Descriptor& file) {
    char text[32] = {};
    const ssize_t size = ::pread(file.get(), text, sizeof(text) - 1, 0);
    const std::string pid(text, size > 0 ? size_t(size) : 0);
    const size_t digits = std::min(pid.find_first_not_of("0123456789"), pid.size());
    return digits == 0 ? "unknown" : pid.substr(0, digits);
  }

  Descriptor open_at(const std::string& path, int flags) {
    const int number =
        restarted([&] { return ::openat(root_.get(), name_of(path), flags | O_CLOEXEC, 0666); });
    if (number < 0) throw_errno(path, "open", errno);
    return Descriptor(number);
  }

  void require_writable(const std::string& path) const {
    if (read_only_) throw Error(ErrorCode::read_only, path, "the directory was opened read only");
  }

  Descriptor root_;
  Descriptor lock_;
  bool read_only_;
};

// Every directory that is made here has its entry synced, or a power cut could lose the journal
// with all that is durable in it.
void make_durable_directories(const std::filesystem::path& directory) {
  std::error_code failure;
  if (std::filesystem::exists(directory, failure)) return;
  const auto parent = directory.parent_path();
  if (!parent.empty() && parent != directory) make_durable_directories(parent);
  if (!std::filesystem::create_directory(directory, failure) && failure)
    throw Error(ErrorCode::unusable_directory, directory.string(), failure.message());
  const Descriptor above(::open(parent.empty() ? "." : parent.c_str(), O_RDONLY | O_CLOEXEC));
  if (!above.is_open() || ::fsync(above.get()) != 0)
    throw Error(ErrorCode::unusable_directory, directory.string(), std::strerror(errno));
}

}  // namespace

std::unique_ptr<Disk> open_real_disk(const std::string& directory, bool read_only) {
  if (directory.empty())
    throw Error(ErrorCode::unusable_directory, "directory", "the path is empty");
  if (!read_only) make_durable_directories(directory);
  Descriptor root(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root.is_open()) throw Error(ErrorCode::unusable_directory, directory, std::strerror(errno));
  if (!read_only && ::faccessat(root.get(), ".", W_OK | X_OK, 0) != 0)
    throw Error(ErrorCode::unusable_directory, directory, std::strerror(errno));
  return std::make_unique<RealDisk>(std::move(root), read_only);
}

}  // namespace hanse
