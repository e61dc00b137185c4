#include "capability/device_mirror.hpp"

#include <algorithm>
#include <utility>

namespace hanse {
namespace {

constexpr uint32_t rows_in_write = 4096;
constexpr uint32_t never_seen = 1;  // odd, as no sequence of a row at rest is

uint32_t device_stride(uint32_t stride) {
  return (stride + device_stride_multiple - 1) / device_stride_multiple * device_stride_multiple;
}

// The vector as it is now, and the sequence that it has.
uint32_t copy_vector(const CapabilitySpace& space, uint32_t row, float* out) {
  const uint32_t& sequence = space.block(row).sequence[CapabilitySpace::slot(row)];
  for (;;) {
    const uint32_t seen = begin_read(sequence);
    const float* vector = space.vector(row);
    for (uint32_t d = 0; d < space.stride; ++d) out[d] = peek(vector[d]);
    if (still(sequence, seen)) return seen;
  }
}

}  // namespace

DeviceMirror::~DeviceMirror() { forget(); }

void DeviceMirror::forget() noexcept {
  for (Memory& part : parts_) {
    if (part.data != nullptr) table_->release(part.data);
    part = {};
  }
  if (stream_ != nullptr) table_->stream_destroy(stream_);
  stream_ = nullptr;
  table_ = nullptr;
  seen_.clear();
  row_capacity_ = 0;
}

uint64_t DeviceMirror::memory_bytes() const {
  std::lock_guard lock(mutex_);
  uint64_t bytes = 0;
  for (const Memory& part : parts_) bytes += part.size_bytes;
  return bytes;
}

void DeviceMirror::find(const CapabilitySpace& space, std::span<PreparedQuery* const> queries,
                        uint32_t row_count, bool precise, DeviceCandidates& found_out) {
  std::lock_guard lock(mutex_);
  const DeviceTable& table = device_table();
  if (table_ != &table) forget();
  table_ = &table;
  try {
    begin(space, row_count);
    bring_up_to_date(space, row_count);
    search(queries, space.stride, row_count, precise, found_out);
  } catch (...) {
    forget();
    throw;
  }
}

// A larger space is written again as a whole: growth by half keeps that rare.
void DeviceMirror::begin(const CapabilitySpace& space, uint32_t row_count) {
  if (stream_ == nullptr) check_device(*table_, "stream_create", table_->stream_create(&stream_));
  stride_ = device_stride(space.stride);
  if (row_count <= row_capacity_) return;
  const uint64_t rows = std::min<uint64_t>(row_count + uint64_t(row_count) / 2, UINT32_MAX - 1);
  row_capacity_ = 0;
  for (const auto& [part, size_bytes] : {std::pair<Part, uint64_t>{codes, stride_},
                                         {scales, 4},
                                         {vectors, stride_ * 4ull},
                                         {prices, 8},
                                         {skills, 8},
                                         {policy, 8},
                                         {tenants, 4},
                                         {regions, 2},
                                         {tiers, 1},
                                         {live, 1}})
    at_least(part, rows * size_bytes);
  seen_.assign(rows, never_seen);
  row_capacity_ = uint32_t(rows);
}

void DeviceMirror::bring_up_to_date(const CapabilitySpace& space, uint32_t row_count) {
  changed_.clear();
  for (uint32_t row = 0; row < row_count; ++row) {
    const uint32_t& sequence = space.block(row).sequence[CapabilitySpace::slot(row)];
    if (std::atomic_ref<uint32_t>(const_cast<uint32_t&>(sequence)).load() != seen_[row])
      changed_.push_back(row);
  }
  for (size_t first = 0; first < changed_.size(); first += rows_in_write)
    write(space, std::span<const uint32_t>(changed_).subspan(
                     first, std::min<size_t>(rows_in_write, changed_.size() - first)));
}

void DeviceMirror::write(const CapabilitySpace& space, std::span<const uint32_t> rows) {
  staging_.assign(rows.size() * stride_, 0);
  std::vector<uint32_t> sequences(rows.size());
  for (size_t i = 0; i < rows.size(); ++i)
    sequences[i] = copy_vector(space, rows[i], staging_.data() + i * stride_);
  copy_in(row_numbers, rows.data(), rows.size_bytes());
  copy_in(row_vectors, staging_.data(), staging_.size() * sizeof(float));
  void* zero = at_least(zeros, rows_in_write * sizeof(uint64_t));
  void* one = at_least(ones, rows_in_write);
  check_device(*table_, "fill", table_->fill(zero, 0, rows_in_write * sizeof(uint64_t), stream_));
  check_device(*table_, "fill", table_->fill(one, 1, rows_in_write, stream_));

  const DeviceSpace to = device_space(row_capacity_);
  const DeviceRows written{uint32_t(rows.size()),
                           0,
                           static_cast<const uint32_t*>(parts_[row_numbers].data),
                           static_cast<const float*>(parts_[row_vectors].data),
                           static_cast<const int64_t*>(zero),
                           static_cast<const uint64_t*>(zero),
                           static_cast<const uint64_t*>(zero),
                           static_cast<const uint32_t*>(zero),
                           static_cast<const uint16_t*>(zero),
                           static_cast<const uint8_t*>(zero),
                           static_cast<const uint8_t*>(one)};
  check_device(*table_, "write_rows", table_->write_rows(&to, &written, stream_));
  for (size_t i = 0; i < rows.size(); ++i) seen_[rows[i]] = sequences[i];
}

// One mask for all where they share it.
void DeviceMirror::give_masks(std::span<PreparedQuery* const> prepared, uint64_t& mask_stride_out) {
  const uint32_t words = prepared[0]->mask_words;
  const bool shared = std::all_of(prepared.begin(), prepared.end(), [&](const PreparedQuery* q) {
    return q->mask == prepared[0]->mask;
  });
  mask_stride_out = shared ? 0 : words;
  if (shared) {
    copy_in(masks, prepared[0]->mask, words * sizeof(uint64_t));
    return;
  }
  mask_words_.resize(prepared.size() * words);
  for (size_t i = 0; i < prepared.size(); ++i)
    std::copy_n(prepared[i]->mask, words, mask_words_.data() + i * words);
  copy_in(masks, mask_words_.data(), mask_words_.size() * sizeof(uint64_t));
}

void DeviceMirror::search(std::span<PreparedQuery* const> prepared, uint32_t host_stride,
                          uint32_t row_count, bool precise, DeviceCandidates& found_out) {
  const auto count = uint32_t(prepared.size());
  staging_.assign(size_t(count) * stride_, 0);
  for (uint32_t i = 0; i < count; ++i)
    std::copy_n(prepared[i]->vector, host_stride, staging_.data() + size_t(i) * stride_);
  copy_in(queries, staging_.data(), staging_.size() * sizeof(float));
  uint64_t mask_stride = 0;
  give_masks(prepared, mask_stride);
  const DeviceFilter everyone{INT64_MAX, 0, 0, 0, 0, 0, UINT32_MAX, UINT32_MAX, 0, 255};
  copy_in(filters, &everyone, sizeof(everyone));

  const size_t cells = size_t(count) * device_candidates_max;
  auto* rows = static_cast<uint32_t*>(at_least(rows_out, cells * sizeof(uint32_t)));
  auto* scores = static_cast<float*>(at_least(scores_out, cells * sizeof(float)));
  const auto* vector = static_cast<const float*>(parts_[queries].data);
  const auto* mask = static_cast<const uint64_t*>(parts_[masks].data);
  const DeviceSpace space = device_space(row_count);
  if (precise) {
    DeviceSearch job{vector,  space.device_vectors,  mask,    mask_stride, count, row_count,
                     stride_, device_candidates_max, nullptr, rows,        scores};
    job.device_workspace = at_least(workspace, table_->search_workspace_bytes(&job));
    check_device(*table_, "search", table_->search(&job, stream_));
  } else {
    DeviceCodeSearch job{&space,
                         vector,
                         static_cast<const DeviceFilter*>(parts_[filters].data),
                         mask,
                         mask_stride,
                         0,
                         count,
                         device_candidates_max,
                         device_candidates_max,
                         nullptr,
                         rows,
                         scores};
    job.device_workspace = at_least(workspace, table_->code_search_workspace_bytes(&job));
    check_device(*table_, "code_search", table_->code_search(&job, stream_));
  }
  found_out.rows.resize(cells);
  found_out.scores.resize(cells);
  check_device(*table_, "copy_from_device",
               table_->copy_from_device(found_out.rows.data(), rows, cells * 4, stream_));
  check_device(*table_, "copy_from_device",
               table_->copy_from_device(found_out.scores.data(), scores, cells * 4, stream_));
  check_device(*table_, "synchronize", table_->synchronize(stream_));
}

// Grows by being made anew, which waits for the device: what is by row is written again then.
void* DeviceMirror::at_least(Part part, uint64_t size_bytes) {
  Memory& memory = parts_[part];
  if (memory.size_bytes >= size_bytes && memory.data != nullptr) return memory.data;
  if (memory.data != nullptr) {
    check_device(*table_, "synchronize", table_->synchronize(stream_));
    check_device(*table_, "release", table_->release(std::exchange(memory.data, nullptr)));
  }
  memory.size_bytes = 0;
  check_device(*table_, "allocate",
               table_->allocate(std::max<uint64_t>(size_bytes, 1), &memory.data));
  memory.size_bytes = size_bytes;
  return memory.data;
}

void DeviceMirror::copy_in(Part part, const void* from, uint64_t size_bytes) {
  void* to = at_least(part, size_bytes);
  if (size_bytes != 0)
    check_device(*table_, "copy_to_device", table_->copy_to_device(to, from, size_bytes, stream_));
}

DeviceSpace DeviceMirror::device_space(uint32_t row_count) const {
  return {row_count,
          stride_,
          DeviceFormat::int8,
          0,
          parts_[codes].data,
          static_cast<float*>(parts_[scales].data),
          static_cast<float*>(parts_[vectors].data),
          static_cast<int64_t*>(parts_[prices].data),
          static_cast<uint64_t*>(parts_[skills].data),
          static_cast<uint64_t*>(parts_[policy].data),
          static_cast<uint32_t*>(parts_[tenants].data),
          static_cast<uint16_t*>(parts_[regions].data),
          static_cast<uint8_t*>(parts_[tiers].data),
          static_cast<uint8_t*>(parts_[live].data)};
}

}  // namespace hanse
