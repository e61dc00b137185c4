// From a request to its answers: filters to bitmaps, a plan for each query, and what the plans
// share. Internal to this concept.
#pragma once

#include "capability/query.hpp"

namespace hanse {

// Throws as CapabilityStore::search.
void check_search(const CapabilitySpace& space, const SearchRequest& request);

// The request is checked.
void search_space(const CapabilitySpace& space, const SearchTable& table,
                  const SearchRequest& request);

// Every row's first refusal, counted.
Refusals explain_space(const CapabilitySpace& space, const Feasible& feasible);

}  // namespace hanse
