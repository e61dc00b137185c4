// Exact top-k in two steps. A scan in float32, whose order of summation is the instruction set's
// own, keeps somewhat more than k candidates; they are ranked again by `exact_dot`, which is the
// same everywhere. A bound on the float32 error decides whether a row that the scan dropped could
// still belong to the answer; if so, a second scan keeps every row above that bound. So the answer
// doesn't depend on the instruction set, the number of threads or the other queries of the batch.
#include "capability/search.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <exception>
#include <limits>
#include <thread>

namespace hanse {
namespace {

constexpr uint32_t k_max = 1024;
constexpr uint32_t queries_in_group_max = 256;
constexpr size_t group_size_bytes = 256 << 10;  // queries of a group stay in the L2 cache
constexpr size_t chunk_size_bytes = 20 << 10;  // rows of a chunk stay in the L1 cache beside a tile
constexpr uint32_t rows_in_chunk_max = 64;
constexpr uint32_t slack = 16;                            // candidates kept beyond k + k / 8
constexpr uint64_t work_for_threads = uint64_t(1) << 24;  // multiply-adds that outweigh a spawn
constexpr size_t kept_max = 1 << 16;                      // scratch larger than this is given back

struct Candidate {
  float score;
  uint32_t row;
};

struct QueryState {
  size_t number;        // row of the request's queries
  const float* vector;  // padded, normalised for cosine
  double norm;
  MaskTests tests;
  const uint64_t* mask;  // tested on a hit where the scanned rows are feasible for others only
  float threshold;
  uint32_t keep;  // UINT32_MAX: everything above the threshold
  bool dropped;   // some row with a score <= threshold is no longer among `kept`
  std::vector<Candidate> kept;
};

struct Scratch {
  std::vector<float> queries;
  std::vector<QueryState> states{queries_in_group_max};
  std::vector<QueryState*> order, pooled;
  std::vector<uint64_t> masks;
  std::vector<Match> ranked;
  uint32_t rows[rows_in_part];
  const float* vectors[rows_in_part + rows_in_group];
  ScoreHit hits[rows_in_chunk_max * queries_in_tile_max];
};

// Keeps the best `keep`.
void trim(QueryState& query) {
  if (query.kept.size() <= query.keep) return;
  const auto last = query.kept.begin() + (query.keep - 1);
  std::nth_element(query.kept.begin(), last, query.kept.end(),
                   [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  query.threshold = last->score;
  query.dropped = true;
  query.kept.resize(query.keep);
}

// No row's float32 score is further than this from its exact one. For any order of summation,
// fused or not, the error is at most gamma_n |q||v| with gamma_n = n u / (1 - n u), u = 2^-24
// (Higham, Accuracy and Stability of Numerical Algorithms, 3.1); n u < 0.001 for n <= 4096, so a
// factor of 1.1 covers gamma and the rounding of the norms. The second term covers products that
// underflow.
double error_bound(uint32_t stride, double query_norm, double norm_max) {
  return stride * (0x1p-24 * 1.1 * query_norm * norm_max + 0x1p-126);
}

class Searcher {
 public:
  Searcher(const CapabilitySpace& space, const SearchTable& table, const SearchRequest& request,
           Scratch& scratch)
      : space_(space), table_(table), request_(request), scratch_(scratch) {
    const size_t row_bytes = space.stride * sizeof(float);
    rows_in_chunk_ = std::clamp(uint32_t(chunk_size_bytes / row_bytes) / rows_in_group, 1u,
                                rows_in_chunk_max / rows_in_group) *
                     rows_in_group;
    queries_in_group_ = std::clamp(uint32_t(group_size_bytes / row_bytes), 4 * queries_in_tile_max,
                                   queries_in_group_max);
    scratch.queries.resize(size_t(queries_in_group_) * space.stride + lanes_max);
  }

  void run(size_t first, size_t last) {
    for (; first < last; first += queries_in_group_)
      run_group(first, std::min(last - first, size_t(queries_in_group_)));
  }

 private:
  void run_group(size_t first, size_t count);
  void prepare(QueryState& query, size_t number, float* vector);
  void scan(std::vector<QueryState*>& queries);
  void scan_part(uint32_t first_row, std::span<QueryState*> queries);
  void score(uint32_t first_row, std::span<const uint64_t> mask, std::span<QueryState*> queries);
  void collect_feasible(QueryState& query);
  bool finish(QueryState& query);

  const CapabilitySpace& space_;
  const SearchTable& table_;
  const SearchRequest& request_;
  Scratch& scratch_;
  uint32_t rows_in_chunk_, queries_in_group_;
};

void Searcher::run_group(size_t first, size_t count) {
  const auto address = reinterpret_cast<uintptr_t>(scratch_.queries.data());
  float* vector = scratch_.queries.data() + (64 - address % 64) % 64 / sizeof(float);
  scratch_.order.clear();
  for (size_t i = 0; i < count; ++i, vector += space_.stride) {
    QueryState& query = scratch_.states[i];
    prepare(query, first + i, vector);
    // Sums near the end of float32's range would be infinite or NaN and prove nothing.
    if (query.norm * space_.norm_max < 1e37)
      scratch_.order.push_back(&query);
    else
      collect_feasible(query);
  }
  scan(scratch_.order);

  scratch_.order.clear();
  for (size_t i = 0; i < count; ++i)
    if (!finish(scratch_.states[i])) scratch_.order.push_back(&scratch_.states[i]);
  if (scratch_.order.empty()) return;

  scan(scratch_.order);
  for (QueryState* query : scratch_.order) {
    const bool certain = finish(*query);
    HANSE_ASSERT(certain);
    if (query->kept.capacity() > kept_max) query->kept = {};
  }
}

void Searcher::prepare(QueryState& query, size_t number, float* vector) {
  const float* given = request_.queries.row(number);
  const uint32_t dim = space_.spec.dim;
  const double norm = std::sqrt(exact_dot(given, given, dim));
  store_vector(space_.spec.metric, given, dim, space_.stride, norm, vector);

  query.number = number;
  query.vector = vector;
  query.norm = space_.spec.metric == Metric::cosine ? 1 + 1e-6 : norm;
  query.tests = mask_tests(request_.feasible[request_.feasible.size() == 1 ? 0 : number]);
  query.mask = nullptr;
  query.threshold = -std::numeric_limits<float>::infinity();
  query.keep = request_.k + request_.k / 8 + slack;
  query.dropped = false;
  query.kept.clear();
}

// Every row, whatever its score: for queries that float32 can't rank.
void Searcher::collect_feasible(QueryState& query) {
  query.keep = UINT32_MAX;
  uint64_t mask[words_in_part];
  for (uint32_t first = 0; first < space_.row_count; first += rows_in_part) {
    const RowBlock& block = space_.block(first);
    table_.mask(block.columns(CapabilitySpace::slot(first)), query.tests, words_in_part, mask);
    for (uint32_t i = 0; i < rows_in_part; ++i)
      if (mask[i / rows_in_word] >> i % rows_in_word & 1) query.kept.push_back({0, first + i});
  }
}

void Searcher::scan(std::vector<QueryState*>& queries) {
  if (queries.empty()) return;
  // Queries with the same filter come to stand side by side: their mask is computed once.
  for (size_t first = 0, last = 0; first < queries.size(); first = last) {
    ++last;
    for (size_t i = last; i < queries.size(); ++i)
      if (queries[i]->tests == queries[first]->tests) std::swap(queries[i], queries[last++]);
  }
  scratch_.masks.resize(queries.size() * words_in_part);
  for (uint32_t first = 0; first < space_.row_count; first += rows_in_part)
    scan_part(first, queries);
}

// A filter goes alone, over its own rows, where it has a tile of queries or lets few rows pass;
// the others share a scan of the rows that any of them lets pass, and test each hit.
void Searcher::scan_part(uint32_t first_row, std::span<QueryState*> queries) {
  const MaskColumns columns = space_.block(first_row).columns(CapabilitySpace::slot(first_row));
  const uint32_t row_count = std::min(rows_in_part, space_.row_count - first_row);
  const uint32_t word_count = (row_count + rows_in_word - 1) / rows_in_word;
  uint64_t any[words_in_part] = {};
  scratch_.pooled.clear();

  for (size_t first = 0, last = 0; first < queries.size(); first = last) {
    const MaskTests& tests = queries[first]->tests;
    while (last < queries.size() && queries[last]->tests == tests) ++last;

    uint64_t* mask = scratch_.masks.data() + first * words_in_part;
    table_.mask(columns, tests, word_count, mask);
    uint32_t feasible = 0;
    for (uint32_t w = 0; w < word_count; ++w) feasible += uint32_t(std::popcount(mask[w]));
    if (feasible == 0) continue;

    const bool only = last - first == queries.size();
    const bool alone = only || last - first >= table_.queries_in_tile || feasible * 8 <= row_count;
    for (size_t i = first; i < last; ++i) queries[i]->mask = alone ? nullptr : mask;
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

void Searcher::score(uint32_t first_row, std::span<const uint64_t> mask,
                     std::span<QueryState*> queries) {
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
        vectors[j] = tile[j]->vector;
        thresholds[j] = tile[j]->threshold;
      }
      const uint32_t hit_count = table_.score(
          {scratch_.vectors + begin, (rows + rows_in_group - 1) / rows_in_group * rows_in_group,
           vectors, uint32_t(tile.size()), space_.stride, thresholds,
           scratch_.vectors[begin] + size_t(chunk) * space_.stride +
               first / table_.queries_in_tile * share,
           uint32_t(share), scratch_.hits});
      for (const ScoreHit& hit : std::span(scratch_.hits, hit_count)) {
        if (hit.row >= rows) continue;
        QueryState& query = *tile[hit.query];
        const uint32_t slot = scratch_.rows[begin + hit.row];
        if (query.mask && !(query.mask[slot / rows_in_word] >> slot % rows_in_word & 1)) continue;
        query.kept.push_back({hit.score, first_row + slot});
        if (query.kept.size() / 2 >= query.keep) trim(query);
      }
    }
  }
}

// Ranks the candidates exactly and writes the answer. False when a dropped row might belong to
// it: then the query is set to keep every row that might.
bool Searcher::finish(QueryState& query) {
  trim(query);
  std::vector<Match>& ranked = scratch_.ranked;
  ranked.clear();
  for (size_t i = 0; i < query.kept.size(); ++i) {
    if (i + 1 < query.kept.size()) {
      const float* next = space_.vector(query.kept[i + 1].row);
      for (uint32_t d = 0; d < space_.stride; d += lanes_max) __builtin_prefetch(next + d);
    }
    const uint32_t row = query.kept[i].row, slot = CapabilitySpace::slot(row);
    const RowBlock& block = space_.block(row);
    ranked.push_back({row, block.agent[slot], block.offer[slot], block.version[slot],
                      float(exact_dot(query.vector, space_.vector(row), space_.stride))});
  }
  const size_t count = std::min(ranked.size(), size_t(request_.k));
  std::partial_sort(ranked.begin(), ranked.begin() + ptrdiff_t(count), ranked.end(),
                    [](const Match& a, const Match& b) {
                      if (a.score != b.score) return a.score > b.score;
                      return a.agent != b.agent ? a.agent < b.agent : a.offer < b.offer;
                    });

  if (query.dropped) {
    const double error = error_bound(space_.stride, query.norm, space_.norm_max);
    const float worst = ranked[count - 1].score;
    if (!(float(query.threshold + error) < worst)) {
      // Whatever rounds to `worst` or more is above this.
      const double least = worst - std::fabs(worst) * 0x1p-23 - error;
      query.threshold = std::nextafter(float(least), -std::numeric_limits<float>::infinity());
      query.keep = UINT32_MAX;
      query.dropped = false;
      query.mask = nullptr;
      query.kept.clear();
      return false;
    }
  }
  Match* out = request_.matches_out.row(query.number);
  std::copy_n(ranked.begin(), count, out);
  std::fill(out + count, out + request_.k, Match{});
  request_.counts_out[query.number] = int32_t(count);
  return true;
}

// Kept between calls, so that a search allocates nothing once it has seen its sizes.
Scratch& thread_scratch() {
  thread_local Scratch scratch;
  return scratch;
}

}  // namespace

MaskTests mask_tests(const Feasible& f) {
  MaskTests tests{};
  tests.flags = row_feasible;
  tests.never = (f.skills_all & f.skills_none) != 0 || (f.policy_all & f.policy_none) != 0;
  tests.price_max = f.price_max;
  tests.test_price = f.price_max != INT64_MAX;
  tests.tier_min = f.tier_min;
  tests.tier_max = f.tier_max;
  tests.test_tier = f.tier_min != 0 || f.tier_max != 255;
  tests.skills_mask = f.skills_all | f.skills_none;
  tests.skills_want = f.skills_all;
  tests.test_skills = tests.skills_mask != 0;
  tests.skills_any = f.skills_any;
  tests.test_skills_any = f.skills_any != 0;
  tests.policy_mask = f.policy_all | f.policy_none;
  tests.policy_want = f.policy_all;
  tests.test_policy = tests.policy_mask != 0;
  tests.region = f.region;
  tests.test_region = f.region != UINT16_MAX;
  tests.tenant = f.tenant;
  tests.test_tenant = f.tenant != index_none;
  tests.exclude_agent = f.exclude_agent;
  tests.test_exclude = f.exclude_agent != index_none;
  return tests;
}

const SearchTable& search_table(CpuLevel level) {
  if (level == CpuLevel::baseline) return search_table_baseline;
  for (const SearchTable* const* table = search_tables_native; *table; ++table)
    if ((*table)->level == level) return **table;
  throw Error(ErrorCode::out_of_range, "HANSE_CPU",
              std::string("this build has no search for ") + cpu_level_name(level));
}

void check_search(const CapabilitySpace& space, const SearchRequest& request) {
  const size_t query_count = request.queries.rows;
  check_dim("queries", request.queries.columns, space.spec.dim);
  if (request.k == 0 || request.k > k_max)
    throw Error(ErrorCode::out_of_range, "k",
                std::to_string(request.k) + " is outside 1 … " + std::to_string(k_max));
  if (request.threads == 0) throw Error(ErrorCode::out_of_range, "threads", "0 is outside 1 …");
  if (request.feasible.size() != 1 && request.feasible.size() != query_count)
    throw Error(ErrorCode::bad_array, "feasible",
                std::to_string(request.feasible.size()) + " filters for " +
                    std::to_string(query_count) + " queries; give 1 or as many as queries");
  if (request.matches_out.rows != query_count || request.matches_out.columns != request.k)
    throw Error(ErrorCode::bad_array, "matches_out", "needs a row of k matches for each query");
  if (request.counts_out.size() != query_count)
    throw Error(ErrorCode::bad_array, "counts_out", "needs a count for each query");
  for (size_t i = 0; i < query_count; ++i)
    checked_norm("queries", i, request.queries.row(i), space.spec.dim);
}

void search_space(const CapabilitySpace& space, const SearchTable& table,
                  const SearchRequest& request) {
  if (request.queries.rows == 0) return;
  const size_t query_count = request.queries.rows;
  const uint64_t work = uint64_t(query_count) * space.row_count * space.stride;
  size_t threads =
      std::min<size_t>(request.threads, std::max(1u, std::thread::hardware_concurrency()));
  threads = work < work_for_threads ? 1 : std::min(threads, query_count);

  const auto part = [&](size_t t) {
    Searcher(space, table, request, thread_scratch())
        .run(query_count * t / threads, query_count * (t + 1) / threads);
  };
  std::vector<std::exception_ptr> failures(threads);
  std::vector<std::jthread> others;
  for (size_t t = 1; t < threads; ++t)
    others.emplace_back([&, t] {
      try {
        part(t);
      } catch (...) {
        failures[t] = std::current_exception();
      }
    });
  part(0);
  for (std::jthread& other : others) other.join();
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
}

}  // namespace hanse
