// HMAC-SHA-256 (RFC 2104, FIPS 198-1): says that who wrote the bytes knew the key.
#pragma once

#include "base/hash.hpp"

namespace hanse {

Digest hmac_sha256(Bytes key, Bytes message);
// In a time that doesn't depend on where they differ.
bool same_digest(const Digest& a, const Digest& b);
// 32 bytes from the system. Throws storage_failed where it gives none.
Digest random_key();

}  // namespace hanse
