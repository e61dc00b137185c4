#include "capability/predicate.hpp"

#include <algorithm>
#include <bit>
#include <limits>

#include "base/random.hpp"

namespace hanse {

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

RangeTest range_of(int64_t least, int64_t most) {
  if (least <= 0 && most == INT64_MAX) return {};
  return {true, code_of(least), code_of(most), least, most};
}

RangeTest range_of(float least, float most) {
  if (least == -infinity && most == infinity) return {};
  return {true, code_of(least), code_of(most), order_key(least), order_key(most)};
}

bool passes_bits(uint64_t bits, uint64_t all, uint64_t any, uint64_t none) {
  return (bits & all) == all && (bits & none) == 0 && (any == 0 || (bits & any) != 0);
}

bool in_range(const RangeTest& test, int64_t key) {
  return !test.on || (key >= test.least && key <= test.most);
}

uint64_t any_of(const uint64_t* words, uint32_t count) {
  uint64_t any = 0;
  for (uint32_t w = 0; w < count; ++w) any |= words[w];
  return any;
}

struct Part {
  const RowBlock& block;
  uint32_t first_word, word_count;
  uint64_t* words;
  uint32_t first_row() const { return first_word * rows_in_word; }
};

// Codes decide all rows but those at the ends of the range, which are looked up.
void test_range(const Part& part, const SearchTable& table, Numeric column, const RangeTest& test) {
  uint64_t edges[words_in_block];
  table.between16(part.block.codes[size_t(column)] + part.first_row(), part.word_count,
                  test.code_least, test.code_most, part.words, edges);
  for (uint32_t w = 0; w < part.word_count; ++w) {
    for (edges[w] &= part.words[w]; edges[w] != 0; edges[w] &= edges[w] - 1) {
      const auto bit = uint32_t(std::countr_zero(edges[w]));
      const uint32_t i = part.first_row() + w * rows_in_word + bit;
      if (!in_range(test, part.block.key(column, i))) part.words[w] &= ~(uint64_t(1) << bit);
    }
  }
}

void test_tenant(const Part& part, const SearchTable& table, uint32_t tenant) {
  const uint16_t code = tenant_code(tenant);
  uint64_t edges[words_in_block];
  table.between16(part.block.tenant_codes + part.first_row(), part.word_count, code, code,
                  part.words, edges);
  for (uint32_t w = 0; w < part.word_count; ++w) {
    for (uint64_t same = part.words[w]; same != 0; same &= same - 1) {
      const auto bit = uint32_t(std::countr_zero(same));
      if (peek(part.block.tenant[part.first_row() + w * rows_in_word + bit]) != tenant)
        part.words[w] &= ~(uint64_t(1) << bit);
    }
  }
}

void test_region(const Part& part, const SearchTable& table, uint16_t region) {
  uint64_t edges[words_in_block];
  table.between16(part.block.region + part.first_row(), part.word_count, region, region, part.words,
                  edges);
}

void test_tier(const Part& part, const SearchTable& table, const Predicate& predicate) {
  table.between8(part.block.tier + part.first_row(), part.word_count, predicate.tier_min,
                 predicate.tier_max, part.words);
}

void test_bits(const Part& part, const BitSlices* slices, uint64_t all, uint64_t any,
               uint64_t none) {
  if (slices == nullptr) {
    if (all != 0 || any != 0) std::fill_n(part.words, part.word_count, 0);
    return;
  }
  for (; all != 0; all &= all - 1) {
    const uint64_t* slice = slices->words[std::countr_zero(all)] + part.first_word;
    for (uint32_t w = 0; w < part.word_count; ++w) part.words[w] &= peek(slice[w]);
  }
  for (; none != 0; none &= none - 1) {
    const uint64_t* slice = slices->words[std::countr_zero(none)] + part.first_word;
    for (uint32_t w = 0; w < part.word_count; ++w) part.words[w] &= ~peek(slice[w]);
  }
  if (any == 0) return;
  uint64_t some[words_in_block] = {};
  for (; any != 0; any &= any - 1) {
    const uint64_t* slice = slices->words[std::countr_zero(any)] + part.first_word;
    for (uint32_t w = 0; w < part.word_count; ++w) some[w] |= peek(slice[w]);
  }
  for (uint32_t w = 0; w < part.word_count; ++w) part.words[w] &= some[w];
}

void run_test(TestOrder::Test test, const Predicate& p, const SearchTable& table,
              const Part& part) {
  switch (test) {
    case TestOrder::price:
    case TestOrder::updated:
    case TestOrder::load:
    case TestOrder::reputation:
      return test_range(part, table, Numeric(test), p.ranges[test]);
    case TestOrder::tenant:
      return test_tenant(part, table, p.tenant);
    case TestOrder::region:
      return test_region(part, table, p.region);
    case TestOrder::tier:
      return test_tier(part, table, p);
    case TestOrder::skills:
      return test_bits(part, part.block.skill_slices.load(std::memory_order_acquire), p.skills_all,
                       p.skills_any, p.skills_none);
    case TestOrder::policy:
      return test_bits(part, part.block.policy_slices.load(std::memory_order_acquire), p.policy_all,
                       0, p.policy_none);
  }
}

template <size_t N>
double sum_between(const std::array<uint32_t, N>& counts, uint32_t first, uint32_t last) {
  double sum = 0;
  for (uint32_t i = first; i <= last; ++i) sum += peek(counts[i]);
  return sum;
}

double share_of_bits(const std::array<uint32_t, 64>& counts, double found, uint64_t all,
                     uint64_t any, uint64_t none) {
  double share = 1, none_of_any = 1;
  const auto each = [&](uint64_t bits, auto&& use) {
    for (; bits != 0; bits &= bits - 1)
      use(std::min(1.0, peek(counts[size_t(std::countr_zero(bits))]) / found));
  };
  each(all, [&](double one) { share *= one; });
  each(none, [&](double one) { share *= 1 - one; });
  each(any, [&](double one) { none_of_any *= 1 - one; });
  return any == 0 ? share : share * (1 - none_of_any);
}

double share_of(TestOrder::Test test, const Predicate& p, const Statistics& s, double found) {
  switch (test) {
    case TestOrder::price:
    case TestOrder::updated:
    case TestOrder::load:
    case TestOrder::reputation:
      return sum_between(s.codes[test], p.ranges[test].code_least >> 8,
                         p.ranges[test].code_most >> 8) /
             found;
    case TestOrder::tenant:
      return peek(s.tenant[p.tenant % s.tenant.size()]) / found;
    case TestOrder::region:
      return peek(s.region[p.region % s.region.size()]) / found;
    case TestOrder::tier:
      return sum_between(s.tier, p.tier_min, p.tier_max) / found;
    case TestOrder::skills:
      return share_of_bits(s.skills, found, p.skills_all, p.skills_any, p.skills_none);
    case TestOrder::policy:
      return share_of_bits(s.policy, found, p.policy_all, 0, p.policy_none);
  }
  return 1;
}

}  // namespace

uint32_t Predicate::columns() const {
  uint32_t columns = column_flags;
  for (uint32_t c = 0; c < numeric_count; ++c)
    if (ranges[c].on) columns |= 1u << c;
  if ((skills_all | skills_any | skills_none) != 0) columns |= column_skills;
  if ((policy_all | policy_none) != 0) columns |= column_policy;
  if (tenant != index_none) columns |= column_tenant;
  if (region != UINT16_MAX) columns |= column_region;
  if (tier_min != 0 || tier_max != 255) columns |= column_tier;
  return columns;
}

uint64_t Predicate::hash() const {
  uint64_t hash = mix64(uint64_t(never) + 1);
  const auto mix = [&](uint64_t value) { hash = mix64((hash + 0x9e3779b97f4a7c15) ^ value); };
  for (const RangeTest& range : ranges)
    if (range.on) mix(uint64_t(range.least)), mix(uint64_t(range.most));
  mix(columns());
  mix(skills_all), mix(skills_any), mix(skills_none);
  mix(policy_all), mix(policy_none);
  mix(uint64_t(tenant) << 32 | uint64_t(region) << 16 | uint64_t(tier_min) << 8 | tier_max);
  return hash;
}

Predicate compile(const Feasible& f) {
  Predicate p;
  p.ranges[size_t(Numeric::price)] = range_of(f.price_min, f.price_max);
  p.ranges[size_t(Numeric::updated)] = range_of(f.updated_min, f.updated_max);
  p.ranges[size_t(Numeric::load)] = range_of(f.load_min, f.load_max);
  p.ranges[size_t(Numeric::reputation)] = range_of(f.reputation_min, f.reputation_max);
  p.skills_all = f.skills_all;
  p.skills_any = f.skills_any;
  p.skills_none = f.skills_none;
  p.policy_all = f.policy_all;
  p.policy_none = f.policy_none;
  p.tenant = f.tenant;
  p.region = f.region;
  p.tier_min = f.tier_min;
  p.tier_max = f.tier_max;
  p.never = (f.skills_all & f.skills_none) != 0 || (f.policy_all & f.policy_none) != 0 ||
            f.tier_min > f.tier_max;
  for (const RangeTest& range : p.ranges)
    p.never = p.never || (range.on && range.least > range.most);
  return p;
}

bool passes(const Predicate& p, const RowBlock& b, uint32_t i) {
  if (p.never || peek(b.flags[i]) != row_feasible) return false;
  if (p.tenant != index_none && peek(b.tenant[i]) != p.tenant) return false;
  if (p.region != UINT16_MAX && peek(b.region[i]) != p.region) return false;
  const uint8_t tier = peek(b.tier[i]);
  if (tier < p.tier_min || tier > p.tier_max) return false;
  if (!passes_bits(peek(b.skills[i]), p.skills_all, p.skills_any, p.skills_none)) return false;
  if (!passes_bits(peek(b.policy_bits[i]), p.policy_all, 0, p.policy_none)) return false;
  for (uint32_t c = 0; c < numeric_count; ++c)
    if (p.ranges[c].on && !in_range(p.ranges[c], b.key(Numeric(c), i))) return false;
  return true;
}

void count_refusal(const Predicate& p, const RowBlock& b, uint32_t i, Refusals& refusals) {
  const uint8_t flags = peek(b.flags[i]), tier = peek(b.tier[i]);
  const auto outside = [&](Numeric c) { return !in_range(p.ranges[size_t(c)], b.key(c, i)); };
  if (!(flags & row_found))
    ++refusals.withdrawn;
  else if (!(flags & row_live))
    ++refusals.revoked;
  else if (!(flags & row_has_room))
    ++refusals.slots;
  else if (p.tenant != index_none && peek(b.tenant[i]) != p.tenant)
    ++refusals.tenant;
  else if (!passes_bits(peek(b.policy_bits[i]), p.policy_all, 0, p.policy_none))
    ++refusals.policy;
  else if (outside(Numeric::price))
    ++refusals.price;
  else if (tier < p.tier_min || tier > p.tier_max)
    ++refusals.tier;
  else if (!passes_bits(peek(b.skills[i]), p.skills_all, p.skills_any, p.skills_none))
    ++refusals.skills;
  else if (p.region != UINT16_MAX && peek(b.region[i]) != p.region)
    ++refusals.region;
  else if (outside(Numeric::load))
    ++refusals.load;
  else if (outside(Numeric::reputation))
    ++refusals.reputation;
  else if (outside(Numeric::updated))
    ++refusals.updated;
}

Refusals& Refusals::operator+=(const Refusals& other) {
  for (uint64_t Refusals::* field :
       {&Refusals::withdrawn, &Refusals::revoked, &Refusals::slots, &Refusals::tenant,
        &Refusals::policy, &Refusals::price, &Refusals::tier, &Refusals::skills, &Refusals::region,
        &Refusals::load, &Refusals::reputation, &Refusals::updated})
    this->*field += other.*field;
  return *this;
}

TestOrder order_tests(const Predicate& predicate, const Statistics& statistics) {
  using enum TestOrder::Test;
  constexpr std::pair<TestOrder::Test, uint32_t> all[] = {
      {skills, Predicate::column_skills}, {policy, Predicate::column_policy},
      {tenant, Predicate::column_tenant}, {tier, Predicate::column_tier},
      {region, Predicate::column_region}, {price, 1u << price},
      {updated, 1u << updated},           {load, 1u << load},
      {reputation, 1u << reputation}};
  const double found = std::max<double>(1, double(peek(statistics.found)));
  const uint32_t columns = predicate.columns();
  std::array<double, 9> shares{};
  TestOrder order;
  order.share = predicate.never ? 0 : 1;
  for (const auto& [test, column] : all) {
    if (!(columns & column)) continue;
    const double share = std::min(1.0, share_of(test, predicate, statistics, found));
    order.share *= share;
    uint32_t at = order.count++;
    for (; at > 0 && shares[at - 1] > share; --at) {
      shares[at] = shares[at - 1];
      order.tests[at] = order.tests[at - 1];
    }
    shares[at] = share;
    order.tests[at] = test;
  }
  return order;
}

uint32_t evaluate(const Predicate& predicate, const TestOrder& order, const SearchTable& table,
                  const RowBlock& block, uint32_t first_word, uint32_t word_count,
                  uint64_t* words_out) {
  const Part part{block, first_word, word_count, words_out};
  for (uint32_t w = 0; w < word_count; ++w)
    words_out[w] = predicate.never ? 0 : peek(block.ready[first_word + w]);
  for (uint32_t t = 0; t < order.count; ++t) {
    if (any_of(words_out, word_count) == 0) return 0;
    run_test(order.tests[t], predicate, table, part);
  }
  return table.count_bits(words_out, word_count);
}

}  // namespace hanse
