// A saved index comes back as it was, or is refused.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "base/hash.hpp"
#include "base/random.hpp"
#include "capability/index.hpp"
#include "capability/snapshot.hpp"
#include "capability_calls.hpp"

namespace hanse {
namespace {

constexpr uint32_t dim = 20;

std::vector<float> numbers(Random& random, size_t rows) {
  std::vector<float> vectors(rows * dim);
  for (float& x : vectors) x = float(random.below(1000)) / 500 - 1;
  return vectors;
}

std::unique_ptr<CapabilityIndex> filled(uint32_t count) {
  auto index = std::make_unique<CapabilityIndex>(dim, Metric::cosine);
  Random random(41);
  std::vector<uint64_t> ids;
  std::vector<int64_t> price;
  std::vector<float> load;
  for (uint32_t i = 0; i < count; ++i) {
    ids.push_back(random.next());
    price.push_back(int64_t(random.below(100)));
    load.push_back(float(random.below(10)));
  }
  const std::vector<float> vectors = numbers(random, count);
  index->add(ids, {vectors.data(), count, dim}, {.price = {price}, .load = {load}});
  ids.resize(count / 10);
  index->remove(ids);
  return index;
}

struct Answers {
  std::vector<uint64_t> ids;
  std::vector<float> scores;
  std::vector<int32_t> counts;
  bool operator==(const Answers&) const = default;
};

Answers answers(const CapabilityIndex& index) {
  constexpr uint32_t m = 12, k = 9;
  Random random(42);
  const std::vector<float> queries = numbers(random, m);
  std::vector<Feasible> feasible(m);
  for (Feasible& f : feasible) f.price_max = int64_t(random.below(100)), f.load_max = 7;
  SearchOptions options;
  options.k = k;
  options.recall = 1;
  Answers a{std::vector<uint64_t>(m * k), std::vector<float>(m * k), std::vector<int32_t>(m)};
  index.search({queries.data(), m, dim}, feasible, options, {a.ids.data(), m, k},
               {a.scores.data(), m, k}, a.counts);
  return a;
}

struct TemporaryFolder {
  std::filesystem::path path =
      std::filesystem::temp_directory_path() /
      ("hanse-snapshot-" +
       std::string(testing::UnitTest::GetInstance()->current_test_info()->name()) + "-" +
       std::to_string(reinterpret_cast<uintptr_t>(this)));
  TemporaryFolder() { std::filesystem::create_directories(path); }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }
  std::string file(const char* name) const { return (path / name).string(); }
};

TEST(CapabilitySnapshot, ASavedIndexComesBackAsItWas) {
  const TemporaryFolder folder;
  for (const uint32_t count : {0u, 1u, 300u, 9000u}) {
    const auto index = filled(count);
    const Answers before = answers(*index);
    index->save(folder.file("index"));
    for (const bool view : {false, true}) {
      const auto again = CapabilityIndex::load(folder.file("index"), view, false);
      EXPECT_EQ(again->count(), index->count());
      EXPECT_EQ(answers(*again), before);
      // Changes go on where they stopped, and stay out of the file.
      const std::vector<uint64_t> one{count + 5};
      const std::vector<float> vector(dim, 1);
      again->add(one, {vector.data(), 1, dim});
      index->add(one, {vector.data(), 1, dim});
      EXPECT_EQ(answers(*again), answers(*index));
      EXPECT_EQ(again->place_count(), index->place_count());
      index->remove(one);
    }
    EXPECT_EQ(answers(*CapabilityIndex::load(folder.file("index"), true, false)), before);
    EXPECT_EQ(answers(*CapabilityIndex::from_bytes(index->to_bytes(), false)), before);
  }
}

TEST(CapabilitySnapshot, ATruncatedOrExtendedFileIsRefused) {
  const std::vector<uint8_t> image = filled(80)->to_bytes();
  const auto read = [](Bytes bytes) { return CapabilityIndex::from_bytes(bytes, false); };
  EXPECT_EQ(read(image)->count(), 72u);
  for (size_t size = 0; size < image.size(); size += 1 + size / 50)
    expect_error(ErrorCode::corrupt, "path", "bytes at byte ",
                 [&] { read(Bytes(image).first(size)); });
  std::vector<uint8_t> longer = image;
  longer.push_back(0);
  expect_error(ErrorCode::corrupt, "path", "ends here", [&] { read(longer); });
}

TEST(CapabilitySnapshot, AnyFlippedBitIsRefused) {
  std::vector<uint8_t> image = filled(40)->to_bytes();
  Random random(43);
  for (int round = 0; round < 600; ++round) {
    const size_t at = random.below(image.size());
    const auto bit = uint8_t(1 << random.below(8));
    image[at] ^= bit;
    try {
      CapabilityIndex::from_bytes(image, false);
      ADD_FAILURE() << "byte " << at << " was taken";
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ErrorCode::corrupt || error.code() == ErrorCode::log_version);
      EXPECT_EQ(error.field(), "path");
    }
    image[at] ^= bit;
  }
}

TEST(CapabilitySnapshot, ForgedChecksumsDoNotMakeNonsensePass) {
  const std::vector<uint8_t> sound = filled(30)->to_bytes();
  Random random(44);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint8_t> image = sound;
    const size_t end = 4096 + 30 * 64 + 3 * 4;
    const size_t at = random.chance(300) ? 12 + random.below(52) : 4096 + random.below(end - 4096);
    image[at] = uint8_t(random.next());
    const uint32_t records_crc = crc32c(Bytes(image).subspan(4096, end - 4096));
    std::memcpy(image.data() + 68, &records_crc, 4);
    const uint32_t crc = crc32c(Bytes(image).first(4092));
    std::memcpy(image.data() + 4092, &crc, 4);
    try {
      answers(*CapabilityIndex::from_bytes(image, false));  // taken: then it must be sound
    } catch (const Error& error) {
      EXPECT_EQ(error.field(), "path") << error.what();
    }
  }
}

TEST(CapabilitySnapshot, AForeignOrMissingFileIsNamed) {
  const TemporaryFolder folder;
  const auto load = [&](const char* name) {
    return CapabilityIndex::load(folder.file(name), true, false);
  };
  std::ofstream(folder.file("text")) << std::string(10'000, 'x');
  std::ofstream(folder.file("empty"));
  expect_error(ErrorCode::corrupt, "path", "text at byte 0", [&] { load("text"); });
  expect_error(ErrorCode::corrupt, "path", "empty at byte 0", [&] { load("empty"); });
  expect_error(ErrorCode::unusable_directory, "path", "missing", [&] { load("missing"); });
  expect_error(ErrorCode::unusable_directory, "path", "", [&] { load(""); });
  const auto index = filled(3);
  expect_error(ErrorCode::unusable_directory, "path", "nowhere",
               [&] { index->save(folder.file("nowhere/index")); });
}

}  // namespace
}  // namespace hanse
