// The emulated CUDA runtime: streams are queues that run when somebody waits. Which stream goes on
// first is the schedule's choice, so work that only seems ordered comes out of order some day.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "memory.hpp"
#include "scheduler.hpp"

namespace {

// Of one recording: an event that is recorded anew, or destroyed, leaves the last to who waits.
struct EventState {
  bool done = false;
  std::vector<uint32_t> known;
};

struct Task {
  std::function<void()> run;
  std::shared_ptr<EventState> records, waits_for;
};

}  // namespace

struct SimtEvent {
  std::shared_ptr<EventState> state;
};

struct SimtStream {
  uint32_t id = 0, work_count = 0;
  std::vector<uint32_t> known;  // by stream: the newest work that this stream comes after
  std::deque<Task> tasks;
};

namespace simt {

namespace {

SimtStream default_stream;
std::deque<SimtStream> made;  // never taken back: moments name their stream by its number
std::vector<SimtStream*> streams = {&default_stream};
std::map<void*, size_t> pinned;
std::vector<uint32_t> host_known;  // what the host has waited for
cudaError_t last_error = cudaSuccess;
int64_t calls_until_failure = -1;  // below 0: none fails

SimtStream& stream_of(cudaStream_t stream) { return stream == nullptr ? default_stream : *stream; }

void join(std::vector<uint32_t>& into, const std::vector<uint32_t>& from) {
  into.resize(std::max(into.size(), from.size()));
  for (size_t i = 0; i < from.size(); ++i) into[i] = std::max(into[i], from[i]);
}

void enqueue(SimtStream& stream, std::function<void()> run) {
  // What the host waited for before it queued this is over.
  const auto work = [&stream, run = std::move(run), known = host_known] {
    join(stream.known, known);
    stream.known.resize(std::max<size_t>(stream.known.size(), stream.id + 1));
    begin_work(stream.id, ++stream.work_count, stream.known.data(), uint32_t(stream.known.size()));
    run();
    stream.known[stream.id] = stream.work_count;
  };
  stream.tasks.push_back({work, nullptr, nullptr});
}

bool ready(const SimtStream& stream) {
  if (stream.tasks.empty()) return false;
  const auto& event = stream.tasks.front().waits_for;
  return event == nullptr || event->done;
}

void run_one(SimtStream& stream) {
  Task task = std::move(stream.tasks.front());
  stream.tasks.pop_front();
  if (task.waits_for != nullptr) join(stream.known, task.waits_for->known);
  if (task.run) task.run();
  if (task.records != nullptr) {
    task.records->known = stream.known;
    task.records->done = true;
  }
}

SimtStream& choose() {
  std::vector<SimtStream*> candidates;
  for (SimtStream* stream : streams)
    if (ready(*stream)) candidates.push_back(stream);
  if (candidates.empty()) throw std::logic_error("streams wait for one another");
  switch (schedule_in_use().order) {
    case Order::forward:
      return *candidates.front();
    case Order::reverse:
      return *candidates.back();
    case Order::random:
      break;
  }
  return *candidates[next_random() % candidates.size()];
}

// After a mistake the device is lost, as a real one would be: nothing that was queued runs, so that
// no copy reaches memory that its owner has given up meanwhile.
void drain(SimtStream& stream) {
  try {
    while (!stream.tasks.empty()) run_one(choose());
  } catch (...) {
    for (SimtStream* each : streams) each->tasks.clear();
    throw;
  }
  join(host_known, stream.known);
}

bool is_pinned(const void* memory) {
  const auto at = reinterpret_cast<uintptr_t>(memory);
  return std::any_of(pinned.begin(), pinned.end(), [&](const auto& block) {
    const auto begin = reinterpret_cast<uintptr_t>(block.first);
    return at >= begin && at < begin + block.second;
  });
}

cudaError_t failed(cudaError_t error) { return last_error = error; }

bool fails_now() {
  if (calls_until_failure > 0)
    --calls_until_failure;
  else if (calls_until_failure == 0)
    return true;
  return false;
}

}  // namespace

void launch(const char* name, dim3 grid, dim3 block, size_t shared_size_bytes, cudaStream_t stream,
            std::unique_ptr<const Call> owned, size_t call_size_bytes) {
  const std::shared_ptr<const Call> call = std::move(owned);
  if (fails_now()) {
    failed(cudaErrorLaunchFailure);
    return;
  }
  const uint64_t threads = uint64_t(block.x) * block.y * block.z;
  if (threads == 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.y > 65535) {
    failed(cudaErrorInvalidValue);
    return;
  }
  enqueue(stream_of(stream), [=] {
    disallow_all();
    allow(call.get(), call_size_bytes, false);
    run_kernel(name, grid, block, shared_size_bytes, *call);
  });
}

void reset() {
  for (SimtStream* stream : streams) stream->tasks.clear();
  last_error = cudaSuccess;
}

const char* check_name(Check check) {
  switch (check) {
    case Check::data_race:
      return "data race";
    case Check::stream_order:
      return "stream order";
    case Check::uninitialised:
      return "uninitialised shared memory";
    case Check::out_of_bounds:
      return "out of bounds";
    case Check::unfinished_copy:
      return "unfinished copy";
    case Check::divergent_barrier:
      return "divergent barrier";
    case Check::divergent_warp:
      return "divergent warp";
    case Check::misaligned:
      return "misaligned";
    case Check::read_only_memory:
      return "read-only memory";
    case Check::host_memory:
      return "host memory";
  }
  return "unknown";
}

}  // namespace simt

using namespace simt;

// For tests of what a failure leaves behind: the call after so many more fails, as do all behind
// it, until this is called again. Below 0: none fails.
extern "C" __attribute__((visibility("default"))) void hanse_emulated_fail_after(int64_t calls) {
  calls_until_failure = calls;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
  }
  return "cudaErrorUnknown";
}
cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }
cudaError_t cudaGetDeviceCount(int* count_out) {
  *count_out = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties_out, int device) {
  if (device != 0) return failed(cudaErrorInvalidValue);
  *properties_out = {"emulated device", size_t(1) << 30, 0, 0};
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory_out, size_t size_bytes) {
  constexpr size_t size_bytes_max = size_t(1) << 30;
  if (fails_now()) return failed(cudaErrorLaunchFailure);
  if (size_bytes > size_bytes_max) return failed(cudaErrorMemoryAllocation);
  void* memory = nullptr;
  // The exact size, so that the address sanitizer sees a byte too far.
  if (posix_memalign(&memory, 256, std::max<size_t>(size_bytes, 1)) != 0)
    return failed(cudaErrorMemoryAllocation);
  std::memset(memory, 0xff, size_bytes);
  register_memory(memory, std::max<size_t>(size_bytes, 1));
  *memory_out = memory;
  return cudaSuccess;
}

// Waits for the device, as the real one does.
cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  if (!is_device_memory(memory, 1)) return failed(cudaErrorInvalidValue);
  for (SimtStream* stream : streams) drain(*stream);
  unregister_memory(memory);
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** memory_out, size_t size_bytes) {
  *memory_out = std::malloc(std::max<size_t>(size_bytes, 1));
  if (*memory_out == nullptr) return failed(cudaErrorMemoryAllocation);
  pinned[*memory_out] = size_bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* memory) {
  for (SimtStream* stream : streams) drain(*stream);
  pinned.erase(memory);
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t size_bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  if (fails_now()) return failed(cudaErrorLaunchFailure);
  if (size_bytes == 0) return cudaSuccess;
  SimtStream& queue = stream_of(stream);
  const bool reads_device = kind != cudaMemcpyHostToDevice;
  const bool writes_device = kind != cudaMemcpyDeviceToHost;
  // Pageable memory is staged before the call returns; pinned memory is read when its turn comes.
  std::shared_ptr<unsigned char[]> staged;
  if (!reads_device && !is_pinned(from)) {
    staged.reset(new unsigned char[size_bytes]);
    std::memcpy(staged.get(), from, size_bytes);
  }
  enqueue(queue, [=] {
    if (reads_device) touch_range(from, size_bytes, false);
    if (writes_device) touch_range(to, size_bytes, true);
    std::memcpy(to, staged ? staged.get() : from, size_bytes);
  });
  if (!writes_device && !is_pinned(to)) drain(queue);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* to, int value, size_t size_bytes, cudaStream_t stream) {
  if (fails_now()) return failed(cudaErrorLaunchFailure);
  if (size_bytes == 0) return cudaSuccess;
  enqueue(stream_of(stream), [=] {
    touch_range(to, size_bytes, true);
    std::memset(to, value, size_bytes);
  });
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream_out, unsigned) {
  *stream_out = &made.emplace_back();
  (*stream_out)->id = uint32_t(streams.size());
  streams.push_back(*stream_out);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  drain(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (fails_now()) return failed(cudaErrorLaunchFailure);
  drain(stream_of(stream));
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event->state) stream_of(stream).tasks.push_back({{}, nullptr, event->state});
  return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event_out, unsigned) {
  *event_out = new SimtEvent;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  event->state = std::make_shared<EventState>();
  stream_of(stream).tasks.push_back({{}, event->state, nullptr});
  return cudaSuccess;
}
