// SHA-256 (FIPS 180-4) and CRC32C (RFC 3720), by hand because no system library can be assumed.
#pragma once

#include <string>

#include "base/ids.hpp"
#include "base/view.hpp"

namespace hanse {

class Sha256 {
 public:
  Sha256();
  Sha256& update(Bytes bytes);
  Digest finish();  // then start anew

 private:
  uint32_t state_[8];
  uint8_t block_[64];
  uint64_t size_bytes_ = 0;
};

Digest sha256(Bytes bytes);
std::string hex(Bytes bytes);

// `crc` is the value of what came before (0 at the start).
uint32_t crc32c(Bytes bytes, uint32_t crc = 0);

}  // namespace hanse
