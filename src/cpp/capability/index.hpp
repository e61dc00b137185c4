// The index alone, for those who want nothing else: ids and vectors in, nearest ids out.
//
// Threads: as CapabilityStore. A removed id's row is taken by a later one, so memory follows the
// largest number of ids at one time.
#pragma once

#include <memory>
#include <shared_mutex>
#include <unordered_map>

#include "capability/capability.hpp"

namespace hanse {

class CapabilityIndex {
 public:
  // Throws out_of_range for dim outside 1 … 4096.
  CapabilityIndex(uint32_t dim, Metric metric);
  ~CapabilityIndex();

  uint32_t dim() const { return dim_; }
  uint64_t count() const;
  // New ids; throws name_taken (field "ids") if one is there already, bad_vector,
  // dimension_mismatch, bad_array (an id twice in one call, rows and ids differ in number); nothing
  // is added then. `upsert` replaces; a replaced id keeps its place among ties.
  void add(std::span<const uint64_t> ids, MatrixView<const float> vectors);
  void upsert(std::span<const uint64_t> ids, MatrixView<const float> vectors);
  // How many of them were there.
  uint64_t remove(std::span<const uint64_t> ids);
  bool contains(uint64_t id) const;
  std::vector<float> get(uint64_t id) const;  // throws unknown_offer

  // ids_out, scores_out [m, k] padded with 0 and -inf; counts_out [m]. Ties go to the id that was
  // added first.
  void search(MatrixView<const float> queries, uint32_t k, MatrixView<uint64_t> ids_out,
              MatrixView<float> scores_out, std::span<int32_t> counts_out, uint32_t threads) const;
  uint64_t memory_bytes() const;

 private:
  void check(std::span<const uint64_t> ids, MatrixView<const float> vectors, bool replace) const;
  void write(std::span<const uint64_t> ids, MatrixView<const float> vectors, bool replace);

  uint32_t dim_;
  const SearchTable& table_;
  std::unique_ptr<CapabilitySpace> space_;
  std::unordered_map<uint64_t, uint32_t> row_of_;
  std::vector<uint64_t> id_of_;  // by row
  std::vector<uint32_t> free_rows_;
  uint32_t next_ = 0;  // counts additions: what breaks ties
  mutable std::shared_mutex mutex_;
};

}  // namespace hanse
