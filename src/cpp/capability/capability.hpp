// Who can do what: versioned offers with vectors and attributes, found by similarity among the
// feasible ones only.
//
// A search looks at every feasible row where they are few, and walks a graph where they are many
// (see SearchOptions::recall); either way the candidates are looked up again and ranked in a fixed
// order in double precision, so that what is returned is feasible, and scores and ties are the same
// on every instruction set.
//
// Threads: any. Changes (`apply_*`) take turns; searches wait for none of them and hold none up. A
// search beside a change sees each offer as it was before or after, never in between.
#pragma once

#include <atomic>
#include <cmath>
#include <functional>
#include <memory>
#include <shared_mutex>
#include <string>
#include <vector>

#include "base/cpu.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/snapshot.hpp"
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
  int64_t price_min = 0;
  int64_t updated_min = 0, updated_max = INT64_MAX;
  float load_min = -HUGE_VALF, load_max = HUGE_VALF;
  float reputation_min = -HUGE_VALF, reputation_max = HUGE_VALF;

  bool operator==(const Feasible&) const = default;
};

// What a match is worth beside its similarity, all linear:
//   score = similarity - price * offer's price - load * its load + reputation * its reputation
//         - recency * max(0, now - its `updated`)
// in double, in this order.
struct Ranking {
  double price = 0, load = 0, reputation = 0, recency = 0;  // finite
  int64_t now = 0;
  // The share of queries whose first place goes to the best feasible offer without a reputation
  // (0), whatever its score: who is new gets a chance to earn one. Which queries these are follows
  // from `seed` and the number of the query alone.
  double explore = 0;  // 0 … 1
  uint64_t seed = 0;

  bool plain() const { return price == 0 && load == 0 && reputation == 0 && recency == 0; }
  bool operator==(const Ranking&) const = default;
};

struct Match {
  uint32_t row = index_none;
  uint32_t agent = index_none;  // index
  uint32_t offer = 0, version = 0;
  float score = 0;
  uint64_t id = 0;  // of CapabilityIndex
};

// How a query was answered.
enum class Plan : uint8_t {
  nothing,  // nothing is feasible
  rows,     // the feasible rows, one by one, exactly
  scan,     // all of them, exactly, in a pass shared by the batch
  codes,    // all of them by their codes, the best of those exactly
  walk,     // a walk through the graph under the filter
  device,   // by a device, which SearchOptions asked for
};
constexpr uint32_t plan_count = 6;
const char* plan_name(Plan plan);

struct SearchReport {
  Plan plan = Plan::nothing;
  bool standing = false;          // the filter's bitmap was there already
  uint32_t feasible = 0;          // rows that the filter lets pass
  uint32_t candidates = 0;        // rows ranked exactly
  uint32_t hops = 0, visits = 0;  // of the walk
  uint32_t pending = 0;           // rows not yet in the graph, looked at beside it
};

struct SearchOptions {
  uint32_t k = 10;  // 1 … 1024
  uint32_t threads = 1;
  // The share of the true k best that is wanted on average, above 0; 1: exactly the best. Spaces
  // that are small, and filters that let few pass, are always answered exactly.
  double recall = 0.95;
  uint32_t effort = 0;  // width of the walk, instead of what `recall` would take; 0, or 16 … 4096
  std::span<const Ranking> rankings;  // none, one, or one a query
  // Bit r % 64 of word r / 64: whether row r may be found. No rows, one, or one a query. Rows
  // behind the last word may not.
  MatrixView<const uint64_t> masks;
  std::span<SearchReport> reports_out;  // none, or one a query
  // The vectors stay on the CUDA device, and candidates come from there; k is at most 64 then. What
  // a device can't order (a ranking, numbers near the end of float32) the CPU answers.
  bool device = false;
};

// An offer on its way into an auction: the feasible ones are handed out before anyone is chosen, so
// that money decides only among those who may have the task. A sealed window takes bids for
// (agent, offer, version) until it closes and chooses by bid and `quality`; a dispatch to the
// winner fails if the version has moved.
struct AuctionCandidate {
  uint32_t row, agent, offer, version;
  int64_t price;   // the ask
  double quality;  // the score under the ranking, without its weight on price
};

// Why rows were refused: each row counts once, for the first test it fails, in this order. Rows of
// `exclude_agent` are not counted.
struct Refusals {
  uint64_t withdrawn = 0, revoked = 0, slots = 0, tenant = 0, policy = 0, price = 0, tier = 0,
           skills = 0, region = 0, load = 0, reputation = 0, updated = 0;

  Refusals& operator+=(const Refusals& other);
};

struct CapabilitySpace;
class Folder;
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
  // Throws dimension_mismatch, bad_vector, out_of_range, bad_array.
  void search(uint32_t space, MatrixView<const float> queries, std::span<const Feasible> feasible,
              const SearchOptions& options, MatrixView<Match> matches_out,
              std::span<int32_t> counts_out) const;
  void search(uint32_t space, MatrixView<const float> queries, std::span<const Feasible> feasible,
              uint32_t k, MatrixView<Match> matches_out, std::span<int32_t> counts_out,
              uint32_t threads = 1) const;
  // The options.k best feasible ones for one query, for an auction. Throws as search.
  std::vector<AuctionCandidate> candidates(uint32_t space, std::span<const float> query,
                                           const Feasible& feasible,
                                           const SearchOptions& options) const;
  // For the one that found nothing.
  Refusals explain(uint32_t space, const Feasible& feasible) const;

  // Rows that were published are found at once, but in large spaces the graph must be told of them.
  // A change does that itself, unless fold_later() was called (before threads share the store):
  // then someone calls `fold` until it returns 0. -> how many rows it was, at most row_max.
  void fold_later();
  // As fold_later, but a thread of the store's own does it, until stop_folding().
  void fold_in_background();
  void stop_folding();
  uint32_t fold(uint32_t row_max, uint32_t threads);

  Digest state_hash() const;
  static constexpr uint16_t snapshot_version = 1;
  // With the vectors themselves; codes and graphs are made again (see fold_in_background).
  void encode(SnapshotWriter& out) const;
  void decode(SnapshotReader& in);
  uint64_t memory_bytes() const;

 private:
  CapabilitySpace& at(uint32_t space) const;  // throws unknown_space

  void settle(CapabilitySpace& space);

  const SearchTable& table_;
  std::vector<std::unique_ptr<CapabilitySpace>> spaces_;
  mutable std::shared_mutex mutex_;  // of spaces_ alone; a space never moves
  std::atomic<uint64_t> live_epoch_{0};
  bool fold_at_once_ = true;
  std::unique_ptr<Folder> folder_;  // the last member: its thread uses the others
};

}  // namespace hanse
