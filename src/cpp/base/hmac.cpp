#include "base/hmac.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>

#include "base/error.hpp"

namespace hanse {

Digest hmac_sha256(Bytes key, Bytes message) {
  constexpr size_t block_size = 64;
  std::array<uint8_t, block_size> inner{}, outer{};
  if (key.size() > block_size) {
    const Digest short_key = sha256(key);
    std::copy(short_key.begin(), short_key.end(), inner.begin());
  } else {
    std::copy(key.begin(), key.end(), inner.begin());
  }
  outer = inner;
  for (uint8_t& byte : inner) byte ^= 0x36;
  for (uint8_t& byte : outer) byte ^= 0x5c;
  const Digest first = Sha256().update(inner).update(message).finish();
  return Sha256().update(outer).update(first).finish();
}

bool same_digest(const Digest& a, const Digest& b) {
  uint8_t difference = 0;
  for (size_t i = 0; i < a.size(); ++i) difference |= uint8_t(a[i] ^ b[i]);
  return difference == 0;
}

Digest random_key() {
  Digest key;
  if (getrandom(key.data(), key.size(), 0) != ssize_t(key.size()))
    throw Error(ErrorCode::storage_failed, "getrandom", "the system gives no random bytes");
  return key;
}

}  // namespace hanse
