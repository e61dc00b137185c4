// The index alone, for those who want nothing else: ids, vectors and attributes in, nearest
// feasible ids out.
//
// Each id has a place, a small number that it keeps until it is removed; a later id takes it then,
// so memory follows the largest number of ids at one time. Masks that callers make are by place.
//
// Threads: any. Changes take turns; searches wait for none of them and hold none up.
#pragma once

#include <memory>
#include <string>

#include "base/hash_map.hpp"
#include "capability/capability.hpp"

namespace hanse {

// Attributes of a change; a column is empty (not given), one value for all, or one a row.
struct IndexColumns {
  Column<int64_t> price{};             // >= 0
  Column<int64_t> updated{};           // >= 0, a time in the caller's unit
  Column<float> load{}, reputation{};  // not NaN
  Column<uint64_t> skills{}, policy_bits{};
  Column<uint32_t> tenant{};  // below index_none
  Column<uint16_t> region{};  // below UINT16_MAX
  Column<uint8_t> tier{};
};

struct IndexOptions {
  uint32_t dim = 0;
  Metric metric = Metric::cosine;
  // A thread of the index's own takes new rows into the graph. Without it the changes do that
  // themselves, and the same calls give the same answers every time.
  bool background = true;
};

struct IndexStats {
  uint64_t count = 0, places = 0, memory_bytes = 0;
  uint64_t pending = 0;    // rows not yet in the graph, looked at beside it
  bool quantised = false;  // large enough for codes and a graph
  uint64_t graph_nodes = 0, graph_removed = 0, graph_edges = 0, graph_memory_bytes = 0;
  uint64_t searches = 0, hops = 0, visits = 0;  // of walks
  uint64_t plans[plan_count] = {};              // queries by plan
  uint64_t standing_hits = 0;                   // queries whose filter had its bitmap already
  uint64_t audited = 0;                         // queries that `audit` ran again
  uint64_t device_memory_bytes = 0;             // since a search asked for the device
  double recall_estimate = -1;                  // over them; -1: none yet
};

class Audit;
class Folder;
struct IndexImage;

class CapabilityIndex {
 public:
  // Throws out_of_range for dim outside 1 … 4096.
  explicit CapabilityIndex(const IndexOptions& options);
  CapabilityIndex(uint32_t dim, Metric metric)
      : CapabilityIndex(IndexOptions{.dim = dim, .metric = metric, .background = false}) {}
  ~CapabilityIndex();

  uint32_t dim() const { return options_.dim; }
  Metric metric() const { return options_.metric; }
  bool background() const { return options_.background; }
  uint64_t count() const;
  // Above every place in use.
  uint32_t place_count() const;

  // New ids; throws name_taken (field "ids") if one is there already, bad_vector,
  // dimension_mismatch, bad_array (an id twice in one call, rows and ids differ in number),
  // out_of_range (an attribute); nothing is added then. `upsert` replaces vectors and the columns
  // that are given; a replaced id keeps its place among ties. `threads` make the codes.
  void add(std::span<const uint64_t> ids, MatrixView<const float> vectors,
           const IndexColumns& columns = {}, uint32_t threads = 1);
  void upsert(std::span<const uint64_t> ids, MatrixView<const float> vectors,
              const IndexColumns& columns = {}, uint32_t threads = 1);
  // Attributes alone, visible at once. Throws unknown_offer, bad_array, out_of_range; nothing is
  // changed then. An id that is there twice gets its last values.
  void update(std::span<const uint64_t> ids, const IndexColumns& columns);
  // How many of them were there.
  uint64_t remove(std::span<const uint64_t> ids);
  bool contains(uint64_t id) const;
  std::vector<float> get(uint64_t id) const;  // throws unknown_offer
  // places_out [n]: index_none where an id is not there.
  void places(std::span<const uint64_t> ids, std::span<uint32_t> places_out) const;
  // ids_out [place_count()]; filled_out: 1 where an id has the place.
  void ids(std::span<uint64_t> ids_out, std::span<uint8_t> filled_out) const;

  // ids_out, scores_out [m, k] padded with 0 and -inf; counts_out [m] = min(k, feasible). Ties go
  // to the id that was added first. Throws as CapabilityStore::search.
  void search(MatrixView<const float> queries, std::span<const Feasible> feasible,
              const SearchOptions& options, MatrixView<uint64_t> ids_out,
              MatrixView<float> scores_out, std::span<int32_t> counts_out) const;
  Refusals explain(const Feasible& feasible) const;

  // Takes up to `row_max` pending rows into the graph. -> how many it was.
  uint32_t fold(uint32_t row_max, uint32_t threads);
  // Runs up to `query_max` of the queries that were sampled from the searches again, exactly, and
  // adds to stats().recall_estimate. -> how many it was.
  uint32_t audit(uint32_t query_max);
  IndexStats stats() const;
  uint64_t memory_bytes() const;

  // The file holds everything but the standing bitmaps; see snapshot.hpp. Throws
  // unusable_directory, storage_failed.
  void save(const std::string& path) const;
  // `view` maps the vectors from the file instead of reading them. Throws corrupt, log_version,
  // unusable_directory; field "path".
  static std::unique_ptr<CapabilityIndex> load(const std::string& path, bool view, bool background);

  // The same as bytes.
  std::vector<uint8_t> to_bytes() const;
  static std::unique_ptr<CapabilityIndex> from_bytes(Bytes bytes, bool background);

 private:
  friend struct IndexImage;

  static uint64_t hash_id(uint64_t id) { return mix64(id + 0x9e3779b97f4a7c15); }

  uint32_t row_of(uint64_t id) const;
  void check(std::span<const uint64_t> ids, MatrixView<const float> vectors,
             const IndexColumns& columns, bool replace) const;
  void write(std::span<const uint64_t> ids, MatrixView<const float> vectors,
             const IndexColumns& columns, bool replace, uint32_t threads);
  uint32_t row_for(uint64_t id, bool& is_new);
  void apply(std::span<const uint32_t> rows, const IndexColumns& columns);
  // After a change of so many rows.
  void settle(size_t changed);

  IndexOptions options_;
  const SearchTable& table_;
  std::unique_ptr<CapabilitySpace> space_;
  HashMap row_of_;
  std::vector<uint32_t> free_rows_;
  uint32_t next_ = 0;  // counts additions: what breaks ties
  std::unique_ptr<Audit> audit_;
  std::unique_ptr<Folder> folder_;  // the last member: its thread uses the others
};

}  // namespace hanse
