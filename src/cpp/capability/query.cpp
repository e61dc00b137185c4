#include "capability/query.hpp"

#include <algorithm>
#include <cmath>

namespace hanse {

void prepare_query(const CapabilitySpace& space, const SearchTable& table,
                   const SearchRequest& request, size_t number, float* vector,
                   PreparedQuery& query) {
  const float* given = request.queries.row(number);
  const SearchOptions& options = request.options;
  const double norm = std::sqrt(exact_dot(given, given, space.spec.dim));
  store_vector(space.spec.metric, given, space.spec.dim, space.stride, norm, vector);
  const Feasible& feasible = request.feasible[request.feasible.size() == 1 ? 0 : number];

  query.table = &table;
  query.number = number;
  query.vector = vector;
  query.norm = space.spec.metric == Metric::cosine ? 1 + 1e-6 : norm;
  query.predicate = compile(feasible);
  query.hash = query.predicate.hash();
  query.exclude_agent = feasible.exclude_agent;
  query.ranking = options.rankings.empty()
                      ? Ranking{}
                      : options.rankings[options.rankings.size() == 1 ? 0 : number];
  query.given = {};
  if (options.masks.rows != 0)
    query.given = {options.masks.row(options.masks.rows == 1 ? 0 : number), options.masks.columns};
  query.mask = nullptr;
  query.feasible = 0;
  query.report = {};
}

double bonus(const Ranking& ranking, const RowBlock& block, uint32_t i) {
  double sum = 0;
  sum -= ranking.price * double(peek(block.price[i]));
  sum -= ranking.load * double(peek(block.load[i]));
  sum += ranking.reputation * double(peek(block.reputation[i]));
  const int64_t updated = peek(block.updated[i]);
  if (updated < ranking.now) sum -= ranking.recency * (double(ranking.now) - double(updated));
  return sum;
}

bool look_up(const CapabilitySpace& space, const PreparedQuery& query, uint32_t row,
             Match& match_out) {
  if (!query.allows(row)) return false;
  const RowBlock& block = space.block(row);
  const uint32_t i = CapabilitySpace::slot(row);
  for (;;) {
    const uint32_t sequence = begin_read(block.sequence[i]);
    const bool feasible = passes(query.predicate, block, i);
    const uint32_t agent = peek(block.agent[i]);
    match_out = {row, agent, peek(block.offer[i]), peek(block.version[i]), 0, peek(block.id[i])};
    double score = query.table->exact_dot(query.vector, space.vector(row), space.stride);
    if (!query.ranking.plain()) score += bonus(query.ranking, block, i);
    if (!still(block.sequence[i], sequence)) continue;
    match_out.score = float(score);
    return feasible && (query.exclude_agent == index_none || agent != query.exclude_agent);
  }
}

void prefetch_cells(const CapabilitySpace& space, uint32_t row) {
  const RowBlock& block = space.block(row);
  const uint32_t i = CapabilitySpace::slot(row);
  __builtin_prefetch(&block.sequence[i], 1);
  __builtin_prefetch(&block.flags[i]);
  __builtin_prefetch(&block.tier[i]);
  __builtin_prefetch(&block.skills[i]);
  __builtin_prefetch(&block.policy_bits[i]);
  __builtin_prefetch(&block.agent[i]);
  __builtin_prefetch(&block.offer[i]);
  __builtin_prefetch(&block.version[i]);
  __builtin_prefetch(&block.id[i]);
}

void prefetch_vector(const CapabilitySpace& space, uint32_t row) {
  const float* vector = space.vector(row);
  for (uint32_t d = 0; d < space.stride; d += lanes_max) __builtin_prefetch(vector + d);
}

bool better(const Match& a, const Match& b) {
  if (a.score != b.score) return a.score > b.score;
  return a.agent != b.agent ? a.agent < b.agent : a.offer < b.offer;
}

uint32_t answer(const SearchRequest& request, const PreparedQuery& query,
                std::vector<Match>& ranked) {
  const uint32_t k = request.options.k;
  const auto count = uint32_t(std::min<size_t>(ranked.size(), k));
  std::partial_sort(ranked.begin(), ranked.begin() + ptrdiff_t(count), ranked.end(), better);
  Match* out = request.matches_out.row(query.number);
  std::copy_n(ranked.begin(), count, out);
  std::fill(out + count, out + k, Match{});
  request.counts_out[query.number] = int32_t(count);
  return count;
}

}  // namespace hanse
