// The device's search against the CPU's. Without a device it says so and skips.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "base/device.hpp"
#include "base/error.hpp"
#include "base/random.hpp"

namespace hanse {
namespace {

class DeviceMemory {
 public:
  DeviceMemory(const DeviceTable& table, const void* from, size_t size_bytes) : table_(table) {
    check_device(table, "allocate", table.allocate(std::max<size_t>(size_bytes, 1), &memory_));
    if (from != nullptr)
      check_device(table, "copy", table.copy_to_device(memory_, from, size_bytes, nullptr));
  }
  DeviceMemory(const DeviceMemory&) = delete;
  ~DeviceMemory() { table_.release(memory_); }
  void* get() const { return memory_; }

 private:
  const DeviceTable& table_;
  void* memory_ = nullptr;
};

const DeviceTable* find_device(std::string& reason) {
  try {
    return &device_table();
  } catch (const Error& error) {
    reason = error.detail();
    return nullptr;
  }
}

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
  const DeviceMemory device_queries(table, queries.data(), queries.size() * sizeof(float));
  const DeviceMemory device_vectors(table, vectors.data(), vectors.size() * sizeof(float));
  const DeviceMemory device_mask(table, mask.data(), mask.size() * sizeof(uint64_t));
  Answer answer{std::vector<uint32_t>(c.query_count * c.k),
                std::vector<float>(c.query_count * c.k)};
  const DeviceMemory rows(table, nullptr, answer.rows.size() * sizeof(uint32_t));
  const DeviceMemory scores(table, nullptr, answer.scores.size() * sizeof(float));
  DeviceSearch search{};
  search.device_queries = static_cast<const float*>(device_queries.get());
  search.device_vectors = static_cast<const float*>(device_vectors.get());
  search.device_mask = static_cast<const uint64_t*>(device_mask.get());
  search.mask_stride_words = c.own_masks ? (c.row_count + 63) / 64 : 0;
  search.query_count = c.query_count;
  search.row_count = c.row_count;
  search.stride = c.stride;
  search.k = c.k;
  search.device_rows_out = static_cast<uint32_t*>(rows.get());
  search.device_scores_out = static_cast<float*>(scores.get());
  const DeviceMemory workspace(table, nullptr, table.search_workspace_bytes(&search));
  search.device_workspace = workspace.get();
  check_device(table, "search", table.search(&search, nullptr));
  check_device(
      table, "copy",
      table.copy_from_device(answer.rows.data(), rows.get(), answer.rows.size() * 4, nullptr));
  check_device(table, "copy",
               table.copy_from_device(answer.scores.data(), scores.get(), answer.scores.size() * 4,
                                      nullptr));
  check_device(table, "synchronize", table.synchronize(nullptr));
  return answer;
}

// Small integers: sums are exact in any order, and ties are common.
TEST(DeviceSearch, AgreesWithTheCpuOnSmallIntegers) {
  std::string reason;
  const DeviceTable* table = find_device(reason);
  if (table == nullptr) GTEST_SKIP() << reason;
  Random random(31);
  for (const Case& c : {Case{1, 1, 16, 1, false}, Case{3, 127, 16, 10, true},
                        Case{33, 129, 48, 64, false}, Case{40, 5000, 384, 10, true},
                        Case{1, 20000, 32, 33, false}, Case{600, 300, 16, 5, true}}) {
    std::vector<float> queries(c.query_count * c.stride), vectors(c.row_count * c.stride);
    for (float& x : queries) x = float(random.below(5)) - 2;
    for (float& x : vectors) x = float(random.below(5)) - 2;
    std::vector<uint64_t> mask((c.own_masks ? c.query_count : 1) * ((c.row_count + 63) / 64));
    for (uint64_t& word : mask) word = random.next() | random.next();
    const Answer want = search_one_by_one(c, queries, vectors, mask);
    const Answer got = search_on_device(*table, c, queries, vectors, mask);
    EXPECT_EQ(got.rows, want.rows);
    EXPECT_EQ(got.scores, want.scores);
  }
}

}  // namespace
}  // namespace hanse
