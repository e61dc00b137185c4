#include "capability/quantised.hpp"

#include <algorithm>
#include <cmath>

#include "capability/planner.hpp"

namespace hanse {

namespace {

constexpr uint32_t spare = 4;              // candidates beyond k + k / 8: int8 errs little
constexpr uint32_t candidates_max = 4096;  // beyond this a ranking is answered by the exact scan
// Where so many of the rows pass, it is faster to walk as if all did than to look for those that
// do.
constexpr double share_for_post_filter = 0.4;
// An int8 product is off by about 0.1 % of the norms; this is more than any seen.
constexpr double int8_error = 0.01;

class Answer {
 public:
  Answer(const CapabilitySpace& space, const SearchRequest& request, PreparedQuery& query,
         QuantisedScratch& scratch)
      : space_(space),
        quantised_(space.quantised()),
        request_(request),
        query_(query),
        scratch_(scratch),
        mask_{query.mask, query.mask_words},
        wanted_(std::min(request.options.k, query.feasible)) {}

  bool run();

 private:
  bool run_rows();
  bool run_codes();
  bool run_walk();
  void rank(std::span<const Candidate8> candidates);
  bool complete(uint32_t keep, uint32_t found) const;
  uint32_t add_pending(uint32_t count);

  const CapabilitySpace& space_;
  const Quantised* quantised_;
  const SearchRequest& request_;
  PreparedQuery& query_;
  QuantisedScratch& scratch_;
  RowMask mask_;
  uint32_t wanted_;
};

bool Answer::run() {
  if (query_.report.plan == Plan::rows) return run_rows();
  quantised_->codes.prepare(query_.vector, scratch_.query);
  if (query_.report.plan == Plan::walk) {
    if (run_walk()) return true;
    query_.report.plan = Plan::codes;
  }
  return run_codes();
}

bool Answer::run_rows() {
  scratch_.ranked.clear();
  Match match;
  for (uint32_t w = 0; w < mask_.word_count; ++w)
    for (uint64_t word = query_.mask[w]; word != 0; word &= word - 1) {
      const uint32_t row = w * rows_in_word + uint32_t(std::countr_zero(word));
      if (look_up(space_, query_, row, match)) scratch_.ranked.push_back(match);
    }
  query_.report.candidates = query_.feasible;
  answer(request_, query_, scratch_.ranked);
  return true;
}

void Answer::rank(std::span<const Candidate8> candidates) {
  scratch_.ranked.clear();
  Match match;
  constexpr size_t ahead = 4;
  const auto fetch = [&](size_t i) {
    if (i >= candidates.size()) return;
    prefetch_cells(space_, candidates[i].row);
    prefetch_vector(space_, candidates[i].row);
  };
  for (size_t i = 0; i < ahead; ++i) fetch(i);
  for (size_t i = 0; i < candidates.size(); ++i) {
    fetch(i + ahead);
    if (look_up(space_, query_, candidates[i].row, match)) scratch_.ranked.push_back(match);
  }
  query_.report.candidates += uint32_t(candidates.size());
}

// Whether no row beyond the candidates can have a place among the k best of the ranking. Their
// similarity is at most that of the last candidate.
bool Answer::complete(uint32_t keep, uint32_t found) const {
  if (found < keep || query_.ranking.plain()) return true;
  const std::vector<Match>& ranked = scratch_.ranked;
  if (ranked.size() < wanted_) return false;
  const double norms = query_.norm * space_.norm_max();
  const double similarity = scratch_.candidates[found - 1].score + int8_error * norms;
  const Match& last = ranked[wanted_ - 1];
  return similarity + bonus_bound(query_.ranking, query_.predicate, space_.statistics) < last.score;
}

bool Answer::run_codes() {
  uint32_t keep = request_.options.k + request_.options.k / 8 + spare;
  if (!query_.ranking.plain()) keep *= 6;
  for (; keep <= candidates_max; keep *= 4) {
    scratch_.candidates.resize(keep);
    const uint32_t found = quantised_->codes.scan(
        scratch_.query, mask_, keep, look_of_codes(request_.options, keep, space_.spec.dim),
        scratch_.scan, scratch_.candidates.data());
    rank({scratch_.candidates.data(), found});
    const uint32_t count = answer(request_, query_, scratch_.ranked);
    if (count >= wanted_ && complete(keep, found)) return true;
    // All were looked at: what is missing is excluded, or was taken meanwhile.
    if (found < keep && found >= query_.feasible) return true;
    if (found < keep) return false;
  }
  return false;
}

// Rows that the filter lets pass and the graph doesn't know yet, looked at by their codes and
// merged with the `count` candidates that the walk found.
uint32_t Answer::add_pending(uint32_t count) {
  if (scratch_.rows.empty()) return count;
  query_.report.pending = uint32_t(scratch_.rows.size());
  const uint32_t keep = request_.options.k + 4 * spare;
  scratch_.candidates.resize(count + keep);
  const uint32_t more = quantised_->codes.scan_rows(
      scratch_.query, scratch_.rows, keep, look_of_codes(request_.options, keep, space_.spec.dim),
      scratch_.scan, scratch_.candidates.data() + count);
  const auto begin = scratch_.candidates.begin();
  const auto end = begin + ptrdiff_t(count + more);
  std::sort(begin, end, [](const Candidate8& a, const Candidate8& b) { return a.row < b.row; });
  const auto last = std::unique(
      begin, end, [](const Candidate8& a, const Candidate8& b) { return a.row == b.row; });
  return uint32_t(last - begin);
}

bool Answer::run_walk() {
  const uint32_t k = request_.options.k;
  const uint32_t width = walk_width(request_.options, space_.row_count(), space_.spec.dim);
  uint32_t keep = k + k / 8 + spare;
  if (!query_.ranking.plain()) keep = std::min(std::max(4 * keep, width), 1024u);
  scratch_.candidates.resize(keep);
  GraphQuery what;
  what.mask = mask_;
  what.keep = keep;
  what.width = std::max(width, query_.ranking.plain() ? 0 : keep);
  const double share = share_of(space_, query_.feasible);
  if (filters_after(share)) {
    what.post_filter = true;
    what.width = width_to_filter(what.width, share);
  }
  // More effort also looks closer: else the sign codes alone would bound the recall.
  what.look = look_of_walk(request_.options, what.width, keep, space_.spec.dim);
  // A walk that has looked at more rows than there are feasible ones has lost to a scan of these.
  what.visits_max = std::max(4 * what.width * 16, query_.feasible);
  // Before the walk: a row that is taken in meanwhile is found twice rather than not at all.
  scratch_.rows.clear();
  space_.pending_rows(mask_, scratch_.rows);
  const GraphAnswer walked =
      quantised_->graph.search(scratch_.query, what, scratch_.graph, scratch_.candidates.data());
  query_.report.hops = walked.hops;
  query_.report.visits = walked.visits;
  if (walked.gave_up) return false;
  const bool ranked_enough = walked.count < keep;
  const double least = walked.count == 0 ? 0 : scratch_.candidates[walked.count - 1].score;
  const uint32_t count = add_pending(walked.count);
  rank({scratch_.candidates.data(), count});
  if (answer(request_, query_, scratch_.ranked) < wanted_) return false;
  if (query_.ranking.plain() || ranked_enough) return true;
  const double similarity = least + int8_error * query_.norm * space_.norm_max();
  return similarity + bonus_bound(query_.ranking, query_.predicate, space_.statistics) <
         scratch_.ranked[wanted_ - 1].score;
}

}  // namespace

bool answer_quantised(const CapabilitySpace& space, const SearchRequest& request,
                      PreparedQuery& query, QuantisedScratch& scratch) {
  return Answer(space, request, query, scratch).run();
}

}  // namespace hanse
