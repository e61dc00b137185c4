// Every allocation of a workload fails in turn: the call says so, and the state is what it was, or
// the kernel says that it stops. The test program's own operator new counts and fails.
#include <cstddef>
#include <cstdlib>
#include <new>

#include "workload.hpp"

namespace {

// Of this thread: when the count reaches 0, one allocation fails.
thread_local uint64_t allocations_left = UINT64_MAX;
thread_local uint64_t allocations_seen = 0;

void* allocate(size_t size, size_t alignment) {
  ++allocations_seen;
  if (allocations_left != UINT64_MAX && allocations_left-- == 0) {
    allocations_left = UINT64_MAX;
    throw std::bad_alloc();
  }
  void* memory =
      alignment <= alignof(std::max_align_t)
          ? std::malloc(size == 0 ? 1 : size)
          : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(size_t size) { return allocate(size, 1); }
void* operator new[](size_t size) { return allocate(size, 1); }
void* operator new(size_t size, std::align_val_t alignment) {
  return allocate(size, size_t(alignment));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return allocate(size, size_t(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

namespace hanse {
namespace {

// Fails allocation number `at` of operation `target`. False: it has no more than that.
bool fail_one(const Reference& reference, size_t target, uint64_t at) {
  Machine machine;
  machine.open();
  for (size_t i = 0; i < target; ++i) machine.perform(reference.operations[i]);
  const Digest before = machine.kernel->state_hash().all;
  const uint64_t count = machine.kernel->journal().count();
  uint64_t told = machine.kernel->durable_count();
  bool failed = false, reached = false;
  try {
    allocations_left = at;
    machine.perform(reference.operations[target]);
  } catch (const std::bad_alloc&) {
    failed = true;
  } catch (const Error&) {
    failed = true;
  }
  reached = allocations_left == UINT64_MAX;
  allocations_left = UINT64_MAX;
  told = std::max(told, machine.kernel->durable_count());
  const bool poisoned = !machine.kernel->journal().status().poisoned.empty();
  const uint64_t count_after = machine.kernel->journal().count();
  if (failed && !poisoned && count_after == count) {
    EXPECT_EQ(machine.kernel->state_hash().all, before);
    // Nothing happened: the same call, put again, does what it would have done.
    if (reference.operations[target].verb != Verb::drain) {
      machine.perform(reference.operations[target]);
      EXPECT_EQ(machine.kernel->state_hash().all, reference.hash_at.at(reference.ends[target]));
      told = machine.kernel->durable_count();
    }
  }
  expect_survives(reference, machine, told, reference.ends[target]);
  return reached;
}

TEST(AllocationFailure, AnywhereLeavesTheStateOrStopsTheKernel) {
  const uint64_t stride = long_run() ? 1 : 3;
  const size_t operation_count = 60;
  uint64_t failures = 0;
  for (uint64_t seed = 1; seed <= (long_run() ? workload_count : 3); ++seed) {
    const Reference reference(seed, operation_count);
    for (size_t target = seed % 3; target < operation_count; target += long_run() ? 1 : 3) {
      for (uint64_t at = (seed + target) % stride;; at += stride, ++failures) {
        SCOPED_TRACE("workload " + std::to_string(seed) + ", allocation " + std::to_string(at) +
                     " of operation " + std::to_string(target) + ": " +
                     show(reference.operations[target]));
        const bool reached = fail_one(reference, target, at);
        if (::testing::Test::HasFailure()) return;
        if (!reached) break;
      }
    }
  }
  EXPECT_GT(failures, 500u);
  RecordProperty("failures", int(failures));
}

}  // namespace
}  // namespace hanse
