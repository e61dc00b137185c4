// How the state of a concept becomes bytes and comes back: the contract that every concept of the
// record plane keeps, so that a kernel need not read its journal from the first record.
//
//   static constexpr uint16_t snapshot_version = 1;  // of its part; raised when the bytes change
//   void encode(SnapshotWriter& out) const;
//   void decode(SnapshotReader& in);                 // into an object that was just made
//
// The bytes are canonical: the same state gives the same bytes, entities in ascending order of
// index, maps in ascending order of key. What follows from the rest (hash maps, sets by deadline,
// totals) is left out and made again. What the state hash covers must be in here, and is checked:
// whoever decodes compares the state hash. What the hash leaves out and a later record may depend
// on must be in here, too.
//
// The fields of an entity are listed once, for both directions:
//
//   struct Thing {
//     …
//     template <class Coder, class Self>  // Self: Thing, or const Thing
//     static void each_field(Coder& coder, Self& self) { coder(self.id, self.name, self.amounts); }
//   };
//   void Table::encode(SnapshotWriter& out) const {
//     out.table(things_.size(), [&](size_t i, FieldWriter& fields) {
//       fields(things_[i]);
//     });
//   }
//   void Table::decode(SnapshotReader& in) {
//     in.table([&](size_t, FieldReader& fields) {
//       fields(things_.emplace_back());
//       in.require(things_.back().id < limit, "thing.id");
//     });
//   }
//
// A new field at the end of an entity raises the version; `if (in.version() >= 2)` before reading
// it keeps older snapshots readable. A new table goes behind the others, in the same way.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/bytes.hpp"

namespace hanse {

using u128 = unsigned __int128;

// Puts what it is called with, one after another. Numbers and enums as they are, little-endian;
// bool as one byte; text and lists behind a u32 count.
class FieldWriter {
 public:
  explicit FieldWriter(ByteWriter& out) : out_(out) {}

  template <class... T>
  void operator()(const T&... values) {
    (put(values), ...);
  }

 private:
  template <class T>
    requires(std::is_arithmetic_v<T> || std::is_enum_v<T>)
  void put(T value) {
    out_.put(value);
  }
  void put(bool value) { out_.put(uint8_t(value)); }
  void put(const u128& value) {
    out_.put(uint64_t(value));
    out_.put(uint64_t(value >> 64));
  }
  void put(const std::string& text) { out_.put_text(text); }
  template <class T, size_t size>
  void put(const std::array<T, size>& values) {
    for (const T& value : values) put(value);
  }
  template <size_t size>
  void put(const std::array<uint8_t, size>& bytes) {
    out_.put_raw(bytes);
  }
  template <class T, size_t size>
  void put(const T (&values)[size]) {
    for (const T& value : values) put(value);
  }
  void put(const std::vector<uint8_t>& bytes) { out_.put_bytes(bytes); }
  template <class T>
  void put(const std::vector<T>& values) {
    out_.put(uint32_t(values.size()));
    for (const T& value : values) put(value);
  }
  template <class T>
    requires(std::is_class_v<T>)
  void put(const T& entity) {
    T::each_field(*this, entity);
  }

  ByteWriter& out_;
};

// The other way. Error(corrupt) instead of reading past the end.
class FieldReader {
 public:
  explicit FieldReader(ByteReader& in) : in_(in) {}

  template <class... T>
  void operator()(T&... values) {
    (get(values), ...);
  }

 private:
  template <class T>
    requires(std::is_arithmetic_v<T> || std::is_enum_v<T>)
  void get(T& value) {
    value = in_.get<T>();
  }
  void get(bool& value) { value = in_.get<uint8_t>() != 0; }
  void get(u128& value) {
    const auto low = in_.get<uint64_t>();
    value = u128(in_.get<uint64_t>()) << 64 | low;
  }
  void get(std::string& text) { text = in_.get_text(); }
  template <class T, size_t size>
  void get(std::array<T, size>& values) {
    for (T& value : values) get(value);
  }
  template <size_t size>
  void get(std::array<uint8_t, size>& bytes) {
    std::memcpy(bytes.data(), in_.get_raw(size).data(), size);
  }
  template <class T, size_t size>
  void get(T (&values)[size]) {
    for (T& value : values) get(value);
  }
  void get(std::vector<uint8_t>& bytes) {
    const Bytes stored = in_.get_bytes();
    bytes.assign(stored.begin(), stored.end());
  }
  template <class T>
  void get(std::vector<T>& values) {
    // An element takes at least a byte, so that a hostile count can't make us allocate.
    values.resize(in_.get_count(std::is_class_v<T> ? 1 : sizeof(T)));
    for (T& value : values) get(value);
  }
  template <class T>
    requires(std::is_class_v<T>)
  void get(T& entity) {
    T::each_field(*this, entity);
  }

  ByteReader& in_;
};

// Takes the part of a concept and hands it on in pieces, so that a part may be larger than memory
// has room for twice.
class SnapshotWriter {
 public:
  using Sink = std::function<void(Bytes)>;
  explicit SnapshotWriter(Sink sink) : sink_(std::move(sink)) {}

  // Where the next entity is written; valid until it is asked for again.
  ByteWriter& next() {
    if (buffer_.size() >= piece_size) finish();
    return buffer_;
  }
  template <class... T>
  void put(const T&... values) {
    FieldWriter fields(next());
    fields(values...);
  }
  // A count, then encode(index, fields) for each.
  template <class Encode>
  void table(size_t count, Encode&& encode) {
    put(uint64_t(count));
    for (size_t i = 0; i < count; ++i) {
      FieldWriter fields(next());
      encode(i, fields);
    }
  }
  void finish() {
    if (buffer_.size() != 0) sink_(buffer_.bytes());
    buffer_.clear();
  }

 private:
  static constexpr size_t piece_size = 1 << 20;

  Sink sink_;
  ByteWriter buffer_;
};

class SnapshotReader : public ByteReader {
 public:
  SnapshotReader(Bytes bytes, uint16_t version) : ByteReader(bytes), version_(version) {}

  uint16_t version() const { return version_; }  // the part was written with it
  template <class... T>
  void take(T&... values) {
    FieldReader fields(*this);
    fields(values...);
  }
  // decode(index, fields) for each; an entity takes at least one byte.
  template <class Decode>
  void table(Decode&& decode) {
    const auto count = get<uint64_t>();
    require(count <= remaining(), "count");
    FieldReader fields(*this);
    for (size_t i = 0; i < count; ++i) decode(i, fields);
  }
  // What a sound snapshot can't hold: Error(corrupt) that names it.
  void require(bool holds, const char* what) const {
    if (!holds)
      throw Error(ErrorCode::corrupt, what,
                  "no state could hold this; malformed before byte " +
                      std::to_string(size() - remaining()));
  }

 private:
  uint16_t version_;
};

}  // namespace hanse
