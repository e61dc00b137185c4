// What a peer says over the socket of a latent exchange, signed or not.
#include "base/hmac.hpp"
#include "fuzz.hpp"
#include "latent/wire.hpp"

using namespace hanse;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Digest ticket{1, 2, 3};
  fuzz::typed([&] { decode_share({data, size}, ticket); });
  fuzz::typed([&] { decode_put({data, size}, ticket); });
  fuzz::typed([&] { decode_answer({data, size}, ticket); });
  // As one who knows the ticket: the bytes are well signed and say nonsense.
  WireShare share;
  fuzz::Input input(data, size);
  share.slot = input.take<uint32_t>();
  share.tokens = input.take<uint32_t>();
  while (share.runs.size() < 20 && !input.empty()) {
    WireRun& run = share.runs.emplace_back();
    run.file = input.take<uint32_t>(), run.offset = input.take<uint64_t>();
    run.stride = input.take<uint64_t>(), run.capacity = input.take<uint32_t>();
    run.first = input.take<uint32_t>(), run.count = input.take<uint32_t>();
  }
  fuzz::typed([&] { decode_share(encode_share(share, ticket), ticket); });
  std::vector<uint8_t> put(data, data + size);
  const Digest mac = hmac_sha256(ticket, put);
  put.insert(put.end(), mac.begin(), mac.end());
  fuzz::typed([&] { decode_put(put, ticket); });
  fuzz::typed([&] { decode_answer(put, ticket); });
  return 0;
}
