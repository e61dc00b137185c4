#include "base/error.hpp"
#include "capability_codes_fixture.hpp"

namespace hanse {
namespace {

struct Built {
  Built(uint32_t dim, uint32_t count, const GraphOptions& options = {}, uint32_t threads = 1)
      : codes(dim, {1, cpu_level()}),
        clusters(dim, 20, dim + count),
        rows(fill(codes, clusters, count)),
        graph(codes, options) {
    graph.update(rows_below(count), threads);
  }
  std::vector<Candidate8> search(const std::vector<float>& vector, const GraphQuery& what) {
    CodeQuery query;
    codes.prepare(vector.data(), query);
    std::vector<Candidate8> out(what.keep);
    answer = graph.search(query, what, scratch, out.data());
    out.resize(answer.count);
    return out;
  }
  double recall(const RowMask& mask = {}, uint32_t width = 64, bool post_filter = false) {
    uint32_t found = 0, wanted = 0;
    for (uint32_t i = 0; i < 50; ++i) {
      const std::vector<float> vector = clusters.next();
      const auto truth = best_rows(rows, vector, 10, mask);
      const auto out =
          search(vector, {.mask = mask, .post_filter = post_filter, .keep = 20, .width = width});
      for (const Candidate8& candidate : out) {
        EXPECT_TRUE(rows.contains(candidate.row));
        EXPECT_TRUE(mask.test(candidate.row));
      }
      found += hits(truth, out.data(), uint32_t(out.size()));
      wanted += uint32_t(truth.size());
    }
    return double(found) / wanted;
  }
  void replace(uint32_t row) {
    rows[row] = clusters.next();
    codes.write(row, rows[row].data());
  }

  CodeTable codes;
  Clusters clusters;
  Rows rows;
  Graph graph;
  GraphScratch scratch;
  GraphAnswer answer;
};

TEST(CapabilityGraph, FindsNearlyAllOfTheBestInEveryDimension) {
  for (const uint32_t dim : {16u, 17u, 100u, 384u, 4096u}) {
    Built built(dim, dim > 1000 ? 600 : 4000);
    // Isotropic noise in many dimensions is the hardest there is: all are about as far.
    EXPECT_GE(built.recall({}, 128), 0.92) << "dim " << dim;
    EXPECT_TRUE(built.graph.unreachable().empty()) << "dim " << dim;
  }
}

TEST(CapabilityGraph, OneThreadGivesTheSameGraphAndAllInstructionSetsToo) {
  std::vector<std::vector<Candidate8>> answers;
  for (uint32_t round = 0; round < 2; ++round)
    for (const CpuLevel level : levels_here()) {
      Clusters clusters(96, 10, 3);
      CodeTable codes(96, {1, level});
      const Rows rows = fill(codes, clusters, 1500);
      Graph graph(codes, {});
      graph.update(rows_below(1500), 1);
      GraphScratch scratch;
      CodeQuery query;
      std::vector<Candidate8> all;
      for (uint32_t i = 0; i < 20; ++i) {
        Candidate8 out[10];
        codes.prepare(clusters.next().data(), query);
        const auto answer = graph.search(query, {.width = 16}, scratch, out);
        all.insert(all.end(), out, out + answer.count);
      }
      answers.push_back(all);
    }
  for (const auto& answer : answers) EXPECT_EQ(answer, answers[0]);
}

TEST(CapabilityGraph, TinyAndEmptyGraphsAnswerInFull) {
  for (uint32_t count = 0; count < 130; count += count < 4 ? 1 : 21) {
    Built built(32, count);
    const auto out = built.search(std::vector<float>(32, 0.5f), {.keep = 200, .width = 200});
    EXPECT_EQ(out.size(), count);
  }
}

TEST(CapabilityGraph, EqualVectorsAreAllReached) {
  CodeTable codes(24, {1, cpu_level()});
  const std::vector<float> same(24, 0.2f);
  for (uint32_t row = 0; row < 3000; ++row) codes.write(row, same.data());
  Graph graph(codes, {});
  graph.update(rows_below(3000), 1);
  EXPECT_TRUE(graph.unreachable().empty());
  std::vector<uint32_t> gone;
  for (uint32_t row = 0; row < 3000; row += 3) {
    codes.erase(row);
    gone.push_back(row);
  }
  graph.update(gone, 1);
  EXPECT_TRUE(graph.unreachable().empty());
  EXPECT_EQ(graph.stats().node_count, 2000u);
}

TEST(CapabilityGraph, AMaskedWalkFindsOnlyTheFeasibleAndNearlyAllOfTheBest) {
  Built built(64, 6000);
  for (const uint32_t of_1000 : {700u, 500u, 300u, 100u}) {
    std::vector<uint64_t> words(94);
    for (uint32_t row = 0; row < 6000; ++row)
      if (built.clusters.random.chance(of_1000)) words[row / 64] |= uint64_t(1) << (row % 64);
    EXPECT_GE(built.recall({words.data(), 94}, 128), 0.92) << of_1000 << " of 1000";
    EXPECT_GE(built.recall({words.data(), 94}, 128'000 / of_1000, true), 0.92) << of_1000;
  }
  const std::vector<uint64_t> none(94);
  EXPECT_TRUE(built.search(built.clusters.next(), {.mask = {none.data(), 94}, .post_filter = true})
                  .empty());
  EXPECT_TRUE(built.search(built.clusters.next(), {.mask = {none.data(), 94}}).empty());
}

TEST(CapabilityGraph, AWalkGivesUpAtItsBudgetAndTheNextIsNotHarmed) {
  Built built(64, 4000);
  const std::vector<float> vector = built.clusters.next();
  const auto whole = built.search(vector, {});
  built.search(vector, {.visits_max = 100});
  EXPECT_TRUE(built.answer.gave_up);
  EXPECT_LE(built.answer.visits, 100u + 2 * 32);
  EXPECT_EQ(built.search(vector, {}), whole);
  EXPECT_FALSE(built.answer.gave_up);
}

TEST(CapabilityGraph, ReplacingEveryRowTwiceLosesNothing) {
  Built built(48, 3000);
  const double before = built.recall();
  Random random(9);
  for (uint32_t round = 0; round < 2; ++round) {
    std::vector<uint32_t> order = rows_below(3000);
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
    for (size_t first = 0; first < order.size(); first += 100) {
      const std::span<const uint32_t> rows(order.data() + first, 100);
      for (const uint32_t row : rows) built.replace(row);
      built.graph.update(rows, 2);
    }
    EXPECT_TRUE(built.graph.unreachable().empty());
  }
  EXPECT_EQ(built.graph.stats().node_count, 3000u);
  // Every removal takes the repairing hand on, so that few of the removed are left.
  EXPECT_LE(built.graph.stats().removed_count, 300u);
  EXPECT_GE(built.recall(), before - 0.02);
}

TEST(CapabilityGraph, AnySequenceOfChangesAgreesWithBruteForce) {
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    Built built(32, 0, {.degree = 16, .build_width = 48});
    Random random(seed);
    for (uint32_t step = 0; step < 400; ++step) {
      std::vector<uint32_t> changed;
      // Early on more comes than goes, then the reverse, down to nothing.
      const uint32_t erased_of_1000 = step < 200 ? 300 : 800;
      for (uint64_t i = random.below(12); i > 0; --i) {
        const auto row = uint32_t(random.below(700));
        changed.push_back(row);
        if (random.chance(erased_of_1000)) {
          built.codes.erase(row);
          built.rows.erase(row);
        } else {
          built.replace(row);
        }
      }
      built.graph.update(changed, 1);
      if (step % 20 != 0) continue;
      ASSERT_TRUE(built.graph.unreachable().empty()) << "seed " << seed << " step " << step;
      ASSERT_EQ(built.graph.stats().node_count, built.rows.size());
      if (built.rows.empty()) continue;
      ASSERT_GE(built.recall(), 0.95) << "seed " << seed;
    }
    const std::vector<uint32_t> all = rows_below(700);
    for (const uint32_t row : all) built.codes.erase(row);
    built.graph.update(all, 2);
    built.rows.clear();
    EXPECT_EQ(built.graph.stats().node_count, 0u);
    EXPECT_TRUE(built.search(built.clusters.next(), {}).empty());
    built.replace(5);
    built.graph.update(5);
    EXPECT_EQ(built.search(built.clusters.next(), {}).size(), 1u);
  }
}

TEST(CapabilityGraph, ARowWrittenButNotUpdatedIsNotFoundAndItsOldVectorNeither) {
  Built built(32, 500);
  const std::vector<float> old = built.rows[7];
  built.replace(7);
  for (const Candidate8& candidate : built.search(old, {.keep = 500, .width = 500}))
    EXPECT_NE(candidate.row, 7u);
  built.graph.update(7);
  EXPECT_EQ(built.search(built.rows[7], {.keep = 1})[0].row, 7u);
}

TEST(CapabilityGraph, ARefusalNamesTheLimit) {
  CodeTable codes(16, {});
  const auto refused = [&](const GraphOptions& options, const char* field) {
    try {
      Graph graph(codes, options);
      FAIL() << field;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::out_of_range);
      EXPECT_EQ(error.field(), field);
    }
  };
  refused({.degree = 7}, "degree");
  refused({.degree = 65}, "degree");
  refused({.build_width = 31}, "build_width");
  refused({.slack = 0.9f}, "slack");
}

}  // namespace
}  // namespace hanse
