// What is evicted goes to disk, and comes back as it was or not at all.
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "latent_fixture.hpp"

namespace hanse {

namespace {

namespace fs = std::filesystem;

class LatentSpillTest : public LatentTest {
 protected:
  void SetUp() override {
    directory = fs::temp_directory_path() / ("hanse_spill_" + std::to_string(getpid()));
    fs::remove_all(directory);
    pool->spill_to({directory.string(), uint64_t(1) << 30, uint64_t(1) << 30});
  }
  void TearDown() override {
    pool.reset();
    fs::remove_all(directory);
  }
  // A kept one that nobody holds.
  void keep(uint32_t count, uint64_t seed, std::span<const uint32_t> tokens,
            uint64_t lease_ns = 0) {
    const LatentId latent = put(count, seed, tokens, lease_ns);
    pool->keep(latent, latent_owner, latent_tenant, 0, false);
    pool->release(latent);
  }
  void spill() {
    pool->evict(latent_tenant, UINT64_MAX);
    settle();
  }
  // Until nothing waits to be written.
  void settle() {
    while (pool->status().spilling_bytes != 0) std::this_thread::yield();
  }
  LatentPool::Prefix fetch(std::span<const uint32_t> tokens, uint32_t tenant = latent_tenant) {
    return pool->fetch(latent_owner, tenant, latent_fingerprint(spec), tokens,
                       uint64_t(60) * 1'000'000'000);
  }
  size_t file_count() const {
    size_t count = 0;
    for (const auto& file : fs::directory_iterator(directory))
      count += file.path().extension() == ".latent";
    return count;
  }
  fs::path only_file() const {
    for (const auto& file : fs::directory_iterator(directory))
      if (file.path().extension() == ".latent") return file.path();
    return {};
  }

  fs::path directory;
};

TEST_F(LatentSpillTest, WhatWasEvictedComesBackWithItsBytesAndAllThatWasSaidOfIt) {
  const auto tokens = token_run(50);
  const std::vector<uint8_t> kv = made_up(token_bytes(spec) * 50, 7);
  LatentTerms terms;
  terms.tokens = tokens;
  terms.label = 5;
  terms.price = 9;
  terms.gloss = "a thought";
  const LatentLayout layout(spec);
  const LatentId latent =
      pool->put(latent_owner, latent_tenant, spec,
                layout.contiguous(const_cast<uint8_t*>(kv.data()), 50), 50, terms);
  const LatentInfo before = info(latent);
  pool->keep(latent, latent_owner, latent_tenant, 0, false);
  pool->release(latent);
  spill();
  EXPECT_EQ(pool->status().page_count, 0u);
  EXPECT_EQ(pool->status().spilled_count, 1u);
  EXPECT_EQ(pool->match(latent_tenant, before.fingerprint, tokens), 0u);
  EXPECT_EQ(pool->expect(latent_tenant, before.fingerprint, tokens), 48u);

  const auto found = fetch(tokens);
  ASSERT_EQ(found.matched, 48u);
  EXPECT_EQ(read(found.latent), first_tokens(spec, kv, 48));
  const LatentInfo after = info(found.latent);
  EXPECT_EQ(after.parent, before.content);
  EXPECT_EQ(after.label, 5u);
  EXPECT_EQ(after.price, 9u);
  EXPECT_EQ(after.gloss, "a thought");
  EXPECT_EQ(after.shares[0].producer, latent_owner);
  EXPECT_EQ(pool->status().spilled_count, 0u);
  EXPECT_EQ(file_count(), 0u);
  pool->release(found.latent);
  spill();
  EXPECT_EQ(file_count(), 1u);
}

TEST_F(LatentSpillTest, EvictionsForRoomSpillToo) {
  TearDown();
  clock = std::make_shared<ManualClock>(1000);
  open(page_bytes() * 4);
  pool->spill_to({directory.string(), uint64_t(1) << 30, uint64_t(1) << 30});
  for (uint32_t i = 0; i < 12; ++i) {
    keep(32, i, token_run(32, 1000 * i));
    EXPECT_LE(pool->status().page_bytes_used, page_bytes() * 4);
  }
  settle();
  // At most two pages each may be kept.
  EXPECT_EQ(pool->status().spilled_count, 11u);
  for (uint32_t i = 0; i < 12; ++i) {
    const auto found = fetch(token_run(32, 1000 * i));
    ASSERT_EQ(found.matched, 32u) << i;
    EXPECT_EQ(read(found.latent), made_up(token_bytes(spec) * 32, i));
    pool->release(found.latent);
  }
  EXPECT_EQ(pool->status().spill_lost_count, 0u);
  EXPECT_EQ(pool->status().spill_dropped_count, 0u);
}

TEST_F(LatentSpillTest, AnAlteredCutOrMissingFileIsAMiss) {
  const auto tokens = token_run(32);
  for (int way = 0; way < 3; ++way) {
    keep(32, 1, tokens);
    spill();
    const fs::path path = only_file();
    if (way == 0) {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(100);
      file.put('x');
    } else if (way == 1) {
      fs::resize_file(path, 100);
    } else {
      fs::remove(path);
    }
    EXPECT_EQ(fetch(tokens).matched, 0u);
    EXPECT_EQ(pool->status().spill_lost_count, uint64_t(way + 1));
    EXPECT_EQ(pool->status().spilled_count, 0u);
    EXPECT_EQ(pool->status().page_count, 0u);
    EXPECT_EQ(file_count(), 0u);
  }
}

TEST_F(LatentSpillTest, AFullDiskDropsAndCounts) {
  rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const auto old = std::signal(SIGXFSZ, SIG_IGN);
  rlimit none = before;
  none.rlim_cur = 0;
  keep(32, 1, token_run(32));
  setrlimit(RLIMIT_FSIZE, &none);
  spill();
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old);
  EXPECT_EQ(pool->status().spill_dropped_count, 1u);
  EXPECT_EQ(pool->status().page_count, 0u);
  EXPECT_EQ(file_count(), 0u);
  EXPECT_EQ(fetch(token_run(32)).matched, 0u);
}

TEST_F(LatentSpillTest, FilesAndWhatWaitsAreBounded) {
  TearDown();
  const uint64_t one = token_bytes(spec) * 32;
  pool = std::make_unique<LatentPool>(LatentPoolOptions{}, clock, 42);
  pool->spill_to({directory.string(), 3 * one, one});
  for (uint32_t i = 0; i < 8; ++i) {
    keep(32, i, token_run(32, 1000 * i));
    spill();
    EXPECT_LE(pool->status().spilled_bytes, 3 * one);
    EXPECT_LE(file_count(), 3u);
  }
  EXPECT_EQ(pool->status().spill_dropped_count, 5u);
  EXPECT_EQ(fetch(token_run(32, 0)).matched, 0u);  // The oldest went first.
  EXPECT_EQ(fetch(token_run(32, 7000)).matched, 32u);
  // More than may wait at a time is dropped at once.
  keep(64, 9, token_run(64, 9000));
  pool->evict(latent_tenant, UINT64_MAX);
  EXPECT_GE(pool->status().spill_dropped_count, 6u);
  settle();
}

TEST_F(LatentSpillTest, ALookUpThatMissesBeginsToReadAndAnotherTenantFindsNothing) {
  const auto tokens = token_run(32);
  keep(32, 1, tokens);
  spill();
  EXPECT_EQ(fetch(tokens, latent_tenant + 1).matched, 0u);
  EXPECT_EQ(pool->longest_prefix(latent_owner, latent_tenant + 1, spec, tokens).matched, 0u);
  EXPECT_EQ(pool->status().spill_loaded_count, 0u);
  EXPECT_EQ(pool->longest_prefix(latent_owner, latent_tenant, spec, tokens).matched, 0u);
  while (pool->status().spill_loaded_count == 0) std::this_thread::yield();
  EXPECT_EQ(pool->match(latent_tenant, latent_fingerprint(spec), tokens), 32u);
}

TEST_F(LatentSpillTest, WhatHasNoTokensIsFoundByItsStepAgain) {
  keep(20, 77, {});
  spill();
  const auto find = [&] {
    return pool->find_step(latent_owner, latent_tenant, spec, {}, latent_owner, 77);
  };
  EXPECT_EQ(find(), id_none);
  while (pool->status().spill_loaded_count == 0) std::this_thread::yield();
  const LatentId found = find();
  ASSERT_NE(found, id_none);
  EXPECT_EQ(read(found), made_up(token_bytes(spec) * 20, 77));
}

TEST_F(LatentSpillTest, AnEndedLeaseDoesNotComeBack) {
  keep(32, 1, token_run(32), 5000);
  spill();
  clock->set(6000);
  EXPECT_EQ(fetch(token_run(32)).matched, 0u);
  EXPECT_EQ(pool->status().spill_lost_count, 0u);
  EXPECT_EQ(file_count(), 0u);
}

TEST_F(LatentSpillTest, WithoutRoomInMemoryItStaysOnDisk) {
  keep(32, 1, token_run(32));
  spill();
  pool->set_quota(latent_tenant, 1);
  EXPECT_EQ(fetch(token_run(32)).matched, 0u);
  pool->set_quota(latent_tenant, 1 << 20);
  EXPECT_EQ(fetch(token_run(32)).matched, 32u);
}

TEST_F(LatentSpillTest, TwoOfTheSameBytesShareAFile) {
  keep(32, 1, token_run(32, 0));
  keep(32, 1, token_run(32, 1000));
  spill();
  EXPECT_EQ(file_count(), 1u);
  EXPECT_EQ(fetch(token_run(32, 0)).matched, 32u);
  EXPECT_EQ(file_count(), 1u);
  EXPECT_EQ(fetch(token_run(32, 1000)).matched, 32u);
  EXPECT_EQ(file_count(), 0u);
}

TEST_F(LatentSpillTest, ADirectoryBelongsToOnePoolAndLeftoversGo) {
  LatentPool other({}, clock, 1);
  EXPECT_EQ(error_of([&] { other.spill_to({directory.string(), 1, 1}); }).code(),
            ErrorCode::locked);
  EXPECT_EQ(error_of([&] { pool->spill_to({directory.string() + "x", 1, 1}); }).code(),
            ErrorCode::illegal_transition);
  fs::remove_all(directory.string() + "x");
  EXPECT_EQ(error_of([&] { other.spill_to({"/proc/none", 1, 1}); }).code(),
            ErrorCode::unusable_directory);
  EXPECT_EQ(error_of([&] { other.spill_to({directory.string(), 0, 1}); }).code(),
            ErrorCode::out_of_range);
  const fs::path left = directory / ("hanse-" + std::string(64, 'a') + ".latent");
  const fs::path foreign = directory / "mine.latent";
  pool.reset();
  std::ofstream(left) << "x";
  std::ofstream(foreign) << "x";
  other.spill_to({directory.string(), 1 << 20, 1 << 20});
  EXPECT_FALSE(fs::exists(left));
  EXPECT_TRUE(fs::exists(foreign));
}

TEST_F(LatentSpillTest, ClosingWhileMuchWaitsEndsAtOnceAndLeavesNoFile) {
  for (uint32_t i = 0; i < 100; ++i) keep(64, i, token_run(64, 1000 * i));
  pool->evict(latent_tenant, UINT64_MAX);
  pool.reset();
  EXPECT_EQ(file_count(), 0u);
}

}  // namespace

}  // namespace hanse
