// Memory for the table's big arrays: address space first, pages when they are needed.
#pragma once

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "base/error.hpp"

namespace hanse {

// Address space without pages, and pages of it made usable from the front.
class Reservation {
 public:
  explicit Reservation(size_t size_bytes);  // throws std::bad_alloc
  ~Reservation();
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;

  uint8_t* data() const { return data_; }
  size_t committed_bytes() const { return committed_bytes_; }
  // Makes the first `size_bytes` usable (zeroed, and faulted in at once: a fault a page on the send
  // path would cost more). Throws std::bad_alloc.
  void commit(size_t size_bytes);

 private:
  size_t size_bytes_;
  size_t committed_bytes_ = 0;
  uint8_t* data_ = nullptr;
};

// An array whose elements never move and of which only the part in use costs memory.
template <class T>
class ReservedArray {
 public:
  explicit ReservedArray(size_t count_max)
      : reservation_(count_max * sizeof(T)), data_(reinterpret_cast<T*>(reservation_.data())) {}

  T& operator[](size_t index) const { return data_[index]; }
  void commit(size_t count) { reservation_.commit(count * sizeof(T)); }
  uint64_t memory_bytes() const { return reservation_.committed_bytes(); }

 private:
  Reservation reservation_;
  T* data_;
};

// A zeroed array that grows by a quarter and so may move; its untouched end costs no memory.
template <class T>
class ZeroedArray {
 public:
  ~ZeroedArray() { std::free(data_); }
  ZeroedArray() = default;
  ZeroedArray(const ZeroedArray&) = delete;
  ZeroedArray& operator=(const ZeroedArray&) = delete;

  T& operator[](size_t index) const { return data_[index]; }
  size_t size() const { return size_; }
  uint64_t memory_bytes() const { return size_ * sizeof(T); }
  void grow(size_t count) {
    if (count <= size_) return;
    if (count > capacity_) {
      const size_t capacity = count + count / 4;
      void* grown = std::aligned_alloc(64, (capacity * sizeof(T) + 63) / 64 * 64);
      if (!grown) throw std::bad_alloc();
      if (size_ != 0) std::memcpy(grown, static_cast<const void*>(data_), size_ * sizeof(T));
      std::free(std::exchange(data_, static_cast<T*>(grown)));
      capacity_ = capacity;
    }
    std::memset(static_cast<void*>(data_ + size_), 0, (count - size_) * sizeof(T));
    size_ = count;
  }

 private:
  T* data_ = nullptr;
  size_t size_ = 0, capacity_ = 0;
};

}  // namespace hanse
