#include "capability/folder.hpp"

#include <unistd.h>

namespace hanse {

void Folder::wake() {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    work_ = true;
    if (!thread_.joinable()) {
      process_ = ::getpid();
      thread_ = std::thread([this] { run(); });
    }
  }
  waiting_.notify_one();
}

void Folder::run() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      waiting_.wait(lock, [this] { return work_ || stopping_; });
      if (stopping_) return;
      work_ = false;
    }
    while (fold_some_()) {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
  }
}

void Folder::stop() {
  if (!thread_.joinable()) return;
  if (process_ != ::getpid()) {
    thread_.detach();
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  waiting_.notify_one();
  thread_.join();
}

}  // namespace hanse
