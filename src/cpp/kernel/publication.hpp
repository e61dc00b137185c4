// The columns of one publish as the journal keeps them, in one block of bytes.
#pragma once

#include "base/bytes.hpp"
#include "capability/capability.hpp"

namespace hanse {

// Views point into the block that it was decoded from, or into `aligned` where that was unaligned.
struct Publication {
  Offers offers;
  std::span<const uint32_t> expected;
  std::vector<uint8_t> aligned;
};

void encode_publication(const Offers& offers, std::span<const uint32_t> expected,
                        ByteWriter& writer);
// Throws corrupt where the block is not `count` rows of `dim`.
Publication decode_publication(Bytes block, uint32_t offer, uint32_t count, uint32_t dim);

}  // namespace hanse
