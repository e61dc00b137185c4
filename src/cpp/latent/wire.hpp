// What the two sides of a LatentExchange say to each other.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "base/hmac.hpp"
#include "latent/seal.hpp"

namespace hanse {

constexpr uint64_t wire_magic = 0x3178'6c74'6e73'6e68;
constexpr size_t wire_size_max = 32 << 10;  // of one message
constexpr size_t wire_files_max = 64;       // descriptors of one message
constexpr uint32_t control_slots = 8192;
constexpr uint64_t wire_put_magic = 0x3178'7470'6e73'6e68;
constexpr uint64_t wire_answer_magic = 0x3178'6177'6e73'6e68;

struct WireHello {
  uint64_t magic = wire_magic;
  AgentId agent = id_none;
  uint32_t tenant = 0, unused = 0;
  Digest proof{};  // HMAC of the fields above by the ticket
};
// What a reader lets go of: a hand-off; or, with `slot_of_put`, the latent that it put.
constexpr uint32_t slot_of_put = UINT32_MAX;
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
// A latent that a reader puts: its file holds the payload and then the token ids, and nobody can
// write to it any more.
struct WirePut {
  uint64_t request = 0;
  LatentSpec spec;
  uint32_t tokens = 0, position_base = 0;
  uint64_t ttl_ns = 0, label = 0, price = 0, step = 0, cost = 0;
  std::optional<std::string> gloss;
  bool named = false;  // the file has token ids
  bool kept = false;
};
struct WireAnswer {
  uint64_t request = 0;
  LatentId latent = id_none;
  ErrorCode code = ErrorCode::invariant;  // where there is no latent
  std::string field, detail;
};
std::vector<uint8_t> encode_put(const WirePut& put, const Digest& ticket);
std::vector<uint8_t> encode_answer(const WireAnswer& answer, const Digest& ticket);
// The magic that a message begins with; 0: it has none.
uint64_t wire_kind(Bytes message);
// Both throw latent_corrupt.
WirePut decode_put(Bytes message, const Digest& ticket);
WireAnswer decode_answer(Bytes message, const Digest& ticket);
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
// Read-only memory of a file that nobody can write to, cut or lengthen; null: it is none.
void* map_frozen(int file, uint64_t size_bytes);
// Read-only memory of a file of at least `size_bytes` that its maker can't cut; null: it is none.
void* map_sealed(int file, uint64_t size_bytes);

}  // namespace hanse
