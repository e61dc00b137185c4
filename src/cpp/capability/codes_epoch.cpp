#include "capability/codes_epoch.hpp"

#include <algorithm>
#include <functional>
#include <thread>

namespace hanse {

ReadEpochs::Guard::Guard(const ReadEpochs& epochs) {
  // A thread comes back to the place that it had, which is nearly always free.
  thread_local uint32_t first =
      uint32_t(std::hash<std::thread::id>()(std::this_thread::get_id()) % reader_count_max);
  for (uint32_t tried = 0;; ++tried) {
    if (tried == reader_count_max) {
      tried = 0;
      std::this_thread::yield();
    }
    const uint32_t i = (first + tried) % reader_count_max;
    place_ = &epochs.places_[i].epoch;
    uint64_t expected = idle;
    uint64_t epoch = epochs.epoch_.load();
    if (!place_->compare_exchange_strong(expected, epoch)) continue;
    first = i;
    // A writer that did not see this reader may have moved on between the two lines above.
    for (uint64_t now; (now = epochs.epoch_.load()) != epoch; epoch = now) place_->store(now);
    return;
  }
}

uint64_t ReadEpochs::oldest() const {
  uint64_t oldest = idle;
  for (const Place& place : places_) oldest = std::min(oldest, place.epoch.load());
  return oldest;
}

}  // namespace hanse
