// The device's search against the CPU's. Without a device it says so and skips.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "base/device.hpp"
#include "base/random.hpp"
#include "device_under_test.hpp"

namespace hanse {
namespace {

struct Case {
  uint32_t query_count, row_count, stride, k;
  bool own_masks;
};

struct Answer {
  std::vector<uint32_t> rows;
  std::vector<float> scores;
};

Answer search_one_by_one(const Case& c, const std::vector<float>& queries,
                         const std::vector<float>& vectors, const std::vector<uint64_t>& mask) {
  const size_t words = (c.row_count + 63) / 64;
  Answer answer;
  for (uint32_t q = 0; q < c.query_count; ++q) {
    std::vector<std::pair<float, uint32_t>> found;
    for (uint32_t row = 0; row < c.row_count; ++row) {
      if (!(mask[(c.own_masks ? q : 0) * words + row / 64] >> row % 64 & 1)) continue;
      float sum = 0;
      for (uint32_t d = 0; d < c.stride; ++d)
        sum += queries[q * c.stride + d] * vectors[row * c.stride + d];
      found.emplace_back(-sum, row);
    }
    std::sort(found.begin(), found.end());
    for (uint32_t i = 0; i < c.k; ++i) {
      const bool there = i < found.size();
      answer.rows.push_back(there ? found[i].second : UINT32_MAX);
      answer.scores.push_back(there ? -found[i].first : -std::numeric_limits<float>::infinity());
    }
  }
  return answer;
}

Answer search_on_device(const DeviceTable& table, const Case& c, const std::vector<float>& queries,
                        const std::vector<float>& vectors, const std::vector<uint64_t>& mask) {
  const DeviceMemory device_queries(table, queries), device_vectors(table, vectors);
  const DeviceMemory device_mask(table, mask);
  const size_t cells = size_t(c.query_count) * c.k;
  const DeviceMemory rows(table, cells * sizeof(uint32_t)), scores(table, cells * sizeof(float));
  DeviceSearch search{};
  search.device_queries = device_queries.as<float>();
  search.device_vectors = device_vectors.as<float>();
  search.device_mask = device_mask.as<uint64_t>();
  search.mask_stride_words = c.own_masks ? (c.row_count + 63) / 64 : 0;
  search.query_count = c.query_count;
  search.row_count = c.row_count;
  search.stride = c.stride;
  search.k = c.k;
  search.device_rows_out = rows.as<uint32_t>();
  search.device_scores_out = scores.as<float>();
  const DeviceMemory workspace(table, table.search_workspace_bytes(&search));
  search.device_workspace = workspace.as<void>();
  check_device(table, "search", table.search(&search, nullptr));
  return {rows.read<uint32_t>(cells), scores.read<float>(cells)};
}

// Small integers: sums are exact in any order, and ties are common.
TEST(DeviceSearch, AgreesWithTheCpuOnSmallIntegers) {
  HANSE_DEVICE_OR_SKIP(table);
  in_each_order([&] {
    Random random(31);
    for (const Case& c :
         {Case{1, 1, 16, 1, false}, Case{3, 127, 16, 10, true}, Case{33, 129, 48, 64, false},
          Case{5, 700, 64, 10, true}, Case{1, 2000, 32, 33, false}, Case{70, 300, 16, 5, true}}) {
      std::vector<float> queries(c.query_count * c.stride), vectors(c.row_count * c.stride);
      for (float& x : queries) x = float(random.below(5)) - 2;
      for (float& x : vectors) x = float(random.below(5)) - 2;
      std::vector<uint64_t> mask((c.own_masks ? c.query_count : 1) * ((c.row_count + 63) / 64));
      for (uint64_t& word : mask) word = random.next() | random.next();
      const Answer want = search_one_by_one(c, queries, vectors, mask);
      const Answer got = search_on_device(table, c, queries, vectors, mask);
      EXPECT_EQ(got.rows, want.rows);
      EXPECT_EQ(got.scores, want.scores);
    }
  });
}

}  // namespace
}  // namespace hanse
