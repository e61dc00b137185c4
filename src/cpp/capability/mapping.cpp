#include "capability/mapping.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.hpp"

namespace hanse {

Mapping::Mapping(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status{};
  const bool usable = file >= 0 && ::fstat(file, &status) == 0 && S_ISREG(status.st_mode);
  if (usable && status.st_size > 0) {
    size_ = size_t(status.st_size);
    start_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
  }
  const int reason = errno;
  if (file >= 0) ::close(file);
  if (usable && start_ != MAP_FAILED) return;
  throw Error(ErrorCode::unusable_directory, "path",
              path + ": " + (file >= 0 && !usable ? "is no file" : std::strerror(reason)));
}

Mapping::~Mapping() {
  if (start_ != nullptr) ::munmap(start_, size_);
}

}  // namespace hanse
