// Who touched which byte, and whether a barrier lies between. Internal to the emulator.
#pragma once

#include <cstddef>
#include <cstdint>

#include "simt.hpp"

namespace simt {

// When a thread did something. A serial is one block of one launch, or one copy.
struct Moment {
  uint32_t serial = 0;  // 0: never
  uint32_t thread = 0;
  uint32_t barrier = 0;    // block barriers that the thread had passed
  uint32_t warp_sync = 0;  // warp barriers
  bool atomic = false;
};

// --- told by the scheduler

// One launch or copy of `stream`; `known[s]` is the newest work of each stream that ended before.
void begin_work(uint32_t stream, uint32_t number, const uint32_t* known, uint32_t stream_count);
// Poisons shared memory and gives the block its serial.
void begin_block(size_t dynamic_size_bytes);
void allow(const void* memory, size_t size_bytes, bool writable);  // of the running thread or call
void disallow_all();

// --- told by the runtime

void register_memory(void* memory, size_t size_bytes);
void unregister_memory(void* memory);
bool is_device_memory(const void* memory, size_t size_bytes);
void touch_range(const void* memory, size_t size_bytes, bool writes);  // by a copy

// --- told by threads

// Moment of the running thread; the serial is filled in.
void touch(const void* memory, size_t size_bytes, bool writes, bool atomic);
void begin_copy(void* shared_to, size_t size_bytes);
void end_copy(void* shared_to, size_t size_bytes);
unsigned char* dynamic_memory();

// What the scheduler knows of the thread that runs; nullptr: the host does.
const Moment* running_moment();
[[noreturn]] void violate(Check check, const std::string& text);

}  // namespace simt
