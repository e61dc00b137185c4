// Bytes that travel by reference: a buffer of the table that nobody copies, or an object of the
// caller.
//
// A Payload is one reference; copying it shares. The buffer's bytes count against
// `payload_bytes_max` of the table that lent it until the last reference is gone, also where that
// outlives the table. References may be dropped on any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "base/view.hpp"

namespace hanse {

// How many bytes the buffers of one table hold. Lives as long as the table or any buffer.
class PayloadAccount {
 public:
  explicit PayloadAccount(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  bool charge(uint64_t bytes);  // false: over the limit, and nothing was charged
  void give_back(uint64_t bytes) { bytes_.fetch_sub(bytes, std::memory_order_relaxed); }
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  uint64_t bytes_max() const { return bytes_max_; }
  void retain() { references_.fetch_add(1, std::memory_order_relaxed); }
  void release();

 private:
  const uint64_t bytes_max_;
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> references_{1};
};

struct PayloadBuffer {
  std::atomic<uint64_t> references{1};
  uint8_t* data = nullptr;
  size_t size = 0;
  PayloadAccount* account = nullptr;  // of the table that lent it; null: adopted
  void* owner = nullptr;              // adopted: what the caller gave
  void (*release)(void* owner) = nullptr;
};

class Payload {
 public:
  Payload() = default;
  Payload(const Payload& other) : buffer_(other.buffer_) {
    if (buffer_) buffer_->references.fetch_add(1, std::memory_order_relaxed);
  }
  Payload(Payload&& other) noexcept : buffer_(std::exchange(other.buffer_, nullptr)) {}
  Payload& operator=(Payload other) noexcept {
    std::swap(buffer_, other.buffer_);
    return *this;
  }
  ~Payload() {
    if (buffer_) drop(buffer_);
  }

  // An object of the caller that rides by reference. `bytes` (may be empty) must stay as they are
  // while it lives. release(owner) is called once, on the thread that drops the last reference. Not
  // charged to any table. Only the owner thread of a table may send it, and it never leaves the
  // process: it is not for durable boxes, nor for other shards. Throws std::bad_alloc.
  static Payload adopt(void* owner, Bytes bytes, void (*release)(void* owner));
  // `size` bytes, 64-aligned, not initialised; empty when they would pass the account's limit or
  // there is no memory. MailboxTable::loan is the public way.
  static Payload lent(PayloadAccount& account, size_t size);
  // One more reference to a buffer that is known to live (Message::buffer).
  static Payload share(PayloadBuffer* buffer);

  explicit operator bool() const { return buffer_ != nullptr; }
  size_t size() const { return buffer_ ? buffer_->size : 0; }
  Bytes bytes() const { return buffer_ ? Bytes{buffer_->data, buffer_->size} : Bytes{}; }
  // The bytes, as long as this is the only reference to a lent buffer; null otherwise.
  uint8_t* writable() const;
  // What `adopt` was given; null for lent buffers.
  void* owner() const { return buffer_ ? buffer_->owner : nullptr; }
  bool adopted() const { return buffer_ && !buffer_->account; }

  // --- for the table: a reference as a bare pointer
  PayloadBuffer* buffer() const { return buffer_; }
  PayloadBuffer* detach() { return std::exchange(buffer_, nullptr); }
  static Payload attach(PayloadBuffer* buffer) {
    Payload payload;
    payload.buffer_ = buffer;
    return payload;
  }
  static void drop(PayloadBuffer* buffer, uint64_t references = 1);

 private:
  PayloadBuffer* buffer_ = nullptr;
};

}  // namespace hanse
