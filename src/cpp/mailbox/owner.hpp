// Which thread a table belongs to, asked on every send: one load and one compare.
#pragma once

#include <atomic>

namespace hanse {

// Differs between any two threads that live at the same time.
inline const void* thread_token() {
#if defined(__has_builtin) && __has_builtin(__builtin_thread_pointer)
  return __builtin_thread_pointer();  // One load; std::this_thread::get_id() is a call.
#else
  static thread_local char token;
  return &token;
#endif
}

class ThreadOwner {
 public:
  bool none() const { return token_.load(std::memory_order_acquire) == nullptr; }
  bool caller() const { return token_.load(std::memory_order_acquire) == thread_token(); }
  // False: another thread has it.
  bool claim() {
    const void* none = nullptr;
    return token_.compare_exchange_strong(none, thread_token()) || none == thread_token();
  }
  void leave() { token_.store(nullptr, std::memory_order_release); }

 private:
  std::atomic<const void*> token_{nullptr};
};

}  // namespace hanse
