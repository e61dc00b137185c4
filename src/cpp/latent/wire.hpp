// What the two sides of a LatentExchange say to each other.
#pragma once

#include <vector>

#include "base/hmac.hpp"
#include "latent/seal.hpp"

namespace hanse {

constexpr uint64_t wire_magic = 0x3178'6c74'6e73'6e68;
constexpr size_t wire_size_max = 32 << 10;  // of one message
constexpr size_t wire_files_max = 64;       // descriptors of one message
constexpr uint32_t control_slots = 8192;

struct WireHello {
  uint64_t magic = wire_magic;
  AgentId agent = id_none;
  uint32_t tenant = 0, unused = 0;
  Digest proof{};  // HMAC of the fields above by the ticket
};
struct WireDone {
  uint32_t slot = 0, unused = 0;
  uint64_t generation = 0;
};

// Pages at equal distances in one file.
struct WireRun {
  uint32_t file = 0;
  uint64_t offset = 0, stride = 0;
  uint32_t capacity = 0, first = 0, count = 0, repeat = 0;
};
struct WireFile {
  uint32_t number = 0;
  uint64_t size_bytes = 0;
};
struct WireShare {
  uint32_t slot = 0;
  uint64_t generation = 0, lease_ns = 0;
  uint32_t tokens = 0, position_base = 0;
  LatentSpec spec;
  std::vector<WireRun> runs;
  std::vector<WireFile> files;  // whose descriptors come with this message, in order
};
std::vector<uint8_t> encode_share(const WireShare& share, const Digest& ticket);
// Throws latent_corrupt.
WireShare decode_share(Bytes message, const Digest& ticket);
Digest hello_proof(const WireHello& hello, const Digest& ticket);

// -1: the peer is gone or refuses; else the size. Files are closed by the caller.
long send_message(int socket, Bytes message, const std::vector<int>& files);
long receive_message(int socket, std::vector<uint8_t>& buffer, std::vector<int>& files_out,
                     bool waits);

// An anonymous file of this content that nobody can change any more; -1: no memory.
int sealed_copy(Bytes content);
// Read-only memory of a file of at least `size_bytes` that its maker can't cut; null: it is none.
void* map_sealed(int file, uint64_t size_bytes);

}  // namespace hanse
