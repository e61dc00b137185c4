// Runs the blocks of a launch, and what threads wait for.
#include <algorithm>
#include <deque>
#include <functional>
#include <numeric>
#include <optional>
#include <vector>

#include "fiber.hpp"
#include "memory.hpp"
#include "scheduler.hpp"
#include "simt_device.hpp"
#include "witness.hpp"

namespace simt {

ThreadState current;

namespace {

constexpr unsigned lanes = 32;
enum class Waiting { no, block, warp, ended };

struct AsyncCopy {
  unsigned char* to;
  const unsigned char* from;
  size_t size_bytes;
  bool zeros;
};

struct Thread {
  Fiber fiber;
  ThreadState state;
  Moment moment;
  Waiting waiting = Waiting::ended;
  Place place{};
  std::vector<AsyncCopy> open_copies;              // not yet in a group
  std::deque<std::vector<AsyncCopy>> copy_groups;  // oldest first
};

// Two tables in turn: a lane may be at the next operation while others still read the last one's.
struct Warp {
  uint32_t arrived = 0;
  uint64_t operations = 0;
  WarpOperation operation{};
  Place place{};
  unsigned char slots[2][lanes][slot_size_bytes];
};

std::deque<Thread> threads;  // addresses stay
std::vector<Warp> warps;
unsigned thread_count, live, at_barrier;
Place barrier_place;
const Call* call;
const char* kernel_name;
Thread* running;
// What the witness knows the begin and the end of a block, its barriers and those of its warps by.
// Each barrier has a place of its own, since a thread may leave one when others are at the next.
constexpr unsigned orders_kept = 64;
char begin_order, end_order, block_orders[orders_kept], warp_orders[1024 / lanes][orders_kept];
std::optional<Violation> violation;
Schedule schedule;
uint64_t random_state;
Counts counted;

char* warp_order() {
  return &warp_orders[running->state.warp][running->moment.warp_sync % orders_kept];
}

std::string text_of(Place place) {
  return std::string(place.file) + ":" + std::to_string(place.line);
}
bool same(Place a, Place b) { return a.line == b.line && std::string(a.file) == b.file; }

void entry() {
  arrived();
  witness::acquire(&begin_order);
  call->run();
  witness::release(&end_order);
  Thread& me = *running;
  me.waiting = Waiting::ended;
  --live;
  if (at_barrier > 0)
    violation.emplace(Check::divergent_barrier,
                      std::string(kernel_name) + ": thread " + std::to_string(me.state.index) +
                          " ended, while others wait at " + text_of(barrier_place));
  leave(me.fiber, true);
}

void pause(Waiting reason, Place place) {
  Thread& me = *running;
  me.waiting = reason;
  me.place = place;
  leave(me.fiber, false);
}

void release_block() {
  for (unsigned i = 0; i < thread_count; ++i) {
    if (threads[i].waiting != Waiting::block) continue;
    threads[i].waiting = Waiting::no;
    ++threads[i].moment.barrier;
  }
  at_barrier = 0;
}

uint32_t lanes_of(unsigned warp, bool (*holds)(const Thread&)) {
  uint32_t found = 0;
  for (unsigned lane = 0; lane < lanes && warp * lanes + lane < thread_count; ++lane)
    if (holds(threads[warp * lanes + lane])) found |= 1u << lane;
  return found;
}

void run(unsigned index) {
  Thread& thread = threads[index];
  if (thread.waiting != Waiting::no) return;
  running = &thread;
  current = thread.state;
  ++counted.switches;
  enter(thread.fiber);
  running = nullptr;
}

std::string whereabouts() {
  std::string text;
  unsigned shown = 0;
  for (unsigned i = 0; i < thread_count && shown < 2; ++i) {
    const Thread& thread = threads[i];
    const bool new_place = i == 0 || !same(thread.place, threads[i - 1].place) ||
                           thread.waiting != threads[i - 1].waiting;
    if (!new_place) continue;
    text += (shown++ == 0 ? "thread " : ", thread ") + std::to_string(i);
    text += thread.waiting == Waiting::ended ? " has ended" : " waits at " + text_of(thread.place);
  }
  return text;
}

// Every thread once, in the order of the schedule, until all have ended.
void run_all() {
  std::vector<unsigned> order(thread_count);
  std::iota(order.begin(), order.end(), 0u);
  if (schedule.order == Order::reverse) std::reverse(order.begin(), order.end());
  while (live > 0 && !violation) {
    if (schedule.order == Order::random) shuffle_order(order);
    const uint64_t before = counted.switches;
    for (const unsigned index : order) {
      run(index);
      if (violation) return;
      if (at_barrier > 0 && at_barrier == live) release_block();
    }
    if (counted.switches == before) {
      const bool warp = std::any_of(threads.begin(), threads.begin() + thread_count,
                                    [](const Thread& t) { return t.waiting == Waiting::warp; });
      violation.emplace(warp ? Check::divergent_warp : Check::divergent_barrier,
                        std::string(kernel_name) + ": " + whereabouts());
    }
  }
}

ThreadState state_of(dim3 grid, dim3 block, unsigned block_index, unsigned i) {
  ThreadState state{};
  state.thread = {i % block.x, i / block.x % block.y, i / (block.x * block.y)};
  state.block = {block_index % grid.x, block_index / grid.x % grid.y,
                 block_index / (grid.x * grid.y)};
  state.block_size = block;
  state.grid_size = grid;
  state.index = i;
  state.lane = i % lanes;
  state.warp = i / lanes;
  return state;
}

void run_block(dim3 grid, dim3 block, unsigned block_index, size_t shared_size_bytes) {
  begin_block(shared_size_bytes);
  ++counted.blocks;
  live = thread_count;
  at_barrier = 0;
  warps.assign((thread_count + lanes - 1) / lanes, {});
  for (unsigned i = 0; i < thread_count; ++i) {
    Thread& thread = threads[i];
    thread.state = state_of(grid, block, block_index, i);
    thread.moment = {};
    thread.moment.thread = i;
    thread.waiting = Waiting::no;
    thread.open_copies.clear();
    thread.copy_groups.clear();
    prepare(thread.fiber, entry);
  }
  witness::release(&begin_order);
  run_all();
  witness::acquire(&end_order);
}

}  // namespace

void use(const Schedule& wanted) {
  schedule = wanted;
  random_state = wanted.seed * 0x9e3779b97f4a7c15u + 1;
}

uint64_t next_random() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

void shuffle_order(std::vector<unsigned>& order) {
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[next_random() % i]);
}

const Schedule& schedule_in_use() { return schedule; }
Counts counts() { return counted; }
void count_accesses(uint64_t more) { counted.accesses += more; }

void run_kernel(const char* name, dim3 grid, dim3 block, size_t shared_size_bytes,
                const Call& bound) {
  kernel_name = name;
  call = &bound;
  violation.reset();
  ++counted.launches;
  thread_count = block.x * block.y * block.z;
  while (threads.size() < thread_count) threads.emplace_back();
  std::vector<unsigned> order(grid.x * grid.y * grid.z);
  std::iota(order.begin(), order.end(), 0u);
  if (schedule.order == Order::reverse) std::reverse(order.begin(), order.end());
  if (schedule.order == Order::random) shuffle_order(order);
  for (const unsigned index : order) {
    run_block(grid, block, index, shared_size_bytes);
    if (violation) break;
  }
  running = nullptr;
  if (violation) throw Violation(*violation);
}

const Moment* running_moment() { return running == nullptr ? nullptr : &running->moment; }
bool on_running_stack(const void* memory) { return on_stack(running->fiber, memory); }

// Of a thread of a kernel: its launch ends here, and nobody runs it again.
void violate(Check check, const std::string& text) {
  std::string where = text;
  if (running != nullptr) {
    const ThreadState& at = running->state;
    where = std::string(kernel_name) + ", block (" + std::to_string(at.block.x) + ", " +
            std::to_string(at.block.y) + "), thread " + std::to_string(at.index) + ": " + text;
  }
  if (running == nullptr) throw Violation(check, where);
  violation.emplace(check, where);
  leave(running->fiber, true);
  std::abort();
}

void block_barrier(Place place) {
  if (at_barrier == 0) barrier_place = place;
  if (!same(barrier_place, place))
    violate(Check::divergent_barrier,
            "at " + text_of(place) + ", while others wait at " + text_of(barrier_place));
  if (live != thread_count)
    violate(Check::divergent_barrier, "at " + text_of(place) + ", though other threads have ended");
  ++at_barrier;
  char* order = &block_orders[running->moment.barrier % orders_kept];
  witness::release(order);
  pause(Waiting::block, place);
  witness::acquire(order);
}

const unsigned char* exchange(uint32_t mask, WarpOperation operation, const void* mine,
                              size_t size_bytes, Place place) {
  Thread& me = *running;
  Warp& warp = warps[me.state.warp];
  const uint32_t there = lanes_of(me.state.warp, [](const Thread&) { return true; });
  const uint32_t ended =
      lanes_of(me.state.warp, [](const Thread& t) { return t.waiting == Waiting::ended; });
  if (mask != there && mask != UINT32_MAX)
    violate(Check::divergent_warp, "a mask of some lanes at " + text_of(place));
  if (ended != 0) violate(Check::divergent_warp, "lanes that ended named at " + text_of(place));
  if (warp.arrived == 0) {
    warp.operation = operation;
    warp.place = place;
  }
  if (warp.operation != operation || !same(warp.place, place))
    violate(Check::divergent_warp,
            "at " + text_of(place) + ", while other lanes are at " + text_of(warp.place));
  auto& slots = warp.slots[warp.operations % 2];
  witness::pass(slots[me.state.lane], mine, size_bytes);
  if (operation == WarpOperation::sync) witness::release(warp_order());
  warp.arrived |= 1u << me.state.lane;
  if (warp.arrived == there) {
    warp.arrived = 0;
    ++warp.operations;
    for (unsigned lane = 0; lane < lanes; ++lane) {
      const unsigned i = me.state.warp * lanes + lane;
      if ((there >> lane & 1) && threads[i].waiting == Waiting::warp)
        threads[i].waiting = Waiting::no;
    }
  } else {
    pause(Waiting::warp, place);
  }
  return slots[0];
}

// Memory is ordered by __syncwarp alone: shuffles and ballots pass values, nothing else.
void order_warp() {
  witness::acquire(warp_order());
  ++running->moment.warp_sync;
}

void copy_async(void* to, const void* from, size_t size_bytes, bool zeros, Place place) {
  const auto at = reinterpret_cast<uintptr_t>(to), source = reinterpret_cast<uintptr_t>(from);
  if (at % size_bytes != 0 || (!zeros && source % size_bytes != 0))
    violate(Check::misaligned, "an asynchronous copy at " + text_of(place));
  if (!zeros) touch(from, size_bytes, false, false);
  begin_copy(to, size_bytes);
  witness::writes(to, size_bytes);  // it may come from now on
  running->open_copies.push_back({static_cast<unsigned char*>(to),
                                  static_cast<const unsigned char*>(from), size_bytes, zeros});
}

void copy_async_commit() {
  running->copy_groups.push_back(std::move(running->open_copies));
  running->open_copies.clear();
}

// The bytes arrive now, no earlier: who reads them before has them poisoned.
void copy_async_wait(unsigned groups_left) {
  auto& groups = running->copy_groups;
  while (groups.size() > groups_left) {
    for (const AsyncCopy& copy : groups.front()) {
      if (copy.zeros)
        std::memset(copy.to, 0, copy.size_bytes);
      else
        std::memcpy(copy.to, copy.from, copy.size_bytes);
      end_copy(copy.to, copy.size_bytes);
    }
    groups.pop_front();
  }
}

}  // namespace simt
