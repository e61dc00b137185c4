// The quantised half of a space: codes of all rows, a graph over most, and the pending ones that
// the graph hasn't taken in yet, which are looked at beside every walk. Internal to this concept.
#pragma once

#include "capability/graph.hpp"
#include "capability/query.hpp"

namespace hanse {

// Spaces with no more rows, or of fewer dimensions than codes have, are searched exactly.
constexpr uint32_t rows_for_codes = 4096;

struct Quantised {
  Quantised(uint32_t dim, CpuLevel level, uint64_t seed)
      : codes(dim, {.seed = seed, .level = level}), graph(codes, {.seed = seed}) {}

  CodeTable codes;
  Graph graph;
};

// Of one thread.
struct QuantisedScratch {
  CodeQuery query;
  GraphScratch graph;
  ScanScratch scan;
  std::vector<Candidate8> candidates;
  std::vector<uint32_t> rows;
  std::vector<Match> ranked;
};

// Follows query.report.plan (rows, codes or walk) and falls back on a more thorough one where it
// finds less than min(k, feasible). False: only the exact scan can answer. The query has its mask.
bool answer_quantised(const CapabilitySpace& space, const SearchRequest& request,
                      PreparedQuery& query, QuantisedScratch& scratch);

}  // namespace hanse
