// What searches take beside their queries: filters, rankings and masks, as Python gives them.
#pragma once

#include <vector>

#include "capability/capability.hpp"
#include "convert.hpp"

namespace hanse::python {

// A filter as Python holds it: compiled once, used for any number of searches.
struct Filter {
  Feasible feasible;
};

// None, one Filter, or a list of one a query, each lowered to the prices of `max_price` (None, an
// int, or int64[m]). One for all, or one a query; all of them within `base`.
std::vector<Feasible> feasible_of(py::handle filter, py::handle max_price, size_t query_count,
                                  const Feasible& base);
// What both let pass. Throws out_of_range where it would take two any_of.
Feasible both(const Feasible& a, const Feasible& b);
// None, one Ranking, or a list of one a query.
std::vector<Ranking> rankings_of(py::handle ranking);

// None, bool[n], bool[m, n], uint64[w] or uint64[m, w]: bits by place.
class MaskArgument {
 public:
  explicit MaskArgument(py::handle mask);
  MatrixView<const uint64_t> view() const { return view_; }

 private:
  py::array array_;  // kept while its words are read
  std::vector<uint64_t> words_;
  MatrixView<const uint64_t> view_;
};

// recall, effort, k, threads and device (None or "cuda"), checked as they are converted.
SearchOptions options_of(py::handle k, py::handle threads, py::handle recall, py::handle effort,
                         py::handle device);

py::list reports_from(std::span<const SearchReport> reports);
py::dict reasons_from(const Refusals& refusals);

}  // namespace hanse::python
