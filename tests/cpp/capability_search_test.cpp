// Search against a reference that looks at every row, one at a time.
#include <algorithm>
#include <cmath>
#include <thread>

#include "base/random.hpp"
#include "capability_calls.hpp"

namespace hanse {
namespace {

// What the store must agree with: every row looked at, one at a time.
struct Reference {
  struct Offer {
    uint32_t agent, offer, version, tenant;
    int64_t price;
    uint8_t tier;
    uint64_t skills;
    uint16_t region;
    uint64_t policy_bits;
    uint16_t slots;
    uint32_t open;
    bool found, live;
    std::vector<float> vector;
  };
  std::vector<Offer> rows;

  // The order of summation that the contract of exact scores names.
  static double dot(const std::vector<float>& a, const std::vector<float>& b) {
    double sums[8] = {};
    for (size_t i = 0; i < a.size(); ++i) sums[i % 8] += double(a[i]) * double(b[i]);
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) +
           ((sums[1] + sums[5]) + (sums[3] + sums[7]));
  }
  static std::vector<float> stored(Metric metric, const float* given, uint32_t dim) {
    std::vector<float> vector(given, given + dim);
    if (metric == Metric::inner_product) return vector;
    const double norm = std::sqrt(dot(vector, vector));
    for (float& x : vector) x = float(double(x) / norm);
    return vector;
  }
  // nullptr: feasible; else the field of Refusals.
  static uint64_t Refusals::* refusal(const Offer& o, const Feasible& f) {
    if (!o.found) return &Refusals::withdrawn;
    if (!o.live) return &Refusals::revoked;
    if (o.slots != 0 && o.open >= o.slots) return &Refusals::slots;
    if (f.tenant != index_none && o.tenant != f.tenant) return &Refusals::tenant;
    if ((~o.policy_bits & f.policy_all) != 0 || (o.policy_bits & f.policy_none) != 0)
      return &Refusals::policy;
    if (o.price > f.price_max) return &Refusals::price;
    if (o.tier < f.tier_min || o.tier > f.tier_max) return &Refusals::tier;
    if ((~o.skills & f.skills_all) != 0 || (o.skills & f.skills_none) != 0)
      return &Refusals::skills;
    if (f.skills_any != 0 && (o.skills & f.skills_any) == 0) return &Refusals::skills;
    if (f.region != UINT16_MAX && o.region != f.region) return &Refusals::region;
    return nullptr;
  }
  Refusals explain(const Feasible& f) const {
    Refusals refusals;
    for (const Offer& o : rows) {
      if (o.agent == f.exclude_agent) continue;
      if (uint64_t Refusals::* field = refusal(o, f)) ++(refusals.*field);
    }
    return refusals;
  }
  std::vector<Match> search(const std::vector<float>& query, const Feasible& f, uint32_t k) const {
    std::vector<Match> matches;
    for (uint32_t row = 0; row < rows.size(); ++row) {
      const Offer& o = rows[row];
      if (o.agent == f.exclude_agent || refusal(o, f)) continue;
      matches.push_back({row, o.agent, o.offer, o.version, float(dot(query, o.vector))});
    }
    std::sort(matches.begin(), matches.end(), [](const Match& a, const Match& b) {
      if (a.score != b.score) return a.score > b.score;
      return a.agent != b.agent ? a.agent < b.agent : a.offer < b.offer;
    });
    matches.resize(std::min<size_t>(matches.size(), k));
    return matches;
  }
};

enum class Values { small_integers, gaussian };

std::vector<float> draw(Random& random, size_t count, uint32_t dim, Values values) {
  std::vector<float> numbers(count * dim);
  for (float& x : numbers) {
    if (values == Values::small_integers) {
      x = float(random.below(5)) - 2;
    } else {
      double sum = 0;
      for (int i = 0; i < 4; ++i) sum += double(random.below(1 << 20)) / (1 << 20) - 0.5;
      x = float(sum);
    }
  }
  for (size_t i = 0; i < count; ++i) numbers[i * dim] += 3;  // no zero vectors
  return numbers;
}

// One store an instruction set, the same rows in each, and the reference beside them.
class Population {
 public:
  Population(uint64_t seed, uint32_t dim, Metric metric, Values values)
      : random_(seed), dim_(dim), metric_(metric), values_(values) {
    for (const CpuLevel level : {CpuLevel::baseline, CpuLevel::avx2, CpuLevel::avx512})
      if (level == CpuLevel::baseline || (cpu_level() != CpuLevel::neon && level <= cpu_level()))
        stores.push_back(std::make_unique<CapabilityStore>(level));
    if (cpu_level() == CpuLevel::neon)
      stores.push_back(std::make_unique<CapabilityStore>(CpuLevel::neon));
    for (auto& store : stores) store->apply_space({"default", dim, metric, "model"});
  }

  // Agents 0 … count - 1 in shuffled order, random attributes from small ranges.
  void publish(uint32_t count, uint32_t offer) {
    std::vector<uint32_t> agents(count);
    for (uint32_t i = 0; i < count; ++i) agents[i] = i;
    for (uint32_t i = count; i > 1; --i) std::swap(agents[i - 1], agents[random_.below(i)]);
    const std::vector<float> vectors = draw(random_, count, dim_, values_);
    std::vector<int64_t> price(count);
    std::vector<uint8_t> tier(count);
    std::vector<uint64_t> skills(count), policy_bits(count);
    std::vector<uint16_t> region(count), slots(count);
    for (uint32_t i = 0; i < count; ++i) {
      price[i] = int64_t(random_.below(100)) * (random_.chance(10) ? int64_t(1) << 40 : 1);
      tier[i] = uint8_t(random_.below(4) + (random_.chance(100) ? 200 : 0));
      skills[i] = random_.next() & random_.next() & 0xf00000000000000f;
      policy_bits[i] = random_.next() & random_.next() & 0x800000000000000f;
      region[i] = uint16_t(random_.below(3) * 21845);
      slots[i] = uint16_t(random_.below(3));
    }
    const Offers offers{agents,   offer,         {vectors.data(), count, dim_},
                        {price},  {tier},        {skills},
                        {region}, {policy_bits}, {slots}};
    for (auto& store : stores) {
      store->check_publish(0, offers, {});
      store->apply_publish(0, offers, {}, [](uint32_t agent) { return agent % 5; }, {});
    }
    for (uint32_t i = 0; i < count; ++i) {
      Reference::Offer o{agents[i],
                         offer,
                         1,
                         agents[i] % 5,
                         price[i],
                         tier[i],
                         skills[i],
                         region[i],
                         policy_bits[i],
                         slots[i],
                         0,
                         true,
                         true,
                         Reference::stored(metric_, vectors.data() + i * dim_, dim_)};
      const auto old =
          std::find_if(reference.rows.begin(), reference.rows.end(),
                       [&](const auto& r) { return r.agent == o.agent && r.offer == o.offer; });
      if (old == reference.rows.end()) {
        reference.rows.push_back(o);
      } else {
        o.version = old->version + 1;
        o.open = old->open;
        o.live = old->live;
        *old = o;
      }
    }
  }

  void disturb() {
    for (uint32_t row = 0; row < reference.rows.size(); ++row) {
      Reference::Offer& o = reference.rows[row];
      if (random_.chance(50)) {
        for (auto& store : stores) store->apply_withdraw(0, row);
        o.found = false;
      }
      if (random_.chance(100)) {
        const auto price = int64_t(random_.below(100));
        for (auto& store : stores) store->apply_price(0, row, price);
        o.price = price;
      }
      if (random_.chance(300)) {
        for (auto& store : stores) store->apply_open(0, row, 1);
        ++o.open;
      }
      o.live = o.agent % 11 != 0;
    }
    for (auto& store : stores)
      store->refresh_live(7, [](uint32_t agent) { return agent % 11 != 0; });
  }

  Feasible filter(uint32_t kind) {
    Feasible f;
    if (kind == 1) f.price_max = int64_t(random_.below(100));
    if (kind == 2) f.tier_min = 1, f.tier_max = uint8_t(1 + random_.below(210));
    if (kind == 3) f.skills_all = 0x8000000000000001;
    if (kind == 4) f.skills_any = 0x6;
    if (kind == 5) f.skills_none = 0x3000000000000001;
    if (kind == 6) f.policy_all = 0x1;
    if (kind == 7) f.policy_none = 0x8000000000000000;
    if (kind == 8) f.region = 43690;
    if (kind == 9) f.tenant = uint32_t(random_.below(5));
    if (kind == 10) f.exclude_agent = uint32_t(random_.below(50));
    if (kind == 11) f.skills_all = 1, f.skills_none = 1;  // contradictory
    if (kind == 12) f.price_max = 2, f.region = 0, f.tier_max = 1, f.skills_none = 2;
    if (kind == 13) f.price_max = 0, f.skills_all = 0xf;
    return f;
  }
  static constexpr uint32_t filter_kinds = 14;

  void expect_agreement(const std::vector<float>& queries, std::span<const Feasible> feasible,
                        uint32_t k, uint32_t threads) {
    const size_t m = queries.size() / dim_;
    for (const auto& store : stores) {
      const Found found = search(*store, queries, dim_, feasible, k, threads);
      for (size_t i = 0; i < m; ++i) {
        const auto query = Reference::stored(metric_, queries.data() + i * dim_, dim_);
        const auto expected = reference.search(query, feasible[feasible.size() == 1 ? 0 : i], k);
        ASSERT_EQ(found.counts[i], int32_t(expected.size())) << "query " << i;
        for (size_t j = 0; j < k; ++j) {
          const Match want = j < expected.size() ? expected[j] : Match{};
          const Match& got = found.matches[i * k + j];
          ASSERT_EQ(got.row, want.row) << "query " << i << " rank " << j << " dim " << dim_;
          ASSERT_EQ(got.agent, want.agent);
          ASSERT_EQ(got.offer, want.offer);
          ASSERT_EQ(got.version, want.version);
          ASSERT_EQ(got.score, want.score);
        }
      }
    }
  }

  std::vector<float> queries(size_t count) { return draw(random_, count, dim_, values_); }
  Random& random() { return random_; }

  std::vector<std::unique_ptr<CapabilityStore>> stores;
  Reference reference;

 private:
  Random random_;
  uint32_t dim_;
  Metric metric_;
  Values values_;
};

TEST(CapabilitySearch, SearchAgreesWithAFullSortForEveryFilterAndInstructionSet) {
  for (const uint32_t dim : {1u, 3u, 16u, 17u, 33u, 130u}) {
    Population population(dim, dim, Metric::inner_product, Values::small_integers);
    population.publish(700, 0);
    population.publish(500, 9);
    population.publish(200, 0);
    population.disturb();
    for (uint32_t kind = 0; kind < Population::filter_kinds; ++kind) {
      const Feasible f = population.filter(kind);
      for (const uint32_t k : {1u, 10u})
        population.expect_agreement(population.queries(7), {&f, 1}, k, 1);
    }
  }
}

TEST(CapabilitySearch, SearchAgreesWithAFullSortForCosineAndRealNumbers) {
  for (const uint32_t dim : {1u, 2u, 5u, 64u, 127u, 384u}) {
    Population population(dim, dim, Metric::cosine, Values::gaussian);
    population.publish(1500, 0);
    population.disturb();
    const Feasible all, cheap = population.filter(1);
    population.expect_agreement(population.queries(9), {&all, 1}, 10, 1);
    population.expect_agreement(population.queries(2), {&cheap, 1}, 100, 1);
  }
}

TEST(CapabilitySearch, EveryDimensionIsSearchedInFull) {
  for (uint32_t dim = 1; dim <= 130; ++dim) {
    Population population(1000 + dim, dim, Metric::inner_product, Values::small_integers);
    population.publish(40, 0);
    const Feasible all;
    population.expect_agreement(population.queries(7), {&all, 1}, 3, 1);
  }
}

TEST(CapabilitySearch, EachQueryOfABatchObeysItsOwnFilter) {
  Population population(11, 24, Metric::inner_product, Values::small_integers);
  population.publish(2100, 0);
  population.disturb();
  for (const uint32_t m : {1u, 2u, 6u, 13u, 40u, 300u}) {
    std::vector<Feasible> feasible(m);
    for (Feasible& f : feasible)
      f = population.filter(uint32_t(population.random().below(Population::filter_kinds)));
    population.expect_agreement(population.queries(m), feasible, 5, 1);
  }
}

TEST(CapabilitySearch, ThreadsDoNotChangeTheAnswer) {
  Population population(12, 48, Metric::cosine, Values::gaussian);
  population.publish(3000, 0);
  const std::vector<float> queries = population.queries(200);
  const Feasible all;
  const Found one = search(*population.stores.back(), queries, 48, {&all, 1}, 10, 1);
  for (const uint32_t threads : {2u, 3u, 64u, 1000u}) {
    const Found many = search(*population.stores.back(), queries, 48, {&all, 1}, 10, threads);
    EXPECT_EQ(one.counts, many.counts);
    for (size_t i = 0; i < one.matches.size(); ++i) {
      ASSERT_EQ(one.matches[i].row, many.matches[i].row);
      ASSERT_EQ(one.matches[i].score, many.matches[i].score);
    }
  }
  population.expect_agreement(queries, {&all, 1}, 10, 2);
}

TEST(CapabilitySearch, ManyEqualScoresAreRankedByAgentThenOffer) {
  CapabilityStore store;
  store.apply_space({"default", 4, Metric::cosine, ""});
  std::vector<uint32_t> agents(3000);
  std::vector<float> vectors;
  for (uint32_t i = 0; i < 3000; ++i) {
    agents[i] = 2999 - i;
    vectors.insert(vectors.end(), {1, 2, 3, 4});
  }
  Plain offers(agents, vectors, 4);
  publish(store, offers);
  offers.offer = 5;
  publish(store, offers);
  const Feasible all;
  const Found found = search(store, {1, 2, 3, 4}, 4, {&all, 1}, 1024);
  ASSERT_EQ(found.counts[0], 1024);
  for (uint32_t j = 0; j < 1024; ++j) {
    EXPECT_EQ(found.matches[j].agent, j / 2);
    EXPECT_EQ(found.matches[j].offer, j % 2 * 5);
    EXPECT_NEAR(found.matches[j].score, 1, 1e-6);
  }
}

// The scan's float32 sums can't tell these apart; the answer must.
TEST(CapabilitySearch, ScoresCloserThanFloat32SumsAreStillRankedExactly) {
  Population population(13, 300, Metric::inner_product, Values::gaussian);
  Random random(99);
  const std::vector<float> base = draw(random, 1, 300, Values::gaussian);
  std::vector<float> vectors;
  std::vector<uint32_t> agents;
  for (uint32_t i = 0; i < 2000; ++i) {
    std::vector<float> v = base;
    v[i % 300] = std::nextafter(v[i % 300], i % 2 ? 10.0f : -10.0f);
    v[(i * 7) % 300] = std::nextafter(v[(i * 7) % 300], i % 3 ? 10.0f : -10.0f);
    vectors.insert(vectors.end(), v.begin(), v.end());
    agents.push_back(i);
    population.reference.rows.push_back({i, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, true, true, v});
  }
  for (auto& store : population.stores) publish(*store, Plain(agents, vectors, 300));
  const Feasible all;
  population.expect_agreement(population.queries(8), {&all, 1}, 10, 1);
}

TEST(CapabilitySearch, NumbersBeyondTheRangeOfFloat32SumsAreRankedExactly) {
  for (const float scale : {1e38f, 1e-38f, 2.5e-23f, 1e-44f}) {
    Population population(14, 20, Metric::inner_product, Values::small_integers);
    const std::vector<float> numbers = population.queries(600);
    std::vector<float> vectors(numbers), queries(numbers.begin(), numbers.begin() + 100);
    for (float& x : vectors) x *= scale / 4;
    for (float& x : queries) x *= scale / 4;
    std::vector<uint32_t> agents;
    for (uint32_t i = 0; i < 600; ++i) {
      agents.push_back(i);
      population.reference.rows.push_back(
          {i,
           0,
           1,
           0,
           0,
           0,
           0,
           0,
           0,
           0,
           0,
           true,
           true,
           {vectors.begin() + i * 20, vectors.begin() + i * 20 + 20}});
    }
    for (auto& store : population.stores) publish(*store, Plain(agents, vectors, 20));
    const Feasible all;
    population.expect_agreement(queries, {&all, 1}, 10, 1);
  }
}

TEST(CapabilitySearch, MoreWantedThanFeasibleIsPadded) {
  Population population(15, 8, Metric::inner_product, Values::small_integers);
  population.publish(20, 0);
  const Feasible all;
  Feasible none;
  none.tenant = 77;
  population.expect_agreement(population.queries(3), {&all, 1}, 1024, 1);
  population.expect_agreement(population.queries(3), {&none, 1}, 4, 1);
}

TEST(CapabilitySearch, RefusalsCountEachRowOnceForTheFirstTestItFails) {
  Population population(16, 4, Metric::cosine, Values::gaussian);
  population.publish(900, 0);
  population.publish(300, 1);
  population.disturb();
  for (uint32_t kind = 0; kind < Population::filter_kinds; ++kind) {
    const Feasible f = population.filter(kind);
    const Refusals want = population.reference.explain(f);
    const Refusals got = population.stores[0]->explain(0, f);
    for (uint64_t Refusals::* field : {&Refusals::withdrawn, &Refusals::revoked, &Refusals::slots,
                                       &Refusals::tenant, &Refusals::policy, &Refusals::price,
                                       &Refusals::tier, &Refusals::skills, &Refusals::region})
      EXPECT_EQ(got.*field, want.*field) << "filter " << kind;
    EXPECT_GT(got.withdrawn + got.revoked, 0u);
  }
}

TEST(CapabilitySearch, SearchesRunBesideChanges) {
  CapabilityStore store;
  store.apply_space({"default", 16, Metric::inner_product, ""});
  Random random(6);
  std::vector<uint32_t> agents(2000);
  for (uint32_t i = 0; i < 2000; ++i) agents[i] = i;
  const Plain offers(agents, draw(random, 2000, 16, Values::small_integers), 16);
  publish(store, offers);
  const std::vector<float> queries = draw(random, 20, 16, Values::small_integers);
  const Feasible all;
  const Found before = search(store, queries, 16, {&all, 1}, 5);
  std::jthread writer([&] {
    for (int round = 0; round < 20; ++round) {
      publish(store, offers);
      for (uint32_t row = 0; row < 50; ++row) store.apply_open(0, row, 1);
    }
  });
  for (int round = 0; round < 20; ++round) {
    const Found now = search(store, queries, 16, {&all, 1}, 5, 2);
    for (size_t i = 0; i < now.matches.size(); ++i)
      ASSERT_EQ(now.matches[i].row, before.matches[i].row);
  }
}

}  // namespace
}  // namespace hanse
