#include "capability/index.hpp"

#include <algorithm>
#include <limits>
#include <mutex>

#include "capability/search.hpp"

namespace hanse {

namespace {

SpaceSpec checked_spec(uint32_t dim, Metric metric) {
  if (dim == 0 || dim > space_dim_max)
    throw Error(ErrorCode::out_of_range, "dim",
                std::to_string(dim) + " is outside 1 … " + std::to_string(space_dim_max));
  return {.name = "index", .dim = dim, .metric = metric, .model = ""};
}

}  // namespace

CapabilityIndex::CapabilityIndex(uint32_t dim, Metric metric)
    : dim_(dim),
      table_(search_table(cpu_level())),
      space_(std::make_unique<CapabilitySpace>(checked_spec(dim, metric))) {}
CapabilityIndex::~CapabilityIndex() = default;

uint64_t CapabilityIndex::count() const {
  std::shared_lock lock(mutex_);
  return row_of_.size();
}

void CapabilityIndex::check(std::span<const uint64_t> ids, MatrixView<const float> vectors,
                            bool replace) const {
  check_dim("vectors", vectors.columns, dim_);
  if (vectors.rows != ids.size())
    throw Error(ErrorCode::bad_array, "vectors",
                std::to_string(vectors.rows) + " rows for " + std::to_string(ids.size()) + " ids");
  if (ids.size() > size_t(index_none) - 1 - next_)
    throw Error(ErrorCode::too_large, "ids", next_ + ids.size(), index_none - 1);

  std::vector<uint64_t> sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end());
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end());
  if (twice != sorted.end())
    throw Error(ErrorCode::bad_array, "ids", "an id is there twice", *twice);
  for (size_t i = 0; i < ids.size(); ++i) {
    if (!replace && row_of_.contains(ids[i]))
      throw Error(ErrorCode::name_taken, "ids", "row " + std::to_string(i) + " is there already",
                  ids[i]);
    checked_norm("vectors", i, vectors.row(i), dim_);
  }
}

void CapabilityIndex::write(std::span<const uint64_t> ids, MatrixView<const float> vectors,
                            bool replace) {
  std::unique_lock lock(mutex_);
  check(ids, vectors, replace);
  row_of_.reserve(row_of_.size() + ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto [place, is_new] = row_of_.try_emplace(ids[i], index_none);
    uint32_t& row = place->second;
    if (is_new) {
      if (free_rows_.empty()) {
        row = space_->append();
        id_of_.push_back(ids[i]);
      } else {
        row = free_rows_.back();
        free_rows_.pop_back();
        id_of_[row] = ids[i];
      }
      space_->block(row).agent[CapabilitySpace::slot(row)] = next_++;
    }
    const float* vector = vectors.row(i);
    space_->write_vector(row, vector, checked_norm("vectors", i, vector, dim_));
    space_->block(row).flags[CapabilitySpace::slot(row)] = row_feasible;
  }
}

void CapabilityIndex::add(std::span<const uint64_t> ids, MatrixView<const float> vectors) {
  write(ids, vectors, false);
}

void CapabilityIndex::upsert(std::span<const uint64_t> ids, MatrixView<const float> vectors) {
  write(ids, vectors, true);
}

uint64_t CapabilityIndex::remove(std::span<const uint64_t> ids) {
  std::unique_lock lock(mutex_);
  uint64_t removed = 0;
  for (const uint64_t id : ids) {
    const auto found = row_of_.find(id);
    if (found == row_of_.end()) continue;
    const uint32_t row = found->second;
    space_->block(row).flags[CapabilitySpace::slot(row)] = 0;
    free_rows_.push_back(row);
    row_of_.erase(found);
    ++removed;
  }
  return removed;
}

bool CapabilityIndex::contains(uint64_t id) const {
  std::shared_lock lock(mutex_);
  return row_of_.contains(id);
}

std::vector<float> CapabilityIndex::get(uint64_t id) const {
  std::shared_lock lock(mutex_);
  const auto found = row_of_.find(id);
  if (found == row_of_.end()) throw Error(ErrorCode::unknown_offer, "id", "not in the index", id);
  const float* vector = space_->vector(found->second);
  return {vector, vector + dim_};
}

void CapabilityIndex::search(MatrixView<const float> queries, uint32_t k,
                             MatrixView<uint64_t> ids_out, MatrixView<float> scores_out,
                             std::span<int32_t> counts_out, uint32_t threads) const {
  if (ids_out.rows != queries.rows || ids_out.columns != k)
    throw Error(ErrorCode::bad_array, "ids_out", "needs a row of k ids for each query");
  if (scores_out.rows != queries.rows || scores_out.columns != k)
    throw Error(ErrorCode::bad_array, "scores_out", "needs a row of k scores for each query");

  std::shared_lock lock(mutex_);
  const Feasible all;
  SearchRequest request{queries, {&all, 1}, k, {nullptr, queries.rows, k}, counts_out, threads};
  check_search(*space_, request);
  std::vector<Match> matches(queries.rows * k);
  request.matches_out.data = matches.data();
  search_space(*space_, table_, request);
  for (size_t i = 0; i < matches.size(); ++i) {
    const bool padding = matches[i].row == index_none;
    ids_out.data[i] = padding ? 0 : id_of_[matches[i].row];
    scores_out.data[i] = padding ? -std::numeric_limits<float>::infinity() : matches[i].score;
  }
}

uint64_t CapabilityIndex::memory_bytes() const {
  std::shared_lock lock(mutex_);
  constexpr uint64_t node_bytes = 32;  // key, row, next pointer, the allocator's header
  return space_->memory_bytes() + id_of_.capacity() * sizeof(uint64_t) +
         free_rows_.capacity() * sizeof(uint32_t) + row_of_.size() * node_bytes +
         row_of_.bucket_count() * sizeof(void*);
}

}  // namespace hanse
