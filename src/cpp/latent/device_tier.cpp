#include "latent/device_tier.hpp"

#include <algorithm>
#include <cstring>

#include "base/error.hpp"

namespace hanse {

DeviceTier::DeviceTier(const DeviceTable& table, const DeviceTierOptions& options)
    : table_(table), options_(options) {
  const auto positive = [](const char* field, uint64_t value) {
    if (value == 0) throw Error(ErrorCode::out_of_range, field, "0 where at least 1 is needed");
  };
  positive("page_bytes", options.page_bytes);
  positive("page_count", options.page_count);
  positive("staging_count", options.staging_count);
  if (options.page_bytes > UINT64_MAX / std::max(options.page_count, options.staging_count))
    throw Error(ErrorCode::out_of_range, "page_bytes", options.page_bytes,
                UINT64_MAX / options.page_count);
  states_.resize(options.page_count);
  for (DevicePage page = options.page_count; page-- > 0;) free_.push_back(page);
  try {
    void* memory = nullptr;
    check_device(table_, "stream_create", table_.stream_create(&stream_));
    check_device(table_, "allocate",
                 table_.allocate(options.page_bytes * options.page_count, &memory));
    pages_ = static_cast<uint8_t*>(memory);
    check_device(table_, "allocate_pinned",
                 table_.allocate_pinned(options.page_bytes * options.staging_count, &memory));
    staging_ = static_cast<uint8_t*>(memory);
    // Fresh device memory holds what the last process left there.
    check_device(table_, "fill",
                 table_.fill(pages_, 0, options.page_bytes * options.page_count, stream_));
  } catch (...) {
    release();
    throw;
  }
}

DeviceTier::~DeviceTier() { release(); }

void DeviceTier::release() noexcept {
  if (stream_ != nullptr) table_.stream_destroy(stream_);
  if (staging_ != nullptr) table_.release_pinned(staging_);
  if (pages_ != nullptr) table_.release(pages_);
}

DevicePage DeviceTier::take(uint32_t tenant) {
  std::lock_guard lock(mutex_);
  if (free_.empty())
    throw Error(ErrorCode::quota_exceeded, "page_count", uint64_t(options_.page_count) + 1,
                options_.page_count);
  const auto owned = [&](uint32_t owner) {
    return std::find_if(free_.rbegin(), free_.rend(),
                        [&](DevicePage page) { return states_[page].tenant == owner; });
  };
  auto found = owned(tenant);
  if (found == free_.rend()) found = owned(nobody);
  if (found == free_.rend()) found = free_.rbegin();
  const DevicePage page = *found;
  State& state = states_[page];
  if (state.tenant != tenant && state.tenant != nobody) {
    check_device(table_, "fill", table_.fill(at(page), 0, options_.page_bytes, stream_));
    ++zeroed_;
  }
  free_.erase(std::next(found).base());
  state = {tenant, true};
  return page;
}

DeviceTier::State& DeviceTier::lent_page(uint32_t tenant, DevicePage page) {
  if (page >= states_.size())
    throw Error(ErrorCode::out_of_range, "page", page, states_.size() - 1);
  State& state = states_[page];
  if (!state.lent || state.tenant != tenant)
    throw Error(
        ErrorCode::not_permitted, "page",
        "page " + std::to_string(page) + " is not lent to tenant " + std::to_string(tenant));
  return state;
}

void DeviceTier::give_back(uint32_t tenant, DevicePage page) {
  std::lock_guard lock(mutex_);
  lent_page(tenant, page).lent = false;
  free_.push_back(page);
}

uint8_t* DeviceTier::staging() {
  if (staged_ == options_.staging_count) {
    check_device(table_, "synchronize", table_.synchronize(stream_));
    staged_ = 0;
  }
  return staging_ + options_.page_bytes * staged_++;
}

void DeviceTier::store(uint32_t tenant, DevicePage page, Bytes bytes) {
  std::lock_guard lock(mutex_);
  lent_page(tenant, page);
  if (bytes.size() > options_.page_bytes)
    throw Error(ErrorCode::too_large, "bytes", bytes.size(), options_.page_bytes);
  if (bytes.empty()) return;
  uint8_t* stage = staging();
  std::memcpy(stage, bytes.data(), bytes.size());
  check_device(table_, "copy_to_device",
               table_.copy_to_device(at(page), stage, bytes.size(), stream_));
}

void DeviceTier::load(uint32_t tenant, DevicePage page, std::span<uint8_t> bytes_out) {
  std::lock_guard lock(mutex_);
  lent_page(tenant, page);
  if (bytes_out.size() > options_.page_bytes)
    throw Error(ErrorCode::too_large, "bytes_out", bytes_out.size(), options_.page_bytes);
  if (bytes_out.empty()) return;
  uint8_t* stage = staging();
  check_device(table_, "copy_from_device",
               table_.copy_from_device(stage, at(page), bytes_out.size(), stream_));
  check_device(table_, "synchronize", table_.synchronize(stream_));
  staged_ = 0;
  std::memcpy(bytes_out.data(), stage, bytes_out.size());
}

DeviceTier::Counts DeviceTier::counts() const {
  std::lock_guard lock(mutex_);
  return {uint32_t(free_.size()), uint32_t(states_.size() - free_.size()), zeroed_};
}

}  // namespace hanse
