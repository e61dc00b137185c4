#include "capability/capability.hpp"

#include <algorithm>
#include <mutex>
#include <shared_mutex>

#include "base/seeded_bug.hpp"
#include "capability/folder.hpp"
#include "capability/search.hpp"
#include "capability/space.hpp"

namespace hanse {

namespace {

constexpr size_t name_size_bytes_max = 64;
constexpr size_t model_size_bytes_max = 128;
constexpr uint32_t rows_in_fold = 64;  // vectors wait for no more than these

using Lock = std::lock_guard<std::mutex>;

void check_length(const char* field, size_t length, size_t row_count) {
  if (length != 1 && length != row_count)
    throw Error(ErrorCode::bad_array, field,
                std::to_string(length) + " values for " + std::to_string(row_count) +
                    " offers; give 1 or as many as offers");
}

// A batch names each agent once: two versions of one offer in one record would have no order.
void check_agents(std::span<const uint32_t> agents) {
  bool ascending = true;
  for (size_t i = 0; i < agents.size(); ++i) {
    if (agents[i] == index_none)
      throw Error(ErrorCode::out_of_range, "agents", "row " + std::to_string(i) + " is no agent");
    ascending = ascending && (i == 0 || agents[i - 1] < agents[i]);
  }
  if (ascending) return;
  std::vector<uint32_t> sorted(agents.begin(), agents.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end())
    throw Error(ErrorCode::bad_array, "agents",
                "agent index " + std::to_string(*twice) + " is there twice");
}

void encode_row(const CapabilitySpace& space, uint32_t row, ByteWriter& writer) {
  const RowBlock& b = space.block(row);
  const uint32_t i = CapabilitySpace::slot(row);
  writer.put(b.agent[i]);
  writer.put(b.offer[i]);
  writer.put(b.version[i]);
  writer.put(b.price[i]);
  writer.put(b.tier[i]);
  writer.put(b.skills[i]);
  writer.put(b.region[i]);
  writer.put(b.policy_bits[i]);
  writer.put(b.slots[i]);
  writer.put(b.tenant[i]);
  writer.put(uint8_t(b.flags[i] & row_found ? 1 : 0));
  writer.put_raw(
      {reinterpret_cast<const uint8_t*>(space.vector(row)), space.spec.dim * sizeof(float)});
}

}  // namespace

CapabilityStore::CapabilityStore() : CapabilityStore(cpu_level()) {}
CapabilityStore::CapabilityStore(CpuLevel level) : table_(search_table(level)) {}
CapabilityStore::~CapabilityStore() = default;

CapabilitySpace& CapabilityStore::at(uint32_t space) const {
  const std::shared_lock lock(mutex_);
  if (space >= spaces_.size())
    throw Error(ErrorCode::unknown_space, "space",
                space == index_none ? "no such space" : "no space number " + std::to_string(space));
  return *spaces_[space];
}

uint32_t CapabilityStore::space_find(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  for (uint32_t i = 0; i < spaces_.size(); ++i)
    if (spaces_[i]->spec.name == name) return i;
  return index_none;
}

void CapabilityStore::check_space(const SpaceSpec& spec) const {
  if (spec.name.empty()) throw Error(ErrorCode::empty, "name", "a space needs a name");
  if (spec.name.size() > name_size_bytes_max)
    throw Error(ErrorCode::too_large, "name", spec.name.size(), name_size_bytes_max);
  if (spec.model.size() > model_size_bytes_max)
    throw Error(ErrorCode::too_large, "model", spec.model.size(), model_size_bytes_max);
  if (spec.dim == 0 || spec.dim > space_dim_max)
    throw Error(ErrorCode::out_of_range, "dim",
                std::to_string(spec.dim) + " is outside 1 … " + std::to_string(space_dim_max));
  if (spec.metric != Metric::cosine && spec.metric != Metric::inner_product)
    throw Error(ErrorCode::out_of_range, "metric", uint64_t(spec.metric), 1);
  if (space_find(spec.name) != index_none)
    throw Error(ErrorCode::name_taken, "name", "space \"" + spec.name + "\" is there already");
}

uint32_t CapabilityStore::apply_space(const SpaceSpec& spec) {
  const std::unique_lock lock(mutex_);
  spaces_.push_back(std::make_unique<CapabilitySpace>(spec, table_.level));
  return uint32_t(spaces_.size() - 1);
}

SpaceSpec CapabilityStore::space(uint32_t space) const { return at(space).spec; }

uint32_t CapabilityStore::space_count() const {
  const std::shared_lock lock(mutex_);
  return uint32_t(spaces_.size());
}

void CapabilityStore::check_publish(uint32_t space, const Offers& offers,
                                    std::span<const uint32_t> expected) const {
  const CapabilitySpace& s = at(space);
  const Lock lock(s.writer);
  const size_t count = offers.agents.size();
  check_dim("vectors", offers.vectors.columns, s.spec.dim);
  if (offers.vectors.rows != count)
    throw Error(
        ErrorCode::bad_array, "vectors",
        std::to_string(offers.vectors.rows) + " rows for " + std::to_string(count) + " agents");
  check_length("price", offers.price.values.size(), count);
  check_length("tier", offers.tier.values.size(), count);
  check_length("skills", offers.skills.values.size(), count);
  check_length("region", offers.region.values.size(), count);
  check_length("policy_bits", offers.policy_bits.values.size(), count);
  check_length("slots", offers.slots.values.size(), count);
  if (!expected.empty() && expected.size() != count)
    throw Error(
        ErrorCode::bad_array, "versions",
        std::to_string(expected.size()) + " versions for " + std::to_string(count) + " offers");
  if (count > size_t(index_none) - 1 - s.row_count())
    throw Error(ErrorCode::too_large, "agents", s.row_count() + count, index_none - 1);
  check_agents(offers.agents);

  for (size_t i = 0; i < offers.price.values.size(); ++i)
    if (offers.price.values[i] < 0)
      throw Error(ErrorCode::out_of_range, "price",
                  "row " + std::to_string(i) + ": " + std::to_string(offers.price.values[i]) +
                      " is below 0");
  for (size_t i = 0; i < count; ++i) {
    checked_norm("vectors", i, offers.vectors.row(i), s.spec.dim);
    const uint32_t row = s.rows.find(offers.agents[i], offers.offer);
    const uint32_t present =
        row == index_none ? 0 : s.block(row).version[CapabilitySpace::slot(row)];
    if (!expected.empty() && expected[i] + HANSE_SEEDED_BUG(50) <= present)
      throw Error(ErrorCode::stale_version, "versions",
                  "row " + std::to_string(i) + ": version " + std::to_string(expected[i]) +
                      " is not after the present " + std::to_string(present));
    if (expected.empty() && present == UINT32_MAX)
      throw Error(ErrorCode::out_of_range, "versions",
                  "row " + std::to_string(i) + ": the offer has used up its versions");
  }
}

void CapabilityStore::apply_publish(uint32_t space, const Offers& offers,
                                    std::span<const uint32_t> expected,
                                    const std::function<uint32_t(uint32_t)>& tenant,
                                    std::span<uint32_t> versions_out) {
  CapabilitySpace& s = at(space);
  std::vector<uint32_t> rows(offers.agents.size());
  {
    const Lock vectors(s.vectors_writer), lock(s.writer);
    for (size_t i = 0; i < offers.agents.size(); ++i) {
      const uint32_t agent = offers.agents[i];
      uint32_t& row = rows[i];
      row = s.rows.find(agent, offers.offer);
      if (row == index_none) {
        row = s.append();
        s.rows.add(agent, offers.offer, row);
      }
      const RowBlock& b = s.block(row);
      const uint32_t slot = CapabilitySpace::slot(row);
      Attributes a;
      a.agent = agent;
      a.offer = offers.offer;
      a.version = expected.empty() ? b.version[slot] + 1 : expected[i];
      a.tenant = tenant(agent);
      a.price = offers.price[i];
      a.updated = int64_t(++s.publish_count);
      a.load = float(b.open[slot]);
      a.reputation = b.reputation[slot];
      a.tier = offers.tier[i];
      a.skills = offers.skills[i];
      a.region = offers.region[i];
      a.policy_bits = offers.policy_bits[i];
      a.slots = offers.slots[i];
      const float* vector = offers.vectors.row(i);
      s.put(row, a, vector, checked_norm("vectors", i, vector, s.spec.dim));
      s.hash.mark(row);
      if (!versions_out.empty()) versions_out[i] = a.version;
    }
    s.encode(rows, 1);
  }
  settle(s);
}

uint32_t CapabilityStore::row_find(uint32_t space, uint32_t agent, uint32_t offer) const {
  const CapabilitySpace& s = at(space);
  const Lock lock(s.writer);
  return s.rows.find(agent, offer);
}

void CapabilityStore::apply_withdraw(uint32_t space, uint32_t row) {
  CapabilitySpace& s = at(space);
  {
    const Lock vectors(s.vectors_writer), lock(s.writer);
    HANSE_ASSERT(row < s.row_count());
    s.withdraw(row);
    s.hash.mark(row);
  }
  settle(s);
}

void CapabilityStore::apply_price(uint32_t space, uint32_t row, int64_t price) {
  CapabilitySpace& s = at(space);
  const Lock lock(s.writer);
  HANSE_ASSERT(row < s.row_count() && price >= 0);
  s.set_price(row, price);
  s.hash.mark(row);
}

CapabilityStore::Row CapabilityStore::row(uint32_t space, uint32_t row) const {
  const CapabilitySpace& s = at(space);
  const Lock lock(s.writer);
  HANSE_ASSERT(row < s.row_count());
  const RowBlock& b = s.block(row);
  const uint32_t i = CapabilitySpace::slot(row);
  return {.agent = b.agent[i],
          .offer = b.offer[i],
          .version = b.version[i],
          .tenant = b.tenant[i],
          .price = b.price[i],
          .tier = b.tier[i],
          .region = b.region[i],
          .slots = b.slots[i],
          .open = uint16_t(std::min<uint32_t>(b.open[i], UINT16_MAX)),
          .skills = b.skills[i],
          .policy_bits = b.policy_bits[i],
          .found = (b.flags[i] & row_found) != 0};
}

uint32_t CapabilityStore::row_count(uint32_t space) const { return at(space).row_count(); }

std::vector<float> CapabilityStore::vector(uint32_t space, uint32_t row) const {
  const CapabilitySpace& s = at(space);
  const Lock lock(s.writer);
  HANSE_ASSERT(row < s.row_count());
  return {s.vector(row), s.vector(row) + s.spec.dim};
}

void CapabilityStore::apply_open(uint32_t space, uint32_t row, int32_t change) {
  CapabilitySpace& s = at(space);
  const Lock lock(s.writer);
  HANSE_ASSERT(row < s.row_count());
  const uint32_t open = s.block(row).open[CapabilitySpace::slot(row)];
  HANSE_ASSERT(int64_t(open) + change >= 0 && int64_t(open) + change <= UINT32_MAX);
  s.set_open(row, uint32_t(int64_t(open) + change));
  s.set_load(row, float(int64_t(open) + change));
}

bool CapabilityStore::has_slot(uint32_t space, uint32_t row) const {
  const CapabilitySpace& s = at(space);
  HANSE_ASSERT(row < s.row_count());
  return (peek(s.block(row).flags[CapabilitySpace::slot(row)]) & row_has_room) != 0;
}

void CapabilityStore::refresh_live(uint64_t epoch, const std::function<bool(uint32_t)>& live) {
  if (live_epoch() == epoch) return;
  for (uint32_t number = 0; number < space_count(); ++number) {
    CapabilitySpace& s = at(number);
    const Lock lock(s.writer);
    for (uint32_t row = 0; row < s.row_count(); ++row)
      s.set_flag(row, row_live, live(s.block(row).agent[CapabilitySpace::slot(row)]));
  }
  live_epoch_.store(epoch, std::memory_order_release);
}

uint64_t CapabilityStore::live_epoch() const { return live_epoch_.load(std::memory_order_acquire); }

void CapabilityStore::search(uint32_t space, MatrixView<const float> queries,
                             std::span<const Feasible> feasible, const SearchOptions& options,
                             MatrixView<Match> matches_out, std::span<int32_t> counts_out) const {
  const CapabilitySpace& s = at(space);
  const SearchRequest request{queries, feasible, options, matches_out, counts_out};
  check_search(s, request);
  search_space(s, table_, request);
}

void CapabilityStore::search(uint32_t space, MatrixView<const float> queries,
                             std::span<const Feasible> feasible, uint32_t k,
                             MatrixView<Match> matches_out, std::span<int32_t> counts_out,
                             uint32_t threads) const {
  SearchOptions options;
  options.k = k;
  options.threads = threads;
  search(space, queries, feasible, options, matches_out, counts_out);
}

std::vector<AuctionCandidate> CapabilityStore::candidates(uint32_t space,
                                                          std::span<const float> query,
                                                          const Feasible& feasible,
                                                          const SearchOptions& options) const {
  if (options.rankings.size() > 1)
    throw Error(ErrorCode::bad_array, "rankings", options.rankings.size(), 1);
  // Asks are compared by who holds the auction.
  Ranking quality = options.rankings.empty() ? Ranking{} : options.rankings[0];
  quality.price = 0;
  quality.explore = 0;
  SearchOptions inner = options;
  inner.rankings = {&quality, 1};
  std::vector<Match> matches(options.k);
  int32_t count = 0;
  search(space, {query.data(), 1, query.size()}, {&feasible, 1}, inner,
         {matches.data(), 1, options.k}, {&count, 1});
  const CapabilitySpace& s = at(space);
  std::vector<AuctionCandidate> found;
  for (const Match& m : std::span(matches).first(size_t(count)))
    found.push_back({m.row, m.agent, m.offer, m.version,
                     peek(s.block(m.row).price[CapabilitySpace::slot(m.row)]), double(m.score)});
  return found;
}

Refusals CapabilityStore::explain(uint32_t space, const Feasible& feasible) const {
  return explain_space(at(space), feasible);
}

void CapabilityStore::settle(CapabilitySpace& space) {
  if (fold_at_once_)
    while (space.fold(rows_in_fold, 1) != 0) continue;
  else if (folder_ && space.pending_count() != 0)
    folder_->wake();
}

void CapabilityStore::fold_later() { fold_at_once_ = false; }

void CapabilityStore::fold_in_background() {
  fold_later();
  folder_ = std::make_unique<Folder>([this] { return fold(rows_in_fold, 1) != 0; });
}

void CapabilityStore::stop_folding() {
  if (folder_) folder_->stop();
}

uint32_t CapabilityStore::fold(uint32_t row_max, uint32_t threads) {
  uint32_t folded = 0;
  for (uint32_t number = 0; number < space_count() && folded < row_max; ++number)
    folded += at(number).fold(row_max - folded, threads);
  return folded;
}

Digest CapabilityStore::state_hash() const {
  ByteWriter writer;
  writer.put(space_count());
  for (uint32_t number = 0; number < space_count(); ++number) {
    CapabilitySpace& s = at(number);
    const Lock lock(s.writer);  // the chunks that changed are hashed anew and remembered
    writer.put_text(s.spec.name);
    writer.put(s.spec.dim);
    writer.put(s.spec.metric);
    writer.put_text(s.spec.model);
    writer.put(s.row_count());
    writer.put_digest(s.hash.digest(
        s.row_count(), [&](uint32_t row, ByteWriter& out) { encode_row(s, row, out); }));
  }
  return sha256(writer.bytes());
}

uint64_t CapabilityStore::memory_bytes() const {
  uint64_t bytes = 0;
  for (uint32_t number = 0; number < space_count(); ++number) {
    const CapabilitySpace& s = at(number);
    const Lock lock(s.writer);
    bytes += s.memory_bytes();
  }
  return bytes;
}

}  // namespace hanse
