// What the runtime asks of the scheduler. Internal to the emulator.
#pragma once

#include <vector>

#include "simt.hpp"
#include "simt_device.hpp"

namespace simt {

uint64_t next_random();
void shuffle_order(std::vector<unsigned>& order);
const Schedule& schedule_in_use();
void count_accesses(uint64_t more);
bool on_running_stack(const void* memory);
// To the end. Throws Violation.
void run_kernel(const char* name, dim3 grid, dim3 block, size_t shared_size_bytes,
                const Call& bound);

}  // namespace simt
