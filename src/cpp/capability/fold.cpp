// How rows come into the codes and the graph of a space. A row that was written is pending: every
// search looks at it beside the graph, until a fold has told the graph of it.
#include "capability/quantised.hpp"

namespace hanse {

namespace {

constexpr uint64_t seed = 0x68616e7365;  // of rotations and entry points; any constant does
constexpr uint32_t sample_count = 2048;  // rows whose mean becomes the centre of the codes

}  // namespace

void CapabilitySpace::set_pending(uint32_t row) {
  RowBlock& b = block(row);
  const uint32_t i = slot(row);
  if (b.pending[i / rows_in_word] >> i % rows_in_word & 1) return;
  poke(b.pending_count, b.pending_count + 1);
  pending_count_.fetch_add(1, std::memory_order_release);
  poke_bit(b.pending[i / rows_in_word], i % rows_in_word, true);
}

void CapabilitySpace::encode(std::span<const uint32_t> put_rows, uint32_t threads) {
  Quantised* present = quantised_.load(std::memory_order_relaxed);
  if (present == nullptr) {
    if (row_count() > rows_for_codes && spec.dim >= code_dim_min) start_codes(threads);
    return;
  }
  std::vector<const float*> vectors(put_rows.size());
  for (size_t i = 0; i < put_rows.size(); ++i) vectors[i] = vector(put_rows[i]);
  // Pending first: whoever finds the codes must not look for them in the graph alone.
  for (const uint32_t row : put_rows) set_pending(row);
  present->codes.write_many(put_rows, vectors, threads);
}

void CapabilitySpace::start_codes(uint32_t threads) {
  std::vector<uint32_t> found;
  std::vector<const float*> vectors, sample;
  for (uint32_t row = 0; row < row_count(); ++row)
    if (block(row).flags[slot(row)] & row_found) {
      found.push_back(row);
      vectors.push_back(vector(row));
    }
  auto made = std::make_unique<Quantised>(spec.dim, level_, seed);
  const size_t step = std::max<size_t>(1, vectors.size() / sample_count);
  for (size_t i = 0; i < vectors.size(); i += step) sample.push_back(vectors[i]);
  made->codes.centre_on(sample);
  made->codes.write_many(found, vectors, threads);
  for (const uint32_t row : found) set_pending(row);
  quantised_.store(made.release(), std::memory_order_release);
}

void CapabilitySpace::withdraw(uint32_t row) {
  {
    const RowChange change(block(row).sequence[slot(row)]);
    set_flag(row, row_found, false);
  }
  Quantised* present = quantised_.load(std::memory_order_relaxed);
  if (present == nullptr || !present->codes.has(row)) return;
  present->codes.erase(row);
  set_pending(row);
}

uint32_t CapabilitySpace::fold(uint32_t row_max, uint32_t threads) {
  const std::lock_guard lock(vectors_writer);
  Quantised* present = quantised_.load(std::memory_order_relaxed);
  if (present == nullptr || pending_count() == 0) return 0;
  std::vector<uint32_t> taken;
  for (uint32_t looked = 0; looked < blocks.count() && taken.size() < row_max; ++looked) {
    if (fold_cursor_ >= blocks.count()) fold_cursor_ = 0;
    const RowBlock& b = blocks[fold_cursor_];
    for (uint32_t w = 0; b.pending_count != 0 && w < words_in_block; ++w)
      for (uint64_t word = b.pending[w]; word != 0 && taken.size() < row_max; word &= word - 1)
        taken.push_back(fold_cursor_ * rows_in_block + w * rows_in_word +
                        uint32_t(std::countr_zero(word)));
    if (taken.size() < row_max) ++fold_cursor_;
  }
  present->graph.update(taken, threads);
  for (const uint32_t row : taken) {
    RowBlock& b = block(row);
    poke_bit(b.pending[slot(row) / rows_in_word], row % rows_in_word, false);
    poke(b.pending_count, b.pending_count - 1);
  }
  pending_count_.fetch_sub(uint32_t(taken.size()), std::memory_order_release);
  return uint32_t(taken.size());
}

void CapabilitySpace::pending_rows(const RowMask& mask, std::vector<uint32_t>& rows_out) const {
  if (pending_count() == 0) return;
  for (uint32_t first = 0; first < mask.word_count; first += words_in_block) {
    const RowBlock& b = blocks[first / words_in_block];
    if (peek(b.pending_count) == 0) continue;
    const uint32_t words = std::min(words_in_block, mask.word_count - first);
    for (uint32_t w = 0; w < words; ++w)
      for (uint64_t word = peek(b.pending[w]) & mask.words[first + w]; word != 0; word &= word - 1)
        rows_out.push_back((first + w) * rows_in_word + uint32_t(std::countr_zero(word)));
  }
}

}  // namespace hanse
