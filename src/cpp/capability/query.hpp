// One query on its way through a search, and the last step that all plans share: looking its
// candidates up and ranking them. Internal to this concept.
#pragma once

#include "capability/space.hpp"

namespace hanse {

struct SearchRequest {
  MatrixView<const float> queries;     // [m, dim]
  std::span<const Feasible> feasible;  // 1 or one a query
  const SearchOptions& options;
  MatrixView<Match> matches_out;  // [m, k]
  std::span<int32_t> counts_out;
};

struct PreparedQuery {
  const SearchTable* table = nullptr;
  size_t number = 0;              // row of the request's queries
  const float* vector = nullptr;  // [stride], padded, normalised for cosine
  double norm = 0;
  Predicate predicate;
  uint64_t hash = 0;  // of the predicate
  Ranking ranking;
  uint32_t exclude_agent = index_none;
  std::span<const uint64_t> given;  // the caller's own mask; empty data: none

  const uint64_t* mask = nullptr;  // predicate and the caller's own, as bits by row
  uint32_t mask_words = 0;
  uint32_t feasible = 0;  // bits in the mask
  SearchReport report;

  bool allows(uint32_t row) const {
    if (given.data() == nullptr) return true;
    return row / rows_in_word < given.size() &&
           (given[row / rows_in_word] >> row % rows_in_word & 1) != 0;
  }
  bool same_mask(const PreparedQuery& other) const {
    return hash == other.hash && given.data() == other.given.data() && predicate == other.predicate;
  }
};

// `vector` [stride] is where the query's own is put.
void prepare_query(const CapabilitySpace& space, const SearchTable& table,
                   const SearchRequest& request, size_t number, float* vector,
                   PreparedQuery& query_out);

// What the ranking adds to a similarity, in double and in one order.
double bonus(const Ranking& ranking, const RowBlock& block, uint32_t i);

// The row as it is now: false where the query may not have it.
bool look_up(const CapabilitySpace& space, const PreparedQuery& query, uint32_t row,
             Match& match_out);
// What look_up reads of a row: its cells, which lie far from each other, and its vector.
void prefetch_cells(const CapabilitySpace& space, uint32_t row);
void prefetch_vector(const CapabilitySpace& space, uint32_t row);

bool better(const Match& a, const Match& b);
// The k best of `ranked` to the request's row of the query, in order; -> how many.
uint32_t answer(const SearchRequest& request, const PreparedQuery& query,
                std::vector<Match>& ranked);

}  // namespace hanse
