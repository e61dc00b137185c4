#include "capability/planner.hpp"

#include <algorithm>
#include <cmath>

#include "capability/quantised.hpp"

namespace hanse {

namespace {

// Nanoseconds on one core, measured at 384 dimensions; only their proportions matter.
constexpr double row_ns = 110;           // one row looked up
constexpr double code_ns = 5.5;          // one sign code in a scan of many
constexpr double codes_base_ns = 7'000;  // rotating the query, ranking the best again
constexpr double walk_base_ns = 9'000;
constexpr double walk_step_ns = 340;  // for each unit of width, without a filter
constexpr double dim_measured = 384;
// Who names an effort gets a walk, unless it would meet hardly anything feasible.
constexpr double share_for_effort = 0.1;

}  // namespace

namespace {

// Of D signs the error of an estimate falls as 1 / sqrt(D) (RaBitQ, theorem 3.2), so fewer signs
// leave more rows in doubt.
double doubt(uint32_t dim) { return std::clamp(dim_measured / dim, 1.0, 3.0); }

uint32_t look_of_few(uint32_t keep, double few) { return uint32_t((48 + 4 * keep) * few * few); }

}  // namespace

uint32_t look_of_codes(const SearchOptions& options, uint32_t keep, uint32_t dim) {
  const bool thorough = options.recall > 0.95;
  if (dim >= dim_measured && !thorough) return 32 + 8 * keep;
  return look_of_few(keep, std::clamp(1.42 * dim_measured / dim, 1.0, 3.0)) * (thorough ? 2 : 1);
}

uint32_t look_of_walk(const SearchOptions& options, uint32_t width, uint32_t keep, uint32_t dim) {
  const double few = doubt(dim);
  // Who names an effort has tried it on such rows. Who names a recall has not: where many rows are
  // nearly equally near, the signs alone order them badly.
  if (options.effort == 0)
    return std::max(look_of_few(keep + 6, few) * (options.recall > 0.95 ? 2 : 1), 2 * width);
  const uint32_t enough = std::max(width + 16, 2 * keep);
  return dim >= dim_measured ? enough : std::max(uint32_t(enough * few), look_of_few(keep, few));
}

uint32_t walk_width(const SearchOptions& options, uint32_t row_count, uint32_t dim) {
  if (options.effort != 0) return std::max(options.effort, options.k);
  // What reached each recall at 60,000 rows; each factor of ten in rows takes about half more.
  constexpr std::pair<double, double> needed[] = {{0.80, 16}, {0.90, 32},  {0.95, 64},
                                                  {0.97, 96}, {0.98, 160}, {0.99, 256}};
  double width = 512;
  for (const auto& [recall, enough] : needed)
    if (options.recall <= recall) {
      width = enough;
      break;
    }
  const double growth = std::log10(std::max(1e4, double(row_count)) / 6e4);
  width *= std::pow(1.5, growth) * std::clamp(dim_measured / dim, 1.0, 4.0);
  width = std::max(width, double(options.k) * (options.recall > 0.95 ? 2 : 1.2));
  return uint32_t(std::clamp(width, 16.0, 4096.0));
}

// Of the rows that can be found: withdrawn ones are in no graph.
double share_of(const CapabilitySpace& space, uint32_t feasible) {
  const auto found = double(peek(space.statistics.found));
  return feasible < found ? double(feasible) / found : 1;
}

// The larger pool of such a walk finds more of the best, so it need not grow as 1 / share.
uint32_t width_to_filter(uint32_t width, double share) {
  return uint32_t(width * (0.6 + 0.4 * share) / share);
}

Plan plan_query(const CapabilitySpace& space, const SearchOptions& options,
                const PreparedQuery& query) {
  if (query.feasible == 0) return Plan::nothing;
  const double feasible = query.feasible;
  if (query.feasible <= 64) return Plan::rows;
  const Quantised* quantised = space.quantised();
  if (quantised == nullptr || options.recall >= 1) return Plan::scan;

  const double size = std::max(0.1, double(space.spec.dim) / dim_measured);
  const double rows_cost = feasible * row_ns * (0.4 + 0.6 * size);
  const double codes_cost = codes_base_ns + feasible * code_ns * (0.3 + 0.7 * size);
  const double share = share_of(space, query.feasible);
  if (options.effort != 0 && share >= share_for_effort) return Plan::walk;
  const uint32_t width = walk_width(options, space.row_count(), space.spec.dim);
  // A walk through feasible rows only meets the others as 1 / share, and goes through some of them.
  const double steps = filters_after(share) ? width_to_filter(width, share)
                                            : 2.5 * width / std::sqrt(std::max(share, 1e-6));
  const double walk_cost = walk_base_ns + steps * walk_step_ns * (0.3 + 0.7 * size) +
                           share * space.pending_count() * code_ns * size;
  if (rows_cost <= codes_cost && rows_cost <= walk_cost) return Plan::rows;
  return codes_cost <= walk_cost ? Plan::codes : Plan::walk;
}

namespace {

// The least and most values that a code stands for.
std::pair<double, double> values_of(Numeric column, uint32_t first_code, uint32_t last_code) {
  const auto integer = [](uint32_t code, bool top) {
    if (code < 2048) return double(code);
    const uint32_t shift = (code >> 10) - 1;
    return std::ldexp(double((code & 1023) | 1024) + (top ? 1 : 0), int(shift));
  };
  const auto real = [](uint32_t code, bool top) {
    const bool negative = (code & 0x8000) == 0;
    uint32_t bits = (negative ? ~code & 0xffff : code & 0x7fff) << 16;
    if (top != negative) bits |= 0xffff;
    return double(std::bit_cast<float>(bits));
  };
  if (column == Numeric::price || column == Numeric::updated)
    return {integer(first_code, false), integer(last_code, true)};
  return {real(first_code, false), real(last_code, true)};
}

// The range of a column over the rows that can be found, narrowed by the filter.
std::pair<double, double> range_of(Numeric column, const Predicate& predicate,
                                   const Statistics& statistics) {
  const auto& counts = statistics.codes[size_t(column)];
  uint32_t first = 0, last = Statistics::buckets - 1;
  while (first < last && peek(counts[first]) == 0) ++first;
  while (last > first && peek(counts[last]) == 0) --last;
  const RangeTest& test = predicate.ranges[size_t(column)];
  const uint32_t least = std::max<uint32_t>(first << 8, test.on ? test.code_least : 0);
  const uint32_t most = std::min<uint32_t>(last << 8 | 255, test.on ? test.code_most : 65535);
  return values_of(column, least, std::max(least, most));
}

}  // namespace

double bonus_bound(const Ranking& ranking, const Predicate& predicate,
                   const Statistics& statistics) {
  const auto most = [&](Numeric column, double weight) {
    if (weight == 0) return 0.0;
    const auto [low, high] = range_of(column, predicate, statistics);
    return std::max(weight * low, weight * high);
  };
  double bound = most(Numeric::price, -ranking.price) + most(Numeric::load, -ranking.load) +
                 most(Numeric::reputation, ranking.reputation);
  if (ranking.recency != 0) {
    const auto [low, high] = range_of(Numeric::updated, predicate, statistics);
    const auto age = [&](double updated) { return std::max(0.0, double(ranking.now) - updated); };
    bound += std::max(-ranking.recency * age(low), -ranking.recency * age(high));
  }
  return bound;
}

}  // namespace hanse
