#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <thread>

#include "latent/prefix_index.hpp"
#include "latent_fixture.hpp"

namespace hanse {
namespace {

uint64_t one_for_all(uint64_t, uint32_t, const uint32_t*) { return 7; }
uint64_t two_for_all(uint64_t, uint32_t, const uint32_t* tokens) { return tokens[0] & 1; }

size_t common(const std::vector<uint32_t>& a, const std::vector<uint32_t>& b) {
  const size_t size = std::min(a.size(), b.size());
  size_t same = 0;
  while (same < size && a[same] == b[same]) ++same;
  return same / latent_page_tokens * latent_page_tokens;
}

// Against a scan of all entries, with hashes that collide always, half the time, and never.
TEST(PrefixIndex, finds_the_longest_run_of_whole_pages_whatever_the_hash_does) {
  struct Item : PrefixEntry {
    uint32_t tenant;
    Digest fingerprint;
    std::shared_ptr<TokenRun> tokens;
    std::vector<uint32_t> plain() const {
      return {tokens->ids.get(), tokens->ids.get() + tokens->filled};
    }
  };
  for (const PrefixIndex::Hash hash : {&one_for_all, &two_for_all, &PrefixIndex::keyed_hash}) {
    Random random(11);
    PrefixIndex index(5, hash);
    std::vector<std::unique_ptr<Item>> items;
    const auto made = [&] {
      // Few different pages, so that prefixes are shared and differ late.
      std::vector<uint32_t> tokens;
      for (uint64_t page = random.below(6); page-- > 0;) {
        const auto kind = uint32_t(random.below(3));
        for (uint32_t i = 0; i < latent_page_tokens; ++i)
          tokens.push_back(i == 15 ? kind : uint32_t(100 + i));
      }
      tokens.resize(tokens.size() + random.below(latent_page_tokens), 9);
      return tokens;
    };
    size_t hits = 0;
    for (int step = 0; step < 3000; ++step) {
      if (items.size() < 30 && random.chance(500)) {
        auto item = std::make_unique<Item>();
        item->tenant = uint32_t(random.below(2));
        item->fingerprint = Digest{uint8_t(random.below(2))};
        const std::vector<uint32_t> tokens = made();
        item->tokens = std::make_shared<TokenRun>(uint32_t(tokens.size()));
        std::copy(tokens.begin(), tokens.end(), item->tokens->ids.get());
        item->tokens->filled = uint32_t(tokens.size());
        index.add(item->tenant, item->fingerprint, item->tokens, item->tokens->filled, *item);
        items.push_back(std::move(item));
      } else if (!items.empty() && random.chance(500)) {
        std::swap(items[random.below(items.size())], items.back());
        Item& item = *items.back();
        index.remove(item.tenant, item.fingerprint, item);
        items.pop_back();
      }
      const auto tenant = uint32_t(random.below(2));
      const Digest fingerprint{uint8_t(random.below(2))};
      const std::vector<uint32_t> query = made();
      size_t best = 0;
      for (const auto& item : items)
        if (item->tenant == tenant && item->fingerprint == fingerprint)
          best = std::max(best, common(item->plain(), query));
      const PrefixIndex::Match match = index.longest(tenant, fingerprint, query);
      ASSERT_EQ(match.matched, best) << "step " << step;
      ASSERT_EQ(match.entry == nullptr, best == 0);
      if (match.entry) {
        ++hits;
        const auto* item = static_cast<const Item*>(match.entry);
        ASSERT_EQ(item->tenant, tenant);
        ASSERT_EQ(item->fingerprint, fingerprint);
        ASSERT_EQ(common(item->plain(), query), best);
      }
    }
    EXPECT_GT(hits, 500u);
    for (const auto& item : items) index.remove(item->tenant, item->fingerprint, *item);
    EXPECT_EQ(index.node_count(), 0u);
  }
}

TEST_F(LatentTest, the_longest_stored_prefix_is_a_new_handle_on_whole_pages) {
  const std::vector<uint32_t> tokens = token_run(100);
  const LatentId latent = put(100, 1, tokens);
  const uint64_t used = pool->status().page_bytes_used;
  std::vector<uint32_t> query = token_run(200);
  LatentPool::Prefix hit = pool->longest_prefix(make_id(9, 1), latent_tenant, spec, query);
  EXPECT_EQ(hit.matched, 96u);
  EXPECT_NE(hit.latent, latent);
  EXPECT_EQ(info(hit.latent).tokens, 96u);
  EXPECT_EQ(info(hit.latent).owner, make_id(9, 1));
  EXPECT_EQ(read(hit.latent), first_tokens(spec, made_up(token_bytes(spec) * 100, 1), 96));
  EXPECT_EQ(pool->status().page_bytes_used, used);

  query[40] = 7;
  EXPECT_EQ(pool->longest_prefix(1, latent_tenant, spec, query).matched, 32u);
  query[15] = 7;
  hit = pool->longest_prefix(1, latent_tenant, spec, query);
  EXPECT_EQ(hit.matched, 0u);
  EXPECT_EQ(hit.latent, id_none);
  EXPECT_EQ(pool->longest_prefix(1, latent_tenant, spec, token_run(15)).matched, 0u);
  EXPECT_EQ(pool->longest_prefix(1, latent_tenant, spec, {}).matched, 0u);
}

TEST_F(LatentTest, a_prefix_is_seen_only_by_its_tenant_and_fingerprint) {
  const std::vector<uint32_t> tokens = token_run(32);
  put(32, 1, tokens);
  LatentSpec other = spec;
  other.model = "org/model@2";
  EXPECT_EQ(pool->longest_prefix(1, latent_tenant, spec, tokens).matched, 32u);
  EXPECT_EQ(pool->longest_prefix(1, latent_tenant + 1, spec, tokens).matched, 0u);
  EXPECT_EQ(pool->longest_prefix(1, 0, spec, tokens).matched, 0u);
  EXPECT_EQ(pool->longest_prefix(1, latent_tenant, other, tokens).matched, 0u);
}

TEST_F(LatentTest, a_prefix_leaves_the_index_with_its_last_handle_and_not_before) {
  const std::vector<uint32_t> tokens = token_run(32);
  const LatentId a = put(32, 1, tokens), b = put(32, 2, tokens);
  const LatentId c = pool->fork(a, latent_owner, latent_tenant);
  const auto matched = [&] {
    const LatentPool::Prefix hit = pool->longest_prefix(1, latent_tenant, spec, tokens);
    if (hit.latent != id_none) pool->release(hit.latent);
    return hit.matched;
  };
  for (const LatentId latent : {b, a, c}) {
    EXPECT_EQ(matched(), 32u);
    pool->release(latent);
  }
  EXPECT_EQ(matched(), 0u);
  EXPECT_EQ(pool->status().page_count, 0u);
}

TEST_F(LatentTest, a_fork_of_another_tenant_keeps_pages_but_not_the_prefix) {
  const std::vector<uint32_t> tokens = token_run(32);
  const LatentId latent = put(32, 1, tokens);
  pool->grant(latent, make_id(9, 1));
  const LatentId fork = pool->fork(latent, make_id(9, 1), 8);
  pool->release(latent);
  EXPECT_EQ(pool->longest_prefix(1, latent_tenant, spec, tokens).matched, 0u);
  EXPECT_EQ(pool->longest_prefix(1, 8, spec, tokens).matched, 0u);
  EXPECT_EQ(read(fork, 8), made_up(token_bytes(spec) * 32, 1));
}

TEST_F(LatentTest, ended_leases_unknown_tokens_and_shifted_positions_are_no_prefix) {
  const std::vector<uint32_t> tokens = token_run(64);
  const LatentId leased = put(64, 1, tokens, 2000);
  const LatentId shorter = put(32, 2, token_run(32));
  EXPECT_EQ(pool->longest_prefix(1, latent_tenant, spec, tokens).matched, 64u);
  clock->set(2000);
  EXPECT_EQ(pool->longest_prefix(1, latent_tenant, spec, tokens).matched, 32u);
  pool->release(leased);
  pool->release(shorter);

  open(1 << 20);
  const std::vector<uint8_t> kv = made_up(token_bytes(spec) * 64, 1);
  pool->put(latent_owner, latent_tenant, spec, kv, 64, tokens, 0, 16, 0);
  append(put(16, 1), 16, 2, 16, token_run(16, 16));
  EXPECT_EQ(pool->longest_prefix(1, latent_tenant, spec, tokens).matched, 0u);
  append(put(16, 1, token_run(16)), 16, 2, 16, token_run(16, 16));
  EXPECT_EQ(pool->longest_prefix(1, latent_tenant, spec, tokens).matched, 32u);
}

// Every handle is modelled by the plain bytes and tokens it stands for.
class LatentWalk : public LatentTest {
 protected:
  struct Plain {
    std::vector<uint8_t> kv;
    std::vector<uint32_t> tokens;
  };

  void start(uint64_t seed) {
    open(60 * page_bytes(), 40);
    random_ = Random(seed);
  }

  void step() {
    const uint64_t choice = random_.below(6);
    if (choice == 0 || model_.empty()) return put_some();
    const auto at = std::next(model_.begin(), ptrdiff_t(random_.below(model_.size())));
    if (choice == 1) return append_to(at->first, at->second);
    if (choice == 2) return slice_of(at->first, at->second);
    if (choice == 3)
      return keep([&] { return pool->fork(at->first, latent_owner, latent_tenant); }, at->second);
    if (choice == 4) {
      pool->release(at->first);
      model_.erase(at);
      return;
    }
    look_up();
  }

  void compare() {
    ASSERT_EQ(pool->status().handle_count, model_.size());
    for (const auto& [latent, plain] : model_)
      if (random_.chance(100)) {
        ASSERT_EQ(read(latent), plain.kv);
      }
  }

  void finish() {
    for (const auto& [latent, plain] : model_) {
      ASSERT_EQ(read(latent), plain.kv);
      pool->release(latent);
    }
    model_.clear();
    ASSERT_EQ(pool->status().page_bytes_used, 0u);
  }

  size_t refused = 0, hits = 0;

 private:
  // Token runs of two kinds, so that prefixes are often shared.
  std::vector<uint32_t> some_tokens() {
    std::vector<uint32_t> tokens(1 + random_.below(70), 5);
    tokens[0] = uint32_t(random_.below(2));
    return tokens;
  }
  std::vector<uint8_t> some_kv(size_t count) {
    return made_up(token_bytes(spec) * count, random_.next());
  }
  template <class Make>
  void keep(Make&& make, Plain plain) {
    try {
      model_[make()] = std::move(plain);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::quota_exceeded);
      ++refused;
    }
  }
  void put_some() {
    const Plain plain{{}, some_tokens()};
    const std::vector<uint8_t> kv = some_kv(plain.tokens.size());
    keep(
        [&] {
          return pool->put(latent_owner, latent_tenant, spec, kv, uint32_t(plain.tokens.size()),
                           plain.tokens, 0, 0, 0);
        },
        {kv, plain.tokens});
  }
  void append_to(LatentId latent, const Plain& plain) {
    const std::vector<uint32_t> tokens = some_tokens();
    const std::vector<uint8_t> kv = some_kv(tokens.size());
    Plain longer{joined(spec, plain.kv, kv), plain.tokens};
    longer.tokens.insert(longer.tokens.end(), tokens.begin(), tokens.end());
    keep(
        [&] {
          return pool->append(latent, latent_owner, latent_tenant, kv, uint32_t(tokens.size()),
                              tokens, 0, uint32_t(plain.tokens.size()));
        },
        longer);
  }
  void slice_of(LatentId latent, const Plain& plain) {
    const auto count = uint32_t(1 + random_.below(plain.tokens.size()));
    keep([&] { return pool->slice(latent, latent_owner, latent_tenant, count); },
         {first_tokens(spec, plain.kv, count),
          {plain.tokens.begin(), plain.tokens.begin() + count}});
  }
  void look_up() {
    const std::vector<uint32_t> tokens = some_tokens();
    size_t best = 0;
    for (const auto& [latent, plain] : model_) best = std::max(best, common(plain.tokens, tokens));
    if (best != 0 && model_.size() == 40) {  // No handle is left for the answer.
      const Error error =
          error_of([&] { pool->longest_prefix(latent_owner, latent_tenant, spec, tokens); });
      ASSERT_EQ(error.code(), ErrorCode::quota_exceeded);
      return;
    }
    const auto hit = pool->longest_prefix(latent_owner, latent_tenant, spec, tokens);
    ASSERT_EQ(hit.matched, best);
    if (hit.latent == id_none) return;
    const std::vector<uint8_t> bytes = read(hit.latent);
    const bool found = std::any_of(model_.begin(), model_.end(), [&](const auto& entry) {
      const Plain& plain = entry.second;
      return common(plain.tokens, tokens) == best &&
             first_tokens(spec, plain.kv, uint32_t(best)) == bytes;
    });
    ASSERT_TRUE(found);
    ++hits;
    pool->release(hit.latent);
  }

  Random random_{0};
  std::map<LatentId, Plain> model_;
};

TEST_F(LatentWalk, random_operations_agree_with_plain_vectors) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    start(seed);
    for (int i = 0; i < 1500; ++i) {
      step();
      compare();
      if (HasFatalFailure()) FAIL() << "seed " << seed << ", step " << i;
    }
    finish();
  }
  EXPECT_GT(refused, 400u);
  EXPECT_GT(hits, 400u);
}

TEST_F(LatentTest, four_threads_fork_read_append_and_release_the_same_latent) {
  const std::vector<uint32_t> tokens = token_run(40);
  const LatentId shared = put(40, 1, tokens);
  const std::vector<uint8_t> kv = made_up(token_bytes(spec) * 40, 1);
  std::vector<std::thread> threads;
  for (uint32_t thread = 0; thread < 4; ++thread)
    threads.emplace_back([&, thread] {
      const AgentId self = make_id(20 + thread, 1);
      for (uint64_t i = 0; i < 200; ++i) {
        const LatentId fork = pool->fork(shared, self, latent_tenant);
        const LatentId longer = append(fork, 5, i, 40, token_run(5, 40 + thread));
        pool->release(fork);
        EXPECT_EQ(read(longer), joined(spec, kv, made_up(token_bytes(spec) * 5, i)));
        const LatentPool::Prefix hit = pool->longest_prefix(self, latent_tenant, spec, tokens);
        EXPECT_EQ(hit.matched, 32u);
        pool->release(longer);
        EXPECT_EQ(read(hit.latent), first_tokens(spec, kv, 32));
        pool->release(hit.latent);
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(read(shared), kv);
  EXPECT_EQ(pool->status().handle_count, 1u);
  pool->release(shared);
  EXPECT_EQ(pool->status().page_count, 0u);
}

}  // namespace
}  // namespace hanse
