// Time is injected: UNIX nanoseconds for records and deadlines.
#pragma once

#include <atomic>
#include <cstdint>

namespace hanse {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual uint64_t now_ns() = 0;  // any thread
};

class SystemClock final : public Clock {
 public:
  uint64_t now_ns() override;
};

// Moves only when told to; for tests, simulation and replay.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(uint64_t start_ns) : now_(start_ns) {}
  uint64_t now_ns() override { return now_.load(std::memory_order_relaxed); }
  void set(uint64_t now_ns) { now_.store(now_ns, std::memory_order_relaxed); }
  void advance(uint64_t step_ns) { now_.fetch_add(step_ns, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> now_;
};

}  // namespace hanse
