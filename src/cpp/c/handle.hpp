// What every function of the C face passes through: the guard that lets no exception out, the
// structs that can grow, and the pointers that must be there.
#pragma once

#include <atomic>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

#include "c/hanse.h"
#include "kernel/kernel.hpp"
#include "kernel/requests.hpp"

namespace hanse::c {

// Taken out of its box, but not yet fetched: the caller's buffer was too small.
struct Held {
  hanse_delivery head{};
  std::vector<uint8_t> payload;
};

// How a request ended, until somebody fetches it.
struct Answer {
  RequestEnd end = RequestEnd::waiting;
  std::vector<uint8_t> payload;
};

// Who is told how a request ended, in hanse_run.
struct Waiter {
  hanse_reply_handler then = nullptr;
  void* context = nullptr;
};

struct Native {
  hanse_kernel* kernel = nullptr;
  hanse_handler handler = nullptr;
  void* context = nullptr;
};

}  // namespace hanse::c

struct hanse_kernel {
  std::unique_ptr<hanse::Kernel> kernel;
  uint32_t forks = 0;  // fork_count() when it was opened
  // The rest belongs to the thread that owns the mailboxes. At most one held delivery an agent.
  hanse::MessageBatch batch;
  std::vector<hanse::Delivery> deliveries;
  std::unordered_map<hanse::AgentId, hanse::c::Held> held;
  std::mutex natives_mutex;  // handlers of shards set them, too
  std::unordered_map<hanse::AgentId, std::unique_ptr<hanse::c::Native>> natives;
  std::unique_ptr<hanse::RequestTable> requests;  // made by the first hanse_ask
  std::unordered_map<uint64_t, hanse::c::Answer> answers;
  std::mutex arrived_mutex;
  std::vector<std::pair<uint64_t, hanse::c::Answer>> arrived;  // answers of other shards
  std::unordered_map<uint64_t, hanse::c::Waiter> waiters;  // of requests that wait or have ended
  std::deque<uint64_t> ended;                              // of those, in order
  std::atomic<bool> revoked{false};  // an agent, since hanse_run looked at who waits
};

namespace hanse::c {

// How often this process has been forked since a kernel was first opened; grows in the child only.
uint32_t fork_count() noexcept;

// Sets this thread's error; returns its negative number. Allocates nothing.
hanse_status remember(ErrorCode code, const char* text) noexcept;

template <class Body>
hanse_status guard(Body&& body) noexcept {
  try {
    return body();
  } catch (const Error& error) {
    return remember(error.code(), error.what());
  } catch (const std::bad_alloc&) {
    return remember(ErrorCode::quota_exceeded, "QuotaExceeded: memory: the machine has no more");
  } catch (const std::exception& error) {
    return remember(ErrorCode::invariant, error.what());
  } catch (...) {
    return remember(ErrorCode::invariant, "Invariant: an exception of no known type");
  }
}

template <class T>
T& required(T* pointer, const char* field) {
  if (pointer == nullptr) throw Error(ErrorCode::empty, field, "is NULL");
  return *pointer;
}

// `count` elements; NULL is allowed for none.
template <class T>
std::span<T> required_array(T* pointer, size_t count, const char* field) {
  if (count != 0) required(pointer, field);
  return {pointer, count};
}

inline Kernel& open_kernel(hanse_kernel* kernel) {
  if (kernel == nullptr) throw Error(ErrorCode::closed, "kernel", "is NULL");
  if (kernel->forks != fork_count())
    throw Error(ErrorCode::forked, "kernel", "opened by another process; open it again here");
  return *kernel->kernel;
}

inline AgentId actor_of(Kernel& kernel, hanse_id actor) {
  return actor == HANSE_ID_NONE ? kernel.root() : actor;
}

inline std::string_view text_or(const char* text, std::string_view fallback) {
  return text == nullptr ? fallback : std::string_view(text);
}

inline Bytes bytes_of(const void* data, size_t size, const char* field) {
  return required_array(static_cast<const uint8_t*>(data), size, field);
}

inline bool flag_of(uint32_t value, const char* field) {
  if (value > 1) throw Error(ErrorCode::out_of_range, field, value, 1);
  return value == 1;
}

inline void expect_zero(uint32_t value, const char* field) {
  if (value != 0) throw Error(ErrorCode::out_of_range, field, value, 0);
}

// Each struct has the size of the first release: there is no older caller yet.
template <class T>
void check_size(const T* given, const char* field) {
  const uint32_t size = required(given, field).size_bytes;
  if (size < sizeof(T))
    throw Error(
        ErrorCode::out_of_range, std::string(field) + ".size_bytes",
        std::to_string(size) + " where at least " + std::to_string(sizeof(T)) + " is needed");
}

// A caller built against a later release may give more, if it says nothing there.
template <class T>
const T& read_struct(const T* given, const char* field) {
  check_size(given, field);
  const auto* bytes = reinterpret_cast<const uint8_t*>(given);
  for (size_t i = sizeof(T); i < given->size_bytes; ++i)
    if (bytes[i] != 0)
      throw Error(ErrorCode::out_of_range, std::string(field) + ".size_bytes",
                  "a field behind byte " + std::to_string(sizeof(T)) + " is not known here");
  return *given;
}

// `size_bytes` stays as the caller set it: in an array it is the way to the next element.
template <class T>
void write_struct(T value, T& out) {
  value.size_bytes = out.size_bytes;
  out = value;
}

// Element i of an array whose elements are as large as the first one says. All are checked.
template <class T>
class StructArray {
 public:
  StructArray(T* first, uint32_t count, const char* field) : first_(first), count_(count) {
    if (count == 0) return;
    check_size(first, field);
    stride_ = first->size_bytes;
    if (stride_ % alignof(T) != 0)
      throw Error(ErrorCode::bad_array, std::string(field) + ".size_bytes",
                  std::to_string(stride_) + " is not a multiple of " + std::to_string(alignof(T)));
    for (uint32_t i = 0; i < count; ++i)
      if ((*this)[i].size_bytes != stride_)
        throw Error(ErrorCode::bad_array, std::string(field) + ".size_bytes",
                    "element " + std::to_string(i) + " differs from the first");
  }
  T& operator[](uint32_t i) const {
    using Byte = std::conditional_t<std::is_const_v<T>, const uint8_t, uint8_t>;
    return *reinterpret_cast<T*>(reinterpret_cast<Byte*>(first_) + size_t(i) * stride_);
  }
  uint32_t count() const { return count_; }

 private:
  T* first_;
  uint32_t count_;
  size_t stride_ = 0;
};

// Cuts between characters and always ends with NUL.
void copy_text(std::string_view text, char* out, size_t out_size) noexcept;

// messages.cpp
MessageHeader header_of(Kernel& kernel, hanse_id actor, hanse_id to,
                        const hanse_message_options* given);
hanse_message message_from(const Message& message);

// capability.cpp
uint32_t space_of(Kernel& kernel, const char* name);
Feasible feasible_of(Kernel& kernel, const hanse_feasible* given);

}  // namespace hanse::c
