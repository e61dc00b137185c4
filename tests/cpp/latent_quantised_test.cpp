// Latents that lie in the pool in 8 or 4 bits.
#include <cmath>
#include <cstring>

#include "latent/block.hpp"
#include "latent/seal.hpp"
#include "latent/transform.hpp"
#include "latent/transform_table.hpp"
#include "latent_fixture.hpp"

namespace hanse {

namespace {

constexpr uint32_t group = 32;

class LatentQuantisedTest : public LatentTest {
 protected:
  LatentQuantisedTest() {
    spec.quantised = 8;
    spec.recent = 16;
  }
  std::vector<float> values(uint32_t tokens, uint64_t seed) const {
    Random random(seed);
    std::vector<float> kv(token_bytes(spec) / 4 * tokens);
    for (float& value : kv) value = float(random.below(20'001)) / 1000 - 10;
    return kv;
  }
  static Bytes bytes(const std::vector<float>& kv) {
    return {reinterpret_cast<const uint8_t*>(kv.data()), kv.size() * 4};
  }
  LatentId put(uint32_t tokens, const std::vector<float>& kv, std::span<const uint32_t> ids = {}) {
    return pool->put(latent_owner, latent_tenant, spec, bytes(kv), tokens, ids, 1, 0, 0);
  }
  std::vector<float> floats(LatentId latent) {
    const std::vector<uint8_t> raw = read(latent);
    std::vector<float> kv(raw.size() / 4);
    std::memcpy(kv.data(), raw.data(), raw.size());
    return kv;
  }
  // What quantising and back gives.
  std::vector<float> round_trip(const std::vector<float>& kv, uint32_t tokens) const {
    std::vector<uint8_t> packed(kivi_size_bytes(spec, tokens, spec.quantised, spec.recent));
    kivi_quantise(spec, kv, tokens, spec.quantised, spec.recent, packed);
    std::vector<float> back(kv.size());
    kivi_dequantise(spec, packed, tokens, spec.quantised, spec.recent, back);
    return back;
  }
};

TEST_F(LatentQuantisedTest, WhatIsReadIsWhatQuantisingTheWholeGives) {
  for (const uint32_t bits : {8u, 4u})
    for (const uint32_t tokens : {1u, 16u, 47u, 48u, 80u, 100u, 200u}) {
      spec.quantised = bits;
      const auto kv = values(tokens, tokens);
      const LatentId latent = put(tokens, kv);
      EXPECT_EQ(floats(latent), round_trip(kv, tokens)) << bits << " " << tokens;
      pool->release(latent);
    }
  EXPECT_EQ(pool->status().page_count, 0u);
}

TEST_F(LatentQuantisedTest, ItTakesTheMemoryOfItsBits) {
  const auto kv = values(32 * 40 + 16, 1);
  spec.quantised = 0;
  put(32 * 40 + 16, kv);
  const uint64_t plain = pool->status().page_bytes_used;
  spec.quantised = 4;
  put(32 * 40 + 16, kv);
  // Scales of so small a head weigh as much as its codes.
  EXPECT_LT(pool->status().page_bytes_used - plain, plain / 2);
}

TEST_F(LatentQuantisedTest, AppendingTokenByTokenIsAsPuttingAllAtOnce) {
  const uint32_t all = 150;
  const auto kv = values(all, 3);
  const size_t planes = size_t(spec.layers) * 2, row = kv.size() / planes / all;
  const auto part = [&](uint32_t first, uint32_t count) {
    std::vector<float> some;
    for (size_t plane = 0; plane < planes; ++plane) {
      const auto start = kv.begin() + ptrdiff_t((plane * all + first) * row);
      some.insert(some.end(), start, start + ptrdiff_t(count * row));
    }
    return some;
  };
  for (const uint32_t step : {1u, 7u, 16u, 33u, 64u}) {
    LatentId latent = put(1, part(0, 1));
    for (uint32_t at = 1; at < all;) {
      const uint32_t count = std::min(step, all - at);
      const auto more = part(at, count);
      const LatentId longer =
          pool->append(latent, latent_owner, latent_tenant, bytes(more), count, {}, 1, at);
      pool->release(latent);
      latent = longer;
      at += count;
    }
    EXPECT_EQ(floats(latent), round_trip(kv, all)) << step;
    pool->release(latent);
    EXPECT_EQ(pool->status().page_count, 0u);
  }
}

TEST_F(LatentQuantisedTest, SlicesAndJoinsCutThroughGroups) {
  const auto kv = values(200, 5);
  const auto expected = round_trip(kv, 200);
  const LatentId latent = put(200, kv);
  const uint64_t used = pool->status().page_bytes_used;
  Random random(1);
  for (int i = 0; i < 50; ++i) {
    const uint32_t at = 1 + uint32_t(random.below(199));
    const LatentId a = pool->slice(latent, latent_owner, latent_tenant, 0, at);
    const LatentId b = pool->slice(latent, latent_owner, latent_tenant, at, 200 - at);
    const LatentId both = pool->concat(std::vector{a, b}, latent_owner, latent_tenant);
    EXPECT_EQ(floats(both), expected) << at;
    EXPECT_EQ(pool->status().page_bytes_used, used);
    for (const LatentId one : {a, b, both}) pool->release(one);
  }
  // What goes on from within a group doesn't alter it.
  const LatentId part = pool->slice(latent, latent_owner, latent_tenant, 0, 40);
  const auto more = values(100, 6);
  const LatentId longer =
      pool->append(part, latent_owner, latent_tenant, bytes(more), 100, {}, 1, 40);
  EXPECT_EQ(floats(latent), expected);
  EXPECT_EQ(info(longer).tokens, 140u);
}

TEST_F(LatentQuantisedTest, TheFingerprintTellsItAndAMismatchNamesTheField) {
  LatentSpec plain = spec.plain();
  EXPECT_NE(latent_fingerprint(plain), latent_fingerprint(spec));
  LatentSpec four = spec, older = spec;
  four.quantised = 4;
  older.recent = 64;
  EXPECT_NE(latent_fingerprint(four), latent_fingerprint(spec));
  EXPECT_NE(latent_fingerprint(older), latent_fingerprint(spec));
  plain.recent = 7;  // Says nothing where nothing is quantised.
  EXPECT_EQ(latent_fingerprint(plain), latent_fingerprint(spec.plain()));
  const auto ids = token_run(64);
  const LatentId latent = put(64, values(64, 1), ids);
  EXPECT_EQ(pool->longest_prefix(latent_owner, latent_tenant, plain, ids).matched, 0u);
  EXPECT_EQ(pool->longest_prefix(latent_owner, latent_tenant, spec, ids).matched, 64u);
  std::vector<uint8_t> out(token_bytes(spec) * 64);
  const Error error = error_of(
      [&] { pool->read_into(latent, latent_owner, latent_tenant, &plain, std::span(out)); });
  EXPECT_EQ(error.code(), ErrorCode::latent_incompatible);
  EXPECT_EQ(error.field(), "quantised");
}

TEST_F(LatentQuantisedTest, ReadingTurnsKeysAndNarrowsAsOfFloats) {
  spec.rope_base_micro = 10'000'000'000;
  const auto kv = values(100, 8);
  const LatentId latent = put(100, kv);
  auto turned = round_trip(kv, 100);
  rope_shift(spec.plain(), turned, 100, 77);
  std::vector<float> out(kv.size());
  const LatentLayout layout(spec);
  const LatentSides sides = layout.contiguous(reinterpret_cast<uint8_t*>(out.data()), 100);
  pool->read_into(latent, latent_owner, latent_tenant, nullptr, sides, {LatentDtype::float32, 77});
  EXPECT_EQ(out, turned);
  std::vector<uint16_t> half(kv.size());
  pool->read_into(
      latent, latent_owner, latent_tenant, nullptr,
      layout.contiguous(reinterpret_cast<uint8_t*>(half.data()), 100, LatentDtype::bfloat16),
      {LatentDtype::bfloat16, 0});
  const auto expected = round_trip(kv, 100);
  for (size_t i = 0; i < half.size(); ++i) {
    const float back = __builtin_bit_cast(float, uint32_t(half[i]) << 16);
    ASSERT_NEAR(back, expected[i], std::abs(expected[i]) / 128);
  }
}

TEST_F(LatentQuantisedTest, AllDtypesAndOrdersComeBackWithinHalfAStep) {
  const TransformTable& table = transform_table();
  for (const LatentDtype dtype : {LatentDtype::float16, LatentDtype::bfloat16})
    for (const LatentOrder order : {LatentOrder::nhd, LatentOrder::hnd}) {
      spec.dtype = dtype;
      spec.order = order;
      spec.quantised = 4;
      // Small integers are exact in both dtypes; a step is at most 1.
      std::vector<float> wide(token_bytes(spec) / 2 * 80), back(wide.size());
      Random random(2);
      for (float& value : wide) value = float(random.below(16));
      std::vector<uint16_t> kv(wide.size());
      const bool half = dtype == LatentDtype::float16;
      (half ? table.half_from_float : table.brain_from_float)(kv.data(), wide.data(), kv.size());
      const Bytes raw{reinterpret_cast<const uint8_t*>(kv.data()), kv.size() * 2};
      const LatentId latent = pool->put(latent_owner, latent_tenant, spec, raw, 80, {}, 1, 0, 0);
      const std::vector<uint8_t> read_back = read(latent);
      ASSERT_EQ(read_back.size(), raw.size());
      std::memcpy(kv.data(), read_back.data(), read_back.size());
      (half ? table.float_from_half : table.float_from_brain)(back.data(), kv.data(), kv.size());
      uint64_t exact = 0;
      for (size_t i = 0; i < wide.size(); ++i) {
        ASSERT_NEAR(back[i], wide[i], 0.5 + 1.0 / 16) << i;
        exact += back[i] == wide[i];
      }
      EXPECT_LT(exact, wide.size());  // It was quantised.
      pool->release(latent);
    }
}

TEST_F(LatentQuantisedTest, SealedAndSpilledItComesBackToTheBit) {
  const auto ids = token_run(150);
  const auto kv = values(150, 4);
  const LatentId latent = put(150, kv, ids);
  const LatentId part = pool->slice(latent, latent_owner, latent_tenant, 20, 100);
  const std::vector<uint8_t> key(8, 1);
  for (const LatentId one : {latent, part}) {
    const auto sealed = seal_latent(*pool, one, latent_owner, latent_tenant, key);
    const LatentId back = import_latent(*pool, latent_owner, latent_tenant, sealed, key);
    EXPECT_EQ(read(back), read(one));
    EXPECT_EQ(info(back).fingerprint, info(one).fingerprint);
  }
}

TEST_F(LatentQuantisedTest, WhatCanNotBeIsRefusedAndNothingIsLeft) {
  auto kv = values(64, 4);
  LatentTerms whole;
  whole.whole = true;
  const LatentLayout layout(spec);
  const auto sides = layout.contiguous(reinterpret_cast<uint8_t*>(kv.data()), 64);
  EXPECT_EQ(
      error_of([&] { pool->put(latent_owner, latent_tenant, spec, sides, 64, whole); }).code(),
      ErrorCode::latent_incompatible);
  EXPECT_EQ(error_of([&] {
              pool->adopt(latent_owner, latent_tenant, spec, bytes(kv), 64, {}, -1, [] {});
            }).code(),
            ErrorCode::latent_incompatible);
  EXPECT_EQ(error_of([&] { LatentBlock(*pool, latent_owner, latent_tenant, spec, 8, 0); }).code(),
            ErrorCode::latent_incompatible);
  const LatentId latent = put(64, kv);
  EXPECT_EQ(error_of([&] { pool->pages(latent, latent_owner, latent_tenant); }).code(),
            ErrorCode::latent_incompatible);
  pool->release(latent);
  kv[3] = NAN;
  EXPECT_EQ(error_of([&] { put(64, kv); }).code(), ErrorCode::bad_vector);
  spec.quantised = 5;
  EXPECT_EQ(error_of([&] { put(64, kv); }).code(), ErrorCode::out_of_range);
  spec.quantised = 8;
  spec.dtype = LatentDtype::int8;
  EXPECT_EQ(error_of([&] { LatentLayout bad(spec); }).code(), ErrorCode::latent_incompatible);
  EXPECT_EQ(pool->status().page_count, 0u);
  EXPECT_EQ(pool->status().handle_count, 0u);
}

TEST_F(LatentQuantisedTest, ABlockThatGoesOnFromItHoldsFloats) {
  const auto kv = values(80, 4);
  const LatentId latent = put(80, kv);
  LatentBlock block(*pool, latent_owner, latent_tenant, latent, nullptr, 8, 0);
  EXPECT_TRUE(block.copied());
  EXPECT_EQ(block.layout().spec.quantised, 0u);
  const LatentId longer = block.publish(81, {});
  const std::vector<uint8_t> back = read(longer);
  std::vector<uint8_t> head = first_tokens(spec, back, 80);
  const auto expected = round_trip(kv, 80);
  EXPECT_EQ(std::memcmp(head.data(), expected.data(), head.size()), 0);
}

}  // namespace

}  // namespace hanse
