// The exact pass over float32 vectors that the queries of a batch share. Internal to this concept.
#pragma once

#include <limits>

#include "capability/query.hpp"

namespace hanse {

constexpr uint32_t rows_in_chunk_max = 64;

struct ScanQuery {
  struct Candidate {
    float score;
    uint32_t row;
  };

  PreparedQuery* query = nullptr;
  float threshold = 0;
  uint32_t keep = 0;     // UINT32_MAX: everything above the threshold
  bool dropped = false;  // some row with a score <= threshold is no longer among `kept`
  bool pooled = false;   // the rows scanned are feasible for others only: test each hit
  float bonus_most = 0;  // of the part's feasible rows
  float bonus_size = 0;  // the largest seen, for the error bound
  std::vector<float> bonuses;
  std::vector<Candidate> kept;

  // A little lower where a bonus is added: rounding must not lose a row.
  float similarity_threshold() const {
    if (query->ranking.plain()) return threshold;
    return threshold - bonus_most - (std::fabs(bonus_most) + std::fabs(threshold)) * 0x1p-22f;
  }
};

struct ScanScratch32 {
  std::vector<ScanQuery> states;
  std::vector<ScanQuery*> order, pooled;
  std::vector<Match> ranked;
  uint32_t rows[rows_in_part];
  const float* vectors[rows_in_part + rows_in_group];
  ScoreHit hits[rows_in_chunk_max * queries_in_tile_max];
};

// No row's float32 score is further than this from its exact one, whatever the order of the sum.
double error_bound(uint32_t stride, double query_norm, double norm_max);

class ExactScan {
 public:
  // Of the first `row_count` rows, those that the masks were made of.
  ExactScan(const CapabilitySpace& space, const SearchTable& table, const SearchRequest& request,
            uint32_t row_count, ScanScratch32& scratch);

  // Answers them. Each has its mask; queries of one mask stand side by side.
  void run(std::span<PreparedQuery* const> queries);

 private:
  void begin(ScanQuery& state, PreparedQuery& query);
  void scan(std::vector<ScanQuery*>& queries);
  void scan_part(uint32_t first_row, std::span<ScanQuery*> queries);
  void add_bonus(ScanQuery& state, uint32_t first_row, std::span<const uint64_t> mask);
  void score(uint32_t first_row, std::span<const uint64_t> mask, std::span<ScanQuery*> queries);
  void keep(ScanQuery& state, uint32_t first_row, uint32_t slot, const ScoreHit& hit);
  void collect_feasible(ScanQuery& state);
  bool finish(ScanQuery& state, bool last);

  const CapabilitySpace& space_;
  const SearchTable& table_;
  const SearchRequest& request_;
  ScanScratch32& scratch_;
  uint32_t row_count_, rows_in_chunk_;
};

}  // namespace hanse
