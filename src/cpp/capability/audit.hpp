// Counts what searches did, and keeps a few of their queries to be asked again, exactly, when there
// is time. Internal to this concept.
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <vector>

#include "capability/query.hpp"

namespace hanse {

class Audit {
 public:
  static constexpr uint32_t sample_every = 64;  // queries
  static constexpr uint32_t samples_max = 256;  // the oldest is overwritten

  struct Sample {
    std::vector<float> query;
    Feasible feasible;
    Ranking ranking;
    uint32_t k = 0, effort = 0;
    double recall = 0;
  };

  void count(std::span<const SearchReport> reports);
  // Keeps every sample_every-th query without a mask of the caller's.
  void keep(MatrixView<const float> queries, std::span<const Feasible> feasible,
            const SearchOptions& options);
  bool take(Sample& sample_out);
  void add(uint64_t found, uint64_t wanted);

  uint64_t plans(size_t plan) const { return plans_[plan].load(std::memory_order_relaxed); }
  uint64_t standing() const { return standing_.load(std::memory_order_relaxed); }
  uint64_t audited() const { return audited_.load(std::memory_order_relaxed); }
  double estimate() const;

 private:
  std::array<std::atomic<uint64_t>, plan_count> plans_{};
  std::atomic<uint64_t> standing_{0}, queries_{0}, audited_{0}, found_{0}, wanted_{0};
  std::mutex mutex_;
  std::vector<Sample> samples_;
  size_t next_ = 0;
};

}  // namespace hanse
