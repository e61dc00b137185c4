// Exact top-k in two steps. A scan in float32, whose order of summation is the instruction set's
// own, keeps somewhat more than k candidates; they are looked up again in double, which is the same
// everywhere. A bound on the float32 error decides whether a row that the scan dropped could still
// belong to the answer; if so, a second scan keeps every row above that bound. So the answer
// doesn't depend on the instruction set, the number of threads or the other queries of the batch.
#include "capability/scan.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace hanse {
namespace {

constexpr uint32_t slack = 16;                 // candidates kept beyond k + k / 8
constexpr size_t chunk_size_bytes = 20 << 10;  // rows of a chunk stay in the L1 cache beside a tile
constexpr size_t kept_max = 1 << 16;           // scratch larger than this is given back

// Keeps the best `keep`.
void trim(ScanQuery& query) {
  if (query.kept.size() <= query.keep) return;
  const auto last = query.kept.begin() + (query.keep - 1);
  std::nth_element(query.kept.begin(), last, query.kept.end(),
                   [](const auto& a, const auto& b) { return a.score > b.score; });
  query.threshold = last->score;
  query.dropped = true;
  query.kept.resize(query.keep);
}

}  // namespace

// For any order of summation, fused or not, the error is at most gamma_n |q||v| with gamma_n = n u
// / (1 - n u), u = 2^-24 (Higham, Accuracy and Stability of Numerical Algorithms, 3.1); n u < 0.001
// for n <= 4096, so a factor of 1.1 covers gamma and the rounding of the norms. The second term
// covers products that underflow.
double error_bound(uint32_t stride, double query_norm, double norm_max) {
  return stride * (0x1p-24 * 1.1 * query_norm * norm_max + 0x1p-126);
}

ExactScan::ExactScan(const CapabilitySpace& space, const SearchTable& table,
                     const SearchRequest& request, uint32_t row_count, ScanScratch32& scratch)
    : space_(space), table_(table), request_(request), scratch_(scratch), row_count_(row_count) {
  const size_t row_bytes = space.stride * sizeof(float);
  rows_in_chunk_ = std::clamp(uint32_t(chunk_size_bytes / row_bytes) / rows_in_group, 1u,
                              rows_in_chunk_max / rows_in_group) *
                   rows_in_group;
}

void ExactScan::run(std::span<PreparedQuery* const> queries) {
  if (scratch_.states.size() < queries.size()) scratch_.states.resize(queries.size());
  scratch_.order.clear();
  for (size_t i = 0; i < queries.size(); ++i) {
    ScanQuery& state = scratch_.states[i];
    begin(state, *queries[i]);
    // Sums near the end of float32's range would be infinite or NaN and prove nothing.
    if (state.query->norm * space_.norm_max() < 1e37)
      scratch_.order.push_back(&state);
    else
      collect_feasible(state);
  }
  scan(scratch_.order);

  scratch_.order.clear();
  for (size_t i = 0; i < queries.size(); ++i)
    if (!finish(scratch_.states[i], false)) scratch_.order.push_back(&scratch_.states[i]);
  if (scratch_.order.empty()) return;

  scan(scratch_.order);
  for (ScanQuery* state : scratch_.order) {
    finish(*state, true);
    if (state->kept.capacity() > kept_max) state->kept = {};
  }
}

void ExactScan::begin(ScanQuery& state, PreparedQuery& query) {
  state.query = &query;
  state.threshold = -std::numeric_limits<float>::infinity();
  state.keep = request_.options.k + request_.options.k / 8 + slack;
  state.dropped = false;
  state.pooled = false;
  state.bonus_size = 0;
  state.kept.clear();
}

// Every row, whatever its score: for queries that float32 can't rank.
void ExactScan::collect_feasible(ScanQuery& state) {
  state.keep = UINT32_MAX;
  for (uint32_t row = 0; row < row_count_; ++row)
    if (state.query->mask[row / rows_in_word] >> row % rows_in_word & 1)
      state.kept.push_back({0, row});
}

void ExactScan::scan(std::vector<ScanQuery*>& queries) {
  if (queries.empty()) return;
  for (uint32_t first = 0; first < row_count_; first += rows_in_part) scan_part(first, queries);
}

// A filter goes alone, over its own rows, where it has a tile of queries or lets few rows pass;
// the others share a scan of the rows that any of them lets pass, and test each hit. Queries of one
// filter stand side by side.
void ExactScan::scan_part(uint32_t first_row, std::span<ScanQuery*> queries) {
  const uint32_t row_count = std::min(rows_in_part, row_count_ - first_row);
  const uint32_t word_count = (row_count + rows_in_word - 1) / rows_in_word;
  uint64_t any[words_in_part] = {};
  scratch_.pooled.clear();

  for (size_t first = 0, last = 0; first < queries.size(); first = last) {
    const PreparedQuery& query = *queries[first]->query;
    const uint64_t* mask = query.mask + first_row / rows_in_word;
    while (last < queries.size() && queries[last]->query->mask == query.mask) ++last;
    const uint32_t feasible = table_.count_bits(mask, word_count);
    if (feasible == 0) continue;

    const bool only = last - first == queries.size();
    const bool alone = only || last - first >= table_.queries_in_tile || feasible * 8 <= row_count;
    for (size_t i = first; i < last; ++i) {
      queries[i]->pooled = !alone;
      add_bonus(*queries[i], first_row, {mask, word_count});
    }
    if (alone) {
      score(first_row, {mask, word_count}, queries.subspan(first, last - first));
    } else {
      for (uint32_t w = 0; w < word_count; ++w) any[w] |= mask[w];
      scratch_.pooled.insert(scratch_.pooled.end(), queries.begin() + ptrdiff_t(first),
                             queries.begin() + ptrdiff_t(last));
    }
  }
  if (!scratch_.pooled.empty()) score(first_row, {any, word_count}, scratch_.pooled);
}

// What the ranking adds to each feasible row of the part, and the most of it: a row whose
// similarity is below the threshold less that most can't be kept.
void ExactScan::add_bonus(ScanQuery& state, uint32_t first_row, std::span<const uint64_t> mask) {
  state.bonus_most = 0;
  if (state.query->ranking.plain()) return;
  state.bonuses.resize(rows_in_part);
  const RowBlock& block = space_.block(first_row);
  const uint32_t slot = CapabilitySpace::slot(first_row);
  float most = -std::numeric_limits<float>::infinity();
  for (uint32_t w = 0; w < mask.size(); ++w)
    for (uint64_t word = mask[w]; word != 0; word &= word - 1) {
      const uint32_t i = w * rows_in_word + uint32_t(std::countr_zero(word));
      const auto value = float(bonus(state.query->ranking, block, slot + i));
      state.bonuses[i] = value;
      state.bonus_size = std::max(state.bonus_size, std::fabs(value));
      most = std::max(most, value);
    }
  state.bonus_most = most;
}

void ExactScan::score(uint32_t first_row, std::span<const uint64_t> mask,
                      std::span<ScanQuery*> queries) {
  const float* part = space_.vector(first_row);
  uint32_t count = 0;
  for (uint32_t w = 0; w < mask.size(); ++w)
    for (uint64_t word = mask[w]; word != 0; word &= word - 1) {
      const uint32_t slot = w * rows_in_word + uint32_t(std::countr_zero(word));
      scratch_.rows[count] = slot;
      scratch_.vectors[count++] = part + size_t(slot) * space_.stride;
    }
  // The last group is filled up with the last row.
  std::fill_n(scratch_.vectors + count, rows_in_group, scratch_.vectors[count - 1]);

  const size_t tiles = (queries.size() + table_.queries_in_tile - 1) / table_.queries_in_tile;
  const uint32_t chunk = tiles == 1 ? rows_in_chunk_max : rows_in_chunk_;
  // Where nearly all rows pass, the next chunk lies behind this one; each tile fetches its share.
  const bool dense = count * 8 >= mask.size() * rows_in_word * 7;
  const size_t share = dense ? size_t(chunk) * space_.stride / tiles : 0;
  for (uint32_t begin = 0; begin < count; begin += chunk) {
    const uint32_t rows = std::min(chunk, count - begin);
    for (size_t first = 0; first < queries.size(); first += table_.queries_in_tile) {
      const auto tile =
          queries.subspan(first, std::min(queries.size() - first, size_t(table_.queries_in_tile)));
      const float* vectors[queries_in_tile_max];
      float thresholds[queries_in_tile_max];
      for (size_t j = 0; j < tile.size(); ++j) {
        vectors[j] = tile[j]->query->vector;
        thresholds[j] = tile[j]->similarity_threshold();
      }
      const uint32_t hit_count = table_.score(
          {scratch_.vectors + begin, (rows + rows_in_group - 1) / rows_in_group * rows_in_group,
           vectors, uint32_t(tile.size()), space_.stride, thresholds,
           scratch_.vectors[begin] + size_t(chunk) * space_.stride +
               first / table_.queries_in_tile * share,
           uint32_t(share), scratch_.hits});
      for (const ScoreHit& hit : std::span(scratch_.hits, hit_count))
        if (hit.row < rows) keep(*tile[hit.query], first_row, scratch_.rows[begin + hit.row], hit);
    }
  }
}

void ExactScan::keep(ScanQuery& state, uint32_t first_row, uint32_t slot, const ScoreHit& hit) {
  const uint32_t row = first_row + slot;
  const PreparedQuery& query = *state.query;
  if (state.pooled && !(query.mask[row / rows_in_word] >> row % rows_in_word & 1)) return;
  float score = hit.score;
  if (!query.ranking.plain()) {
    score += state.bonuses[slot];
    if (!(score > state.threshold)) return;
  }
  if (query.exclude_agent != index_none &&
      peek(space_.block(row).agent[CapabilitySpace::slot(row)]) == query.exclude_agent)
    return;
  state.kept.push_back({score, row});
  if (state.kept.size() / 2 >= state.keep) trim(state);
}

// Looks the candidates up and writes the answer. False when a dropped row might belong to it: then
// the query is set to keep every row that might.
bool ExactScan::finish(ScanQuery& state, bool last) {
  trim(state);
  PreparedQuery& query = *state.query;
  std::vector<Match>& ranked = scratch_.ranked;
  ranked.clear();
  Match match;
  for (size_t i = 0; i < state.kept.size(); ++i) {
    if (i + 1 < state.kept.size()) prefetch_vector(space_, state.kept[i + 1].row);
    if (look_up(space_, query, state.kept[i].row, match)) ranked.push_back(match);
  }
  query.report.candidates += uint32_t(state.kept.size());
  const uint32_t count = answer(request_, query, ranked);
  if (!state.dropped || last) return true;

  // Rows that a writer took meanwhile may leave fewer than k where the scan dropped others.
  const bool short_of_k = count < request_.options.k;
  const double error = error_bound(space_.stride, query.norm, space_.norm_max()) +
                       double(state.bonus_size) * 0x1p-22;
  const float worst =
      short_of_k ? -std::numeric_limits<float>::infinity() : ranked[count - 1].score;
  if (!short_of_k && float(state.threshold + error) < worst) return true;
  // Whatever rounds to `worst` or more is above this.
  const double least = worst - std::fabs(worst) * 0x1p-23 - error;
  state.threshold = std::nextafter(float(least), -std::numeric_limits<float>::infinity());
  state.keep = UINT32_MAX;
  state.dropped = false;
  state.pooled = false;
  state.kept.clear();
  return false;
}

}  // namespace hanse
