// The hash of a table, kept incrementally: entities are hashed in chunks of 1,024 in ascending
// order of index, and only the chunks that changed are hashed again.
#pragma once

#include <vector>

#include "base/bytes.hpp"
#include "base/hash.hpp"

namespace hanse {

class ChunkedHash {
 public:
  static constexpr uint32_t chunk_size = 1024;

  // An entity was added or changed.
  void mark(uint32_t index) {
    const uint32_t chunk = index / chunk_size;
    if (chunk >= dirty_.size()) {
      dirty_.resize(chunk + 1, 1);
      digests_.resize(chunk + 1);
    }
    dirty_[chunk] = 1;
  }

  // Calls encode(index, writer) for each entity of each dirty chunk, index < count.
  template <class Encode>
  Digest digest(uint32_t count, Encode&& encode) {
    ByteWriter writer;
    Sha256 all;
    // Chunks past the end belong to entities that were taken back.
    for (uint32_t chunk = 0; chunk < dirty_.size() && chunk * chunk_size < count; ++chunk) {
      if (dirty_[chunk]) {
        writer.clear();
        const uint32_t end = count < (chunk + 1) * chunk_size ? count : (chunk + 1) * chunk_size;
        for (uint32_t index = chunk * chunk_size; index < end; ++index) encode(index, writer);
        digests_[chunk] = sha256(writer.bytes());
        dirty_[chunk] = 0;
      }
      all.update(digests_[chunk]);
    }
    return all.finish();
  }

 private:
  std::vector<uint8_t> dirty_;
  std::vector<Digest> digests_;
};

}  // namespace hanse
