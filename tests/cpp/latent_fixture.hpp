// What the latent tests share: specs, made-up KV, and reading back.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"
#include "latent/latent.hpp"

namespace hanse {

constexpr AgentId latent_owner = make_id(5, 1);
constexpr uint32_t latent_tenant = 3;

inline LatentSpec small_spec(LatentDtype dtype = LatentDtype::float32) {
  LatentSpec spec;
  spec.model = "org/model@1";
  spec.layers = 3;
  spec.kv_heads = 2;
  spec.head_dim = 8;
  spec.dtype = dtype;
  return spec;
}
inline size_t token_bytes(const LatentSpec& spec) {
  return size_t(spec.layers) * 2 * spec.kv_heads * spec.head_dim * latent_dtype_bits(spec.dtype) /
         8;
}
inline std::vector<uint8_t> made_up(size_t size, uint64_t seed) {
  Random random(seed);
  std::vector<uint8_t> bytes(size);
  for (uint8_t& byte : bytes) byte = uint8_t(random.next());
  return bytes;
}
inline std::vector<uint32_t> token_run(uint32_t count, uint32_t first = 0) {
  std::vector<uint32_t> tokens(count);
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}
// [planes, a, row] and [planes, b, row] -> [planes, a + b, row]
inline std::vector<uint8_t> joined(const LatentSpec& spec, const std::vector<uint8_t>& a,
                                   const std::vector<uint8_t>& b) {
  const size_t planes = size_t(spec.layers) * 2;
  std::vector<uint8_t> all;
  for (size_t plane = 0; plane < planes; ++plane)
    for (const auto* part : {&a, &b}) {
      const size_t size = part->size() / planes;
      all.insert(all.end(), part->begin() + ptrdiff_t(plane * size),
                 part->begin() + ptrdiff_t((plane + 1) * size));
    }
  return all;
}
inline std::vector<uint8_t> first_tokens(const LatentSpec& spec, const std::vector<uint8_t>& kv,
                                         uint32_t tokens) {
  const size_t planes = size_t(spec.layers) * 2, row = token_bytes(spec) / planes;
  std::vector<uint8_t> head;
  for (size_t plane = 0; plane < planes; ++plane) {
    const auto start = kv.begin() + ptrdiff_t(plane * kv.size() / planes);
    head.insert(head.end(), start, start + ptrdiff_t(tokens * row));
  }
  return head;
}
template <class Call>
Error error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::invariant, "", "");
}

class LatentTest : public testing::Test {
 protected:
  LatentId put(uint32_t count, uint64_t seed, std::span<const uint32_t> tokens = {},
               uint64_t lease_ns = 0) {
    const std::vector<uint8_t> kv = made_up(token_bytes(spec) * count, seed);
    return pool->put(latent_owner, latent_tenant, spec, kv, count, tokens, seed, 0, lease_ns);
  }
  LatentId append(LatentId latent, uint32_t count, uint64_t seed, uint32_t position,
                  std::span<const uint32_t> tokens = {}) {
    const std::vector<uint8_t> kv = made_up(token_bytes(spec) * count, seed);
    return pool->append(latent, latent_owner, latent_tenant, kv, count, tokens, seed, position);
  }
  LatentInfo info(LatentId latent) { return pool->info(latent, latent_owner, latent_tenant); }
  std::vector<uint8_t> read(LatentId latent, uint32_t tenant = latent_tenant) {
    std::vector<uint8_t> kv(pool->info(latent, latent_owner, tenant).size_bytes);
    pool->read_into(latent, latent_owner, tenant, nullptr, kv);
    return kv;
  }
  void open(uint64_t size_bytes_max, uint32_t handle_count_max = 1u << 20) {
    pool = std::make_unique<LatentPool>(
        LatentPoolOptions{size_bytes_max, handle_count_max, size_bytes_max / 2}, clock, 42);
  }
  uint64_t page_bytes() const { return token_bytes(spec) * latent_page_tokens; }

  LatentSpec spec = small_spec();
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>(1000);
  std::unique_ptr<LatentPool> pool = std::make_unique<LatentPool>(LatentPoolOptions{}, clock, 42);
};

}  // namespace hanse
