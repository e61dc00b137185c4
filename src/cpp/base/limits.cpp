#include "base/limits.hpp"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <thread>
#include <vector>

namespace hanse {
namespace {

constexpr size_t round_count = 11;
constexpr uint32_t trips_per_round = 2'000;

// Alone on its line, and on the neighbour that the prefetcher brings along with it.
struct alignas(128) Ball {
  std::atomic<uint32_t> value{0};
};

std::vector<int> usable_cpus() {
  std::vector<int> cpus;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(size_t(cpu), &allowed)) cpus.push_back(cpu);
  return cpus;
}

void pin_this_thread(int cpu) {
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(size_t(cpu), &only);
  // Where it is refused the figure is worse, not wrong: the threads still run on two CPUs mostly.
  (void)pthread_setaffinity_np(pthread_self(), sizeof(only), &only);
}

// Odd values belong to the one who answers, even ones to the one who asks.
void answer(Ball& ball, uint32_t trips) {
  for (uint32_t trip = 0; trip < trips; ++trip) {
    while (ball.value.load(std::memory_order_acquire) != 2 * trip + 1) {
    }
    ball.value.store(2 * trip + 2, std::memory_order_release);
  }
}

double ask_ns(Ball& ball, uint32_t first_trip, uint32_t trips) {
  const auto start = std::chrono::steady_clock::now();
  for (uint32_t trip = first_trip; trip < first_trip + trips; ++trip) {
    ball.value.store(2 * trip + 1, std::memory_order_release);
    while (ball.value.load(std::memory_order_acquire) != 2 * trip + 2) {
    }
  }
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
  return taken.count() / trips;
}

}  // namespace

double cache_line_round_trip_ns() {
  const std::vector<int> cpus = usable_cpus();
  if (cpus.size() < 2) return std::numeric_limits<double>::quiet_NaN();

  Ball ball;
  std::array<double, round_count> rounds{};
  std::thread partner([&] {
    pin_this_thread(cpus[1]);
    answer(ball, uint32_t(round_count) * trips_per_round);
  });
  // A thread of its own asks too, so that the caller's affinity stays as it was.
  std::thread asker([&] {
    pin_this_thread(cpus[0]);
    for (uint32_t round = 0; round < round_count; ++round)
      rounds[round] = ask_ns(ball, round * trips_per_round, trips_per_round);
  });
  asker.join();
  partner.join();

  std::nth_element(rounds.begin(), rounds.begin() + round_count / 2, rounds.end());
  return rounds[round_count / 2];
}

}  // namespace hanse
