// What a Python object holds of a kernel, and the doors it passes before each call.
#pragma once

#include <pybind11/pybind11.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "kernel/kernel.hpp"

namespace hanse::python {

namespace py = pybind11;

class RequestCentre;

// How often this process has been forked since it was loaded; grows in the child only.
inline std::atomic<uint32_t> forks{0};
inline uint32_t fork_count() { return forks.load(std::memory_order_relaxed); }

// Which handler a message goes to. Parents never change, so the nearest group of an agent is
// looked up once. Owner thread only.
class RouteTable {
 public:
  static constexpr int32_t none = -1;
  static constexpr int32_t single = -2;

  void add_single(AgentId agent);
  int32_t add_group(AgentId group);  // -> its slot, which `route` answers
  int32_t route(Kernel& kernel, AgentId agent) {
    const uint32_t index = index_of(agent);
    if (index < routes_.size() && routes_[index] != not_known) return routes_[index];
    return find(kernel, agent);
  }
  bool has_groups() const { return !groups_.empty(); }

 private:
  int32_t find(Kernel& kernel, AgentId agent);

  static constexpr int32_t not_known = -3;
  std::vector<AgentId> groups_;
  std::vector<int32_t> routes_;   // by agent index
  std::vector<uint8_t> singles_;  // by agent index
};

struct KernelHandle {
  std::shared_ptr<Clock> clock;
  std::unique_ptr<Kernel> kernel;
  uint32_t forks = 0;
  std::atomic<bool> closed{false};
  RouteTable routes;

  // The event loop that drives handlers: `pump` is called once when work arrives on its thread;
  // other threads write to `wake_fd`. Guarded by the GIL, as all below.
  py::object pump, loop;
  unsigned long pump_thread = 0;
  bool pump_scheduled = false;
  int wake_fd = -1;
  int own_fd = -1;  // where no loop is attached and someone waits; closed with the handle

  // Who a handler acts as and for whose request, and in which thread it runs.
  AgentId current = id_none;
  uint64_t current_request = 0;
  unsigned long current_thread = 0;
  bool has_async = false;  // an async handler has run: who acts may be in a context variable
  // Whose plain handlers are on the stack, outermost first: none of them is entered again.
  std::vector<AgentId> running;
  uint64_t handled = 0;
  RequestCentre* requests = nullptr;
  MessageBatch one;                      // of requests that are handled at once
  std::vector<Undelivered> undelivered;  // reused

  KernelHandle();
  ~KernelHandle();

  // Throws closed, forked.
  Kernel& open() {
    if (forks != fork_count()) throw_forked();
    if (closed.load(std::memory_order_relaxed)) throw_closed();
    return *kernel;
  }
  void close();

  // Something was put into a box. One call a batch: until the pump has started nothing is woken
  // again.
  void work_arrived() {
    if (wake_fd >= 0 && !pump_scheduled) schedule();
  }

 private:
  [[noreturn]] static void throw_forked();
  [[noreturn]] static void throw_closed();
  void schedule();
};

// Who acts, and the request for whose sake: of a handler that runs, else the root and none.
struct Actor {
  AgentId agent = id_none;
  uint64_t request = 0;
};
Actor acting(KernelHandle& handle);

// One handler runs: it acts as `agent` until this is gone.
class Acting {
 public:
  Acting(KernelHandle& handle, AgentId agent, uint64_t request)
      : handle_(handle),
        before_(handle.current),
        request_before_(handle.current_request),
        thread_before_(handle.current_thread) {
    handle.running.push_back(agent);
    handle.current = agent;
    handle.current_request = request;
    handle.current_thread = PyThread_get_thread_ident();
  }
  Acting(const Acting&) = delete;
  Acting& operator=(const Acting&) = delete;
  ~Acting() {
    handle_.running.pop_back();
    handle_.current = before_;
    handle_.current_request = request_before_;
    handle_.current_thread = thread_before_;
  }

 private:
  KernelHandle& handle_;
  AgentId before_;
  uint64_t request_before_;
  unsigned long thread_before_;
};

using KernelClass = py::class_<KernelHandle>;

// Calls `body` without the GIL: nothing in it may touch a Python object.
template <class Body>
auto unlocked(Body&& body) {
  py::gil_scoped_release released;
  return body();
}

// Sets the Python exception for whatever is being thrown; for functions outside of pybind11.
void set_python_error();
// The same for SimulatedCrash, which is no error.
void set_simulated_crash();

void register_agent(py::module_& module, KernelClass& kernel);
void register_capability(py::module_& module, KernelClass& kernel);
void register_durable(KernelClass& kernel);
void register_history(KernelClass& kernel);
void register_index(py::module_& module);
void register_journal(py::module_& module, KernelClass& kernel);
void register_boxes(py::module_& module, KernelClass& kernel);
KernelClass register_kernel(py::module_& module);
void register_latent(py::module_& module, KernelClass& kernel);
void register_ledger(py::module_& module, KernelClass& kernel);
void register_device(py::module_& module);
void register_lifecycle(py::module_& module, KernelClass& kernel);
void register_limits(py::module_& module);
void register_native_timing(py::module_& module);
void register_people(py::module_& module, KernelClass& kernel);
void register_mailbox(py::module_& module, KernelClass& kernel);
void register_message(py::module_& module);
void register_payload(py::module_& module, KernelClass& kernel);
void register_policy(py::module_& module, KernelClass& kernel);
void register_search(py::module_& module);
void register_reply(py::module_& module);
void register_requests(py::module_& module, KernelClass& kernel);
void register_sender(py::module_& module);
void register_shards(KernelClass& kernel);
void register_simulation(py::module_& module);
void register_task(py::module_& module, KernelClass& kernel);
void register_terms(py::module_& module);
void register_topics(py::module_& module, KernelClass& kernel);
void register_turns(py::module_& module, KernelClass& kernel);

}  // namespace hanse::python
