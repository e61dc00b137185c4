// Seeded vectors in clusters, and brute force over them.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "base/random.hpp"
#include "capability/codes.hpp"
#include "capability/graph.hpp"

namespace hanse {

inline float normal(Random& random) {
  float sum = 0;
  for (int i = 0; i < 12; ++i) sum += float(random.next() >> 40) / float(1 << 24);
  return sum - 6;
}

// Unit vectors around `cluster_count` centres; the same seed gives the same ones.
struct Clusters {
  Clusters(uint32_t dim_of_all, uint32_t cluster_count, uint64_t seed)
      : dim(dim_of_all), random(seed) {
    for (uint32_t i = 0; i < cluster_count * dim; ++i) centres.push_back(normal(random));
  }
  std::vector<float> next() {
    const uint64_t centre = random.below(centres.size() / dim);
    std::vector<float> vector(dim);
    float square = 0;
    for (uint32_t i = 0; i < dim; ++i) {
      vector[i] = centres[centre * dim + i] + 0.7f * normal(random);
      square += vector[i] * vector[i];
    }
    for (float& x : vector) x /= std::sqrt(square);
    return vector;
  }

  uint32_t dim;
  Random random;
  std::vector<float> centres;
};

// What a table should hold: row -> vector.
using Rows = std::map<uint32_t, std::vector<float>>;

inline float dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += double(a[i]) * double(b[i]);
  return float(sum);
}

inline std::vector<Candidate8> best_rows(const Rows& rows, const std::vector<float>& query,
                                         uint32_t k, const RowMask& mask = {}) {
  std::vector<Candidate8> all;
  for (const auto& [row, vector] : rows)
    if (mask.test(row)) all.push_back({row, dot(vector, query)});
  std::sort(all.begin(), all.end(), [](const Candidate8& a, const Candidate8& b) {
    return a.score != b.score ? a.score > b.score : a.row < b.row;
  });
  all.resize(std::min<size_t>(k, all.size()));
  return all;
}

inline uint32_t hits(const std::vector<Candidate8>& truth, const Candidate8* found,
                     uint32_t count) {
  uint32_t sum = 0;
  for (const Candidate8& wanted : truth)
    sum += uint32_t(
        std::count_if(found, found + count, [&](const auto& c) { return c.row == wanted.row; }));
  return sum;
}

inline Rows fill(CodeTable& codes, Clusters& clusters, uint32_t count) {
  Rows rows;
  std::vector<uint32_t> numbers;
  std::vector<const float*> vectors;
  for (uint32_t row = 0; row < count; ++row) {
    rows[row] = clusters.next();
    numbers.push_back(row);
  }
  for (const uint32_t row : numbers) vectors.push_back(rows[row].data());
  codes.centre_on(vectors);
  codes.write_many(numbers, vectors, 2);
  return rows;
}

inline std::vector<uint32_t> rows_below(uint32_t count) {
  std::vector<uint32_t> rows(count);
  for (uint32_t row = 0; row < count; ++row) rows[row] = row;
  return rows;
}

inline std::vector<CpuLevel> levels_here() {
  std::vector<CpuLevel> levels{CpuLevel::baseline};
  if (cpu_level() == CpuLevel::avx512) levels.push_back(CpuLevel::avx2);
  if (cpu_level() != CpuLevel::baseline) levels.push_back(cpu_level());
  return levels;
}

}  // namespace hanse
