// The exact search behind CapabilityStore::search. Internal to this concept.
#pragma once

#include "capability/space.hpp"

namespace hanse {

struct SearchRequest {
  MatrixView<const float> queries;     // [m, dim]
  std::span<const Feasible> feasible;  // 1 or one a query
  uint32_t k = 0;
  MatrixView<Match> matches_out;  // [m, k]
  std::span<int32_t> counts_out;
  uint32_t threads = 1;
};

// Throws as CapabilityStore::search.
void check_search(const CapabilitySpace& space, const SearchRequest& request);

// The request is checked; the caller holds a lock that keeps the space as it is.
void search_space(const CapabilitySpace& space, const SearchTable& table,
                  const SearchRequest& request);

MaskTests mask_tests(const Feasible& feasible);

}  // namespace hanse
