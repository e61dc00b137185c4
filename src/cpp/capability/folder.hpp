// The thread that takes pending rows into graphs, made when there are any for the first time.
// Internal to this concept.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace hanse {

class Folder {
 public:
  // fold_some: does a little; true if there may be more. Outlives the folder.
  explicit Folder(std::function<bool()> fold_some) : fold_some_(std::move(fold_some)) {}
  ~Folder() { stop(); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  void wake();  // any thread
  void stop();  // nothing is folded any more

 private:
  void run();

  std::function<bool()> fold_some_;
  std::mutex mutex_;
  std::condition_variable waiting_;
  bool work_ = false, stopping_ = false;
  std::thread thread_;
  pid_t process_ = 0;  // the one that has the thread: a child of it has none
};

}  // namespace hanse
