// Filters, rankings and masks of an index against a model that looks at every row.
#include <algorithm>
#include <cmath>
#include <map>

#include "base/random.hpp"
#include "capability/index.hpp"
#include "capability_calls.hpp"

namespace hanse {
namespace {

constexpr uint32_t dim = 24;

struct Entry {
  uint64_t added = 0;
  int64_t price = 0, updated = 0;
  float load = 0, reputation = 0;
  uint64_t skills = 0, policy_bits = 0;
  uint32_t tenant = 0;
  uint16_t region = 0;
  uint8_t tier = 0;
  std::vector<float> vector;
};

bool feasible(const Entry& e, const Feasible& f) {
  return e.price >= f.price_min && e.price <= f.price_max && e.updated >= f.updated_min &&
         e.updated <= f.updated_max && e.load >= f.load_min && e.load <= f.load_max &&
         e.reputation >= f.reputation_min && e.reputation <= f.reputation_max &&
         (e.skills & f.skills_all) == f.skills_all && (e.skills & f.skills_none) == 0 &&
         (f.skills_any == 0 || (e.skills & f.skills_any) != 0) &&
         (e.policy_bits & f.policy_all) == f.policy_all && (e.policy_bits & f.policy_none) == 0 &&
         (f.tenant == index_none || e.tenant == f.tenant) &&
         (f.region == UINT16_MAX || e.region == f.region) && e.tier >= f.tier_min &&
         e.tier <= f.tier_max;
}

double worth(const Entry& e, const std::vector<float>& query, const Ranking& r) {
  double sum = 0;
  for (uint32_t i = 0; i < dim; ++i) sum += double(query[i]) * double(e.vector[i]);
  sum +=
      0 - r.price * double(e.price) - r.load * double(e.load) + r.reputation * double(e.reputation);
  return e.updated < r.now ? sum - r.recency * double(r.now - e.updated) : sum;
}

// An index beside the model of it. Vectors and weights are small whole numbers, so sums are exact.
class Model {
 public:
  explicit Model(uint64_t seed) : random(seed), index(dim, Metric::inner_product) {}

  std::vector<float> draw() {
    std::vector<float> vector(dim);
    for (float& x : vector) x = float(random.below(9)) - 4;
    vector[0] += 5;
    return vector;
  }
  void put(uint32_t count, uint64_t id_bound) {
    std::vector<uint64_t> ids;
    for (uint32_t i = 0; i < count; ++i) ids.push_back(random.below(id_bound));
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    std::vector<float> vectors;
    for (const uint64_t id : ids) {
      const auto [place, is_new] = entries.try_emplace(id);
      if (is_new) place->second.added = added++;
      place->second.vector = draw();
      vectors.insert(vectors.end(), place->second.vector.begin(), place->second.vector.end());
    }
    index.upsert(ids, {vectors.data(), ids.size(), dim});
    change(ids);
  }
  // New attributes for these ids, now and then not all of them.
  void change(const std::vector<uint64_t>& ids) {
    std::vector<int64_t> price, updated;
    std::vector<float> load, reputation;
    std::vector<uint64_t> skills, policy;
    std::vector<uint32_t> tenant;
    std::vector<uint16_t> region;
    std::vector<uint8_t> tier;
    const bool all = random.chance(700);
    for (const uint64_t id : ids) {
      Entry& e = entries.at(id);
      price.push_back(e.price = int64_t(random.below(5000)) << random.below(20));
      updated.push_back(e.updated = int64_t(random.below(1000)));
      load.push_back(e.load = float(random.below(64)) - 16);
      reputation.push_back(e.reputation = float(random.below(5)));
      if (!all) continue;
      skills.push_back(e.skills = random.next() & random.next());
      policy.push_back(e.policy_bits = random.next() | random.next());
      tenant.push_back(e.tenant = uint32_t(random.below(3)) << 16 | uint32_t(random.below(3)));
      region.push_back(e.region = uint16_t(random.below(5)));
      tier.push_back(e.tier = uint8_t(random.below(200)));
    }
    index.update(
        ids,
        {{price}, {updated}, {load}, {reputation}, {skills}, {policy}, {tenant}, {region}, {tier}});
  }
  void remove(uint64_t id) {
    const std::vector<uint64_t> ids{id};
    EXPECT_EQ(index.remove(ids), entries.erase(id));
  }
  Feasible filter() {
    Feasible f;
    const auto kind = random.below(13);
    if (kind == 0 || kind == 9) f.price_max = int64_t(random.below(5000)) << random.below(20);
    if (kind == 1) f.price_min = int64_t(random.below(5000)), f.price_max = f.price_min << 9;
    if (kind == 2 || kind == 9) f.load_max = float(random.below(64)) - 16;
    if (kind == 3) f.load_min = -3, f.load_max = 3;
    if (kind == 4) f.reputation_min = 3;
    if (kind == 5) f.updated_min = int64_t(random.below(1000)), f.updated_max = 900;
    if (kind == 6) f.skills_all = 1ull << random.below(64), f.skills_none = 6;
    if (kind == 7) f.skills_any = 0x8000000000000011, f.policy_none = 1ull << random.below(64);
    if (kind == 8) f.policy_all = 0xf0;
    if (kind == 9) f.tenant = uint32_t(random.below(3)) << 16 | 1;
    if (kind == 10) f.region = uint16_t(random.below(6)), f.tier_min = 50, f.tier_max = 150;
    if (kind == 11) f.price_min = 10, f.price_max = 9;
    return f;
  }
  void expect_agreement(const Feasible& f, const Ranking& ranking, uint32_t k,
                        MatrixView<const uint64_t> mask = {}) {
    const std::vector<float> query = draw();
    std::vector<uint32_t> place(entries.size());
    std::vector<std::pair<std::pair<float, uint64_t>, uint64_t>> expected;
    for (const auto& [id, e] : entries) {
      if (!feasible(e, f)) continue;
      uint32_t at = 0;
      index.places({&id, 1}, {&at, 1});
      if (mask.rows != 0 && !(mask.data[at / 64] >> at % 64 & 1)) continue;
      expected.push_back({{-float(worth(e, query, ranking)), e.added}, id});
    }
    std::sort(expected.begin(), expected.end());
    SearchOptions options;
    options.k = k;
    options.recall = 1;
    options.rankings = {&ranking, 1};
    options.masks = mask;
    std::vector<uint64_t> ids(k);
    std::vector<float> scores(k);
    int32_t count = -1;
    index.search({query.data(), 1, dim}, {&f, 1}, options, {ids.data(), 1, k},
                 {scores.data(), 1, k}, {&count, 1});
    ASSERT_EQ(size_t(count), std::min<size_t>(k, expected.size()));
    for (size_t j = 0; j < size_t(count); ++j) {
      ASSERT_EQ(scores[j], -expected[j].first.first) << "rank " << j;
      ASSERT_EQ(ids[j], expected[j].second) << "rank " << j;
    }
  }

  Random random;
  CapabilityIndex index;
  std::map<uint64_t, Entry> entries;
  uint64_t added = 0;
};

TEST(CapabilityFilter, EveryFilterAgreesWithAModelThroughChange) {
  Model model(31);
  model.put(2500, 1 << 20);
  std::vector<uint64_t> some;
  for (int round = 0; round < 60; ++round) {
    model.expect_agreement(model.filter(), {}, 1 + uint32_t(model.random.below(40)));
    some.clear();
    for (const auto& [id, entry] : model.entries)
      if (model.random.chance(50)) some.push_back(id);
    model.change(some);
    for (size_t i = 0; i < some.size() / 8; ++i) model.remove(some[i * 8]);
    model.put(20, 1 << 20);
  }
}

TEST(CapabilityFilter, RankingAgreesWithAModel) {
  Model model(32);
  model.put(1500, 1 << 20);
  for (int round = 0; round < 40; ++round) {
    Ranking ranking;
    ranking.price = double(model.random.below(3)) / 1024;
    ranking.load = double(model.random.below(3)) - 1;
    ranking.reputation = double(model.random.below(20));
    ranking.recency = double(model.random.below(2)) / 16;
    ranking.now = 900;
    model.expect_agreement(model.filter(), ranking, 10);
  }
}

TEST(CapabilityFilter, BitmapsThatStandFollowEveryWrite) {
  Model model(33);
  model.put(5000, 1 << 30);
  Feasible cheap, skilled;
  cheap.price_max = 40'000;
  cheap.tenant = 1;
  skilled.skills_any = 0x100000001;
  skilled.reputation_min = 2;
  std::vector<uint64_t> some;
  for (int round = 0; round < 30; ++round) {
    for (const Feasible& f : {cheap, skilled}) model.expect_agreement(f, {}, 50);
    some.clear();
    for (const auto& [id, entry] : model.entries)
      if (model.random.chance(100)) some.push_back(id);
    model.change(some);
    model.remove(some[0]);
    model.put(5, 1 << 30);
  }
  EXPECT_GT(model.index.stats().standing_hits, 40u);
}

TEST(CapabilityFilter, AMaskOfTheCallersIsOneMoreTest) {
  Model model(34);
  model.put(700, 1 << 20);
  std::vector<uint64_t> words((model.index.place_count() + 63) / 64);
  for (int round = 0; round < 10; ++round) {
    for (uint64_t& word : words) word = model.random.next();
    model.expect_agreement(model.filter(), {}, 12, {words.data(), 1, words.size()});
  }
  words.resize(2);  // rows behind the last word may not be found
  const Feasible all;
  SearchOptions options;
  options.k = 1000;
  options.masks = {words.data(), 1, 2};
  std::vector<uint64_t> ids(1000);
  std::vector<float> scores(1000);
  int32_t count = 0;
  const std::vector<float> query = model.draw();
  model.index.search({query.data(), 1, dim}, {&all, 1}, options, {ids.data(), 1, 1000},
                     {scores.data(), 1, 1000}, {&count, 1});
  EXPECT_EQ(count, std::popcount(words[0]) + std::popcount(words[1]));
}

TEST(CapabilityFilter, ANewcomerGetsTheFirstPlaceOfItsShareOfQueries) {
  Model model(35);
  model.put(300, 1 << 20);
  constexpr uint32_t m = 400, k = 4;
  std::vector<float> queries;
  for (uint32_t i = 0; i < m; ++i) {
    const auto query = model.draw();
    queries.insert(queries.end(), query.begin(), query.end());
  }
  const Feasible all;
  const auto search = [&](const Ranking& ranking) {
    std::vector<uint64_t> ids(m * k);
    std::vector<float> scores(m * k);
    std::vector<int32_t> counts(m);
    SearchOptions options;
    options.k = k;
    options.rankings = {&ranking, 1};
    model.index.search({queries.data(), m, dim}, {&all, 1}, options, {ids.data(), m, k},
                       {scores.data(), m, k}, counts);
    return ids;
  };
  Ranking ranking;
  const auto plain = search(ranking);
  ranking.explore = 0.25;
  ranking.seed = 7;
  const auto explored = search(ranking);
  EXPECT_EQ(explored, search(ranking));
  uint32_t moved = 0;
  for (uint32_t i = 0; i < m; ++i) {
    const bool same = std::equal(&plain[i * k], &plain[i * k] + k, &explored[i * k]);
    if (same) continue;
    ++moved;
    EXPECT_EQ(model.entries.at(explored[i * k]).reputation, 0);
    // The rest stands in its order.
    std::vector<uint64_t> rest(&plain[i * k], &plain[i * k] + k);
    std::erase(rest, explored[i * k]);
    EXPECT_TRUE(std::equal(&explored[i * k + 1], &explored[i * k] + k, rest.begin()));
  }
  EXPECT_GT(moved, m / 8);
  EXPECT_LE(moved, m * 2 / 5);
  ranking.explore = 1.5;
  expect_error(ErrorCode::out_of_range, "ranking.explore", "1.5", [&] { search(ranking); });
  ranking.explore = 0;
  ranking.price = NAN;
  expect_error(ErrorCode::out_of_range, "ranking.price", "", [&] { search(ranking); });
}

TEST(CapabilityFilter, RefusedUpdatesNameTheColumnAndChangeNothing) {
  CapabilityIndex index(2, Metric::cosine);
  const std::vector<uint64_t> ids{1, 2}, unknown{1, 3};
  index.add(ids, {std::vector<float>{1, 0, 0, 1}.data(), 2, 2});
  const std::vector<int64_t> good{5, 6}, negative{5, -1}, three{1, 2, 3};
  const std::vector<float> nan{NAN};
  using enum ErrorCode;
  const auto update = [&](const std::vector<uint64_t>& of, const IndexColumns& columns) {
    return [&index, &of, columns] { index.update(of, columns); };
  };
  expect_error(unknown_offer, "ids", "row 1", update(unknown, {.price = {good}}));
  expect_error(out_of_range, "price", "row 1: -1", update(ids, {.price = {negative}}));
  expect_error(bad_array, "price", "3 values for 2", update(ids, {.price = {three}}));
  expect_error(out_of_range, "load", "nan", update(ids, {.price = {good}, .load = {nan}}));
  Feasible free;
  free.price_max = 0;
  EXPECT_EQ(index.explain(free).price, 0u);
  index.update(ids, {.price = {good}});
  EXPECT_EQ(index.explain(free).price, 2u);
}

}  // namespace
}  // namespace hanse
