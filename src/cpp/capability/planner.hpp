// Which way is cheapest for a query whose filter is known to let so many rows pass. Internal to
// this concept.
#pragma once

#include "capability/query.hpp"

namespace hanse {

// The query has its mask.
Plan plan_query(const CapabilitySpace& space, const SearchOptions& options,
                const PreparedQuery& query);

// Width of a walk for SearchOptions::recall or ::effort.
uint32_t walk_width(const SearchOptions& options, uint32_t row_count, uint32_t dim);

// What part of the rows a filter lets pass: 0 … 1.
double share_of(const CapabilitySpace& space, uint32_t feasible);
// Where so many of the rows pass, it is faster to walk as if all did and to filter what was found
// than to look for those that do.
inline bool filters_after(double share) { return share >= 0.15; }
// Width of such a walk, where `width` does without a filter.
uint32_t width_to_filter(uint32_t width, double share);

// How many int8 products follow the sign codes, for `keep` candidates.
uint32_t look_of_codes(const SearchOptions& options, uint32_t keep, uint32_t dim);
uint32_t look_of_walk(const SearchOptions& options, uint32_t width, uint32_t keep, uint32_t dim);

// No feasible row's bonus is above this; from the values that occur.
double bonus_bound(const Ranking& ranking, const Predicate& predicate,
                   const Statistics& statistics);

}  // namespace hanse
