#include "fiber.hpp"

#include "witness.hpp"

#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>

#include <map>
#endif

namespace simt {

namespace {

Fiber scheduler;

#if defined(__x86_64__)

// A switch of our own: swapcontext asks the system to store the signal mask, which costs 14 times
// as much as all the rest.
extern "C" void hanse_simt_switch(void** save, void* load);
asm(R"(
.text
.globl hanse_simt_switch
.type hanse_simt_switch,@function
hanse_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp,(%rdi)
  movq %rsi,%rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size hanse_simt_switch,.-hanse_simt_switch
)");

void set_up(Fiber& fiber, void (*entry)()) {
  auto** top = reinterpret_cast<void**>(fiber.stack + stack_size_bytes) - 2;
  *--top = nullptr;  // where `entry` would return to; keeps the stack aligned as a call would
  *--top = reinterpret_cast<void*>(entry);
  fiber.stack_pointer = top - 6;
}

void switch_stacks(Fiber& from, Fiber& to) {
  hanse_simt_switch(&from.stack_pointer, to.stack_pointer);
}

#else

ucontext_t& context_of(Fiber& fiber) {
  static std::map<Fiber*, ucontext_t> contexts;
  return contexts[&fiber];
}

void set_up(Fiber& fiber, void (*entry)()) {
  ucontext_t& context = context_of(fiber);
  getcontext(&context);
  context.uc_stack.ss_sp = fiber.stack;
  context.uc_stack.ss_size = stack_size_bytes;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}

void switch_stacks(Fiber& from, Fiber& to) { swapcontext(&context_of(from), &context_of(to)); }

#endif

#if defined(__SANITIZE_ADDRESS__)
const void* scheduler_bottom;
size_t scheduler_size_bytes;

void leaving(Fiber& from, Fiber& to, bool for_good) {
  const bool home = &to == &scheduler;
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake_stack,
                                 home ? scheduler_bottom : to.stack,
                                 home ? scheduler_size_bytes : stack_size_bytes);
}
void back(Fiber& fiber) { __sanitizer_finish_switch_fiber(fiber.fake_stack, nullptr, nullptr); }
void unpoison(Fiber& fiber) { __asan_unpoison_memory_region(fiber.stack, stack_size_bytes); }
#else
void leaving(Fiber&, Fiber&, bool) {}
void back(Fiber&) {}
void unpoison(Fiber&) {}
#endif

void change(Fiber& from, Fiber& to, bool for_good) {
  leaving(from, to, for_good);
  witness::go_to(to.witness);
  switch_stacks(from, to);
  back(from);
}

}  // namespace

void prepare(Fiber& fiber, void (*entry)()) {
  if (fiber.stack == nullptr) {
    void* memory =
        mmap(nullptr, stack_size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    fiber.stack = static_cast<unsigned char*>(memory);
  }
  if (fiber.witness == nullptr) fiber.witness = witness::another();
  unpoison(fiber);
  set_up(fiber, entry);
}

void enter(Fiber& fiber) {
  if (scheduler.witness == nullptr) scheduler.witness = witness::here();
  change(scheduler, fiber, false);
}
void leave(Fiber& fiber, bool for_good) { change(fiber, scheduler, for_good); }

void arrived() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_bottom, &scheduler_size_bytes);
#endif
}

bool on_stack(const Fiber& fiber, const void* memory) {
  const auto at = reinterpret_cast<uintptr_t>(memory);
  const auto bottom = reinterpret_cast<uintptr_t>(fiber.stack);
  return at >= bottom && at < bottom + stack_size_bytes;
}

}  // namespace simt
