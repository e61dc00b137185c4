// Who can do what: versioned offers with vectors and attributes, found by similarity among the
// feasible ones only.
//
// Search is exact: a fused top-k over SIMD panels under a feasibility mask, then a re-rank of the
// candidates in a fixed order in double precision, so that scores and ties are the same on every
// instruction set. The graph index will stand behind this same contract.
//
// Threads: searches take a shared lock, changes (`apply_*`, the setters) an exclusive one; both are
// taken in here. Rows never move; vectors live in blocks that are never reallocated.
#pragma once

#include <functional>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include "base/cpu.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/view.hpp"

namespace hanse {

enum class Metric : uint8_t { cosine = 0, inner_product = 1 };

struct SpaceSpec {
  std::string name;  // at most 64 bytes
  uint32_t dim = 0;  // 1 … 4096
  Metric metric = Metric::cosine;
  std::string model;  // which embedding model made the vectors; at most 128 bytes
};

// One publish of n offers. Columns hold 1 value (for all) or n.
struct Offers {
  std::span<const uint32_t> agents;  // [n] agent indices
  uint32_t offer = 0;
  MatrixView<const float> vectors;  // [n, dim], finite, not all zero
  Column<int64_t> price;            // >= 0, micro-units
  Column<uint8_t> tier;
  Column<uint64_t> skills;
  Column<uint16_t> region;
  Column<uint64_t> policy_bits;
  Column<uint16_t> slots;  // open tasks at most; 0: no limit
};

// Feasibility: a conjunction. The defaults exclude nothing.
struct Feasible {
  int64_t price_max = INT64_MAX;
  uint8_t tier_min = 0, tier_max = 255;
  uint64_t skills_all = 0, skills_any = 0, skills_none = 0;  // skills_any 0: no test
  uint64_t policy_all = 0, policy_none = 0;
  uint16_t region = UINT16_MAX;         // UINT16_MAX: any
  uint32_t tenant = index_none;         // index of the tenant's agent; index_none: any
  uint32_t exclude_agent = index_none;  // usually the requester

  bool operator==(const Feasible&) const = default;
};

struct Match {
  uint32_t row = index_none;
  uint32_t agent = index_none;  // index
  uint32_t offer = 0, version = 0;
  float score = 0;
};

// Why rows were refused: each row counts once, for the first test it fails, in this order. Rows of
// `exclude_agent` are not counted.
struct Refusals {
  uint64_t withdrawn = 0, revoked = 0, slots = 0, tenant = 0, policy = 0, price = 0, tier = 0,
           skills = 0, region = 0;
};

struct CapabilitySpace;
struct SearchTable;

class CapabilityStore {
 public:
  CapabilityStore();                         // the instruction set of cpu_level()
  explicit CapabilityStore(CpuLevel level);  // one that this machine has; answers don't differ
  ~CapabilityStore();

  // Spaces. The first publish creates "default".
  uint32_t space_find(std::string_view name) const;  // index_none
  void check_space(const SpaceSpec& spec) const;     // throws name_taken, out_of_range, too_large
  uint32_t apply_space(const SpaceSpec& spec);
  SpaceSpec space(uint32_t space) const;
  uint32_t space_count() const;

  // Throws dimension_mismatch, bad_vector (row named), bad_array (column length, an agent twice),
  // out_of_range (negative price), unknown_space. `expected`, where given, holds the version that
  // each offer must get: stale_version unless it is greater than the present one.
  void check_publish(uint32_t space, const Offers& offers,
                     std::span<const uint32_t> expected) const;
  // Version = present + 1 (or expected); the old one can no longer be found.
  // tenant(agent index) is asked once a row.
  void apply_publish(uint32_t space, const Offers& offers, std::span<const uint32_t> expected,
                     const std::function<uint32_t(uint32_t)>& tenant,
                     std::span<uint32_t> versions_out);
  // index_none where there is none.
  uint32_t row_find(uint32_t space, uint32_t agent, uint32_t offer) const;
  void apply_withdraw(uint32_t space, uint32_t row);
  void apply_price(uint32_t space, uint32_t row, int64_t price);

  struct Row {
    uint32_t agent, offer, version, tenant;
    int64_t price;
    uint8_t tier;
    uint16_t region, slots, open;
    uint64_t skills, policy_bits;
    bool found;  // can be found: published and not withdrawn
  };
  Row row(uint32_t space, uint32_t row) const;
  uint32_t row_count(uint32_t space) const;
  // As stored: normalised for cosine.
  std::vector<float> vector(uint32_t space, uint32_t row) const;
  // Open tasks of a row: what the mask compares with `slots`. `Row::open` shows at most 65,535.
  void apply_open(uint32_t space, uint32_t row, int32_t change);
  bool has_slot(uint32_t space, uint32_t row) const;

  // Liveness is cached in the mask; `epoch` is the agents' revocation epoch. When it differs from
  // the cached one, every row is asked once.
  void refresh_live(uint64_t epoch, const std::function<bool(uint32_t agent)>& live);
  uint64_t live_epoch() const;

  // queries [m, dim]; matches_out [m, k], best first, ties to the lower agent index, then the lower
  // offer; padded with Match{}. counts_out [m] = min(k, feasible). One Feasible, or one a query.
  // k 1 … 1024. Throws dimension_mismatch, bad_vector, out_of_range. `threads` >= 1.
  void search(uint32_t space, MatrixView<const float> queries, std::span<const Feasible> feasible,
              uint32_t k, MatrixView<Match> matches_out, std::span<int32_t> counts_out,
              uint32_t threads = 1) const;
  // For the one that found nothing.
  Refusals explain(uint32_t space, const Feasible& feasible) const;

  Digest state_hash() const;
  uint64_t memory_bytes() const;

 private:
  CapabilitySpace& at(uint32_t space) const;  // throws unknown_space

  const SearchTable& table_;
  std::vector<std::unique_ptr<CapabilitySpace>> spaces_;
  mutable std::shared_mutex mutex_;
  uint64_t live_epoch_ = 0;
};

}  // namespace hanse
