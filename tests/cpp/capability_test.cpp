#include <limits>

#include "capability_calls.hpp"

namespace hanse {
namespace {

TEST(Capability, NoQueriesAndNoRowsAreNoError) {
  CapabilityStore store;
  store.apply_space({"default", 3, Metric::cosine, ""});
  const Feasible all;
  EXPECT_EQ(search(store, {1, 2, 3}, 3, {&all, 1}, 2).counts, std::vector<int32_t>{0});
  EXPECT_TRUE(search(store, {}, 3, {&all, 1}, 2).counts.empty());
  publish(store, Plain({}, {}, 3));
  EXPECT_EQ(store.row_count(0), 0u);
}

TEST(Capability, VersionsStrictlyIncreaseAndOneCanBeFound) {
  CapabilityStore store;
  store.apply_space({"default", 2, Metric::cosine, ""});
  publish(store, Plain({4, 5}, {1, 0, 0, 1}, 2));
  const uint32_t row = store.row_find(0, 4, 0);
  EXPECT_EQ(store.row(0, row).version, 1u);
  Plain again({4}, {0, 2}, 2);
  std::vector<uint32_t> versions(1);
  store.apply_publish(0, again, {}, no_tenant, versions);
  EXPECT_EQ(versions[0], 2u);
  EXPECT_EQ(store.row_find(0, 4, 0), row);
  EXPECT_EQ(store.vector(0, row), (std::vector<float>{0, 1}));
  EXPECT_EQ(store.row_count(0), 2u);

  const Feasible all;
  const Found found = search(store, {0, 1}, 2, {&all, 1}, 4);
  EXPECT_EQ(found.counts[0], 2);
  EXPECT_EQ(found.matches[0].version, 2u);

  const std::vector<uint32_t> same{2}, later{9};
  expect_error(ErrorCode::stale_version, "versions", "row 0: version 2",
               [&] { publish(store, again, same); });
  publish(store, again, later);
  EXPECT_EQ(store.row(0, row).version, 9u);
  publish(store, again);
  EXPECT_EQ(store.row(0, row).version, 10u);

  const std::vector<uint32_t> last{UINT32_MAX};
  publish(store, again, last);
  expect_error(ErrorCode::out_of_range, "versions", "used up", [&] { publish(store, again); });
}

TEST(Capability, AWithdrawnOfferIsAbsentUntilPublishedAgain) {
  CapabilityStore store;
  store.apply_space({"default", 2, Metric::cosine, ""});
  publish(store, Plain({4}, {1, 0}, 2));
  store.apply_withdraw(0, 0);
  const Feasible all;
  EXPECT_EQ(search(store, {1, 0}, 2, {&all, 1}, 1).counts[0], 0);
  EXPECT_FALSE(store.row(0, 0).found);
  publish(store, Plain({4}, {1, 0}, 2));
  EXPECT_EQ(search(store, {1, 0}, 2, {&all, 1}, 1).matches[0].version, 2u);
}

TEST(Capability, AFullOfferIsAbsentAndZeroSlotsMeanNoLimit) {
  CapabilityStore store;
  store.apply_space({"default", 2, Metric::cosine, ""});
  Plain offers({0, 1}, {1, 0, 1, 0}, 2);
  offers.slots = {2, 0};
  publish(store, offers);
  const Feasible all;
  const auto found = [&] { return search(store, {1, 0}, 2, {&all, 1}, 2).counts[0]; };
  store.apply_open(0, 0, 1);
  EXPECT_TRUE(store.has_slot(0, 0));
  store.apply_open(0, 0, 1);
  EXPECT_FALSE(store.has_slot(0, 0));
  EXPECT_EQ(found(), 1);
  store.apply_open(0, 0, -1);
  EXPECT_EQ(found(), 2);
  store.apply_open(0, 1, 100'000);
  EXPECT_TRUE(store.has_slot(0, 1));
  EXPECT_EQ(store.row(0, 1).open, UINT16_MAX);
  EXPECT_EQ(found(), 2);
  EXPECT_THROW(store.apply_open(0, 0, -5), Error);
}

TEST(Capability, LivenessIsAskedOncePerRowAndEpoch) {
  CapabilityStore store;
  store.apply_space({"default", 1, Metric::cosine, ""});
  publish(store, Plain({0, 1, 2}, {1, 1, 1}, 1));
  int asked = 0;
  const auto live = [&](uint32_t agent) { return ++asked, agent != 1; };
  store.refresh_live(3, live);
  store.refresh_live(3, live);
  EXPECT_EQ(asked, 3);
  EXPECT_EQ(store.live_epoch(), 3u);
  const Feasible all;
  EXPECT_EQ(search(store, {1}, 1, {&all, 1}, 3).counts[0], 2);
}

TEST(Capability, RefusedPublishesNameWhatIsWrongAndChangeNothing) {
  CapabilityStore store;
  store.apply_space({"default", 2, Metric::cosine, ""});
  publish(store, Plain({1}, {1, 1}, 2));
  const Digest before = store.state_hash();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  using enum ErrorCode;
  const auto refuse = [&](ErrorCode code, const char* field, const char* part, auto change) {
    Plain offers({7, 8, 9}, {1, 1, 1, 1, 1, 1}, 2);
    change(offers);
    expect_error(code, field, part, [&] { store.check_publish(0, offers, {}); });
  };
  refuse(bad_vector, "vectors", "row 2: component 1 is NaN", [&](Plain& p) { p.vectors[5] = nan; });
  refuse(bad_vector, "vectors", "row 0: component 0 is infinite",
         [&](Plain& p) { p.vectors[0] = -infinity; });
  refuse(bad_vector, "vectors", "row 1 is all zeros",
         [](Plain& p) { p.vectors[2] = p.vectors[3] = 0; });
  refuse(dimension_mismatch, "vectors", "dimension 3 where the space has 2",
         [](Plain& p) { p.dim = 3; });
  refuse(bad_array, "vectors", "3 rows for 2 agents", [](Plain& p) { p.agents.pop_back(); });
  refuse(bad_array, "agents", "agent index 7 is there twice", [](Plain& p) { p.agents[2] = 7; });
  refuse(out_of_range, "agents", "row 1", [](Plain& p) { p.agents[1] = index_none; });
  refuse(out_of_range, "price", "row 1: -4", [](Plain& p) { p.price = {0, -4, 0}; });
  refuse(bad_array, "price", "2 values for 3", [](Plain& p) { p.price = {0, 0}; });
  refuse(bad_array, "tier", "2 values for 3", [](Plain& p) { p.tier = {0, 0}; });
  refuse(bad_array, "skills", "4 values for 3", [](Plain& p) { p.skills = {0, 0, 0, 0}; });
  refuse(bad_array, "region", "0 values for 3", [](Plain& p) { p.region = {}; });
  refuse(bad_array, "policy_bits", "2 values for 3", [](Plain& p) { p.policy_bits = {0, 0}; });
  refuse(bad_array, "slots", "2 values for 3", [](Plain& p) { p.slots = {0, 0}; });
  const std::vector<uint32_t> two{1, 1};
  expect_error(bad_array, "versions", "2 versions for 1",
               [&] { store.check_publish(0, Plain({3}, {1, 1}, 2), two); });
  expect_error(unknown_space, "space", "no space number 4",
               [&] { store.check_publish(4, Plain({3}, {1, 1}, 2), {}); });
  EXPECT_EQ(store.state_hash(), before);
}

TEST(Capability, RefusedSearchesNameWhatIsWrong) {
  CapabilityStore store;
  store.apply_space({"default", 2, Metric::cosine, ""});
  std::vector<float> queries(6, 1);
  std::vector<Match> matches(3);
  std::vector<int32_t> counts(3);
  std::vector<Feasible> feasible(3);
  const MatrixView<const float> good{queries.data(), 3, 2};
  using enum ErrorCode;
  const auto refuse = [&](ErrorCode code, const char* field, MatrixView<const float> q,
                          std::span<const Feasible> f, uint32_t k, uint32_t threads = 1) {
    expect_error(code, field, "",
                 [&] { store.search(0, q, f, k, {matches.data(), q.rows, 1}, counts, threads); });
  };
  refuse(dimension_mismatch, "queries", {queries.data(), 2, 3}, feasible, 1);
  refuse(out_of_range, "k", good, feasible, 0);
  refuse(out_of_range, "k", good, feasible, 1025);
  refuse(out_of_range, "threads", good, feasible, 1, 0);
  refuse(bad_array, "feasible", good, std::span(feasible).first(2), 1);
  refuse(bad_array, "matches_out", good, feasible, 2);
  refuse(bad_array, "counts_out", {queries.data(), 1, 2}, std::span(feasible).first(1), 1);
  queries[5] = std::numeric_limits<float>::quiet_NaN();
  expect_error(bad_vector, "queries", "row 2: component 1 is NaN",
               [&] { store.search(0, good, feasible, 1, {matches.data(), 3, 1}, counts); });
  queries[4] = queries[5] = 0;
  refuse(bad_vector, "queries", good, feasible, 1);
  EXPECT_THROW(store.search(1, good, feasible, 1, {matches.data(), 3, 1}, counts), Error);
}

TEST(Capability, SpacesAreNamedOnceAndBounded) {
  CapabilityStore store;
  store.check_space({"default", 3, Metric::cosine, ""});
  EXPECT_EQ(store.apply_space({"default", 3, Metric::cosine, "m"}), 0u);
  EXPECT_EQ(store.apply_space({"other", 5, Metric::inner_product, ""}), 1u);
  EXPECT_EQ(store.space_find("other"), 1u);
  EXPECT_EQ(store.space_find("absent"), index_none);
  EXPECT_EQ(store.space(0).model, "m");
  EXPECT_EQ(store.space_count(), 2u);
  using enum ErrorCode;
  const auto refuse = [&](ErrorCode code, const char* field, const SpaceSpec& spec) {
    expect_error(code, field, "", [&] { store.check_space(spec); });
  };
  refuse(name_taken, "name", {"default", 3, Metric::cosine, ""});
  refuse(empty, "name", {"", 3, Metric::cosine, ""});
  refuse(too_large, "name", {std::string(65, 'x'), 3, Metric::cosine, ""});
  refuse(too_large, "model", {"x", 3, Metric::cosine, std::string(129, 'x')});
  refuse(out_of_range, "dim", {"x", 0, Metric::cosine, ""});
  refuse(out_of_range, "dim", {"x", 4097, Metric::cosine, ""});
  refuse(out_of_range, "metric", {"x", 3, Metric(7), ""});
  expect_error(unknown_space, "space", "", [&] { store.space(index_none); });
}

TEST(Capability, StateHashFollowsRecordedStateAlone) {
  const auto build = [](bool extra) {
    auto store = std::make_unique<CapabilityStore>();
    store->apply_space({"default", 2, Metric::cosine, ""});
    publish(*store, Plain({1, 2}, {1, 1, 2, 1}, 2));
    if (extra) {
      store->apply_open(0, 1, 1);
      store->refresh_live(9, [](uint32_t) { return false; });
      store->state_hash();
    }
    return store;
  };
  const auto a = build(false), b = build(true);
  const Digest start = a->state_hash();
  EXPECT_EQ(start, b->state_hash());
  for (auto& store : {a.get(), b.get()}) store->apply_price(0, 1, 5);
  EXPECT_NE(a->state_hash(), start);
  EXPECT_EQ(a->state_hash(), b->state_hash());
  const Digest priced = a->state_hash();
  a->apply_withdraw(0, 0);
  EXPECT_NE(a->state_hash(), priced);
  b->apply_space({"second", 2, Metric::cosine, ""});
  EXPECT_NE(b->state_hash(), priced);
}

TEST(Capability, MemoryIsStatedAndRowsCostWhatTheirVectorsDo) {
  CapabilityStore store;
  store.apply_space({"default", 384, Metric::cosine, ""});
  std::vector<uint32_t> agents(4096);
  for (uint32_t i = 0; i < 4096; ++i) agents[i] = i;
  publish(store, Plain(agents, std::vector<float>(4096 * 384, 1), 384));
  const uint64_t vectors = uint64_t(4096) * 384 * 4;
  EXPECT_GE(store.memory_bytes(), vectors);
  EXPECT_LE(store.memory_bytes(), vectors + vectors / 10);
}

}  // namespace
}  // namespace hanse
