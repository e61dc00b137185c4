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

// How often this process has been forked since it was loaded; grows in the child only.
uint32_t fork_count();

// Which handler a message goes to. Parents never change, so the nearest group of an agent is
// looked up once. Owner thread only.
class RouteTable {
 public:
  static constexpr int32_t none = -1;
  static constexpr int32_t single = -2;

  void add_single(AgentId agent);
  int32_t add_group(AgentId group);  // -> its slot, which `route` answers
  int32_t route(Kernel& kernel, AgentId agent);
  bool empty() const { return single_count_ == 0 && groups_.empty(); }

 private:
  static constexpr int32_t not_known = -3;
  std::vector<AgentId> groups_;
  std::vector<int32_t> routes_;   // by agent index
  std::vector<uint8_t> singles_;  // by agent index
  size_t single_count_ = 0;
};

struct KernelHandle {
  std::shared_ptr<Clock> clock;
  std::unique_ptr<Kernel> kernel;
  uint32_t forks = 0;
  std::atomic<bool> closed{false};
  RouteTable routes;

  // The event loop that drives handlers: `pump` is called once when work arrives on its thread;
  // other threads write to `wake_fd`. Guarded by the GIL.
  py::object pump;
  unsigned long pump_thread = 0;
  bool pump_scheduled = false;
  int wake_fd = -1;

  // Who a handler acts as, and in which thread it runs. Guarded by the GIL.
  AgentId current = id_none;
  unsigned long current_thread = 0;

  ~KernelHandle();

  // Throws closed, forked.
  Kernel& open() {
    if (forks != fork_count()) throw_forked();
    if (closed.load(std::memory_order_relaxed)) throw_closed();
    return *kernel;
  }
  void close();

  // Something was put into a box.
  void work_arrived() {
    if (pump && !pump_scheduled) schedule();
  }

 private:
  [[noreturn]] static void throw_forked();
  [[noreturn]] static void throw_closed();
  void schedule();
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
void register_history(KernelClass& kernel);
void register_index(py::module_& module);
void register_journal(py::module_& module, KernelClass& kernel);
KernelClass register_kernel(py::module_& module);
void register_latent(py::module_& module, KernelClass& kernel);
void register_ledger(py::module_& module, KernelClass& kernel);
void register_limits(py::module_& module);
void register_mailbox(py::module_& module, KernelClass& kernel);
void register_limits(py::module_& module);
void register_message(py::module_& module);
void register_policy(py::module_& module, KernelClass& kernel);
void register_simulation(py::module_& module);
void register_task(py::module_& module, KernelClass& kernel);
void register_terms(py::module_& module);
void register_view(py::module_& module);

}  // namespace hanse::python
