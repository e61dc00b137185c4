// Operations of a warp, by the fragment layouts of the PTX ISA (mma.m16n8k32 for 8-bit integers,
// mma.m16n8k16 for bfloat16): lane l holds row l / 4 and four bytes from 4 * (l % 4) on.
#include "memory.hpp"
#include "scheduler.hpp"

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

// Bytes of row `row` of A (16 rows), and of row `row` of B, which is column `row` of its transpose.
const unsigned char* of_a(const unsigned char* all, unsigned row, unsigned byte) {
  const unsigned lane = row % 8 * 4 + byte % 16 / 4;
  const unsigned element = row / 8 + byte / 16 * 2;
  return all + lane * slot_size_bytes + element * 4 + byte % 4;
}
const unsigned char* of_b(const unsigned char* all, unsigned row, unsigned byte) {
  const unsigned lane = row * 4 + byte % 16 / 4;
  return all + lane * slot_size_bytes + offsetof(Fragments, b) + byte / 16 * 4 + byte % 4;
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
    sums[i] = product(all, lane / 4 + i / 2 * 8, lane % 4 * 2 + i % 2, sums[i]);
}

}  // namespace

void shuffle(uint32_t mask, const void* in, void* out, size_t size_bytes, unsigned source,
             Place place) {
  const unsigned char* all = exchange(mask, WarpOperation::shuffle, in, size_bytes, place);
  std::memcpy(out, all + source * slot_size_bytes, size_bytes);
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
