// Searches beside changes, and a graph that changes under them.
#include <algorithm>
#include <atomic>
#include <thread>

#include "base/random.hpp"
#include "capability/index.hpp"
#include "capability_calls.hpp"

namespace hanse {
namespace {

constexpr uint32_t dim = 32, k = 10;

std::vector<float> clustered(Random& random, size_t rows) {
  std::vector<float> vectors(rows * dim);
  for (size_t row = 0; row < rows; ++row) {
    Random centre(random.below(40));
    for (uint32_t i = 0; i < dim; ++i)
      vectors[row * dim + i] =
          float(centre.below(1000)) / 500 - 1 + (float(random.below(1000)) / 500 - 1) * 0.5f;
  }
  return vectors;
}

struct Found {
  std::vector<uint64_t> ids;
  std::vector<float> scores;
  std::vector<int32_t> counts;
};

Found search(const CapabilityIndex& index, const std::vector<float>& queries, const Feasible& f,
             double recall) {
  const size_t m = queries.size() / dim;
  Found found{std::vector<uint64_t>(m * k), std::vector<float>(m * k), std::vector<int32_t>(m)};
  SearchOptions options;
  options.recall = recall;
  index.search({queries.data(), m, dim}, {&f, 1}, options, {found.ids.data(), m, k},
               {found.scores.data(), m, k}, found.counts);
  return found;
}

// The share of scores that are at least the true k-th best one.
double recall_of(const CapabilityIndex& index, const std::vector<float>& queries,
                 const Feasible& f) {
  const Found found = search(index, queries, f, 0.95), exact = search(index, queries, f, 1);
  size_t good = 0, wanted = 0;
  for (size_t i = 0; i < exact.counts.size(); ++i) {
    EXPECT_EQ(found.counts[i], exact.counts[i]);
    const auto count = size_t(exact.counts[i]);
    wanted += count;
    for (size_t j = 0; j < count; ++j)
      good += found.scores[i * k + j] >= exact.scores[i * k + count - 1];
  }
  return wanted == 0 ? 1 : double(good) / double(wanted);
}

TEST(CapabilityChange, RecallHoldsThroughFullReplacementAndEveryShare) {
  CapabilityIndex index(dim, Metric::cosine);
  Random random(51);
  constexpr uint32_t count = 9000;
  std::vector<uint64_t> ids(count);
  std::vector<int64_t> price(count);
  for (uint32_t i = 0; i < count; ++i) ids[i] = i, price[i] = int64_t(random.below(10'000));
  std::vector<float> vectors = clustered(random, count);
  index.add(ids, {vectors.data(), count, dim}, {.price = {price}});
  const std::vector<float> queries = clustered(random, 60);
  for (int round = 0; round < 3; ++round) {
    for (const int64_t most : {10'000, 5'000, 1'000, 100, 10, 0}) {
      Feasible f;
      f.price_max = most;
      EXPECT_GE(recall_of(index, queries, f), 0.95) << "round " << round << " price " << most;
    }
    EXPECT_EQ(index.stats().pending, 0u);
    // Half leave and come back elsewhere, the other half is replaced where it stands.
    vectors = clustered(random, count);
    EXPECT_EQ(index.remove(std::span(ids).first(count / 2)), count / 2);
    index.upsert(ids, {vectors.data(), count, dim}, {.price = {price}});
  }
  EXPECT_GT(index.stats().plans[size_t(Plan::walk)], 0u);
  EXPECT_GT(index.stats().plans[size_t(Plan::codes)], 0u);
}

TEST(CapabilityChange, WhatWasWrittenIsFoundByTheNextSearch) {
  CapabilityIndex index(IndexOptions{.dim = dim, .background = true});
  Random random(52);
  for (uint32_t round = 0; round < 60; ++round) {
    std::vector<uint64_t> ids(200);
    for (uint32_t i = 0; i < 200; ++i) ids[i] = round * 100 + i;  // half of them are replaced
    const std::vector<float> vectors = clustered(random, 200);
    index.upsert(ids, {vectors.data(), 200, dim});
    const Feasible all;
    const std::vector<float> last(vectors.end() - ptrdiff_t(5 * dim), vectors.end());
    const Found found = search(index, last, all, 0.95);
    for (size_t i = 0; i < 5; ++i) EXPECT_EQ(found.ids[i * k], ids[195 + i]) << "round " << round;
    const std::vector<uint64_t> gone{ids[199]};
    index.remove(gone);
    const Found after = search(index, last, all, 0.95);
    EXPECT_EQ(std::count(after.ids.begin(), after.ids.end(), gone[0]), 0);
  }
}

TEST(CapabilityChange, ASearchNeverSeesARowInBetween) {
  CapabilityIndex index(IndexOptions{.dim = dim, .background = true});
  Random random(53);
  constexpr uint32_t count = 5000, moving = 40;
  std::vector<uint64_t> ids(count);
  for (uint32_t i = 0; i < count; ++i) ids[i] = i;
  // Vectors of the still ones have nothing in the first two components.
  std::vector<float> vectors = clustered(random, count);
  for (uint32_t i = 0; i < count; ++i) vectors[i * dim] = vectors[i * dim + 1] = 0;
  const std::vector<int64_t> dear{1'000'000};
  index.add(ids, {vectors.data(), count, dim}, {.price = {dear}});

  std::atomic<bool> stop{false};
  std::jthread writer([&] {
    std::vector<uint64_t> few(ids.begin(), ids.begin() + moving);
    std::vector<float> here(moving * dim), there(moving * dim);
    for (uint32_t i = 0; i < moving; ++i) here[i * dim] = there[i * dim + 1] = 1;
    const std::vector<int64_t> one{1}, two{2};
    for (int round = 0; round < 150; ++round) {
      index.upsert(few, {here.data(), moving, dim}, {.price = {one}});
      index.upsert(few, {there.data(), moving, dim}, {.price = {two}});
      if (round % 10 == 0) index.remove(few);
      if (round % 16 == 0) index.audit(2);
    }
    stop = true;
  });
  std::jthread prices([&] {
    std::vector<int64_t> price(count - moving);
    const std::vector<uint64_t> rest(ids.begin() + moving, ids.end());
    Random values(54);
    while (!stop) {
      for (int64_t& value : price) value = 500'000 + int64_t(values.below(500'000));
      index.update(rest, {.price = {price}});
    }
  });
  std::vector<float> query(2 * dim);
  query[0] = query[dim + 1] = 1;
  Feasible first, cheap;
  first.price_max = 1;
  cheap.price_max = 500'000 - 1;
  while (!stop) {
    const Found at_one = search(index, query, first, 0.95);
    for (int32_t j = 0; j < at_one.counts[0]; ++j) EXPECT_EQ(at_one.scores[size_t(j)], 1);
    for (int32_t j = 0; j < at_one.counts[1]; ++j) EXPECT_EQ(at_one.scores[k + size_t(j)], 0);
    const Found found = search(index, query, cheap, 0.95);
    for (size_t i = 0; i < 2; ++i)
      for (int32_t j = 0; j < found.counts[i]; ++j) EXPECT_LT(found.ids[i * k + size_t(j)], moving);
  }
}

TEST(CapabilityChange, TheAuditAgreesWithTheTruth) {
  CapabilityIndex index(dim, Metric::cosine);
  Random random(55);
  constexpr uint32_t count = 6000;
  std::vector<uint64_t> ids(count);
  for (uint32_t i = 0; i < count; ++i) ids[i] = i;
  const std::vector<float> vectors = clustered(random, count);
  index.add(ids, {vectors.data(), count, dim});
  EXPECT_EQ(index.stats().recall_estimate, -1);
  const std::vector<float> queries = clustered(random, 12'800);
  const Feasible all;
  const double truth = recall_of(index, queries, all);
  EXPECT_EQ(index.audit(1000), 200u);
  EXPECT_NEAR(index.stats().recall_estimate, truth, 0.01);
  EXPECT_EQ(index.audit(1000), 0u);
}

}  // namespace
}  // namespace hanse
