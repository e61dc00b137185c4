#include <gtest/gtest.h>

#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "latent/exchange.hpp"
#include "latent/seal.hpp"
#include "latent/transform.hpp"
#include "latent/transform_table.hpp"
#include "latent_fixture.hpp"

namespace hanse {
namespace {

std::vector<const TransformTable*> tables_here() {
  std::vector<const TransformTable*> tables;
  for (const CpuLevel level : {CpuLevel::baseline, CpuLevel::avx2, CpuLevel::avx512})
    if (level == CpuLevel::baseline || (cpu_level() != CpuLevel::neon && level <= cpu_level()))
      tables.push_back(&transform_table(level));
  if (cpu_level() == CpuLevel::neon) tables.push_back(&transform_table(CpuLevel::neon));
  return tables;
}

std::vector<float> made_floats(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = float(int64_t(random.below(2'000'001)) - 1'000'000) / 3e5f;
  return values;
}

// Every half there is, and floats of every exponent with ties among them.
TEST(Transform, all_tables_change_dtypes_to_the_same_bits) {
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) halves[i] = uint16_t(i);
  std::vector<float> floats;
  for (uint32_t high = 0; high < 65536; ++high)
    for (const uint32_t low : {0u, 1u, 0x1000u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      floats.push_back(std::bit_cast<float>(high << 16 | low));
  const TransformTable& plain = transform_table_baseline;
  std::vector<float> wide(halves.size()), wide_plain(halves.size());
  std::vector<uint16_t> narrow(floats.size()), narrow_plain(floats.size());
  const auto same = [](const auto& a, const auto& b) {
    return std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0;
  };
  for (const TransformTable* table : tables_here()) {
    plain.float_from_half(wide_plain.data(), halves.data(), halves.size());
    table->float_from_half(wide.data(), halves.data(), halves.size());
    EXPECT_TRUE(same(wide, wide_plain)) << cpu_level_name(table->level);
    plain.half_from_float(narrow_plain.data(), floats.data(), floats.size());
    table->half_from_float(narrow.data(), floats.data(), floats.size());
    EXPECT_TRUE(same(narrow, narrow_plain)) << cpu_level_name(table->level);
    plain.brain_from_float(narrow_plain.data(), floats.data(), floats.size());
    table->brain_from_float(narrow.data(), floats.data(), floats.size());
    EXPECT_TRUE(same(narrow, narrow_plain)) << cpu_level_name(table->level);
  }
}

TEST(Transform, all_tables_turn_and_quantise_to_the_same_bytes) {
  constexpr uint32_t dim = 72, tokens = 32, half = 32;
  const std::vector<float> values = made_floats(size_t(tokens) * dim, 3);
  const std::vector<float> angles = made_floats(2 * half, 4);
  struct Result {
    std::vector<float> turned, paired, scales, zeros, back;
    std::vector<uint8_t> codes;
    bool operator==(const Result&) const = default;
  };
  const auto run = [&](const TransformTable& table, uint32_t levels, bool by_token) {
    Result r{values,
             values,
             std::vector<float>(dim),
             std::vector<float>(dim),
             std::vector<float>(values.size()),
             std::vector<uint8_t>(values.size())};
    table.turn_halves(r.turned.data(), tokens, dim, angles.data(), &angles[half], half);
    table.turn_pairs(r.paired.data(), tokens, dim, angles.data(), &angles[half], half);
    const QuantiseJob job{values.data(),   tokens,         dim,           dim, levels,
                          r.scales.data(), r.zeros.data(), r.codes.data()};
    EXPECT_TRUE((by_token ? table.quantise_tokens : table.quantise_channels)(job));
    const DequantiseJob back{
        r.codes.data(), r.scales.data(), r.zeros.data(), tokens, dim, levels, dim, r.back.data()};
    (by_token ? table.dequantise_tokens : table.dequantise_channels)(back);
    return r;
  };
  for (const uint32_t levels : {255u, 15u})
    for (const bool by_token : {false, true}) {
      const Result plain = run(transform_table_baseline, levels, by_token);
      for (const TransformTable* table : tables_here())
        EXPECT_TRUE(run(*table, levels, by_token) == plain) << cpu_level_name(table->level);
      for (size_t i = 0; i < values.size(); ++i) {
        const float step = plain.scales[by_token ? i / dim : i % dim];
        ASSERT_LE(std::fabs(plain.back[i] - values[i]), step * 0.5001f + 1e-6f);
      }
    }
}

TEST(Transform, a_streamed_copy_is_a_copy_whatever_the_alignment) {
  const std::vector<uint8_t> from = made_up(3000, 1);
  for (const TransformTable* table : tables_here())
    for (size_t at = 0; at < 70; at += 7)
      for (const size_t size : {0u, 1u, 63u, 64u, 65u, 255u, 256u, 1000u, 2500u}) {
        std::vector<uint8_t> to(3000, 9);
        table->stream(to.data() + at, from.data() + 3, size);
        table->fence();
        ASSERT_TRUE(std::equal(to.begin() + ptrdiff_t(at), to.begin() + ptrdiff_t(at + size),
                               from.begin() + 3));
        ASSERT_TRUE(std::all_of(to.begin() + ptrdiff_t(at + size), to.end(),
                                [](uint8_t byte) { return byte == 9; }));
      }
}

TEST(Transform, a_value_that_is_not_finite_is_refused) {
  LatentSpec spec = small_spec();
  spec.layers = 1;
  for (const float bad : {NAN, INFINITY, -INFINITY})
    for (const size_t at : {0u, 40u, 1000u}) {
      std::vector<float> kv = made_floats(2 * 64 * 16, 1);
      kv[at] = bad;
      std::vector<uint8_t> packed(kivi_size_bytes(spec, 64, 8, 0));
      EXPECT_EQ(error_of([&] { kivi_quantise(spec, kv, 64, 8, 0, packed); }).code(),
                ErrorCode::bad_vector);
    }
}

TEST_F(LatentTest, a_sealed_latent_comes_back_and_no_altered_one_does) {
  const std::vector<uint8_t> key = made_up(32, 5);
  const LatentId latent = put(20, 1, token_run(20));
  const std::vector<uint8_t> sealed = seal_latent(*pool, latent, latent_owner, latent_tenant, key);
  const LatentId back = import_latent(*pool, latent_owner, latent_tenant, sealed, key);
  EXPECT_EQ(read(back), read(latent));
  EXPECT_EQ(info(back).content, info(latent).content);
  const uint64_t handles = pool->status().handle_count;
  Random random(8);
  for (int i = 0; i < 10'000; ++i) {
    std::vector<uint8_t> altered = sealed;
    const uint64_t kind = random.below(8);
    if (kind == 0)
      altered.resize(random.below(sealed.size()));
    else if (kind == 1)
      altered.push_back(uint8_t(random.next()));
    else
      altered[random.below(kind < 5 ? std::min<uint64_t>(400, sealed.size()) : sealed.size())] ^=
          uint8_t(1 + random.below(255));
    ASSERT_EQ(
        error_of([&] { import_latent(*pool, latent_owner, latent_tenant, altered, key); }).code(),
        ErrorCode::latent_corrupt);
  }
  EXPECT_EQ(error_of([&] { import_latent(*pool, latent_owner, 9, sealed, key); }).code(),
            ErrorCode::latent_corrupt);
  EXPECT_EQ(pool->status().handle_count, handles);
}

TEST_F(LatentTest, an_exchange_hands_over_pages_until_it_is_ended) {
  const std::string path = "/tmp/hanse-exchange-" + std::to_string(getpid());
  LatentExchange exchange(*pool, path);
  const LatentId latent = put(50, 1);
  LatentReader reader(path, latent_owner, latent_tenant,
                      exchange.ticket(latent_owner, latent_tenant));
  LatentReader stranger(path, make_id(9, 1), 8, exchange.ticket(latent_owner, latent_tenant));
  EXPECT_EQ(exchange.poll(), 1u);
  EXPECT_EQ(exchange.share(latent, latent_owner), 1u);
  const std::unique_ptr<RemoteLatent> remote = reader.receive(1000);
  ASSERT_TRUE(remote);
  EXPECT_EQ(error_of([&] { stranger.receive(1000); }).code(), ErrorCode::closed);
  std::vector<uint8_t> out(token_bytes(spec) * 50);
  const LatentSides sides = remote->layout().contiguous(out.data(), 50);
  remote->read_into(sides, {LatentDtype::float32, 0});
  EXPECT_EQ(out, made_up(token_bytes(spec) * 50, 1));

  // Released by its owner, its pages stay until the reader lets go.
  pool->release(latent);
  EXPECT_EQ(pool->status().page_count, 4u);
  remote->read_into(sides, {LatentDtype::float32, 0});
  EXPECT_EQ(exchange.end(latent, latent_owner), 1u);
  EXPECT_EQ(error_of([&] { remote->read_into(sides, {LatentDtype::float32, 0}); }).code(),
            ErrorCode::revoked);
  EXPECT_EQ(pool->status().page_count, 4u);
}

TEST_F(LatentTest, revoking_a_grant_ends_what_was_derived_and_handed_over_by_it) {
  const std::string path = "/tmp/hanse-exchange-" + std::to_string(getpid());
  const AgentId stranger = make_id(9, 1);
  LatentExchange exchange(*pool, path);
  const LatentId latent = put(20, 1);
  pool->grant(latent, stranger);
  const LatentId fork = pool->fork(latent, stranger, 8);
  const LatentId part = pool->slice(fork, stranger, 8, 3);
  LatentReader reader(path, stranger, 8, exchange.ticket(stranger, 8));
  EXPECT_EQ(exchange.poll(), 1u);
  EXPECT_EQ(exchange.share(part, stranger), 1u);
  const std::unique_ptr<RemoteLatent> remote = reader.receive(1000);
  ASSERT_TRUE(remote);
  remote->check();
  EXPECT_TRUE(pool->revoke(latent, stranger));
  EXPECT_FALSE(pool->revoke(latent, stranger));
  EXPECT_EQ(error_of([&] { remote->check(); }).code(), ErrorCode::revoked);
  for (const LatentId derived : {fork, part}) {
    EXPECT_EQ(error_of([&] { pool->info(derived, stranger, 8); }).code(), ErrorCode::revoked);
    EXPECT_EQ(error_of([&] { pool->fork(derived, stranger, 8); }).code(), ErrorCode::revoked);
  }
  EXPECT_EQ(error_of([&] { pool->info(latent, stranger, 8); }).code(), ErrorCode::unknown_latent);
}

TEST_F(LatentTest, what_is_worth_least_is_evicted_first_and_a_pinned_one_never) {
  open(10 * page_bytes());
  const auto kept = [&](uint64_t seed, uint64_t cost, bool pinned) {
    const std::vector<uint32_t> tokens = token_run(16, uint32_t(seed) * 100);
    const LatentId latent = put(16, seed, tokens);
    pool->keep(latent, latent_owner, latent_tenant, cost, pinned);
    pool->release(latent);
  };
  const auto there = [&](uint64_t seed) {
    return pool->match(latent_tenant, latent_fingerprint(spec),
                       token_run(16, uint32_t(seed) * 100)) == 16;
  };
  kept(1, 1000, false);
  kept(2, 1, false);
  kept(3, 1, true);
  kept(4, 1000, false);
  kept(5, 1000, false);
  EXPECT_EQ(pool->status().kept_bytes, 5 * page_bytes());
  kept(6, 1000, false);  // Five pages are all that the tenant may keep.
  EXPECT_FALSE(there(2));
  EXPECT_TRUE(there(3));
  EXPECT_TRUE(there(1));  // And is the newest now.
  put(8 * 16, 9);
  EXPECT_TRUE(there(3));
  EXPECT_EQ(pool->status().evicted_count, 4u);
  EXPECT_EQ(error_of([&] { put(16 * 2, 10); }).code(), ErrorCode::quota_exceeded);
}

}  // namespace
}  // namespace hanse
