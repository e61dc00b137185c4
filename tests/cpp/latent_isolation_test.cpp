// A million look-ups across tenants: each finds its own and none another's.
#include "latent_fixture.hpp"

namespace hanse {

namespace {

constexpr uint32_t tenants = 16, latents = 160, run_tokens = 48;

class LatentIsolationTest : public LatentTest {
 protected:
  static AgentId agent(uint32_t tenant) { return make_id(100 + tenant, 1); }
};

TEST_F(LatentIsolationTest, NoneOfAMillionLookUpsAcrossTenantsIsAHitAndAllOfTheOwnAre) {
  spec.layers = spec.kv_heads = 1;
  Random random(7);
  const Digest fingerprint = latent_fingerprint(spec);
  std::vector<std::vector<uint32_t>> runs(latents);
  std::vector<LatentId> held, steps;
  const std::vector<uint8_t> kv = made_up(token_bytes(spec) * run_tokens, 1);
  for (uint32_t i = 0; i < latents; ++i) {
    // All begin alike in twos, so that what is another's lies right beside one's own.
    for (uint32_t t = 0; t < run_tokens; ++t)
      runs[i].push_back(t < 16 ? i / 2 : uint32_t(random.below(1000)));
    const uint32_t tenant = i % tenants;
    held.push_back(pool->put(agent(tenant), tenant + 1, spec, kv, run_tokens, runs[i], 0, 0, 0));
    steps.push_back(pool->put(agent(tenant), tenant + 1, spec, kv, run_tokens, {}, i, 0, 0));
  }
  uint64_t own = 0;
  for (uint32_t number = 0; number < 1'000'000; ++number) {
    const auto which = uint32_t(random.below(latents));
    const auto tenant = uint32_t(random.below(tenants));
    const bool mine = which % tenants == tenant;
    own += mine;
    // The first page of its neighbour's run is one's own, too.
    const bool beside = (which ^ 1) % tenants == tenant;
    const uint32_t expected = mine ? run_tokens : beside ? 16 : 0;
    ASSERT_EQ(pool->match(tenant + 1, fingerprint, runs[which]), expected);
    const auto prefix = pool->longest_prefix(agent(tenant), tenant + 1, fingerprint, runs[which]);
    ASSERT_EQ(prefix.matched, expected);
    if (prefix.latent != id_none) pool->release(prefix.latent);
    const LatentId step =
        pool->find_step(agent(tenant), tenant + 1, spec, {}, agent(which % tenants), which);
    ASSERT_EQ(step != id_none, mine);
    if (step != id_none) pool->release(step);
    ASSERT_EQ(pool->expect(tenant + 1, fingerprint, runs[which]), expected);
    if (number % 8 != 0) continue;  // A refusal is an exception, which takes longer.
    if (mine) {
      pool->release(pool->fork(held[which], agent(tenant), tenant + 1));
      continue;
    }
    const Error error = error_of([&] { pool->fork(held[which], agent(tenant), tenant + 1); });
    ASSERT_EQ(error.code(), ErrorCode::unknown_latent);
  }
  EXPECT_GT(own, 60'000u);
  for (const auto* ids : {&held, &steps})
    for (const LatentId latent : *ids) pool->release(latent);
  EXPECT_EQ(pool->status().page_count, 0u);
}

}  // namespace

}  // namespace hanse
