// Handlers of the host; see hanse_library.h.
#include "c/library.hpp"

#include <pthread.h>

#include <atomic>
#include <mutex>

#include "c/handle.hpp"

namespace hanse::c {
namespace {

// Read by calls that fail or log, which are rare; a lock would keep a handler from setting another.
template <class Handler>
class Hook {
 public:
  struct Set {
    Handler handler = nullptr;
    void* context = nullptr;
    int32_t level = -1;
  };
  Set get() const noexcept {
    std::lock_guard lock(mutex_);
    return set_;
  }
  void set(Set set) noexcept {
    std::lock_guard lock(mutex_);
    set_ = set;
  }

 private:
  mutable std::mutex mutex_;
  Set set_;
};

Hook<hanse_log_handler> log_hook;
Hook<hanse_panic_handler> panic_hook;
std::atomic<int32_t> log_level{-1};  // so that a call that nobody listens to takes no lock
thread_local bool inside_handler = false;

class Inside {
 public:
  Inside() noexcept { inside_handler = true; }
  ~Inside() { inside_handler = false; }
};

std::atomic<uint32_t> forks{0};

}  // namespace

uint32_t fork_count() noexcept {
  static const int watched =
      pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
  (void)watched;
  return forks.load(std::memory_order_relaxed);
}

bool logs(int32_t level) noexcept {
  return level <= log_level.load(std::memory_order_relaxed) && !inside_handler;
}

void log(int32_t level, const char* text) noexcept {
  if (!logs(level)) return;
  const auto set = log_hook.get();
  if (set.handler == nullptr || level > set.level) return;
  const Inside inside;
  set.handler(set.context, level, text);
}

void tell_failure(ErrorCode code, const char* text) noexcept {
  if (code != ErrorCode::invariant) return log(hanse_log_debug, text);
  log(hanse_log_error, text);
  const auto set = panic_hook.get();
  if (set.handler == nullptr || inside_handler) return;
  const Inside inside;
  set.handler(set.context, text);
}

}  // namespace hanse::c

using namespace hanse;
using namespace hanse::c;

extern "C" {

hanse_status hanse_log_set(hanse_log_handler handler, void* context, int32_t level) {
  return guard([&] {
    if (level < hanse_log_error || level > hanse_log_debug)
      throw Error(ErrorCode::out_of_range, "level",
                  std::to_string(level) + " is no hanse_log_level");
    log_hook.set({handler, context, level});
    log_level.store(handler == nullptr ? -1 : level, std::memory_order_relaxed);
    return 0;
  });
}

hanse_status hanse_panic_set(hanse_panic_handler handler, void* context) {
  return guard([&] {
    panic_hook.set({handler, context, 0});
    return 0;
  });
}

hanse_status hanse_allocator_set(const hanse_allocator* allocator) {
  return guard([&] {
    const hanse_allocator& given = read_struct(allocator, "allocator");
    expect_zero(given.zero, "allocator.zero");
    if (given.allocate == nullptr || given.release == nullptr)
      throw Error(ErrorCode::empty, "allocator", "has no allocate or no release");
    if (!use_allocator(given))
      throw Error(ErrorCode::illegal_transition, "allocator",
                  "memory is in use already: set it once, before anything is opened or created");
    return 0;
  });
}

}  // extern "C"
