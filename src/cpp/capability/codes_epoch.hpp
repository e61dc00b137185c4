// Who is reading, so that a writer knows when nobody can still see what it took away. Internal to
// this concept.
//
// Epoch-based reclamation (Fraser, "Practical lock-freedom", 2004, §5.2.3). Entering and leaving
// are two stores; no reader ever waits for a writer.
#pragma once

#include <atomic>
#include <cstdint>

namespace hanse {

class ReadEpochs {
 public:
  static constexpr uint32_t reader_count_max = 128;  // at once; more wait for one to leave

  // While it lives, nothing that this reader can reach is reused.
  class Guard {
   public:
    explicit Guard(const ReadEpochs& epochs);
    ~Guard() { place_->store(idle, std::memory_order_release); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    std::atomic<uint64_t>* place_;
  };

  // After something can no longer be found: a mark. Once `oldest` is no less, nobody sees it.
  uint64_t retire() { return epoch_.fetch_add(1) + 1; }
  // The mark that the earliest reader entered at; UINT64_MAX where nobody reads.
  uint64_t oldest() const;

 private:
  static constexpr uint64_t idle = UINT64_MAX;

  struct alignas(64) Place {
    std::atomic<uint64_t> epoch{idle};
  };
  std::atomic<uint64_t> epoch_{1};
  mutable Place places_[reader_count_max];
};

}  // namespace hanse
