// Pages of latents on the device: memory taken once, lent to one tenant at a time, with copies to
// and from the host that nobody waits for until the bytes are wanted.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

#include "base/device.hpp"
#include "base/ids.hpp"
#include "base/view.hpp"

namespace hanse {

using DevicePage = uint32_t;  // number of a page of one tier

struct DeviceTierOptions {
  uint64_t page_bytes = 0;
  uint32_t page_count = 0;
  uint32_t staging_count = 8;  // pages of pinned memory: so many copies can be under way
};

// Any thread; a call that finds all staging in use waits for the oldest copy. What a tenant leaves
// in a page is overwritten with zeros before another tenant gets it, in the order of the tier's
// stream, so that no copy can come between.
class DeviceTier {
 public:
  // Throws out_of_range (a size is 0), device_failed (no memory on the device).
  DeviceTier(const DeviceTable& table, const DeviceTierOptions& options);
  ~DeviceTier();
  DeviceTier(const DeviceTier&) = delete;
  DeviceTier& operator=(const DeviceTier&) = delete;

  // A page for `tenant`: one that it had before if there is one, else one of nobody's, else one of
  // another's, zeroed. Throws quota_exceeded when none is free.
  DevicePage take(uint32_t tenant);
  // Throws out_of_range (no such page), not_permitted (it isn't lent to `tenant`), as all below.
  void give_back(uint32_t tenant, DevicePage page);

  // Queues the copy and returns; `bytes` is read before that. At most page_bytes.
  void store(uint32_t tenant, DevicePage page, Bytes bytes);
  // Waits until the bytes are there.
  void load(uint32_t tenant, DevicePage page, std::span<uint8_t> bytes_out);
  // The pages' memory, [page_count][page_bytes], and the stream that their copies are queued on;
  // for kernels that name pages by number.
  uint8_t* device_pages() const { return pages_; }
  void* stream() const { return stream_; }

  struct Counts {
    uint32_t free, lent;
    uint64_t zeroed;  // pages that changed tenants
  };
  Counts counts() const;

 private:
  static constexpr uint32_t nobody = UINT32_MAX;
  struct State {
    uint32_t tenant = nobody;  // that wrote last
    bool lent = false;
  };

  State& lent_page(uint32_t tenant, DevicePage page);
  uint8_t* at(DevicePage page) const { return pages_ + uint64_t(page) * options_.page_bytes; }
  uint8_t* staging();
  void release() noexcept;

  const DeviceTable& table_;
  const DeviceTierOptions options_;
  mutable std::mutex mutex_;
  std::vector<State> states_;
  std::vector<DevicePage> free_;
  uint8_t* pages_ = nullptr;
  uint8_t* staging_ = nullptr;
  void* stream_ = nullptr;
  uint32_t staged_ = 0;  // slots used since the stream was last waited for
  uint64_t zeroed_ = 0;
};

}  // namespace hanse
