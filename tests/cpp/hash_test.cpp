#include "base/hash.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/cpu.hpp"
#include "base/error.hpp"
#include "base/hash_tables.hpp"
#include "base/random.hpp"

namespace hanse {
namespace {

Bytes bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::vector<uint8_t> random_bytes(Random& random, size_t size) {
  std::vector<uint8_t> bytes(size);
  for (uint8_t& byte : bytes) byte = uint8_t(random.next());
  return bytes;
}

TEST(Sha256, AgreesWithTheNistVectors) {
  EXPECT_EQ(hex(sha256({})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex(sha256(bytes_of("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(sha256(bytes_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hex(sha256(bytes_of("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmno"
                                "ijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"))),
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  EXPECT_EQ(hex(sha256(bytes_of(std::string(1'000'000, 'a')))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowTheInputIsCut) {
  Random random(1);
  const auto bytes = random_bytes(random, 500);
  for (size_t size = 0; size <= bytes.size(); size += 1 + random.below(3)) {
    const Bytes whole(bytes.data(), size);
    Sha256 hash;
    for (size_t at = 0; at < size;) {
      const size_t step = std::min(size - at, size_t(random.below(150)));
      hash.update(whole.subspan(at, step));
      at += step;
    }
    EXPECT_EQ(hash.finish(), sha256(whole)) << size;
    EXPECT_EQ(hash.update(whole).finish(), sha256(whole)) << "finish starts anew";
  }
}

TEST(Sha256, PortableAndShaExtensionsAgree) {
  if (!cpu_has_sha()) GTEST_SKIP() << "this machine has no SHA extensions";
#if defined(__x86_64__)
  Random random(2);
  for (int round = 0; round < 500; ++round) {
    const size_t block_count = 1 + random.below(9);
    const auto blocks = random_bytes(random, block_count * 64);
    uint32_t portable[8], extension[8];
    for (size_t i = 0; i < 8; ++i) portable[i] = extension[i] = uint32_t(random.next());
    sha256_blocks_portable(portable, blocks.data(), block_count);
    sha256_blocks_sha(extension, blocks.data(), block_count);
    for (size_t i = 0; i < 8; ++i) ASSERT_EQ(portable[i], extension[i]) << "round " << round;
  }
#endif
}

TEST(Crc32c, AgreesWithTheVectorsOfRfc3720) {
  std::vector<uint8_t> rising(32), falling(32);
  for (size_t i = 0; i < 32; ++i) rising[i] = uint8_t(i), falling[i] = uint8_t(31 - i);
  for (const auto& crc : {crc32c_portable, hash_table().crc32c}) {
    EXPECT_EQ(crc(std::vector<uint8_t>(32, 0x00), 0), 0x8a9136aau);
    EXPECT_EQ(crc(std::vector<uint8_t>(32, 0xff), 0), 0x62a8ab43u);
    EXPECT_EQ(crc(rising, 0), 0x46dd794eu);
    EXPECT_EQ(crc(falling, 0), 0x113fdb5cu);
    EXPECT_EQ(crc(bytes_of("123456789"), 0), 0xe3069283u);
    EXPECT_EQ(crc({}, 0), 0u);
  }
}

TEST(Crc32c, ContinuesFromAnEarlierValueInEveryImplementation) {
  Random random(3);
  for (int round = 0; round < 500; ++round) {
    const auto bytes = random_bytes(random, random.below(400));
    const size_t cut = random.below(bytes.size() + 1);
    const Bytes whole(bytes);
    const uint32_t expected = crc32c_portable(whole, 0);
    EXPECT_EQ(crc32c(whole), expected);
    EXPECT_EQ(crc32c(whole.subspan(cut), crc32c(whole.first(cut))), expected);
    EXPECT_EQ(crc32c_portable(whole.subspan(cut), crc32c_portable(whole.first(cut), 0)), expected);
  }
}

TEST(CpuLevel, CanBeForcedDownButNotUp) {
  EXPECT_EQ(choose_cpu_level(nullptr, CpuLevel::avx512), CpuLevel::avx512);
  EXPECT_EQ(choose_cpu_level("", CpuLevel::avx2), CpuLevel::avx2);
  EXPECT_EQ(choose_cpu_level("avx2", CpuLevel::avx512), CpuLevel::avx2);
  EXPECT_EQ(choose_cpu_level("baseline", CpuLevel::neon), CpuLevel::baseline);
  EXPECT_EQ(choose_cpu_level("neon", CpuLevel::neon), CpuLevel::neon);
}

void expect_refused(const char* forced, CpuLevel best) {
  try {
    choose_cpu_level(forced, best);
    FAIL() << forced << " was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::out_of_range);
    EXPECT_EQ(error.field(), "HANSE_CPU");
    EXPECT_NE(error.detail().find(forced), std::string::npos) << error.what();
  }
}

TEST(CpuLevel, RefusesWhatIsUnknownOrNotThere) {
  expect_refused("sse9", CpuLevel::avx512);
  expect_refused("AVX2", CpuLevel::avx512);
  expect_refused("avx512", CpuLevel::avx2);
  expect_refused("avx2", CpuLevel::baseline);
  expect_refused("neon", CpuLevel::avx512);
  expect_refused("avx2", CpuLevel::neon);
}

}  // namespace
}  // namespace hanse
