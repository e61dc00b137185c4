#include "latent/device_tier.hpp"

#include "base/error.hpp"
#include "base/random.hpp"
#include "device_under_test.hpp"

namespace hanse {
namespace {

constexpr DeviceTierOptions small{.page_bytes = 100, .page_count = 3, .staging_count = 2};

std::vector<uint8_t> bytes_of(uint8_t value, size_t count = small.page_bytes) {
  return std::vector<uint8_t>(count, value);
}

std::vector<uint8_t> load(DeviceTier& tier, uint32_t tenant, DevicePage page) {
  std::vector<uint8_t> out(small.page_bytes);
  tier.load(tenant, page, out);
  return out;
}

template <class Call>
void expect_error(ErrorCode code, const Call& call) {
  try {
    call();
    ADD_FAILURE() << "nothing was refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
  }
}

TEST(DeviceTier, GivesBackTheBytesThatWereStored) {
  HANSE_DEVICE_OR_SKIP(table);
  in_each_order([&] {
    DeviceTier tier(table, small);
    const DevicePage first = tier.take(1), second = tier.take(2);
    // More copies than staging, so that some wait.
    for (uint8_t round = 1; round <= 5; ++round) {
      std::vector<uint8_t> bytes = bytes_of(round);
      tier.store(1, first, bytes);
      std::fill(bytes.begin(), bytes.end(), uint8_t(99));  // was read before the call returned
      tier.store(2, second, bytes_of(uint8_t(round + 50)));
    }
    EXPECT_EQ(load(tier, 1, first), bytes_of(5));
    EXPECT_EQ(load(tier, 2, second), bytes_of(55));
  });
}

TEST(DeviceTier, ShowsNoTenantWhatAnotherLeft) {
  HANSE_DEVICE_OR_SKIP(table);
  in_each_order([&] {
    DeviceTier tier(table, small);
    EXPECT_EQ(load(tier, 7, tier.take(7)), bytes_of(0));  // nor what another process left
    std::vector<DevicePage> pages = {tier.take(1), tier.take(1)};
    for (const DevicePage page : pages) tier.store(1, page, bytes_of(0x5e));
    for (const DevicePage page : pages) tier.give_back(1, page);
    // A tenant's own page comes first, and as it was.
    const DevicePage again = tier.take(1);
    EXPECT_EQ(load(tier, 1, again), bytes_of(0x5e));
    EXPECT_EQ(tier.counts().zeroed, 0u);
    const DevicePage other = tier.take(2);
    EXPECT_EQ(load(tier, 2, other), bytes_of(0));
    EXPECT_EQ(tier.counts().zeroed, 1u);
  });
}

TEST(DeviceTier, LendsAPageToOneTenantAtATime) {
  HANSE_DEVICE_OR_SKIP(table);
  DeviceTier tier(table, small);
  const DevicePage page = tier.take(1);
  const std::vector<uint8_t> bytes = bytes_of(1);
  std::vector<uint8_t> out(small.page_bytes);
  expect_error(ErrorCode::not_permitted, [&] { tier.store(2, page, bytes); });
  expect_error(ErrorCode::not_permitted, [&] { tier.load(2, page, out); });
  expect_error(ErrorCode::not_permitted, [&] { tier.give_back(2, page); });
  tier.give_back(1, page);
  expect_error(ErrorCode::not_permitted, [&] { tier.give_back(1, page); });
  expect_error(ErrorCode::not_permitted, [&] { tier.load(1, page, out); });
}

TEST(DeviceTier, RefusesMoreThanItHasAndSizesThatAreNone) {
  HANSE_DEVICE_OR_SKIP(table);
  DeviceTier tier(table, small);
  for (uint32_t i = 0; i < small.page_count; ++i) tier.take(1);
  expect_error(ErrorCode::quota_exceeded, [&] { tier.take(1); });
  expect_error(ErrorCode::out_of_range, [&] { tier.give_back(1, small.page_count); });
  expect_error(ErrorCode::too_large, [&] { tier.store(1, 0, bytes_of(1, 101)); });
  EXPECT_EQ(tier.counts().lent, 3u);
  expect_error(ErrorCode::out_of_range, [&] { DeviceTier none(table, {0, 1, 1}); });
  expect_error(ErrorCode::out_of_range, [&] { DeviceTier none(table, {1, 0, 1}); });
  expect_error(ErrorCode::out_of_range, [&] { DeviceTier none(table, {1, 1, 0}); });
  expect_error(ErrorCode::device_failed,
               [&] { DeviceTier huge(table, {uint64_t(1) << 50, 1, 1}); });
}

}  // namespace
}  // namespace hanse
