#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>

#include "base/random.hpp"
#include "capability/index.hpp"
#include "capability_calls.hpp"

namespace hanse {
namespace {

struct FoundIds {
  std::vector<uint64_t> ids;
  std::vector<float> scores;
  std::vector<int32_t> counts;
};

FoundIds search(const CapabilityIndex& index, const std::vector<float>& queries, uint32_t k,
                uint32_t threads = 1) {
  const size_t m = queries.size() / index.dim();
  FoundIds found{std::vector<uint64_t>(m * k), std::vector<float>(m * k), std::vector<int32_t>(m)};
  const Feasible all;
  SearchOptions options;
  options.k = k;
  options.threads = threads;
  index.search({queries.data(), m, index.dim()}, {&all, 1}, options, {found.ids.data(), m, k},
               {found.scores.data(), m, k}, found.counts);
  return found;
}

MatrixView<const float> view(const std::vector<float>& v, size_t dim) {
  return {v.data(), v.size() / dim, dim};
}

TEST(CapabilityIndex, FindsTheNearestAndPadsTheRest) {
  CapabilityIndex index(2, Metric::cosine);
  const std::vector<uint64_t> ids{70, 80};
  index.add(ids, view({3, 0, 0, 5}, 2));
  const FoundIds found = search(index, {0, 1}, 3);
  EXPECT_EQ(found.ids, (std::vector<uint64_t>{80, 70, 0}));
  EXPECT_EQ(found.scores, (std::vector<float>{1, 0, -std::numeric_limits<float>::infinity()}));
  EXPECT_EQ(found.counts, std::vector<int32_t>{2});
  EXPECT_EQ(index.get(80), (std::vector<float>{0, 1}));
}

TEST(CapabilityIndex, TiesGoToTheIdThatWasAddedFirst) {
  CapabilityIndex index(1, Metric::inner_product);
  const std::vector<uint64_t> ids{9, 3, 5};
  index.add(ids, view({1, 1, 1}, 1));
  EXPECT_EQ(search(index, {1}, 3).ids, (std::vector<uint64_t>{9, 3, 5}));
  const std::vector<uint64_t> first{9}, other{4};
  EXPECT_EQ(index.remove(first), 1u);
  index.add(other, view({1}, 1));  // takes the freed row, not its place
  index.add(first, view({1}, 1));
  EXPECT_EQ(search(index, {1}, 4).ids, (std::vector<uint64_t>{3, 5, 4, 9}));
}

TEST(CapabilityIndex, RefusedAddsChangeNothing) {
  CapabilityIndex index(2, Metric::cosine);
  const std::vector<uint64_t> one{1}, two{2, 1}, twice{5, 5}, fresh{6, 7};
  index.add(one, view({1, 0}, 2));
  using enum ErrorCode;
  expect_error(name_taken, "ids", "", [&] { index.add(two, view({1, 0, 0, 1}, 2)); });
  expect_error(bad_array, "ids", "", [&] { index.add(twice, view({1, 0, 0, 1}, 2)); });
  expect_error(bad_array, "ids", "", [&] { index.upsert(twice, view({1, 0, 0, 1}, 2)); });
  expect_error(bad_array, "vectors", "", [&] { index.add(fresh, view({1, 0}, 2)); });
  expect_error(bad_vector, "vectors", "", [&] { index.add(fresh, view({1, 0, 0, 0}, 2)); });
  expect_error(dimension_mismatch, "vectors", "",
               [&] { index.add(fresh, view({1, 0, 1, 0, 1, 1}, 3)); });
  expect_error(unknown_offer, "id", "", [&] { index.get(2); });
  expect_error(out_of_range, "dim", "", [] { CapabilityIndex(0, Metric::cosine); });
  expect_error(out_of_range, "dim", "", [] { CapabilityIndex(4097, Metric::cosine); });
  expect_error(out_of_range, "k", "", [&] { search(index, {1, 0}, 0); });
  expect_error(bad_vector, "queries", "", [&] { search(index, {0, 0}, 1); });
  EXPECT_EQ(index.count(), 1u);
  EXPECT_FALSE(index.contains(6));
}

TEST(CapabilityIndex, ChurnAgreesWithAModelAndDoesNotGrow) {
  constexpr uint32_t dim = 6;
  CapabilityIndex index(dim, Metric::inner_product);
  std::map<uint64_t, std::pair<uint64_t, std::vector<float>>> model;  // id -> (added, vector)
  Random random(21);
  uint64_t added = 0, memory = 0;
  for (int step = 0; step < 3000; ++step) {
    const std::vector<uint64_t> id{1 + random.below(400)};
    std::vector<float> vector(dim);
    for (float& x : vector) x = float(random.below(7)) - 3;
    vector[0] += 4;
    if (random.chance(450)) {
      EXPECT_EQ(index.remove(id), model.erase(id[0]));
    } else {
      index.upsert(id, view(vector, dim));
      auto [place, is_new] = model.try_emplace(id[0], added, vector);
      place->second.second = vector;
      added += is_new;
    }
    ASSERT_EQ(index.count(), model.size());
    if (step == 1000) memory = index.memory_bytes();
    if (step % 50 != 0 || model.empty()) continue;

    std::vector<float> query(dim, 1);
    query[2] = float(random.below(5)) - 2;
    struct Row {
      float score;
      uint64_t added, id;
    };
    std::vector<Row> rows;
    for (const auto& [key, entry] : model) {
      float score = 0;
      for (uint32_t i = 0; i < dim; ++i) score += query[i] * entry.second[i];
      rows.push_back({score, entry.first, key});
    }
    std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
      return a.score != b.score ? a.score > b.score : a.added < b.added;
    });
    const FoundIds found = search(index, query, 5, 2);
    for (size_t j = 0; j < std::min<size_t>(5, rows.size()); ++j) {
      ASSERT_EQ(found.ids[j], rows[j].id);
      ASSERT_EQ(found.scores[j], rows[j].score);
    }
  }
  EXPECT_LE(index.memory_bytes(), memory + memory / 4);
}

}  // namespace
}  // namespace hanse
