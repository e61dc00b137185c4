// One space's rows: columns for the filters, row-major vectors for the scores. Internal to this
// concept.
//
// Row-major, because a row is read alone as often as in a scan: selective filters, the re-rank and
// a graph all touch single rows, which a layout interleaved by dimension spreads over `dim` cache
// lines.
//
// Threads: whoever changes cells holds `writer`; whoever changes vectors, rows or the graph holds
// `vectors_writer` as well, taken first. So a vector on its way into the graph holds up no price.
// Searches hold nothing: blocks never move, cells are written whole, and what belongs together in a
// row is read between two looks at its sequence.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "base/chunked_hash.hpp"
#include "capability/bitmaps.hpp"
#include "capability/capability.hpp"
#include "capability/columns.hpp"
#include "capability/predicate.hpp"

namespace hanse {

constexpr uint32_t space_dim_max = 4096;

// Blocks by number, never moved: any thread may read while one adds.
class BlockDirectory {
 public:
  BlockDirectory() = default;
  ~BlockDirectory();
  BlockDirectory(const BlockDirectory&) = delete;
  BlockDirectory& operator=(const BlockDirectory&) = delete;

  RowBlock& operator[](uint32_t number) const {
    return *pages_[number / page_size].load(std::memory_order_acquire)->blocks[number % page_size];
  }
  uint32_t count() const { return count_; }  // the writer's
  // `mapped`: where its vectors are already; null: memory of its own.
  void add(uint32_t stride, float* mapped = nullptr);

 private:
  static constexpr uint32_t page_size = 1024;
  struct Page {
    RowBlock* blocks[page_size] = {};
  };

  std::atomic<Page*> pages_[page_size] = {};
  uint32_t count_ = 0;
};

// (agent, offer) -> row. Offer 0, which nearly all have, is an array over agent indices in pages.
// The writer's alone.
class OfferRows {
 public:
  uint32_t find(uint32_t agent, uint32_t offer) const;  // index_none
  void add(uint32_t agent, uint32_t offer, uint32_t row);
  uint64_t memory_bytes() const;

 private:
  static constexpr uint32_t page_size = 4096;

  std::vector<std::unique_ptr<uint32_t[]>> pages_;  // of offer 0
  uint64_t page_count_ = 0;
  std::unordered_map<uint64_t, uint32_t> others_;
};

// What an offer says beside its vector.
struct Attributes {
  uint32_t agent = 0, offer = 0, version = 0, tenant = 0;
  int64_t price = 0, updated = 0;
  float load = 0, reputation = 0;
  uint64_t skills = 0, policy_bits = 0, id = 0;
  uint16_t region = 0, slots = 0;
  uint8_t tier = 0;
};

class DeviceMirror;
class Mapping;
struct Quantised;
struct RowMask;

struct CapabilitySpace {
  CapabilitySpace(const SpaceSpec& spec_of_space, CpuLevel level);
  ~CapabilitySpace();

  RowBlock& block(uint32_t row) { return blocks[row / rows_in_block]; }
  const RowBlock& block(uint32_t row) const { return blocks[row / rows_in_block]; }
  static uint32_t slot(uint32_t row) { return row % rows_in_block; }
  float* vector(uint32_t row) { return block(row).vectors.get() + size_t(slot(row)) * stride; }
  const float* vector(uint32_t row) const {
    return block(row).vectors.get() + size_t(slot(row)) * stride;
  }
  uint32_t row_count() const { return row_count_.load(std::memory_order_acquire); }
  uint32_t word_count() const { return (row_count() + rows_in_word - 1) / rows_in_word; }
  double norm_max() const { return norm_max_.load(std::memory_order_acquire); }
  uint64_t memory_bytes() const;
  // Gives a filter a bitmap of its own, unless a writer is at work.
  void make_standing(const Predicate& predicate, uint64_t predicate_hash,
                     const SearchTable& table) const;

  // Null while the space is small.
  const Quantised* quantised() const { return quantised_.load(std::memory_order_acquire); }
  uint32_t pending_count() const { return pending_count_.load(std::memory_order_acquire); }
  // Those of the mask, appended.
  void pending_rows(const RowMask& mask, std::vector<uint32_t>& rows_out) const;

  // Takes `vectors_writer` and tells the graph of up to `row_max` pending rows. -> how many it was.
  uint32_t fold(uint32_t row_max, uint32_t threads);

  // The rest is the writer's; the first four hold `vectors_writer`, too.
  uint32_t append();  // -> a row with version 0 that can't be found yet
  // Everything of a row at once: whoever reads it sees all of it, or none.
  void put(uint32_t row, const Attributes& attributes, const float* given, double norm);
  // For an empty space: `count` rows with these vectors, none of which can be found yet. Whole
  // blocks stay in the mapping, if there is one.
  void adopt(uint32_t count, const float* stored, double longest,
             std::shared_ptr<const Mapping> mapping);
  void put_stored(uint32_t row, const Attributes& attributes);
  // A row at the end, as it was stored: `vector` holds spec.dim floats.
  void restore(const Attributes& attributes, bool found, uint32_t open, const uint8_t* vector);
  // To be called for rows that were put, before the writer returns: makes their codes.
  void encode(std::span<const uint32_t> put_rows, uint32_t threads);
  void withdraw(uint32_t row);
  // All but the vector and what names the row.
  void set_attributes(uint32_t row, const Attributes& attributes);
  void set_flag(uint32_t row, RowFlag flag, bool on);
  void set_price(uint32_t row, int64_t price);
  void set_updated(uint32_t row, int64_t updated);
  void set_load(uint32_t row, float load);
  void set_reputation(uint32_t row, float reputation);
  void set_open(uint32_t row, uint32_t open);
  void refresh_room(uint32_t row);  // `open` or `slots` changed

  SpaceSpec spec;
  uint32_t stride;  // floats a row: dim rounded up to lanes_max, zeros behind
  BlockDirectory blocks;
  OfferRows rows;
  ChunkedHash hash;
  Statistics statistics;
  uint64_t publish_count = 0;
  mutable StandingBitmaps standing;
  const std::unique_ptr<DeviceMirror> device;  // empty until a search asks for it
  mutable std::mutex vectors_writer, writer;

 private:
  void start_codes(uint32_t threads);
  void set_pending(uint32_t row);
  void write_columns(RowBlock& block, uint32_t i, const Attributes& attributes);
  void write_bits(std::atomic<BitSlices*>& slices, uint32_t i, uint64_t before, uint64_t after);
  void set_code(uint32_t row, Numeric column, uint16_t code);
  void refresh_ready(uint32_t row);

  CpuLevel level_;
  std::shared_ptr<const Mapping> mapping_;
  std::atomic<Quantised*> quantised_{nullptr};
  std::atomic<uint32_t> pending_count_{0};
  uint32_t fold_cursor_ = 0;  // block where folding goes on
  std::atomic<uint32_t> row_count_{0};
  std::atomic<double> norm_max_{0};  // no stored vector was ever longer; bounds the float32 error
};

// The inner product in double, in one order everywhere: eight partial sums, component i in sum
// i mod 8, then ((0+4)+(2+6)) + ((1+5)+(3+7)). Products of two floats are exact in double, so fused
// and separate multiply-adds give the same bits.
double exact_dot(const float* a, const float* b, uint32_t count);

// Writes `stride` floats: vector / norm (cosine) or the vector itself, then zeros.
void store_vector(Metric metric, const float* vector, uint32_t dim, uint32_t stride, double norm,
                  float* out);

// Throws dimension_mismatch.
void check_dim(const char* field, size_t dim, uint32_t expected);

// The norm. Throws bad_vector, naming `field`, the row and the component at fault.
double checked_norm(const char* field, size_t row, const float* vector, uint32_t dim);

}  // namespace hanse
