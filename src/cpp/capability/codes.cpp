#include "capability/codes.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <thread>

#include "base/error.hpp"

namespace hanse {
namespace {

// Sums of codes are rounded to planes of 4 bits: this many root mean squares a step lose least of a
// normal distribution (Max, "Quantizing for minimum distortion", 1960, table II).
constexpr float plane_step = 0.34f;
constexpr int32_t plane_low = -8, plane_high = 7;

uint32_t checked_dim(uint32_t dim) {
  if (dim < code_dim_min || dim > code_dim_max)
    throw Error(ErrorCode::out_of_range, "dim",
                std::to_string(dim) + " is outside " + std::to_string(code_dim_min) + " … " +
                    std::to_string(code_dim_max));
  return dim;
}

// Records of up to a cache line do not cross one.
size_t sign_stride(uint32_t padded, size_t head) {
  const size_t bytes = head + padded / 8;
  return bytes <= 64 ? std::bit_ceil(bytes) : (bytes + 63) / 64 * 64;
}

// Sums go in lanes, which a compiler may put into vectors without changing the result.
constexpr uint32_t lanes = 8;

template <class T>
T folded(const T (&sums)[lanes]) {
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

// To the nearest integer, ties to even, for |x| < 2^22: adding 1.5 * 2^23 leaves no bit for a
// fraction.
int32_t rounded(float x) {
  constexpr float magic = 12582912.0f;
  return std::bit_cast<int32_t>(x + magic) - std::bit_cast<int32_t>(magic);
}

// The bytes of `plane` of 64 components, as one word.
uint64_t plane_word(const uint8_t* values, uint32_t plane) {
  uint64_t word = 0;
  for (uint32_t i = 0; i < 8; ++i) {
    uint64_t eight;
    std::memcpy(&eight, values + 8 * i, sizeof eight);
    eight = eight >> plane & 0x0101010101010101;
    word |= (eight * 0x0102040810204080 >> 56) << (8 * i);
  }
  return word;
}

}  // namespace

const CodeKernels& code_kernels(CpuLevel level) {
  const CodeKernels* best = &code_kernels_baseline;
  for (const CodeKernels* const* table = code_kernels_native; *table; ++table) {
    const CpuLevel has = (*table)->level;
    const bool below = has == CpuLevel::avx2 && level == CpuLevel::avx512;
    if (has == level ? level != CpuLevel::avx512 || cpu_has_vnni() : below) best = *table;
  }
  return *best;
}

CodeTable::CodeTable(uint32_t dim, const CodeOptions& options)
    : kernels_(code_kernels(options.level)),
      rotation_(checked_dim(dim), options.seed, kernels_),
      signs_(sign_stride(rotation_.dim_padded(), sizeof(Factors))),
      int8_(rotation_.dim_padded()),
      rows_(sizeof(uint32_t)),
      slots_(sizeof(uint32_t)),
      centre_(rotation_.dim_padded()) {}

CodeTable::~CodeTable() = default;

void CodeTable::centre_on(std::span<const float* const> sample) {
  if (slot_end() != 0)
    throw Error(ErrorCode::out_of_range, "centre", "is fixed by the first write");
  if (sample.empty()) return;
  std::vector<double> sums(dim());
  for (const float* vector : sample)
    for (uint32_t i = 0; i < dim(); ++i) sums[i] += double(vector[i]);
  std::vector<float> mean(dim());
  for (uint32_t i = 0; i < dim(); ++i) mean[i] = float(sums[i] / double(sample.size()));
  CodeQuery room;
  reserve(room);
  rotation_.rotate(mean.data(), room.rotated);
  std::copy_n(room.rotated, rotation_.dim_padded(), centre_.data());
}

uint32_t CodeTable::take_slot() {
  if (free_.empty() && !gone_.empty())
    for (const uint64_t oldest = epochs_.oldest(); !gone_.empty() && gone_.front().mark <= oldest;
         gone_.pop_front())
      free_.push_back(gone_.front().slot);
  if (!free_.empty()) {
    const uint32_t slot = free_.back();
    free_.pop_back();
    return slot;
  }
  const uint32_t slot = slot_end();
  signs_.grow(slot + 1);
  int8_.grow(slot + 1);
  rows_.grow(slot + 1);
  held_.push_back(0);
  slot_end_.store(slot + 1, std::memory_order_release);
  return slot;
}

void CodeTable::fill(uint32_t slot, const float* vector, float* scratch) {
  const uint32_t padded = rotation_.dim_padded();
  rotation_.rotate(vector, scratch);
  double square = 0, absolute = 0, centre_dot = 0;
  float largest = 0;
  for (uint32_t i = 0; i < padded; ++i) {
    const float x = scratch[i] -= centre_[i];
    square += double(x) * double(x);
    absolute += double(std::abs(x));
    centre_dot += double(x) * double(centre_[i]);
    largest = std::max(largest, std::abs(x));
  }
  auto* bits = reinterpret_cast<uint64_t*>(signs_.at(slot) + sizeof(Factors));
  for (uint32_t w = 0; w < padded / 64; ++w) {
    uint64_t word = 0;
    for (uint32_t i = 0; i < 64; ++i) word |= uint64_t(scratch[w * 64 + i] > 0) << i;
    bits[w] = word;
  }
  uint8_t* bytes = int8_.at(slot);
  const float per_unit = largest > 0 ? 127.0f / largest : 0.0f;
  for (uint32_t i = 0; i < padded; ++i) bytes[i] = uint8_t(rounded(scratch[i] * per_unit) + 128);
  // A vector at the centre has no direction; its scores are exact without one.
  *reinterpret_cast<Factors*>(signs_.at(slot)) = {absolute > 0 ? float(square / absolute) : 0.0f,
                                                  largest / 127.0f, float(centre_dot),
                                                  float(square / 2)};
}

void CodeTable::publish(uint32_t row, uint32_t slot) {
  const uint32_t old = slot_of(row);
  if (slot != index_none) {
    word(rows_, slot).store(row + 1, std::memory_order_release);
    slots_.grow(row + 1);
  }
  if (slot != index_none || old != index_none)
    word(slots_, row).store(slot + 1, std::memory_order_release);
  if (slot != index_none && row >= row_end()) row_end_.store(row + 1, std::memory_order_release);
  const auto count = row_count_.load(std::memory_order_relaxed);
  row_count_.store(count + (slot != index_none) - (old != index_none), std::memory_order_relaxed);
  if (old == index_none) return;
  word(rows_, old).store(0, std::memory_order_release);
  if (held_[old] == 0) gone_.push_back({old, epochs_.retire()});
}

void CodeTable::release(uint32_t slot) {
  held_[slot] = 0;
  if (row_of(slot) == index_none) gone_.push_back({slot, epochs_.retire()});
}

void CodeTable::write(uint32_t row, const float* vector) { write_many({&row, 1}, {&vector, 1}, 1); }

void CodeTable::write_many(std::span<const uint32_t> rows, std::span<const float* const> vectors,
                           uint32_t threads) {
  constexpr size_t rows_a_thread_min = 256;
  std::vector<uint32_t> slots(rows.size());
  for (uint32_t& slot : slots) slot = take_slot();
  const auto fill_share = [&](size_t first, size_t last) {
    CodeQuery room;
    reserve(room);
    for (size_t i = first; i < last; ++i) fill(slots[i], vectors[i], room.rotated);
  };
  const size_t count = std::clamp<size_t>(rows.size() / rows_a_thread_min, 1, threads);
  const size_t share = (rows.size() + count - 1) / count;
  std::vector<std::thread> others;
  for (size_t i = 1; i < count; ++i)
    others.emplace_back(fill_share, i * share, std::min(rows.size(), (i + 1) * share));
  fill_share(0, std::min(rows.size(), share));
  for (std::thread& other : others) other.join();
  for (size_t i = 0; i < rows.size(); ++i) publish(rows[i], slots[i]);
}

void CodeTable::erase(uint32_t row) {
  if (has(row)) publish(row, index_none);
}

void CodeTable::reserve(CodeQuery& query) const {
  const uint32_t padded = rotation_.dim_padded();
  if (query.padded == padded) return;
  const size_t bytes = padded * (2 * sizeof(float) + 1 + 1) + padded / 64 * query_bits * 8;
  void* memory = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (memory == nullptr) throw std::bad_alloc();
  query.memory = {static_cast<uint8_t*>(memory), &std::free};
  query.rotated = static_cast<float*>(memory);
  query.int8 = reinterpret_cast<int8_t*>(query.rotated + 2 * padded);
  query.nibbles = reinterpret_cast<uint8_t*>(query.int8 + padded);
  query.planes = reinterpret_cast<uint64_t*>(query.nibbles + padded);
  query.padded = padded;
}

void CodeTable::quantise(CodeQuery& query) const {
  const uint32_t padded = query.padded;
  float largest[lanes] = {}, square[lanes] = {};
  for (uint32_t i = 0; i < padded; i += lanes)
    for (uint32_t j = 0; j < lanes; ++j) {
      const float x = query.rotated[i + j];
      largest[j] = std::max(largest[j], std::abs(x));
      square[j] += x * x;
    }
  const float most = *std::max_element(largest, largest + lanes);
  const float step =
      std::min(plane_step * std::sqrt(folded(square) / float(padded)), most / float(plane_high));
  const float per_unit = most > 0 ? 127.0f / most : 0.0f;
  const float per_step = step > 0 ? 1.0f / step : 0.0f;
  int32_t int8_sum[lanes] = {}, plane_sum[lanes] = {};
  for (uint32_t i = 0; i < padded; i += lanes)
    for (uint32_t j = 0; j < lanes; ++j) {
      const int32_t unit = rounded(query.rotated[i + j] * per_unit);
      const float steps = query.rotated[i + j] * per_step;
      const float clamped = std::max(std::min(steps, float(plane_high)), float(plane_low));
      const int32_t nibble = rounded(clamped);
      query.int8[i + j] = int8_t(unit);
      query.nibbles[i + j] = uint8_t(nibble);
      int8_sum[j] += unit;
      plane_sum[j] += nibble;
    }
  const uint32_t words = padded / 64;
  for (uint32_t bit = 0; bit < query_bits; ++bit)
    for (uint32_t w = 0; w < words; ++w)
      query.planes[bit * words + w] = plane_word(query.nibbles + 64 * w, bit);
  query.int8_scale = most / 127.0f;
  query.int8_sum = 128 * folded(int8_sum);
  query.plane_scale = 2 * step;
  query.plane_offset = step * float(folded(plane_sum));
}

void CodeTable::prepare(const float* vector, CodeQuery& query) const {
  reserve(query);
  rotation_.rotate(vector, query.rotated);
  float base[lanes] = {};
  for (uint32_t i = 0; i < query.padded; i += lanes)
    for (uint32_t j = 0; j < lanes; ++j) {
      base[j] += query.rotated[i + j] * centre_[i + j];
      query.rotated[i + j] -= centre_[i + j];
    }
  query.base = folded(base);
  query.centre_weight = 1;
  query.square_weight = 0;
  quantise(query);
}

void CodeTable::prepare_slot(uint32_t slot, CodeQuery& query) const {
  reserve(query);
  const uint8_t* bytes = int8(slot);
  const float scale = factors(slot).int8_scale;
  for (uint32_t i = 0; i < query.padded; ++i)
    query.rotated[i] = scale * float(int32_t(bytes[i]) - 128);
  query.base = 0;
  query.centre_weight = 0;
  query.square_weight = 1;
  quantise(query);
}

uint64_t CodeTable::memory_bytes() const {
  const size_t slot_bytes = signs_.stride_bytes() + int8_.stride_bytes() + rows_.stride_bytes() + 1;
  return sizeof(*this) + slot_end() * slot_bytes + row_end() * slots_.stride_bytes() +
         free_.capacity() * sizeof(uint32_t) + gone_.size() * sizeof(Gone) +
         rotation_.dim_padded() * sizeof(float) * 5;
}

}  // namespace hanse
