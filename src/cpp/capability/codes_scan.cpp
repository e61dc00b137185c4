// Scans of the rows of a mask: sign codes of all, int8 of the best.
#include <algorithm>
#include <bit>
#include <cstring>
#include <exception>
#include <limits>
#include <thread>

#include "capability/codes.hpp"

namespace hanse {
namespace {

constexpr uint32_t rows_in_gulp = 128;  // found, fetched and scored together
constexpr uint32_t rows_in_glance = 16;
constexpr float lowest = -std::numeric_limits<float>::infinity();

bool better(const Candidate8& a, const Candidate8& b) {
  return a.score != b.score ? a.score > b.score : a.row < b.row;
}

// Keeps the best `count` of a list that grows to twice as many before it is cut.
class BestSlots {
 public:
  BestSlots(std::vector<ScanScratch::Estimate>& kept, uint32_t count) : kept_(kept), count_(count) {
    kept_.clear();
    kept_.reserve(2 * size_t(count) + 1);
  }
  float threshold() const { return threshold_; }
  void add(float score, uint32_t slot) {
    kept_.push_back({score, slot});
    if (kept_.size() > 2 * size_t(count_)) cut();
  }
  // Equal estimates at the cut go by slot, so that the answer does not depend on an algorithm.
  void cut() {
    if (kept_.size() <= count_) return;
    const auto end = kept_.begin() + count_;
    std::nth_element(kept_.begin(), end - 1, kept_.end(), [](const auto& a, const auto& b) {
      return a.score != b.score ? a.score > b.score : a.slot < b.slot;
    });
    threshold_ = (end - 1)->score;
    kept_.resize(count_);
  }

 private:
  std::vector<ScanScratch::Estimate>& kept_;
  uint32_t count_;
  float threshold_ = lowest;
};

}  // namespace

// The best `keep` of one query in one share of the rows.
class BestRows {
 public:
  explicit BestRows(uint32_t keep) : keep_(keep) { kept_.reserve(2 * size_t(keep) + 1); }
  float threshold() const { return threshold_; }
  void add(uint32_t row, float score) {
    kept_.push_back({row, score});
    if (kept_.size() > 2 * size_t(keep_)) cut();
  }
  void cut() {
    if (kept_.size() <= keep_) return;
    std::nth_element(kept_.begin(), kept_.begin() + keep_ - 1, kept_.end(), better);
    threshold_ = kept_[keep_ - 1].score;
    kept_.resize(keep_);
  }
  std::vector<Candidate8>& kept() { return kept_; }

 private:
  uint32_t keep_;
  float threshold_ = lowest;
  std::vector<Candidate8> kept_;
};

// The slots of a gulp of rows, whose codes are on their way into the cache.
struct CodeTable::Gulp {
  uint32_t slots[rows_in_gulp];
  const uint8_t* records[rows_in_gulp];
  float scores[rows_in_gulp];
  uint32_t count = 0;

  bool full() const { return count == rows_in_gulp; }
  void add(const CodeTable& table, uint32_t slot) {
    slots[count] = slot;
    records[count] = table.record(slot);
    __builtin_prefetch(records[count]);
    ++count;
  }
};

template <class Best>
void CodeTable::drain(const CodeQuery& query, Gulp& gulp, Best& best) const {
  sign_scores(query, gulp.records, gulp.count, gulp.scores);
  for (uint32_t i = 0; i < gulp.count; ++i)
    if (gulp.scores[i] >= best.threshold()) best.add(gulp.scores[i], gulp.slots[i]);
  gulp.count = 0;
}

uint32_t CodeTable::glance(const CodeQuery& query, uint32_t keep, ScanScratch& scratch,
                           Candidate8* candidates_out) const {
  const auto& kept = scratch.kept;
  scratch.ranked.clear();
  const auto fetch = [&](size_t i) {
    if (i >= kept.size()) return;
    const uint8_t* bytes = int8(kept[i].slot);
    for (uint32_t at = 0; at < query.padded; at += 64) __builtin_prefetch(bytes + at);
  };
  for (size_t i = 0; i < rows_in_glance; ++i) fetch(i);
  for (size_t first = 0; first < kept.size(); first += rows_in_glance) {
    const uint8_t* bytes[rows_in_glance];
    int32_t dots[rows_in_glance];
    const auto count = uint32_t(std::min<size_t>(rows_in_glance, kept.size() - first));
    for (uint32_t i = 0; i < count; ++i) {
      fetch(first + rows_in_glance + i);
      bytes[i] = int8(kept[first + i].slot);
    }
    kernels_.dots(query.int8, bytes, count, query.padded, dots);
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t slot = kept[first + i].slot;
      // A row written meanwhile no longer holds this.
      const uint32_t row = row_of(slot);
      if (row != index_none)
        scratch.ranked.push_back({row, query.base + int8_score(query, factors(slot), dots[i])});
    }
  }
  const size_t count = std::min<size_t>(keep, scratch.ranked.size());
  std::partial_sort(scratch.ranked.begin(), scratch.ranked.begin() + ptrdiff_t(count),
                    scratch.ranked.end(), better);
  std::copy_n(scratch.ranked.begin(), count, candidates_out);
  return uint32_t(count);
}

uint32_t CodeTable::scan(const CodeQuery& query, const RowMask& mask, uint32_t keep, uint32_t look,
                         ScanScratch& scratch, Candidate8* candidates_out) const {
  const ReadEpochs::Guard guard(epochs_);
  BestSlots best(scratch.kept, look_of(keep, look));
  Gulp gulp;
  const uint32_t end = row_end();
  uint32_t words = (end + 63) / 64;
  if (mask.words != nullptr) words = std::min(words, mask.word_count);
  for (uint32_t w = 0; w < words; ++w) {
    // A word of rows lies in one segment.
    const auto* slots = &CodeTable::word(slots_, w * 64);
    uint64_t word = mask.words != nullptr ? mask.words[w] : ~uint64_t(0);
    for (; word != 0; word &= word - 1) {
      const uint32_t slot = slots[std::countr_zero(word)].load(std::memory_order_acquire) - 1;
      if (slot == index_none) continue;
      gulp.add(*this, slot);
      if (gulp.full()) drain(query, gulp, best);
    }
  }
  drain(query, gulp, best);
  best.cut();
  return glance(query, keep, scratch, candidates_out);
}

uint32_t CodeTable::scan_rows(const CodeQuery& query, std::span<const uint32_t> rows, uint32_t keep,
                              uint32_t look, ScanScratch& scratch,
                              Candidate8* candidates_out) const {
  const ReadEpochs::Guard guard(epochs_);
  BestSlots best(scratch.kept, look_of(keep, look));
  Gulp gulp;
  for (const uint32_t row : rows) {
    const uint32_t slot = slot_of(row);
    if (slot == index_none) continue;
    gulp.add(*this, slot);
    if (gulp.full()) drain(query, gulp, best);
  }
  drain(query, gulp, best);
  best.cut();
  return glance(query, keep, scratch, candidates_out);
}

namespace {

constexpr uint32_t rows_in_tile = panel_rows * panels_in_tile;

// 64 rows side by side, four components of each at a time.
struct alignas(64) Tile {
  float scales[rows_in_tile], constants[rows_in_tile];
  uint32_t rows[rows_in_tile];
  uint32_t count = 0;
};

void transpose_row(const uint8_t* bytes, uint32_t i, uint32_t padded, uint8_t* panels) {
  uint8_t* panel = panels + size_t(i / panel_rows) * panel_rows * padded + i % panel_rows * 4;
  for (uint32_t d = 0; d < padded; d += 4, panel += panel_rows * 4)
    std::memcpy(panel, bytes + d, 4);
}

// Scores of 64 rows; -> which are at the threshold or above. Plain code, so that all instruction
// sets round alike.
uint64_t score_tile(const Tile& tile, const int32_t* dots, const CodeQuery& query, float threshold,
                    float* scores) {
  for (uint32_t i = 0; i < rows_in_tile; ++i)
    scores[i] =
        tile.scales[i] * query.int8_scale * float(dots[i] - query.int8_sum) + tile.constants[i];
  uint32_t any = 0;
  for (uint32_t i = 0; i < rows_in_tile; ++i) any |= uint32_t(scores[i] >= threshold);
  if (any == 0) return 0;
  uint64_t hits = 0;
  for (uint32_t i = 0; i < tile.count; ++i) hits |= uint64_t(scores[i] >= threshold) << i;
  return hits;
}

}  // namespace

void CodeTable::scan_share(std::span<const CodeQuery* const> queries,
                           std::span<const RowMask> masks, uint32_t first_row, uint32_t last_row,
                           std::vector<BestRows>& best) const {
  const uint32_t padded = rotation_.dim_padded();
  std::vector<uint8_t> memory(size_t(rows_in_tile) * padded + 64);
  uint8_t* panels = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  Tile tile;
  const auto score = [&] {
    for (size_t first = 0; first < queries.size(); first += queries_in_panel_tile) {
      const int8_t* vectors[queries_in_panel_tile];
      int32_t dots[queries_in_panel_tile * rows_in_tile];
      const auto count = uint32_t(std::min<size_t>(queries_in_panel_tile, queries.size() - first));
      for (uint32_t q = 0; q < count; ++q) vectors[q] = queries[first + q]->int8;
      kernels_.panel_dots(panels, vectors, count, padded, dots);
      for (uint32_t q = 0; q < count; ++q) {
        float scores[rows_in_tile];
        BestRows& of = best[first + q];
        uint64_t hits =
            score_tile(tile, dots + q * rows_in_tile, *queries[first + q], of.threshold(), scores);
        for (; hits != 0; hits &= hits - 1) {
          const auto i = uint32_t(std::countr_zero(hits));
          if (masks.empty() || masks[masks.size() == 1 ? 0 : first + q].test(tile.rows[i]))
            of.add(tile.rows[i], scores[i]);
        }
      }
    }
    tile.count = 0;
  };
  for (uint32_t row = first_row; row < last_row; ++row) {
    const uint32_t slot = slot_of(row);
    if (slot == index_none || (masks.size() == 1 && !masks[0].test(row))) continue;
    tile.rows[tile.count] = row;
    tile.scales[tile.count] = factors(slot).int8_scale;
    tile.constants[tile.count] = factors(slot).centre_dot;
    transpose_row(int8(slot), tile.count, padded, panels);
    if (++tile.count == rows_in_tile) score();
  }
  if (tile.count != 0) score();
}

void CodeTable::scan_batch(std::span<const CodeQuery* const> queries,
                           std::span<const RowMask> masks, uint32_t keep, uint32_t threads,
                           MatrixView<Candidate8> candidates_out,
                           std::span<uint32_t> counts_out) const {
  constexpr uint32_t rows_a_thread_min = 1024;
  const ReadEpochs::Guard guard(epochs_);
  const uint32_t end = row_end();
  const uint32_t shares = std::clamp(end / rows_a_thread_min, 1u, std::max(threads, 1u));
  const uint32_t share = (end + shares - 1) / shares;
  std::vector<std::vector<BestRows>> best(shares,
                                          std::vector<BestRows>(queries.size(), BestRows(keep)));
  std::vector<std::thread> others;
  for (uint32_t i = 1; i < shares; ++i)
    others.emplace_back(
        [&, i] { scan_share(queries, masks, i * share, std::min(end, (i + 1) * share), best[i]); });
  scan_share(queries, masks, 0, std::min(end, share), best[0]);
  for (std::thread& other : others) other.join();
  for (size_t q = 0; q < queries.size(); ++q) {
    std::vector<Candidate8>& all = best[0][q].kept();
    for (uint32_t i = 1; i < shares; ++i)
      all.insert(all.end(), best[i][q].kept().begin(), best[i][q].kept().end());
    std::sort(all.begin(), all.end(), better);
    const size_t count = std::min<size_t>(keep, all.size());
    counts_out[q] = uint32_t(count);
    for (size_t i = 0; i < keep; ++i) {
      Candidate8& out = candidates_out.row(q)[i];
      out = i < count ? all[i] : Candidate8{index_none, lowest};
      out.score += queries[q]->base;
    }
  }
}

}  // namespace hanse
