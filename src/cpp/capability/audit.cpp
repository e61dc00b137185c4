#include "capability/audit.hpp"

namespace hanse {

void Audit::count(std::span<const SearchReport> reports) {
  std::array<uint64_t, plan_count> plans{};
  uint64_t standing = 0;
  for (const SearchReport& report : reports) {
    ++plans[size_t(report.plan)];
    standing += report.standing;
  }
  for (size_t p = 0; p < plan_count; ++p)
    if (plans[p] != 0) plans_[p].fetch_add(plans[p], std::memory_order_relaxed);
  if (standing != 0) standing_.fetch_add(standing, std::memory_order_relaxed);
}

void Audit::keep(MatrixView<const float> queries, std::span<const Feasible> feasible,
                 const SearchOptions& options) {
  const uint64_t before = queries_.fetch_add(queries.rows, std::memory_order_relaxed);
  if (options.masks.rows != 0 || options.recall >= 1 || options.device) return;
  for (uint64_t i = (sample_every - before % sample_every) % sample_every; i < queries.rows;
       i += sample_every) {
    Sample sample;
    sample.query.assign(queries.row(i), queries.row(i) + queries.columns);
    sample.feasible = feasible[feasible.size() == 1 ? 0 : i];
    if (!options.rankings.empty())
      sample.ranking = options.rankings[options.rankings.size() == 1 ? 0 : i];
    sample.ranking.explore = 0;
    sample.k = options.k;
    sample.effort = options.effort;
    sample.recall = options.recall;
    const std::lock_guard lock(mutex_);
    if (samples_.size() < samples_max)
      samples_.push_back(std::move(sample));
    else
      samples_[next_++ % samples_max] = std::move(sample);
  }
}

bool Audit::take(Sample& sample_out) {
  const std::lock_guard lock(mutex_);
  if (samples_.empty()) return false;
  sample_out = std::move(samples_.back());
  samples_.pop_back();
  return true;
}

void Audit::add(uint64_t found, uint64_t wanted) {
  audited_.fetch_add(1, std::memory_order_relaxed);
  found_.fetch_add(found, std::memory_order_relaxed);
  wanted_.fetch_add(wanted, std::memory_order_relaxed);
}

double Audit::estimate() const {
  const uint64_t wanted = wanted_.load(std::memory_order_relaxed);
  return wanted == 0 ? -1 : double(found_.load(std::memory_order_relaxed)) / double(wanted);
}

}  // namespace hanse
