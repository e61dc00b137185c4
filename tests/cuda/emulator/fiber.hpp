// Fibers: stacks that one thread switches between. Internal to the emulator.
#pragma once

#include <cstddef>

namespace simt {

constexpr size_t stack_size_bytes = 64 << 10;

struct Fiber {
  void* stack_pointer = nullptr;
  unsigned char* stack = nullptr;  // its lowest byte
  void* fake_stack = nullptr;      // what the address sanitizer keeps of it
  void* witness = nullptr;         // the same of the thread sanitizer
};

// A fresh stack that begins in `entry`, which never returns.
void prepare(Fiber& fiber, void (*entry)());
// From the scheduler's stack to the fiber's, and back.
void enter(Fiber& fiber);
void leave(Fiber& fiber, bool for_good);
// The first thing that `entry` does.
void arrived();
bool on_stack(const Fiber& fiber, const void* memory);

}  // namespace simt
