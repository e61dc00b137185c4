#include "capability/columns.hpp"

#include <sys/mman.h>

#include <new>

namespace hanse {

namespace {

template <class T>
void add(T& cell, int64_t change) {
  poke(cell, T(peek(cell) + T(change)));
}

}  // namespace

void Statistics::move(Numeric column, uint16_t from, uint16_t to) {
  if (from >> 8 == to >> 8) return;
  auto& counts = codes[size_t(column)];
  add(counts[from >> 8], -1);
  add(counts[to >> 8], 1);
}

void Statistics::count_bits(std::array<uint32_t, 64>& counts, uint64_t bits, int32_t change) {
  for (; bits != 0; bits &= bits - 1) add(counts[size_t(std::countr_zero(bits))], change);
}

void Statistics::count_row(const RowBlock& block, uint32_t i, int32_t change) {
  add(found, change);
  for (uint32_t c = 0; c < numeric_count; ++c) add(codes[c][block.codes[c][i] >> 8], change);
  count_bits(skills, block.skills[i], change);
  count_bits(policy, block.policy_bits[i], change);
  add(tier[block.tier[i]], change);
  add(region[block.region[i] % region.size()], change);
  add(tenant[block.tenant[i] % tenant.size()], change);
}

}  // namespace hanse
