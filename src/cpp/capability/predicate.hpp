// A filter, compiled: which rows a query may be answered with. One row at a time, or 64 at a time
// into a bitmap. Internal to this concept.
//
// `exclude_agent` is no part of it: it differs from query to query where the rest recurs, so it is
// tested on the few rows that a search would return.
#pragma once

#include <array>

#include "capability/capability.hpp"
#include "capability/columns.hpp"

namespace hanse {

struct RangeTest {
  bool on = false;
  uint16_t code_least = 0, code_most = UINT16_MAX;
  int64_t least = 0, most = 0;  // as order_key

  bool operator==(const RangeTest&) const = default;
};

struct Predicate {
  std::array<RangeTest, numeric_count> ranges;
  uint64_t skills_all = 0, skills_any = 0, skills_none = 0;
  uint64_t policy_all = 0, policy_none = 0;
  uint32_t tenant = index_none;
  uint16_t region = UINT16_MAX;
  uint8_t tier_min = 0, tier_max = 255;
  bool never = false;  // contradictory: nothing is feasible

  bool operator==(const Predicate&) const = default;

  // Columns that it looks at, as bits: those of Numeric, then these.
  static constexpr uint32_t column_skills = 1 << 4, column_policy = 1 << 5, column_tenant = 1 << 6,
                            column_region = 1 << 7, column_tier = 1 << 8, column_flags = 1 << 9;
  uint32_t columns() const;
  bool empty() const { return !never && columns() == column_flags; }
  uint64_t hash() const;
};

Predicate compile(const Feasible& feasible);

// Exactly; `flags` included.
bool passes(const Predicate& predicate, const RowBlock& block, uint32_t i);
// The first test that the row fails, counted; nothing for a feasible one.
void count_refusal(const Predicate& predicate, const RowBlock& block, uint32_t i,
                   Refusals& refusals);

// The tests that a predicate makes, the most refusing first.
struct TestOrder {
  enum Test : uint8_t { price, updated, load, reputation, tenant, region, tier, skills, policy };
  std::array<Test, 9> tests{};
  uint32_t count = 0;
  double share = 0;  // of the rows that can be found, if the tests were independent
};
TestOrder order_tests(const Predicate& predicate, const Statistics& statistics);

// The rows of `word_count` words from `first_word` of the block: 1 feasible. Returns how many.
uint32_t evaluate(const Predicate& predicate, const TestOrder& order, const SearchTable& table,
                  const RowBlock& block, uint32_t first_word, uint32_t word_count,
                  uint64_t* words_out);

}  // namespace hanse
