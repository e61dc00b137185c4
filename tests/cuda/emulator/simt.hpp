// The device, emulated: each CUDA thread a fiber, blocks one after another, in an order that the
// test chooses. Kernels are the plug-in's own sources, compiled by a C++ compiler; this header is
// what tests see of the emulator, `simt_device.hpp` what kernels see.
//
// A kernel's mistake ends its launch with a Violation that names the check, the kernel, the thread
// and the place. One thread of the test uses the emulator.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace simt {

enum class Order { forward, reverse, random };

// What every launch from now on does. Both apply to threads, blocks and streams.
struct Schedule {
  Order order = Order::forward;
  uint64_t seed = 1;
};
void use(const Schedule& schedule);

enum class Check {
  data_race,          // two accesses, one writing, that no barrier orders
  stream_order,       // the same, of two launches or copies that no stream or event orders
  uninitialised,      // a read of shared memory that nobody wrote in this block
  out_of_bounds,      // outside of shared memory and of every allocation
  unfinished_copy,    // an access to what an asynchronous copy still owes
  divergent_barrier,  // threads of a block at different barriers, or some at none
  divergent_warp,     // lanes at different warp operations, or an operation on absent lanes
  misaligned,         // a vector access at an odd address
  read_only_memory,   // a write to what no kernel may write
  host_memory,        // an access to memory of the host
};
const char* check_name(Check check);

class Violation : public std::runtime_error {
 public:
  Violation(Check check, const std::string& text)
      : std::runtime_error(std::string(check_name(check)) + ": " + text), check_(check) {}
  Check check() const { return check_; }

 private:
  Check check_;
};

// Whether kernels were compiled so that each of their accesses is seen (not under a sanitizer,
// which sees them itself).
bool accesses_are_seen();

struct Counts {
  uint64_t launches, blocks, switches, accesses;
};
Counts counts();

// Forgets queued work and the order of streams after a Violation, so that the next test is alone.
void reset();

}  // namespace simt
