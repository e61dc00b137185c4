// A latent that leaves the process or the memory: its manifest, a MAC over it, and its payload,
// whose digest the manifest has. Nothing of it is believed before both are checked.
#pragma once

#include <optional>
#include <vector>

#include "latent/latent.hpp"

namespace hanse {

class ByteWriter;
class ByteReader;

struct LatentSealed {
  AgentId owner = id_none;
  uint32_t tenant = 0;
  LatentSpec spec;
  uint32_t tokens = 0, position_base = 0;
  uint64_t lease_ns = 0, label = 0, price = 0, step = 0;
  std::optional<std::string> gloss;
  Digest content{}, parent{}, payload_digest{};
  std::vector<uint32_t> token_ids;  // empty: not known
  LatentImage image;                // of the payload, where the spec is quantised
};

// Manifest, MAC and payload, in this order. key: any bytes that both sides know.
std::vector<uint8_t> seal_latent(const LatentPool& pool, LatentId latent, AgentId reader,
                                 uint32_t reader_tenant, Bytes key);
// Throws latent_corrupt: something was altered, cut or made with another key. The payload is a view
// into `sealed`.
struct Unsealed {
  LatentSealed manifest;
  Bytes payload;
};
Unsealed unseal_latent(Bytes sealed, Bytes key);
// Puts it into the pool as `owner`'s. Throws latent_corrupt also where its tenant is another one
// than `tenant`; lease_expired, quota_exceeded.
LatentId import_latent(LatentPool& pool, AgentId owner, uint32_t tenant, Bytes sealed, Bytes key);

void write_spec(ByteWriter& writer, const LatentSpec& spec);
LatentSpec read_spec(ByteReader& reader);

}  // namespace hanse
