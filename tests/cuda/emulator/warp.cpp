// Operations of a warp; its products follow fragments.hpp.
#include "fragments.hpp"
#include "memory.hpp"
#include "scheduler.hpp"
#include "witness.hpp"

uint32_t __ballot_sync(uint32_t mask, int predicate, const char* file, int line) {
  const unsigned char mine = predicate != 0;
  const unsigned char* all =
      simt::exchange(mask, simt::WarpOperation::ballot, &mine, 1, {file, line});
  uint32_t out = 0;
  for (unsigned lane = 0; lane < 32; ++lane)
    if (all[lane * simt::slot_size_bytes] != 0) out |= 1u << lane;
  return out;
}

namespace simt {

namespace {

struct Fragments {
  uint32_t a[4], b[2];
};

const unsigned char* of_a(const unsigned char* all, unsigned row, unsigned byte) {
  const FragmentByte at = fragment_of_a(row, byte);
  return all + at.lane * slot_size_bytes + at.word * 4 + at.byte;
}
const unsigned char* of_b(const unsigned char* all, unsigned row, unsigned byte) {
  const FragmentByte at = fragment_of_b(row, byte);
  return all + at.lane * slot_size_bytes + offsetof(Fragments, b) + at.word * 4 + at.byte;
}

float bf16_at(const unsigned char* at) {
  const uint32_t bits = uint32_t(at[0]) << 16 | uint32_t(at[1]) << 24;
  float out;
  std::memcpy(&out, &bits, sizeof(out));
  return out;
}

template <class Sum, class Product>
void multiply(Sum (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place place,
              Product product) {
  Fragments mine;
  std::memcpy(mine.a, a, sizeof(mine.a));
  std::memcpy(mine.b, b, sizeof(mine.b));
  const unsigned char* all =
      exchange(UINT32_MAX, WarpOperation::multiply, &mine, sizeof(mine), place);
  const unsigned lane = current.lane;
  for (unsigned i = 0; i < 4; ++i)
    sums[i] = product(all, fragment_sum_row(lane, i), fragment_sum_column(lane, i), sums[i]);
}

}  // namespace

void shuffle(uint32_t mask, const void* in, void* out, size_t size_bytes, unsigned source,
             Place place) {
  const unsigned char* all = exchange(mask, WarpOperation::shuffle, in, size_bytes, place);
  witness::pass(out, all + source * slot_size_bytes, size_bytes);
}

void multiply_s8(int32_t (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place place) {
  multiply(sums, a, b, place,
           [](const unsigned char* all, unsigned row, unsigned column, int32_t sum) {
             for (unsigned k = 0; k < 32; ++k)
               sum += int32_t(int8_t(*of_a(all, row, k))) * int8_t(*of_b(all, column, k));
             return sum;
           });
}

void multiply_bf16(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], Place place) {
  multiply(sums, a, b, place,
           [](const unsigned char* all, unsigned row, unsigned column, float sum) {
             for (unsigned k = 0; k < 16; ++k)
               sum += bf16_at(of_a(all, row, 2 * k)) * bf16_at(of_b(all, column, 2 * k));
             return sum;
           });
}

unsigned char* dynamic_shared() { return dynamic_memory(); }

uint32_t atomic_add(uint32_t* address, uint32_t value) {
  touch(address, sizeof(*address), true, true);
  const uint32_t before = *address;
  *address = before + value;
  return before;
}

float atomic_add(float* address, float value) {
  touch(address, sizeof(*address), true, true);
  const float before = *address;
  *address = before + value;
  return before;
}

}  // namespace simt
