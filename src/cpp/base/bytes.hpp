// Canonical little-endian encoding: records, snapshots and state hashes are written with it and
// with nothing else.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/view.hpp"

namespace hanse {

class ByteWriter {
 public:
  template <class T>
    requires(std::is_arithmetic_v<T> || std::is_enum_v<T>)
  void put(T value) {
    std::memcpy(extend(sizeof(T)), &value, sizeof(T));  // x86-64 and Arm are little-endian.
  }
  void put_raw(Bytes bytes) {
    if (!bytes.empty()) std::memcpy(extend(bytes.size()), bytes.data(), bytes.size());
  }
  void put_digest(const Digest& digest) { put_raw(digest); }
  // u32 size, then the bytes.
  void put_bytes(Bytes bytes) {
    put(uint32_t(bytes.size()));
    put_raw(bytes);
  }
  void put_text(std::string_view text) {
    put_bytes({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  }

  // Overwrites a value put earlier; for lengths known only at the end.
  template <class T>
  void patch(size_t at, T value) {
    std::memcpy(bytes_.data() + at, &value, sizeof(T));
  }

  Bytes bytes() const { return {bytes_.data(), size_}; }
  size_t size() const { return size_; }
  void clear() { size_ = 0; }

 private:
  uint8_t* extend(size_t size) {
    if (bytes_.size() - size_ < size) grow(size);
    size_ += size;
    return bytes_.data() + (size_ - size);
  }
  // Out of line: inlined into every put, it makes gcc 12 warn of overflows that can't be.
  [[gnu::noinline]] void grow(size_t size) { bytes_.resize(2 * (size_ + size) + 64); }

  std::vector<uint8_t> bytes_;  // room; the first size_ bytes are written
  size_t size_ = 0;
};

// Throws Error(corrupt) instead of reading past the end: the input may be hostile.
class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : bytes_(bytes) {}

  template <class T>
    requires(std::is_arithmetic_v<T> || std::is_enum_v<T>)
  T get() {
    if constexpr (std::is_same_v<T, bool>) {
      const uint8_t value = take(1)[0];
      if (value > 1) fail();
      return value != 0;
    } else {
      T value;
      std::memcpy(&value, take(sizeof(T)).data(), sizeof(T));
      return value;
    }
  }
  Bytes get_raw(size_t size) { return take(size); }
  Digest get_digest() {
    Digest digest;
    std::memcpy(digest.data(), take(digest.size()).data(), digest.size());
    return digest;
  }
  Bytes get_bytes() { return take(get<uint32_t>()); }
  std::string_view get_text() {
    const Bytes text = get_bytes();
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }
  // A count of elements of at least `element_size` bytes each, so that a hostile count can't
  // make the reader allocate more than the input is long.
  uint32_t get_count(size_t element_size) {
    const auto count = get<uint32_t>();
    if (element_size != 0 && count > remaining() / element_size) fail();
    return count;
  }

  size_t remaining() const { return bytes_.size() - at_; }
  size_t size() const { return bytes_.size(); }
  void expect_end() const {
    if (remaining() != 0) fail();
  }

 private:
  Bytes take(size_t size) {
    if (size > remaining()) fail();
    const Bytes part = bytes_.subspan(at_, size);
    at_ += size;
    return part;
  }
  [[noreturn]] void fail() const {
    throw Error(
        ErrorCode::corrupt, "record",
        "malformed at byte " + std::to_string(at_) + " of " + std::to_string(bytes_.size()));
  }

  Bytes bytes_;
  size_t at_ = 0;
};

}  // namespace hanse
