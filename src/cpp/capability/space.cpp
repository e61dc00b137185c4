#include "capability/space.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <new>

#include "capability/device_mirror.hpp"
#include "capability/mapping.hpp"
#include "capability/quantised.hpp"

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

RowBlock::RowBlock(uint32_t stride, float* mapped)
    : vectors(mapped != nullptr ? mapped : allocate_vectors(stride),
              FreeDeleter{mapped == nullptr}) {}

RowBlock::~RowBlock() {
  delete skill_slices.load();
  delete policy_slices.load();
}

BlockDirectory::~BlockDirectory() {
  for (std::atomic<Page*>& page : pages_)
    if (const Page* present = page.load()) {
      for (RowBlock* block : present->blocks) delete block;
      delete present;
    }
}

void BlockDirectory::add(uint32_t stride, float* mapped) {
  auto block = std::make_unique<RowBlock>(stride, mapped);
  std::atomic<Page*>& page = pages_[count_ / page_size];
  if (page.load(std::memory_order_relaxed) == nullptr)
    page.store(new Page, std::memory_order_release);
  // Readers reach it only after the count of rows, which is published later.
  page.load(std::memory_order_relaxed)->blocks[count_ % page_size] = block.release();
  ++count_;
}

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

CapabilitySpace::CapabilitySpace(const SpaceSpec& spec_of_space, CpuLevel level)
    : spec(spec_of_space),
      stride((spec.dim + lanes_max - 1) / lanes_max * lanes_max),
      device(std::make_unique<DeviceMirror>()),
      level_(level) {}

CapabilitySpace::~CapabilitySpace() { delete quantised_.load(); }

uint32_t CapabilitySpace::append() {
  const uint32_t row = row_count_.load(std::memory_order_relaxed);
  if (row == blocks.count() * rows_in_block) blocks.add(stride);
  poke(block(row).flags[slot(row)], row_live);
  row_count_.store(row + 1, std::memory_order_release);
  return row;
}

void CapabilitySpace::adopt(uint32_t count, const float* stored, double longest,
                            std::shared_ptr<const Mapping> mapping) {
  mapping_ = std::move(mapping);
  norm_max_.store(longest, std::memory_order_release);
  for (uint32_t row = 0; row < count; row += rows_in_block) {
    const float* from = stored + size_t(row) * stride;
    const uint32_t rows_here = std::min(rows_in_block, count - row);
    const bool stays = mapping_ != nullptr && rows_here == rows_in_block;
    blocks.add(stride, stays ? const_cast<float*>(from) : nullptr);
    RowBlock& b = block(row);
    if (!stays) std::copy_n(from, size_t(rows_here) * stride, b.vectors.get());
    for (uint32_t i = 0; i < rows_here; ++i) poke(b.flags[i], row_live | row_has_room);
  }
  row_count_.store(count, std::memory_order_release);
}

void CapabilitySpace::put_stored(uint32_t row, const Attributes& attributes) {
  RowBlock& b = block(row);
  const uint32_t i = slot(row);
  write_columns(b, i, attributes);
  poke(b.flags[i], uint8_t(b.flags[i] | row_found));
  refresh_room(row);
  statistics.count_row(b, i, 1);
}

void CapabilitySpace::put(uint32_t row, const Attributes& attributes, const float* given,
                          double norm) {
  RowBlock& b = block(row);
  const uint32_t i = slot(row);
  if (b.flags[i] & row_found) statistics.count_row(b, i, -1);
  // Rounding may make a normalised vector a little longer than 1.
  const double length = spec.metric == Metric::cosine ? 1 + 1e-6 : norm;
  if (length > norm_max()) norm_max_.store(length, std::memory_order_release);
  {
    const RowChange change(b.sequence[i]);
    store_vector(spec.metric, given, spec.dim, stride, norm, vector(row));
    write_columns(b, i, attributes);
    poke(b.flags[i], uint8_t(b.flags[i] | row_found));
    refresh_room(row);
  }
  statistics.count_row(b, i, 1);
  standing.refresh(b, row, UINT16_MAX);
}

void CapabilitySpace::set_attributes(uint32_t row, const Attributes& attributes) {
  RowBlock& b = block(row);
  const uint32_t i = slot(row);
  const bool found = (b.flags[i] & row_found) != 0;
  if (found) statistics.count_row(b, i, -1);
  {
    const RowChange change(b.sequence[i]);
    write_columns(b, i, attributes);
  }
  if (found) statistics.count_row(b, i, 1);
  standing.refresh(b, row, UINT16_MAX);
}

void CapabilitySpace::write_columns(RowBlock& b, uint32_t i, const Attributes& a) {
  poke(b.agent[i], a.agent);
  poke(b.offer[i], a.offer);
  poke(b.version[i], a.version);
  poke(b.tenant[i], a.tenant);
  poke(b.tenant_codes[i], tenant_code(a.tenant));
  poke(b.price[i], a.price);
  poke(b.updated[i], a.updated);
  poke(b.load[i], a.load);
  poke(b.reputation[i], a.reputation);
  poke(b.codes[size_t(Numeric::price)][i], code_of(a.price));
  poke(b.codes[size_t(Numeric::updated)][i], code_of(a.updated));
  poke(b.codes[size_t(Numeric::load)][i], code_of(a.load));
  poke(b.codes[size_t(Numeric::reputation)][i], code_of(a.reputation));
  poke(b.tier[i], a.tier);
  poke(b.region[i], a.region);
  poke(b.slots[i], a.slots);
  poke(b.id[i], a.id);
  write_bits(b.skill_slices, i, b.skills[i], a.skills);
  write_bits(b.policy_slices, i, b.policy_bits[i], a.policy_bits);
  poke(b.skills[i], a.skills);
  poke(b.policy_bits[i], a.policy_bits);
}

void CapabilitySpace::write_bits(std::atomic<BitSlices*>& slices, uint32_t i, uint64_t before,
                                 uint64_t after) {
  if (before == after) return;
  if (slices.load(std::memory_order_relaxed) == nullptr)
    slices.store(new BitSlices, std::memory_order_release);
  BitSlices& bits = *slices.load(std::memory_order_relaxed);
  for (uint64_t changed = before ^ after; changed != 0; changed &= changed - 1) {
    const auto bit = uint32_t(std::countr_zero(changed));
    poke_bit(bits.words[bit][i / rows_in_word], i % rows_in_word, (after >> bit & 1) != 0);
  }
}

void CapabilitySpace::set_code(uint32_t row, Numeric column, uint16_t code) {
  RowBlock& b = block(row);
  uint16_t& cell = b.codes[size_t(column)][slot(row)];
  if (b.flags[slot(row)] & row_found) statistics.move(column, cell, code);
  poke(cell, code);
  standing.refresh(b, row, 1u << uint32_t(column));
}

void CapabilitySpace::set_price(uint32_t row, int64_t price) {
  poke(block(row).price[slot(row)], price);
  set_code(row, Numeric::price, code_of(price));
}

void CapabilitySpace::set_updated(uint32_t row, int64_t updated) {
  poke(block(row).updated[slot(row)], updated);
  set_code(row, Numeric::updated, code_of(updated));
}

void CapabilitySpace::set_load(uint32_t row, float load) {
  poke(block(row).load[slot(row)], load);
  set_code(row, Numeric::load, code_of(load));
}

void CapabilitySpace::set_reputation(uint32_t row, float reputation) {
  poke(block(row).reputation[slot(row)], reputation);
  set_code(row, Numeric::reputation, code_of(reputation));
}

void CapabilitySpace::set_flag(uint32_t row, RowFlag flag, bool on) {
  RowBlock& b = block(row);
  const uint32_t i = slot(row);
  const uint8_t before = b.flags[i], after = uint8_t(on ? before | flag : before & ~flag);
  if (before == after) return;
  poke(b.flags[i], after);
  if (flag == row_found) statistics.count_row(b, i, on ? 1 : -1);
  refresh_ready(row);
}

void CapabilitySpace::refresh_ready(uint32_t row) {
  RowBlock& b = block(row);
  const uint32_t i = slot(row);
  poke_bit(b.ready[i / rows_in_word], i % rows_in_word, b.flags[i] == row_feasible);
  standing.refresh(b, row, Predicate::column_flags);
}

void CapabilitySpace::set_open(uint32_t row, uint32_t open) {
  poke(block(row).open[slot(row)], open);
  refresh_room(row);
}

void CapabilitySpace::refresh_room(uint32_t row) {
  RowBlock& b = block(row);
  const uint32_t i = slot(row);
  const bool room = b.slots[i] == 0 || b.open[i] < b.slots[i];
  poke(b.flags[i], uint8_t(room ? b.flags[i] | row_has_room : b.flags[i] & ~row_has_room));
  refresh_ready(row);
}

void CapabilitySpace::make_standing(const Predicate& predicate, uint64_t predicate_hash,
                                    const SearchTable& table) const {
  const std::unique_lock lock(writer, std::try_to_lock);
  if (!lock.owns_lock()) return;
  const uint32_t words = word_count();
  std::vector<uint64_t> bits(words);
  const TestOrder order = order_tests(predicate, statistics);
  for (uint32_t first = 0; first < words; first += words_in_block)
    evaluate(predicate, order, table, block(first * rows_in_word), 0,
             std::min(words_in_block, words - first), bits.data() + first);
  standing.build(predicate, predicate_hash, bits, words + words / 4 + words_in_block);
}

uint64_t CapabilitySpace::memory_bytes() const {
  uint64_t bytes = sizeof(CapabilitySpace) + rows.memory_bytes() + standing.memory_bytes();
  if (const Quantised* present = quantised())
    bytes += present->codes.memory_bytes() + present->graph.memory_bytes();
  for (uint32_t b = 0; b < blocks.count(); ++b) {
    bytes += sizeof(RowBlock) + vectors_bytes(stride);
    bytes += blocks[b].skill_slices.load() != nullptr ? sizeof(BitSlices) : 0;
    bytes += blocks[b].policy_slices.load() != nullptr ? sizeof(BitSlices) : 0;
  }
  return bytes;
}

[[gnu::no_sanitize("thread")]] double exact_dot(const float* a, const float* b, uint32_t count) {
  double sums[8] = {};
  uint32_t i = 0;
  for (; i + 8 <= count; i += 8)
    for (uint32_t lane = 0; lane < 8; ++lane)
      sums[lane] += double(a[i + lane]) * double(b[i + lane]);
  for (uint32_t lane = 0; i < count; ++i, ++lane) sums[lane] += double(a[i]) * double(b[i]);
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

// A search may read the numbers meanwhile, each of them whole; what it makes of a row that changed
// is thrown away (see RowChange). So the thread sanitizer is not asked about these two.
[[gnu::no_sanitize("thread")]] void store_vector(Metric metric, const float* vector, uint32_t dim,
                                                 uint32_t stride, double norm, float* out) {
  if (metric == Metric::cosine)
    for (uint32_t i = 0; i < dim; ++i) out[i] = float(double(vector[i]) / norm);
  else
    for (uint32_t i = 0; i < dim; ++i) out[i] = vector[i];
  for (uint32_t i = dim; i < stride; ++i) out[i] = 0;
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
