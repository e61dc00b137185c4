#include "capability/index.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "capability/audit.hpp"
#include "capability/device_mirror.hpp"
#include "capability/folder.hpp"
#include "capability/quantised.hpp"
#include "capability/search.hpp"

namespace hanse {

namespace {

constexpr uint32_t rows_in_fold = 64;     // vectors wait for no more than these
constexpr size_t rows_in_turn = 1024;     // attributes wait for no more than these
constexpr size_t lookups_in_flight = 32;  // enough to hide the memory behind them

using Lock = std::lock_guard<std::mutex>;

IndexOptions checked(const IndexOptions& options) {
  if (options.dim == 0 || options.dim > space_dim_max)
    throw Error(ErrorCode::out_of_range, "dim",
                std::to_string(options.dim) + " is outside 1 … " + std::to_string(space_dim_max));
  return options;
}

template <class T, class Good>
void check_column(const char* field, const Column<T>& column, size_t count, Good&& good) {
  const size_t size = column.values.size();
  if (size == 0) return;
  if (size != 1 && size != count)
    throw Error(ErrorCode::bad_array, field,
                std::to_string(size) + " values for " + std::to_string(count) +
                    " ids; give 1 or as many as ids");
  for (size_t i = 0; i < size; ++i)
    if (!good(column.values[i]))
      throw Error(ErrorCode::out_of_range, field,
                  "row " + std::to_string(i) + ": " + std::to_string(column.values[i]) +
                      " is no value for it");
}

void check_columns(const IndexColumns& c, size_t count) {
  const auto any = [](auto) { return true; };
  const auto not_negative = [](int64_t value) { return value >= 0; };
  const auto number = [](float value) { return !std::isnan(value); };
  check_column("price", c.price, count, not_negative);
  check_column("updated", c.updated, count, not_negative);
  check_column("load", c.load, count, number);
  check_column("reputation", c.reputation, count, number);
  check_column("skills", c.skills, count, any);
  check_column("policy_bits", c.policy_bits, count, any);
  check_column("tenant", c.tenant, count, [](uint32_t value) { return value != index_none; });
  check_column("region", c.region, count, [](uint16_t value) { return value != UINT16_MAX; });
  check_column("tier", c.tier, count, any);
}

Attributes attributes_of(const RowBlock& b, uint32_t i) {
  Attributes a;
  a.agent = b.agent[i];
  a.version = b.version[i];
  a.tenant = b.tenant[i];
  a.price = b.price[i];
  a.updated = b.updated[i];
  a.load = b.load[i];
  a.reputation = b.reputation[i];
  a.skills = b.skills[i];
  a.policy_bits = b.policy_bits[i];
  a.id = b.id[i];
  a.region = b.region[i];
  a.tier = b.tier[i];
  return a;
}

void overlay(const IndexColumns& c, size_t i, Attributes& a) {
  const auto set = [&](const auto& column, auto& cell) {
    if (!column.values.empty()) cell = column[i];
  };
  set(c.price, a.price);
  set(c.updated, a.updated);
  set(c.load, a.load);
  set(c.reputation, a.reputation);
  set(c.skills, a.skills);
  set(c.policy_bits, a.policy_bits);
  set(c.tenant, a.tenant);
  set(c.region, a.region);
  set(c.tier, a.tier);
}

}  // namespace

CapabilityIndex::CapabilityIndex(const IndexOptions& options)
    : options_(checked(options)),
      table_(search_table(cpu_level())),
      space_(std::make_unique<CapabilitySpace>(
          SpaceSpec{.name = "index", .dim = options.dim, .metric = options.metric, .model = ""},
          table_.level)),
      audit_(std::make_unique<Audit>()) {
  if (options.background)
    folder_ = std::make_unique<Folder>([this] { return space_->fold(rows_in_fold, 1) != 0; });
}

CapabilityIndex::~CapabilityIndex() = default;

void CapabilityIndex::settle(size_t changed) {
  if (space_->pending_count() == 0) return;
  if (folder_) return folder_->wake();
  // What a change leaves behind, and some of what was there after a load.
  const size_t turns = changed / rows_in_fold + 16;
  for (size_t i = 0; i < turns && space_->fold(rows_in_fold, 1) != 0;) ++i;
}

uint32_t CapabilityIndex::row_of(uint64_t id) const {
  return row_of_.find(hash_id(id), [&](uint32_t row) {
    return space_->block(row).id[CapabilitySpace::slot(row)] == id;
  });
}

uint64_t CapabilityIndex::count() const {
  const Lock lock(space_->writer);
  return row_of_.count();
}

uint32_t CapabilityIndex::place_count() const { return space_->row_count(); }

void CapabilityIndex::check(std::span<const uint64_t> ids, MatrixView<const float> vectors,
                            const IndexColumns& columns, bool replace) const {
  check_dim("vectors", vectors.columns, options_.dim);
  if (vectors.rows != ids.size())
    throw Error(ErrorCode::bad_array, "vectors",
                std::to_string(vectors.rows) + " rows for " + std::to_string(ids.size()) + " ids");
  if (ids.size() > size_t(index_none) - 1 - next_)
    throw Error(ErrorCode::too_large, "ids", next_ + ids.size(), index_none - 1);
  check_columns(columns, ids.size());

  std::vector<uint64_t> sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end())
    throw Error(ErrorCode::bad_array, "ids", "an id is there twice", *twice);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!replace && row_of(ids[i]) != index_none)
      throw Error(ErrorCode::name_taken, "ids", "row " + std::to_string(i) + " is there already",
                  ids[i]);
    checked_norm("vectors", i, vectors.row(i), options_.dim);
  }
}

// The row of an id, taken for it if there is none yet.
uint32_t CapabilityIndex::row_for(uint64_t id, bool& is_new) {
  uint32_t row = row_of(id);
  is_new = row == index_none;
  if (!is_new) return row;
  if (free_rows_.empty()) {
    row = space_->append();
  } else {
    row = free_rows_.back();
    free_rows_.pop_back();
  }
  // The map compares ids with those of the rows.
  poke(space_->block(row).id[CapabilitySpace::slot(row)], id);
  row_of_.insert(hash_id(id), row);
  return row;
}

void CapabilityIndex::write(std::span<const uint64_t> ids, MatrixView<const float> vectors,
                            const IndexColumns& columns, bool replace, uint32_t threads) {
  if (threads == 0) throw Error(ErrorCode::out_of_range, "threads", "0 is outside 1 …");
  std::vector<uint32_t> rows(ids.size());
  {
    const Lock writing(space_->vectors_writer);
    {
      const Lock lock(space_->writer);
      check(ids, vectors, columns, replace);
      row_of_.reserve(row_of_.count() + ids.size());
    }
    // Nothing but attributes can change between two turns: the rest waits for `writing`.
    for (size_t first = 0; first < ids.size(); first += rows_in_turn) {
      const Lock lock(space_->writer);
      for (size_t i = first; i < std::min(ids.size(), first + rows_in_turn); ++i) {
        bool is_new = false;
        rows[i] = row_for(ids[i], is_new);
        const RowBlock& b = space_->block(rows[i]);
        const uint32_t slot = CapabilitySpace::slot(rows[i]);
        Attributes a = is_new ? Attributes{} : attributes_of(b, slot);
        if (is_new) a.agent = next_++;
        a.id = ids[i];
        a.version = b.version[slot] + 1;
        overlay(columns, i, a);
        const float* vector = vectors.row(i);
        space_->put(rows[i], a, vector, checked_norm("vectors", i, vector, options_.dim));
      }
    }
    space_->encode(rows, threads);
  }
  settle(rows.size());
}

void CapabilityIndex::add(std::span<const uint64_t> ids, MatrixView<const float> vectors,
                          const IndexColumns& columns, uint32_t threads) {
  write(ids, vectors, columns, false, threads);
}

void CapabilityIndex::upsert(std::span<const uint64_t> ids, MatrixView<const float> vectors,
                             const IndexColumns& columns, uint32_t threads) {
  write(ids, vectors, columns, true, threads);
}

void CapabilityIndex::update(std::span<const uint64_t> ids, const IndexColumns& columns) {
  const Lock lock(space_->writer);
  check_columns(columns, ids.size());
  std::vector<uint32_t> rows(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i + lookups_in_flight < ids.size()) row_of_.prefetch(hash_id(ids[i + lookups_in_flight]));
    rows[i] = row_of(ids[i]);
    if (rows[i] == index_none)
      throw Error(ErrorCode::unknown_offer, "ids", "row " + std::to_string(i) + " is not there",
                  ids[i]);
  }
  apply(rows, columns);
}

// One column after the other: a loop over one column is what the processor can overlap.
void CapabilityIndex::apply(std::span<const uint32_t> rows, const IndexColumns& c) {
  CapabilitySpace& s = *space_;
  const auto each = [&](const auto& column, auto&& set) {
    if (column.values.empty()) return;
    for (size_t i = 0; i < rows.size(); ++i) set(rows[i], column[i]);
  };
  each(c.price, [&](uint32_t row, int64_t value) { s.set_price(row, value); });
  each(c.updated, [&](uint32_t row, int64_t value) { s.set_updated(row, value); });
  each(c.load, [&](uint32_t row, float value) { s.set_load(row, value); });
  each(c.reputation, [&](uint32_t row, float value) { s.set_reputation(row, value); });
  if (c.skills.values.empty() && c.policy_bits.values.empty() && c.tenant.values.empty() &&
      c.region.values.empty() && c.tier.values.empty())
    return;
  for (size_t i = 0; i < rows.size(); ++i) {
    Attributes a = attributes_of(s.block(rows[i]), CapabilitySpace::slot(rows[i]));
    overlay(c, i, a);
    s.set_attributes(rows[i], a);
  }
}

uint64_t CapabilityIndex::remove(std::span<const uint64_t> ids) {
  uint64_t removed = 0;
  {
    const Lock writing(space_->vectors_writer), lock(space_->writer);
    for (const uint64_t id : ids) {
      const uint32_t row = row_of(id);
      if (row == index_none) continue;
      space_->withdraw(row);
      row_of_.erase(hash_id(id), row);
      free_rows_.push_back(row);
      ++removed;
    }
  }
  settle(removed);
  return removed;
}

bool CapabilityIndex::contains(uint64_t id) const {
  const Lock lock(space_->writer);
  return row_of(id) != index_none;
}

std::vector<float> CapabilityIndex::get(uint64_t id) const {
  const Lock lock(space_->writer);
  const uint32_t row = row_of(id);
  if (row == index_none) throw Error(ErrorCode::unknown_offer, "id", "not in the index", id);
  const float* vector = space_->vector(row);
  return {vector, vector + options_.dim};
}

void CapabilityIndex::places(std::span<const uint64_t> ids, std::span<uint32_t> places_out) const {
  if (ids.size() != places_out.size())
    throw Error(ErrorCode::bad_array, "places_out", places_out.size(), ids.size());
  const Lock lock(space_->writer);
  for (size_t i = 0; i < ids.size(); ++i) places_out[i] = row_of(ids[i]);
}

void CapabilityIndex::ids(std::span<uint64_t> ids_out, std::span<uint8_t> filled_out) const {
  const Lock lock(space_->writer);
  for (size_t row = 0; row < ids_out.size(); ++row) {
    const bool there = row < space_->row_count();
    const RowBlock* b = there ? &space_->block(uint32_t(row)) : nullptr;
    const uint32_t i = CapabilitySpace::slot(uint32_t(row));
    filled_out[row] = there && (b->flags[i] & row_found) != 0;
    ids_out[row] = filled_out[row] ? b->id[i] : 0;
  }
}

void CapabilityIndex::search(MatrixView<const float> queries, std::span<const Feasible> feasible,
                             const SearchOptions& options, MatrixView<uint64_t> ids_out,
                             MatrixView<float> scores_out, std::span<int32_t> counts_out) const {
  const uint32_t k = options.k;
  if (ids_out.rows != queries.rows || ids_out.columns != k)
    throw Error(ErrorCode::bad_array, "ids_out", "needs a row of k ids for each query");
  if (scores_out.rows != queries.rows || scores_out.columns != k)
    throw Error(ErrorCode::bad_array, "scores_out", "needs a row of k scores for each query");

  SearchOptions inner = options;
  std::vector<SearchReport> reports;
  if (inner.reports_out.empty()) {
    reports.resize(queries.rows);
    inner.reports_out = reports;
  }
  SearchRequest request{queries, feasible, inner, {nullptr, queries.rows, k}, counts_out};
  check_search(*space_, request);
  std::vector<Match> matches(queries.rows * k);
  request.matches_out.data = matches.data();
  search_space(*space_, table_, request);
  for (size_t i = 0; i < matches.size(); ++i) {
    const bool padding = matches[i].row == index_none;
    ids_out.data[i] = padding ? 0 : matches[i].id;
    scores_out.data[i] = padding ? -std::numeric_limits<float>::infinity() : matches[i].score;
  }
  audit_->count(inner.reports_out);
  audit_->keep(queries, feasible, options);
}

Refusals CapabilityIndex::explain(const Feasible& feasible) const {
  Refusals refusals = explain_space(*space_, feasible);
  refusals.withdrawn = 0;  // free places, which no one ever offered
  return refusals;
}

uint32_t CapabilityIndex::fold(uint32_t row_max, uint32_t threads) {
  if (threads == 0) throw Error(ErrorCode::out_of_range, "threads", "0 is outside 1 …");
  return space_->fold(row_max, threads);
}

uint32_t CapabilityIndex::audit(uint32_t query_max) {
  uint32_t done = 0;
  Audit::Sample sample;
  for (; done < query_max && audit_->take(sample); ++done) {
    std::vector<Match> found(sample.k), exact(sample.k);
    int32_t found_count = 0, exact_count = 0;
    SearchOptions options;
    options.k = sample.k;
    options.effort = sample.effort;
    options.recall = sample.recall;
    options.rankings = {&sample.ranking, 1};
    const MatrixView<const float> query{sample.query.data(), 1, sample.query.size()};
    search_space(
        *space_, table_,
        {query, {&sample.feasible, 1}, options, {found.data(), 1, sample.k}, {&found_count, 1}});
    options.recall = 1;
    search_space(
        *space_, table_,
        {query, {&sample.feasible, 1}, options, {exact.data(), 1, sample.k}, {&exact_count, 1}});
    if (exact_count == 0) continue;
    const float worst = exact[size_t(exact_count) - 1].score;
    const auto good = std::count_if(found.begin(), found.begin() + found_count,
                                    [&](const Match& match) { return match.score >= worst; });
    audit_->add(uint64_t(good), uint64_t(exact_count));
  }
  return done;
}

IndexStats CapabilityIndex::stats() const {
  IndexStats stats;
  stats.memory_bytes = memory_bytes();
  stats.count = count();
  stats.places = place_count();
  stats.pending = space_->pending_count();
  for (size_t p = 0; p < plan_count; ++p) stats.plans[p] = audit_->plans(p);
  stats.standing_hits = audit_->standing();
  stats.audited = audit_->audited();
  stats.device_memory_bytes = space_->device->memory_bytes();
  stats.recall_estimate = audit_->estimate();
  const Quantised* quantised = space_->quantised();
  if (quantised == nullptr) return stats;
  const GraphStats graph = quantised->graph.stats();
  stats.quantised = true;
  stats.graph_nodes = graph.node_count;
  stats.graph_removed = graph.removed_count;
  stats.graph_edges = graph.edge_count;
  stats.graph_memory_bytes = graph.memory_bytes;
  stats.searches = graph.search_count;
  stats.hops = graph.hop_count;
  stats.visits = graph.visit_count;
  return stats;
}

uint64_t CapabilityIndex::memory_bytes() const {
  const Lock lock(space_->writer);
  return space_->memory_bytes() + free_rows_.capacity() * sizeof(uint32_t) + row_of_.memory_bytes();
}

}  // namespace hanse
