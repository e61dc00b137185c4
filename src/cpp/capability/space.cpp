#include "capability/space.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <new>

namespace hanse {

namespace {

// A scan by one query is bound by memory; with 4 KiB pages it took twice as long, since a
// prefetcher stops at the end of a page.
constexpr size_t huge_page_bytes = size_t(2) << 20;

size_t vectors_bytes(uint32_t stride) {
  const size_t bytes = size_t(rows_in_block) * stride * sizeof(float);
  if (bytes < huge_page_bytes) return bytes;
  return (bytes + huge_page_bytes - 1) / huge_page_bytes * huge_page_bytes;
}

float* allocate_vectors(uint32_t stride) {
  const size_t bytes = vectors_bytes(stride);
  const bool huge = bytes >= huge_page_bytes;
  void* memory = std::aligned_alloc(huge ? huge_page_bytes : 64, bytes);
  if (memory == nullptr) throw std::bad_alloc();
  // Advice only: without huge pages everything works as well, but slower.
  if (huge) static_cast<void>(madvise(memory, bytes, MADV_HUGEPAGE));
  return static_cast<float*>(memory);
}

}  // namespace

RowBlock::RowBlock(uint32_t stride) : vectors(allocate_vectors(stride)) {}

uint32_t OfferRows::find(uint32_t agent, uint32_t offer) const {
  if (offer == 0) {
    const uint32_t page = agent / page_size;
    if (page >= pages_.size() || !pages_[page]) return index_none;
    return pages_[page][agent % page_size];
  }
  const auto found = others_.find(make_id(agent, offer));
  return found == others_.end() ? index_none : found->second;
}

void OfferRows::add(uint32_t agent, uint32_t offer, uint32_t row) {
  if (offer != 0) {
    others_[make_id(agent, offer)] = row;
    return;
  }
  const uint32_t page = agent / page_size;
  if (page >= pages_.size()) pages_.resize(page + 1);
  if (!pages_[page]) {
    pages_[page] = std::make_unique<uint32_t[]>(page_size);
    std::fill_n(pages_[page].get(), page_size, index_none);
    ++page_count_;
  }
  pages_[page][agent % page_size] = row;
}

uint64_t OfferRows::memory_bytes() const {
  constexpr uint64_t node_bytes = 32;  // key, row, next pointer, the allocator's header
  return page_count_ * page_size * sizeof(uint32_t) + pages_.capacity() * sizeof(void*) +
         others_.size() * node_bytes + others_.bucket_count() * sizeof(void*);
}

CapabilitySpace::CapabilitySpace(const SpaceSpec& spec_of_space)
    : spec(spec_of_space), stride((spec.dim + lanes_max - 1) / lanes_max * lanes_max) {}

uint32_t CapabilitySpace::append() {
  if (row_count == blocks.size() * rows_in_block)
    blocks.push_back(std::make_unique<RowBlock>(stride));
  const uint32_t row = row_count++;
  block(row).flags[slot(row)] = row_live;
  return row;
}

void CapabilitySpace::write_vector(uint32_t row, const float* given, double norm) {
  store_vector(spec.metric, given, spec.dim, stride, norm, vector(row));
  // Rounding may make a normalised vector a little longer than 1.
  norm_max = std::max(norm_max, spec.metric == Metric::cosine ? 1 + 1e-6 : norm);
}

uint64_t CapabilitySpace::memory_bytes() const {
  const uint64_t block_bytes = sizeof(RowBlock) + vectors_bytes(stride);
  return sizeof(CapabilitySpace) + rows.memory_bytes() + blocks.size() * block_bytes;
}

void CapabilitySpace::refresh_room(uint32_t row) {
  RowBlock& b = block(row);
  const uint32_t i = slot(row);
  const bool room = b.slots[i] == 0 || b.open[i] < b.slots[i];
  b.flags[i] = uint8_t(room ? b.flags[i] | row_has_room : b.flags[i] & ~row_has_room);
}

double exact_dot(const float* a, const float* b, uint32_t count) {
  double sums[8] = {};
  uint32_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (uint32_t lane = 0; lane < 8; ++lane)
      sums[lane] += double(a[i + lane]) * double(b[i + lane]);
  for (uint32_t lane = 0; i < count; ++i, ++lane) sums[lane] += double(a[i]) * double(b[i]);
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

void store_vector(Metric metric, const float* vector, uint32_t dim, uint32_t stride, double norm,
                  float* out) {
  if (metric == Metric::cosine)
    for (uint32_t i = 0; i < dim; ++i) out[i] = float(double(vector[i]) / norm);
  else
    std::copy_n(vector, dim, out);
  std::fill(out + dim, out + stride, 0.0f);
}

void check_dim(const char* field, size_t dim, uint32_t expected) {
  if (dim != expected)
    throw Error(
        ErrorCode::dimension_mismatch, field,
        "dimension " + std::to_string(dim) + " where the space has " + std::to_string(expected));
}

double checked_norm(const char* field, size_t row, const float* vector, uint32_t dim) {
  // Squares of floats neither overflow nor vanish in double, so the sum tells all three faults.
  const double square = exact_dot(vector, vector, dim);
  if (std::isfinite(square) && square > 0) return std::sqrt(square);
  const std::string where = "row " + std::to_string(row);
  for (uint32_t i = 0; i < dim; ++i)
    if (!std::isfinite(vector[i]))
      throw Error(ErrorCode::bad_vector, field,
                  where + ": component " + std::to_string(i) + " is " +
                      (std::isnan(vector[i]) ? "NaN" : "infinite"));
  throw Error(ErrorCode::bad_vector, field, where + " is all zeros and has no direction");
}

}  // namespace hanse
