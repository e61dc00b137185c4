#include "mailbox/payload.hpp"

#include <new>

namespace hanse {

namespace {

// The bytes lie behind the buffer's head in one allocation, on a cache line of their own.
constexpr size_t head_size = 64;
static_assert(sizeof(PayloadBuffer) <= head_size);
constexpr std::align_val_t alignment{64};

}  // namespace

bool PayloadAccount::charge(uint64_t bytes) {
  const uint64_t before = bytes_.fetch_add(bytes, std::memory_order_relaxed);
  if (before + bytes <= bytes_max_ && before + bytes >= before) return true;
  give_back(bytes);
  return false;
}

void PayloadAccount::release() {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

Payload Payload::adopt(void* owner, Bytes bytes, void (*release)(void* owner)) {
  auto* buffer = new PayloadBuffer;
  buffer->data = const_cast<uint8_t*>(bytes.data());  // `writable` never hands it out.
  buffer->size = bytes.size();
  buffer->owner = owner;
  buffer->release = release;
  return attach(buffer);
}

Payload Payload::lent(PayloadAccount& account, size_t size) {
  if (!account.charge(size)) return {};
  void* memory = ::operator new(head_size + size, alignment, std::nothrow);
  if (!memory) {
    account.give_back(size);
    return {};
  }
  auto* buffer = new (memory) PayloadBuffer;
  buffer->data = static_cast<uint8_t*>(memory) + head_size;
  buffer->size = size;
  buffer->account = &account;
  account.retain();
  return attach(buffer);
}

Payload Payload::share(PayloadBuffer* buffer) {
  buffer->references.fetch_add(1, std::memory_order_relaxed);
  return attach(buffer);
}

uint8_t* Payload::writable() const {
  if (!buffer_ || !buffer_->account) return nullptr;
  return buffer_->references.load(std::memory_order_acquire) == 1 ? buffer_->data : nullptr;
}

void Payload::drop(PayloadBuffer* buffer, uint64_t references) {
  if (buffer->references.fetch_sub(references, std::memory_order_acq_rel) != references) return;
  if (!buffer->account) {
    if (buffer->release) buffer->release(buffer->owner);
    delete buffer;
    return;
  }
  PayloadAccount* account = buffer->account;
  account->give_back(buffer->size);
  buffer->~PayloadBuffer();
  ::operator delete(buffer, alignment);
  account->release();
}

}  // namespace hanse
