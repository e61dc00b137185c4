// The vectors of a space on a device, brought up to date by what changed since the last search.
// Internal to this concept.
//
// What a device finds are candidates: the host looks each of them up and ranks them in double, as
// those of any other plan. Filters are bitmaps that the host keeps exact with each write, one bit a
// row, so a price or a revocation needs no way to the device and can't be stale there.
#pragma once

#include <mutex>
#include <vector>

#include "base/device.hpp"
#include "capability/query.hpp"

namespace hanse {

// The most rows that one query gets from a device, and so the most that it can be asked for.
constexpr uint32_t device_candidates_max = device_search_k_max;

struct DeviceCandidates {
  std::vector<uint32_t> rows;  // [query, device_candidates_max], best first, then index_none
  std::vector<float> scores;   // by float32, in the device's order of summation
};

// Any thread; searches take turns.
class DeviceMirror {
 public:
  DeviceMirror() = default;
  ~DeviceMirror();
  DeviceMirror(const DeviceMirror&) = delete;
  DeviceMirror& operator=(const DeviceMirror&) = delete;

  // Of the first `row_count` rows. Each query has its mask; those of one mask stand side by side.
  // precise: by the float32 vectors, not by codes of 8 bits. Throws no_device, device_failed; the
  // next search begins with an empty device then.
  void find(const CapabilitySpace& space, std::span<PreparedQuery* const> queries,
            uint32_t row_count, bool precise, DeviceCandidates& found_out);
  uint64_t memory_bytes() const;  // of the device

 private:
  struct Memory {
    void* data = nullptr;
    uint64_t size_bytes = 0;
  };
  // By row, then those of one write, then those of one search.
  enum Part : uint32_t {
    codes,
    scales,
    vectors,
    prices,
    skills,
    policy,
    tenants,
    regions,
    tiers,
    live,
    row_numbers,
    row_vectors,
    zeros,
    ones,
    queries,
    masks,
    filters,
    workspace,
    rows_out,
    scores_out,
    part_count
  };

  void begin(const CapabilitySpace& space, uint32_t row_count);
  void bring_up_to_date(const CapabilitySpace& space, uint32_t row_count);
  void write(const CapabilitySpace& space, std::span<const uint32_t> rows);
  void search(std::span<PreparedQuery* const> prepared, uint32_t host_stride, uint32_t row_count,
              bool precise, DeviceCandidates& found_out);
  void give_masks(std::span<PreparedQuery* const> prepared, uint64_t& mask_stride_out);
  void* at_least(Part part, uint64_t size_bytes);
  void copy_in(Part part, const void* from, uint64_t size_bytes);
  DeviceSpace device_space(uint32_t row_count) const;
  void forget() noexcept;

  const DeviceTable* table_ = nullptr;
  void* stream_ = nullptr;
  uint32_t stride_ = 0, row_capacity_ = 0;
  std::vector<uint32_t> seen_;  // by row: the sequence that the device's copy has; odd: none
  std::vector<float> staging_;
  std::vector<uint32_t> changed_;
  std::vector<uint64_t> mask_words_;
  Memory parts_[part_count];
  mutable std::mutex mutex_;
};

}  // namespace hanse
