// The quantised forms of vectors, found by row: sign codes for a first look, int8 for a second.
// Internal to this concept.
//
// A vector is stored less a fixed centre, rotated (rotation.hpp), (a) as one bit a component with
// the factor that makes its inner product unbiased (RaBitQ, Gao and Long, arXiv 2405.12497) and (b)
// as int8 with a scale of its own. Every sum is of integers, so that estimates are the same bits on
// every instruction set.
//
// Rows never move. What a row holds is in a slot that is written once: a row that is written again
// gets another slot, and the old one is reused when no reader can see it any more. So readers take
// no lock and never see half a vector.
//
// Threads: any number of readers (prepare, scan, scan_batch, has), each with a scratch object of
// its own, beside one writer (write, write_many, erase) at a time, which the caller sees to.
#pragma once

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.hpp"
#include "base/view.hpp"
#include "capability/codes_arena.hpp"
#include "capability/codes_epoch.hpp"
#include "capability/codes_kernels.hpp"
#include "capability/rotation.hpp"

namespace hanse {

constexpr uint32_t code_dim_min = 16, code_dim_max = 4096;

// A row and its approximate score: the inner product with the query, off by about 0.1 % of the
// norms where it comes from int8.
struct Candidate8 {
  uint32_t row;
  float score;

  bool operator==(const Candidate8&) const = default;
};

// Which rows may be found: bit r % 64 of word r / 64. Rows behind the last word may not. The caller
// keeps the words unchanged while a search reads them.
struct RowMask {
  const uint64_t* words = nullptr;  // null: every row
  uint32_t word_count = 0;

  bool test(uint32_t row) const {
    if (words == nullptr) return true;
    return row / 64 < word_count && (words[row / 64] >> (row % 64) & 1) != 0;
  }
};

// A query made ready by CodeTable::prepare; memory is kept from one query to the next.
struct CodeQuery {
  std::unique_ptr<uint8_t, void (*)(void*)> memory{nullptr, nullptr};
  float* rotated = nullptr;    // [2 * padded]
  int8_t* int8 = nullptr;      // [padded]
  uint8_t* nibbles = nullptr;  // [padded]: what the planes are made of
  uint64_t* planes = nullptr;  // [query_bits, padded / 64]
  uint32_t padded = 0;
  float int8_scale = 0;    // of one unit of int8
  int32_t int8_sum = 0;    // 128 * sum(int8)
  float plane_scale = 0;   // of one unit of the planes, times 2
  float plane_offset = 0;  // sum of the components as the planes have them
  float base = 0;          // inner product with the centre: what every score adds
  float centre_weight = 1, square_weight = 0;  // which of a row's two constants a score takes
};

// What a scan needs, kept from one query to the next: no allocation once it has seen the largest.
struct ScanScratch {
  struct Estimate {
    float score;
    uint32_t slot;
  };
  std::vector<Estimate> kept;
  std::vector<Candidate8> ranked;
};

struct CodeOptions {
  uint64_t seed = 1;                    // of the rotation
  CpuLevel level = CpuLevel::baseline;  // one that this machine has; answers don't differ
};

class BestRows;

class CodeTable {
 public:
  // Throws out_of_range for dim outside code_dim_min … code_dim_max.
  CodeTable(uint32_t dim, const CodeOptions& options);
  ~CodeTable();

  uint32_t dim() const { return rotation_.dim(); }
  // Codes are more exact about the mean of the vectors. Only before the first write; otherwise
  // throws out_of_range. Without it the centre is the origin.
  void centre_on(std::span<const float* const> sample);

  // Makes `vector` [dim] what `row` holds. Vectors are finite. The row can be found by the next
  // scan; a graph knows of it after Graph::update.
  void write(uint32_t row, const float* vector);
  void write_many(std::span<const uint32_t> rows, std::span<const float* const> vectors,
                  uint32_t threads);
  void erase(uint32_t row);  // nothing happens where nothing is
  bool has(uint32_t row) const { return slot_of(row) != index_none; }
  uint32_t row_count() const { return row_count_.load(std::memory_order_relaxed); }  // written rows
  uint32_t row_end() const { return row_end_.load(std::memory_order_acquire); }  // highest row + 1

  // Throws nothing; `query` [dim] is finite.
  void prepare(const float* query, CodeQuery& query_out) const;

  // The best `keep` of the rows of `mask`, best first, ties to the lower row; -> how many. Looks at
  // the sign codes of all, then at the int8 of the best `look` (0: a number that loses little). A
  // mask with no more rows than that is answered from int8 alone.
  uint32_t scan(const CodeQuery& query, const RowMask& mask, uint32_t keep, uint32_t look,
                ScanScratch& scratch, Candidate8* candidates_out) const;
  // The same for a list of rows; rows that hold nothing are passed over.
  uint32_t scan_rows(const CodeQuery& query, std::span<const uint32_t> rows, uint32_t keep,
                     uint32_t look, ScanScratch& scratch, Candidate8* candidates_out) const;
  // int8 products of all rows with all queries: for batches. One mask, or one a query, or none.
  // candidates_out [queries, keep], counts_out [queries]; padded with index_none.
  void scan_batch(std::span<const CodeQuery* const> queries, std::span<const RowMask> masks,
                  uint32_t keep, uint32_t threads, MatrixView<Candidate8> candidates_out,
                  std::span<uint32_t> counts_out) const;

  uint64_t memory_bytes() const;

 private:
  friend class Graph;
  friend class GraphWalk;
  friend class GraphChange;

  using Factors = CodeFactors;

  const Factors& factors(uint32_t slot) const {
    return *reinterpret_cast<const Factors*>(signs_.at(slot));
  }
  const uint8_t* record(uint32_t slot) const { return signs_.at(slot); }
  const uint8_t* int8(uint32_t slot) const { return int8_.at(slot); }
  static std::atomic<uint32_t>& word(const SlotArena& arena, uint32_t i) {
    return *reinterpret_cast<std::atomic<uint32_t>*>(arena.at(i));
  }
  uint32_t slot_of(uint32_t row) const {  // index_none where nothing is
    if (row >= row_end()) return index_none;
    return word(slots_, row).load(std::memory_order_acquire) - 1;
  }
  // index_none once the row holds something else.
  uint32_t row_of(uint32_t slot) const {
    return word(rows_, slot).load(std::memory_order_acquire) - 1;
  }
  uint32_t slot_end() const { return slot_end_.load(std::memory_order_acquire); }

  // Estimates of `count` records.
  void sign_scores(const CodeQuery& query, const uint8_t* const* records, uint32_t count,
                   float* scores_out) const {
    kernels_.sign_scores({query.planes, records, count, query.padded / 64, query.plane_scale,
                          query.plane_offset, query.centre_weight, query.square_weight,
                          scores_out});
  }
  float int8_score(const CodeQuery& query, const Factors& of, int32_t dot) const {
    return of.int8_scale * query.int8_scale * float(dot - query.int8_sum) +
           (query.centre_weight * of.centre_dot - query.square_weight * of.half_square);
  }

  // The query whose scores are nearness to what `slot` holds: the inner product less half the
  // square of the other.
  void prepare_slot(uint32_t slot, CodeQuery& query_out) const;
  // A held slot is not reused when its row gets another, but when it is released.
  void hold(uint32_t slot) { held_[slot] = 1; }
  void release(uint32_t slot);

  struct Gone {
    uint32_t slot;
    uint64_t mark;
  };
  uint32_t take_slot();
  void fill(uint32_t slot, const float* vector, float* scratch);
  void publish(uint32_t row, uint32_t slot);
  void quantise(CodeQuery& query) const;
  void reserve(CodeQuery& query) const;

  struct Gulp;
  template <class Best>
  void drain(const CodeQuery& query, Gulp& gulp, Best& best) const;
  // Ranks what `scratch` kept by int8.
  uint32_t glance(const CodeQuery& query, uint32_t keep, ScanScratch& scratch,
                  Candidate8* candidates_out) const;
  void scan_share(std::span<const CodeQuery* const> queries, std::span<const RowMask> masks,
                  uint32_t first_row, uint32_t last_row, std::vector<BestRows>& best) const;
  // How many int8 products find nearly all of the best `keep` where the sign codes are good.
  static uint32_t look_of(uint32_t keep, uint32_t look) {
    return look != 0 ? std::max(look, keep) : 48 + 4 * keep;
  }

  const CodeKernels& kernels_;
  Rotation rotation_;
  SlotArena signs_, int8_, rows_, slots_;  // rows_: slot -> row; slots_: row -> slot
  ReadEpochs epochs_;
  std::vector<float> centre_;  // rotated
  std::atomic<uint32_t> row_count_{0}, row_end_{0}, slot_end_{0};
  // The writer's alone.
  std::vector<uint8_t> held_;
  std::vector<uint32_t> free_;
  std::deque<Gone> gone_;  // in the order of their marks
};

}  // namespace hanse
