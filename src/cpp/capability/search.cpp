#include "capability/search.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <thread>

#include "base/random.hpp"
#include "capability/device_mirror.hpp"
#include "capability/planner.hpp"
#include "capability/quantised.hpp"
#include "capability/scan.hpp"

namespace hanse {
namespace {

constexpr uint32_t k_max = 1024;
constexpr uint32_t effort_min = 16, effort_max = 4096;
constexpr uint32_t queries_in_group_max = 256;
constexpr size_t group_size_bytes = 256 << 10;            // queries of a group stay in the L2 cache
constexpr size_t masks_size_bytes = 64 << 20;             // of all bitmaps of a group
constexpr uint64_t work_for_threads = uint64_t(1) << 24;  // multiply-adds that outweigh a spawn
constexpr uint32_t rows_for_standing = 4096;  // below this a bitmap is made faster than found

struct Scratch {
  std::vector<float> vectors;
  std::vector<PreparedQuery> prepared{queries_in_group_max};
  std::vector<PreparedQuery*> order, scans;
  std::vector<uint64_t> masks;
  ScanScratch32 scan;
  QuantisedScratch quantised;
  std::vector<PreparedQuery*> on_device;
  DeviceCandidates found;
};

// Kept between calls, so that a search allocates nothing once it has seen its sizes.
Scratch& thread_scratch() {
  thread_local Scratch scratch;
  return scratch;
}

class Searcher {
 public:
  Searcher(const CapabilitySpace& space, const SearchTable& table, const SearchRequest& request,
           Scratch& scratch)
      : space_(space),
        table_(table),
        request_(request),
        scratch_(scratch),
        row_count_(space.row_count()),
        word_count_((row_count_ + rows_in_word - 1) / rows_in_word) {
    const size_t row_bytes = space.stride * sizeof(float);
    group_ = std::clamp(uint32_t(group_size_bytes / row_bytes), 4 * queries_in_tile_max,
                        queries_in_group_max);
    const size_t mask_bytes = std::max<size_t>(1, word_count_) * sizeof(uint64_t);
    group_ = uint32_t(std::clamp<size_t>(masks_size_bytes / mask_bytes, 1, group_));
    scratch.vectors.resize(size_t(group_) * space.stride + lanes_max);
  }

  void run(size_t first, size_t last) {
    for (; first < last; first += group_) run_group(first, std::min<size_t>(last - first, group_));
  }

 private:
  void run_group(size_t first, size_t count);
  void make_mask(std::span<PreparedQuery*> queries, uint64_t* words);
  uint32_t fill_mask(PreparedQuery& query, uint64_t* words);
  bool run_alone(PreparedQuery& query);
  void run_on_device();
  bool answer_found(PreparedQuery& query, std::span<const uint32_t> rows, float least);

  const CapabilitySpace& space_;
  const SearchTable& table_;
  const SearchRequest& request_;
  Scratch& scratch_;
  const uint32_t row_count_, word_count_;
  uint32_t group_;
};

void Searcher::run_group(size_t first, size_t count) {
  const auto address = reinterpret_cast<uintptr_t>(scratch_.vectors.data());
  float* vector = scratch_.vectors.data() + (64 - address % 64) % 64 / sizeof(float);
  std::vector<PreparedQuery*>& order = scratch_.order;
  order.clear();
  for (size_t i = 0; i < count; ++i, vector += space_.stride) {
    prepare_query(space_, table_, request_, first + i, vector, scratch_.prepared[i]);
    order.push_back(&scratch_.prepared[i]);
  }
  // Queries with the same filter come to stand side by side: their bitmap is made once.
  if (request_.feasible.size() > 1 || request_.options.masks.rows > 1)
    std::stable_sort(
        order.begin(), order.end(), [](const PreparedQuery* a, const PreparedQuery* b) {
          return a->hash != b->hash ? a->hash < b->hash : a->given.data() < b->given.data();
        });

  size_t distinct = 0;
  for (size_t i = 0; i < count; ++i) distinct += i == 0 || !order[i]->same_mask(*order[i - 1]);
  if (scratch_.masks.size() < distinct * word_count_) scratch_.masks.resize(distinct * word_count_);

  scratch_.scans.clear();
  scratch_.on_device.clear();
  size_t masks_used = 0;
  for (size_t begin = 0, end = 0; begin < count; begin = end) {
    while (end < count && order[end]->same_mask(*order[begin])) ++end;
    const std::span<PreparedQuery*> same(order.data() + begin, end - begin);
    make_mask(same, scratch_.masks.data() + masks_used * word_count_);
    const size_t waiting = scratch_.scans.size() + scratch_.on_device.size();
    for (PreparedQuery* query : same)
      if (!run_alone(*query)) scratch_.scans.push_back(query);
    if (scratch_.scans.size() + scratch_.on_device.size() != waiting) ++masks_used;
  }
  if (!scratch_.on_device.empty()) run_on_device();
  if (!scratch_.scans.empty())
    ExactScan(space_, table_, request_, row_count_, scratch_.scan).run(scratch_.scans);
  if (request_.options.reports_out.empty()) return;
  for (size_t i = 0; i < count; ++i)
    request_.options.reports_out[first + i] = scratch_.prepared[i].report;
}

void Searcher::make_mask(std::span<PreparedQuery*> queries, uint64_t* words) {
  const uint32_t feasible = fill_mask(*queries[0], words);
  for (PreparedQuery* query : queries) {
    query->mask = words;
    query->mask_words = word_count_;
    query->feasible = feasible;
    query->report.feasible = feasible;
    query->report.standing = queries[0]->report.standing;
  }
}

uint32_t Searcher::fill_mask(PreparedQuery& query, uint64_t* words) {
  query.report.standing = space_.standing.copy(query.predicate, query.hash, word_count_, words);
  if (!query.report.standing) {
    const TestOrder order = order_tests(query.predicate, space_.statistics);
    for (uint32_t first = 0; first < word_count_; first += words_in_part) {
      const uint32_t row = first * rows_in_word;
      evaluate(query.predicate, order, table_, space_.block(row),
               CapabilitySpace::slot(row) / rows_in_word,
               std::min(words_in_part, word_count_ - first), words + first);
    }
    if (row_count_ >= rows_for_standing && space_.standing.recurs(query.hash))
      space_.make_standing(query.predicate, query.hash, table_);
  }
  if (query.given.data() != nullptr)
    for (uint32_t w = 0; w < word_count_; ++w)
      words[w] &= w < query.given.size() ? query.given[w] : 0;
  return table_.count_bits(words, word_count_);
}

// False: the query waits for the pass that the batch shares.
bool Searcher::run_alone(PreparedQuery& query) {
  query.report.plan = plan_query(space_, request_.options, query);
  if (query.report.plan == Plan::nothing) {
    scratch_.scan.ranked.clear();
    answer(request_, query, scratch_.scan.ranked);
    return true;
  }
  if (request_.options.device && query.ranking.plain() && query.norm * space_.norm_max() < 1e37) {
    query.report.plan = Plan::device;
    scratch_.on_device.push_back(&query);
    return true;
  }
  if (query.report.plan == Plan::scan) return false;
  if (answer_quantised(space_, request_, query, scratch_.quantised)) return true;
  query.report.plan = Plan::scan;
  return false;
}

// Those that the device's candidates don't settle join the scan.
void Searcher::run_on_device() {
  space_.device->find(space_, scratch_.on_device, row_count_, request_.options.recall >= 1,
                      scratch_.found);
  for (size_t i = 0; i < scratch_.on_device.size(); ++i) {
    const size_t first = i * device_candidates_max, last = first + device_candidates_max - 1;
    PreparedQuery& query = *scratch_.on_device[i];
    if (answer_found(query, {&scratch_.found.rows[first], device_candidates_max},
                     scratch_.found.scores[last]))
      continue;
    query.report.plan = Plan::scan;
    scratch_.scans.push_back(&query);
  }
}

// least: the score of the last candidate. False: a row that is not among them may belong to the
// answer, by what was asked of the recall.
bool Searcher::answer_found(PreparedQuery& query, std::span<const uint32_t> rows, float least) {
  std::vector<Match>& ranked = scratch_.scan.ranked;
  ranked.clear();
  for (const uint32_t row : rows) {
    if (row >= row_count_) break;
    Match match;
    if (look_up(space_, query, row, match)) ranked.push_back(match);
  }
  query.report.candidates = uint32_t(ranked.size());
  const uint32_t k = request_.options.k;
  if (rows.back() < row_count_) {  // the list is full, so there may be more
    if (ranked.size() < k) return false;
    if (request_.options.recall >= 1) {
      std::nth_element(ranked.begin(), ranked.begin() + (k - 1), ranked.end(), better);
      const double bound = error_bound(space_.stride, query.norm, space_.norm_max());
      if (!(ranked[k - 1].score > double(least) + 2 * bound)) return false;
    }
  }
  answer(request_, query, ranked);
  return true;
}

// Which queries give their first place to a newcomer.
bool explores(const Ranking& ranking, size_t number) {
  if (ranking.explore <= 0) return false;
  const uint64_t drawn = mix64(ranking.seed + (number + 1) * 0x9e3779b97f4a7c15);
  return double(drawn >> 11) * 0x1p-53 < ranking.explore;
}

// The best feasible newcomer moves to the first place; what stood there and behind moves down.
void put_first(std::span<Match> matches, int32_t& count, const Match& newcomer) {
  size_t at = 0;
  const auto filled = size_t(count);
  while (at < filled && matches[at].row != newcomer.row) ++at;
  if (at == filled) {
    if (filled < matches.size())
      ++count;
    else
      --at;
  }
  std::move_backward(matches.begin(), matches.begin() + ptrdiff_t(at),
                     matches.begin() + ptrdiff_t(at) + 1);
  matches[0] = newcomer;
}

void explore(const CapabilitySpace& space, const SearchTable& table, const SearchRequest& request) {
  const SearchOptions& options = request.options;
  for (size_t i = 0; i < request.queries.rows && !options.rankings.empty(); ++i) {
    Ranking ranking = options.rankings[options.rankings.size() == 1 ? 0 : i];
    if (!explores(ranking, i)) continue;
    ranking.explore = 0;
    Feasible feasible = request.feasible[request.feasible.size() == 1 ? 0 : i];
    feasible.reputation_min = std::max(feasible.reputation_min, 0.0f);
    feasible.reputation_max = std::min(feasible.reputation_max, 0.0f);
    Match newcomer;
    int32_t count = 0;
    SearchOptions one = options;
    one.k = 1;
    one.rankings = {&ranking, 1};
    one.reports_out = {};
    one.device = false;
    if (options.masks.rows > 1) one.masks = {options.masks.row(i), 1, options.masks.columns};
    const SearchRequest alone{{request.queries.row(i), 1, request.queries.columns},
                              {&feasible, 1},
                              one,
                              {&newcomer, 1, 1},
                              {&count, 1}};
    Searcher(space, table, alone, thread_scratch()).run(0, 1);
    if (count == 1) put_first(request.matches_out.row_span(i), request.counts_out[i], newcomer);
  }
}

void check_rankings(const SearchOptions& options, size_t query_count) {
  if (options.rankings.size() > 1 && options.rankings.size() != query_count)
    throw Error(ErrorCode::bad_array, "rankings",
                std::to_string(options.rankings.size()) + " rankings for " +
                    std::to_string(query_count) + " queries; give 1 or as many as queries");
  for (const Ranking& ranking : options.rankings) {
    for (const auto& [name, weight] : {std::pair{"ranking.price", ranking.price},
                                       {"ranking.load", ranking.load},
                                       {"ranking.reputation", ranking.reputation},
                                       {"ranking.recency", ranking.recency}})
      if (!std::isfinite(weight)) throw Error(ErrorCode::out_of_range, name, "is not finite");
    if (!(ranking.explore >= 0 && ranking.explore <= 1))
      throw Error(ErrorCode::out_of_range, "ranking.explore",
                  std::to_string(ranking.explore) + " is outside 0 … 1");
  }
}

void check_options(const SearchOptions& options, size_t query_count) {
  if (options.k == 0 || options.k > k_max)
    throw Error(ErrorCode::out_of_range, "k",
                std::to_string(options.k) + " is outside 1 … " + std::to_string(k_max));
  if (options.device && options.k > device_candidates_max)
    throw Error(ErrorCode::out_of_range, "k",
                std::to_string(options.k) + " is outside 1 … " +
                    std::to_string(device_candidates_max) + ", which a device can do");
  if (options.threads == 0) throw Error(ErrorCode::out_of_range, "threads", "0 is outside 1 …");
  if (!(options.recall > 0 && options.recall <= 1))
    throw Error(ErrorCode::out_of_range, "recall",
                std::to_string(options.recall) + " is outside 0 … 1, without 0");
  if (options.effort != 0 && (options.effort < effort_min || options.effort > effort_max))
    throw Error(ErrorCode::out_of_range, "effort",
                std::to_string(options.effort) + " is outside " + std::to_string(effort_min) +
                    " … " + std::to_string(effort_max));
  if (options.masks.rows > 1 && options.masks.rows != query_count)
    throw Error(ErrorCode::bad_array, "masks",
                std::to_string(options.masks.rows) + " masks for " + std::to_string(query_count) +
                    " queries; give 1 or as many as queries");
  if (!options.reports_out.empty() && options.reports_out.size() != query_count)
    throw Error(ErrorCode::bad_array, "reports_out", "needs a report for each query");
  check_rankings(options, query_count);
}

void check_feasible(std::span<const Feasible> feasible, size_t query_count) {
  if (feasible.size() != 1 && feasible.size() != query_count)
    throw Error(ErrorCode::bad_array, "feasible",
                std::to_string(feasible.size()) + " filters for " + std::to_string(query_count) +
                    " queries; give 1 or as many as queries");
  for (const Feasible& f : feasible)
    for (const auto& [name, bound] : {std::pair{"load", f.load_min},
                                      {"load", f.load_max},
                                      {"reputation", f.reputation_min},
                                      {"reputation", f.reputation_max}})
      if (std::isnan(bound)) throw Error(ErrorCode::out_of_range, name, "a bound is NaN");
}

}  // namespace

void check_search(const CapabilitySpace& space, const SearchRequest& request) {
  const size_t query_count = request.queries.rows;
  check_dim("queries", request.queries.columns, space.spec.dim);
  check_options(request.options, query_count);
  check_feasible(request.feasible, query_count);
  if (request.matches_out.rows != query_count || request.matches_out.columns != request.options.k)
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
  const uint64_t work = uint64_t(query_count) * space.row_count() * space.stride;
  size_t threads = 1;
  // Asked once: the system's answer comes from a file.
  static const size_t cores = std::max(1u, std::thread::hardware_concurrency());
  if (!request.options.device && work >= work_for_threads)
    threads = std::min({size_t(request.options.threads), cores, query_count});

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
  explore(space, table, request);
}

Refusals explain_space(const CapabilitySpace& space, const Feasible& feasible) {
  const Predicate predicate = compile(feasible);
  Refusals refusals;
  const uint32_t row_count = space.row_count();
  for (uint32_t row = 0; row < row_count; ++row) {
    const RowBlock& block = space.block(row);
    const uint32_t i = CapabilitySpace::slot(row);
    if (feasible.exclude_agent == index_none || peek(block.agent[i]) != feasible.exclude_agent)
      count_refusal(predicate, block, i, refusals);
  }
  return refusals;
}

const SearchTable& search_table(CpuLevel level) {
  if (level == CpuLevel::baseline) return search_table_baseline;
  for (const SearchTable* const* table = search_tables_native; *table; ++table)
    if ((*table)->level == level) return **table;
  throw Error(ErrorCode::out_of_range, "HANSE_CPU",
              std::string("this build has no search for ") + cpu_level_name(level));
}

const char* plan_name(Plan plan) {
  constexpr const char* names[plan_count] = {"nothing", "rows", "scan", "codes", "walk", "device"};
  return names[size_t(plan)];
}

}  // namespace hanse
