#include "base/error.hpp"
#include "capability_codes_fixture.hpp"

namespace hanse {
namespace {

TEST(CapabilityCodes, EveryInstructionSetGivesTheSameBits) {
  for (const uint32_t dim : {16u, 17u, 100u, 384u, 520u, 1000u, 4096u}) {
    std::vector<std::vector<Candidate8>> answers;
    for (const CpuLevel level : levels_here()) {
      CodeTable codes(dim, {7, level});
      Clusters clusters(dim, 5, dim);
      fill(codes, clusters, 200);
      CodeQuery query;
      ScanScratch scratch;
      std::vector<Candidate8> found(300), batch(30);
      std::vector<uint32_t> counts(1);
      codes.prepare(clusters.next().data(), query);
      found.resize(codes.scan(query, {}, 30, 60, scratch, found.data()));
      const CodeQuery* queries[] = {&query};
      codes.scan_batch(queries, {}, 30, 1, {batch.data(), 1, 30}, counts);
      found.insert(found.end(), batch.begin(), batch.end());
      answers.push_back(found);
    }
    for (const auto& answer : answers) EXPECT_EQ(answer, answers[0]) << "dim " << dim;
  }
}

TEST(CapabilityCodes, EveryKernelMultipliesExactly) {
  Random random(3);
  for (const uint32_t dim : {64u, 128u, 384u, 4096u}) {
    constexpr uint32_t count = panel_rows * panels_in_tile;
    struct alignas(64) Line {
      uint8_t bytes[64];
    };
    std::vector<Line> row_lines(dim / 64 * count), query_lines(dim / 64 * 6), panels(row_lines);
    const uint8_t* rows[count];
    const int8_t* queries[6];
    for (uint32_t i = 0; i < count; ++i) rows[i] = row_lines[dim / 64 * i].bytes;
    for (uint32_t i = 0; i < 6; ++i)
      queries[i] = reinterpret_cast<const int8_t*>(query_lines[dim / 64 * i].bytes);
    for (Line& line : row_lines)
      for (uint8_t& byte : line.bytes) byte = random.chance(100) ? 255 : uint8_t(random.next());
    for (Line& line : query_lines)
      for (uint8_t& byte : line.bytes)
        byte = uint8_t(random.chance(100) ? 127 : int(random.below(255)) - 127);
    for (uint32_t i = 0; i < count; ++i)
      for (uint32_t d = 0; d < dim; ++d)
        panels[0]
            .bytes[(i / panel_rows * dim + d / 4 * 4) * panel_rows + i % panel_rows * 4 + d % 4] =
            rows[i][d];
    for (const CpuLevel level : levels_here()) {
      const CodeKernels& kernels = code_kernels(level);
      for (uint32_t q = 1; q <= 6; ++q) {
        int32_t dots[count], turned[6], tile[6 * count];
        kernels.dots(queries[q - 1], rows, count, dim, dots);
        kernels.row_dots(rows[q], queries, q, dim, turned);
        kernels.panel_dots(panels[0].bytes, queries, q, dim, tile);
        for (uint32_t i = 0; i < count; ++i) {
          int32_t expected = 0;
          for (uint32_t d = 0; d < dim; ++d) expected += rows[i][d] * queries[q - 1][d];
          ASSERT_EQ(dots[i], expected) << kernels.name << " dim " << dim;
          ASSERT_EQ(tile[(q - 1) * count + i], expected) << kernels.name << " dim " << dim;
          if (i != q) continue;
          ASSERT_EQ(turned[q - 1], expected) << kernels.name << " dim " << dim;
        }
      }
    }
  }
}

TEST(CapabilityCodes, EveryKernelKeepsTheBestOfAPoolInOrder) {
  struct alignas(64) Pool {
    PoolEntry places[96];
  };
  for (const CpuLevel level : levels_here()) {
    Random random(11);
    for (const uint32_t size : {8u, 16u, 64u, 96u}) {
      Pool pool = {};
      std::vector<uint64_t> all;
      for (uint32_t round = 0; round < 60; ++round) {
        float scores[40];
        uint32_t slots[40];
        const auto count = uint32_t(random.below(41));
        const std::vector<uint64_t> before(&pool.places[0].key, &pool.places[0].key + size);
        for (uint32_t i = 0; i < count; ++i) {
          // Few values, so that many are equal, of either sign.
          scores[i] = float(int(random.below(9)) - 4) / 4;
          slots[i] = round * 40 + i;
          all.push_back(PoolEntry::of(scores[i], slots[i]).key);
        }
        const uint32_t best =
            code_kernels(level).fill_pool({pool.places, size, scores, slots, count});
        std::sort(all.begin(), all.end(), std::greater());
        all.resize(size);
        uint32_t changed = size;
        for (uint32_t i = size; i-- > 0;) {
          ASSERT_EQ(pool.places[i].key, all[i]) << "place " << i << " of " << size;
          if (all[i] != before[i]) changed = i;
        }
        EXPECT_EQ(best, changed);
      }
    }
  }
}

TEST(CapabilityCodes, AScanFindsNearlyAllOfTheBest) {
  for (const uint32_t dim : {16u, 17u, 100u, 384u, 4096u}) {
    CodeTable codes(dim, {1, cpu_level()});
    Clusters clusters(dim, 20, dim + 1);
    const Rows rows = fill(codes, clusters, dim > 1000 ? 500 : 2000);
    std::vector<uint64_t> words((rows.size() + 63) / 64);
    for (size_t row = 0; row < rows.size(); ++row)
      if (clusters.random.chance(300)) words[row / 64] |= uint64_t(1) << (row % 64);
    const RowMask masks[] = {{}, {words.data(), uint32_t(words.size())}};
    CodeQuery query;
    ScanScratch scratch;
    uint32_t found = 0, wanted = 0;
    for (uint32_t i = 0; i < 20; ++i) {
      const std::vector<float> vector = clusters.next();
      codes.prepare(vector.data(), query);
      for (const RowMask& mask : masks) {
        Candidate8 out[20];
        const uint32_t count = codes.scan(query, mask, 20, 0, scratch, out);
        ASSERT_EQ(count, 20u);
        for (const Candidate8& candidate : out) {
          ASSERT_TRUE(mask.test(candidate.row));
          ASSERT_NEAR(candidate.score, dot(rows.at(candidate.row), vector), 0.02);
        }
        wanted += 10;
        found += hits(best_rows(rows, vector, 10, mask), out, count);
      }
    }
    EXPECT_GE(found, wanted * 95 / 100) << "dim " << dim;
  }
}

TEST(CapabilityCodes, ABatchFindsWhatEachQueryAloneWouldUnderItsMask) {
  CodeTable codes(100, {1, cpu_level()});
  Clusters clusters(100, 10, 4);
  const Rows rows = fill(codes, clusters, 3000);
  constexpr uint32_t count = 15, keep = 12;
  std::vector<CodeQuery> queries(count);
  std::vector<const CodeQuery*> pointers;
  std::vector<std::vector<float>> vectors;
  std::vector<std::vector<uint64_t>> words(count);
  std::vector<RowMask> masks;
  for (uint32_t i = 0; i < count; ++i) {
    vectors.push_back(clusters.next());
    codes.prepare(vectors[i].data(), queries[i]);
    pointers.push_back(&queries[i]);
    for (uint32_t word = 0; word < 47; ++word)
      words[i].push_back(clusters.random.next() & clusters.random.next());
    masks.push_back({words[i].data(), 47});
  }
  words[3].assign(47, 0);
  words[4].assign(47, 0);
  words[4][1] = 6;
  std::vector<Candidate8> out(count * keep), again(count * keep);
  std::vector<uint32_t> counts(count);
  codes.scan_batch(pointers, masks, keep, 1, {out.data(), count, keep}, counts);
  codes.scan_batch(pointers, masks, keep, 2, {again.data(), count, keep}, counts);
  EXPECT_EQ(out, again);
  EXPECT_EQ(counts[3], 0u);
  EXPECT_EQ(counts[4], 2u);
  for (uint32_t i = 0; i < count; ++i) {
    const auto truth = best_rows(rows, vectors[i], 8, masks[i]);
    EXPECT_GE(hits(truth, out.data() + i * keep, counts[i]), truth.size() - truth.size() / 8);
    for (uint32_t j = 0; j < counts[i]; ++j) EXPECT_TRUE(masks[i].test(out[i * keep + j].row));
    for (uint32_t j = counts[i]; j < keep; ++j) EXPECT_EQ(out[i * keep + j].row, index_none);
  }
}

TEST(CapabilityCodes, ARowHoldsWhatWasWrittenLastAndNothingOnceErased) {
  CodeTable codes(32, {1, cpu_level()});
  Clusters clusters(32, 3, 5);
  CodeQuery query;
  ScanScratch scratch;
  Candidate8 out[4];
  const std::vector<float> first = clusters.next(), second = clusters.next();
  codes.prepare(second.data(), query);
  EXPECT_EQ(codes.scan(query, {}, 4, 0, scratch, out), 0u);
  codes.write(70'000, first.data());
  codes.write(70'000, second.data());
  codes.write(2, first.data());
  EXPECT_EQ(codes.row_count(), 2u);
  EXPECT_EQ(codes.row_end(), 70'001u);
  ASSERT_EQ(codes.scan(query, {}, 4, 0, scratch, out), 2u);
  EXPECT_EQ(out[0].row, 70'000u);
  EXPECT_NEAR(out[0].score, 1, 0.02);
  codes.erase(70'000);
  codes.erase(70'000);
  codes.erase(5);
  EXPECT_FALSE(codes.has(70'000));
  EXPECT_TRUE(codes.has(2));
  ASSERT_EQ(codes.scan(query, {}, 4, 0, scratch, out), 1u);
  EXPECT_EQ(out[0].row, 2u);
  const uint32_t listed[] = {70'000, 2, 9'999'999};
  EXPECT_EQ(codes.scan_rows(query, listed, 4, 0, scratch, out), 1u);
}

TEST(CapabilityCodes, SlotsAreUsedAgainSoThatRewritingCostsNoMemory) {
  CodeTable codes(64, {1, cpu_level()});
  Clusters clusters(64, 3, 6);
  for (uint32_t row = 0; row < 50; ++row) codes.write(row, clusters.next().data());
  for (uint32_t i = 0; i < 100; ++i) codes.write(i % 50, clusters.next().data());
  const uint64_t before = codes.memory_bytes();
  for (uint32_t i = 0; i < 5000; ++i) codes.write(i % 50, clusters.next().data());
  EXPECT_LE(codes.memory_bytes(), before + 1024);
}

TEST(CapabilityCodes, EqualAndZeroVectorsAreNoTrouble) {
  CodeTable codes(48, {1, cpu_level()});
  const std::vector<float> same(48, 0.25f), zero(48, 0.0f);
  for (uint32_t row = 0; row < 300; ++row) codes.write(row, same.data());
  codes.write(300, zero.data());
  CodeQuery query;
  ScanScratch scratch;
  Candidate8 out[400];
  codes.prepare(same.data(), query);
  ASSERT_EQ(codes.scan(query, {}, 400, 0, scratch, out), 301u);
  for (uint32_t i = 0; i < 300; ++i) EXPECT_EQ(out[i].row, i) << "ties go to the lower row";
  EXPECT_EQ(out[300].row, 300u);
  EXPECT_EQ(out[300].score, 0);
}

TEST(CapabilityCodes, ARefusalNamesTheLimit) {
  for (const uint32_t dim : {0u, 15u, 4097u}) {
    try {
      CodeTable codes(dim, {});
      FAIL() << dim;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::out_of_range);
      EXPECT_EQ(error.field(), "dim");
    }
  }
  CodeTable codes(16, {});
  const std::vector<float> vector(16, 1.0f);
  const float* sample[] = {vector.data()};
  codes.write(0, vector.data());
  EXPECT_THROW(codes.centre_on(sample), Error);
}

}  // namespace
}  // namespace hanse
