// What this machine can do at best, so that a benchmark can print its result beside it.
#pragma once

namespace hanse {

// Nanoseconds for one cache line to travel from one CPU to another and back: the median of 11
// rounds between two threads, each pinned to one of the first two CPUs that this process may use.
// Takes about 10 ms of two CPUs. Not a number (NaN) where the process may use only one.
double cache_line_round_trip_ns();

}  // namespace hanse
