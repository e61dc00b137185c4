#include "turns.hpp"

#include <algorithm>

#include "batch.hpp"
#include "convert.hpp"
#include "message.hpp"
#include "requests.hpp"

namespace hanse::python {

namespace {

py::object exception_taken() {
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  if (trace != nullptr) PyException_SetTraceback(value, trace);
  Py_XDECREF(type);
  Py_XDECREF(trace);
  return py::reinterpret_steal<py::object>(value);
}

bool is_awaitable(PyObject* value) {
  const PyAsyncMethods* methods = Py_TYPE(value)->tp_as_async;
  return methods != nullptr && methods->am_await != nullptr;
}

void failed(KernelHandle& handle, const Desk& desk, PyObject* message) {
  if (PyErr_ExceptionMatches(PyExc_Exception)) {
    const py::object error = exception_taken();
    desk.handlers.attr("_failed")(py::handle(message), error);
    return;
  }
  const MessageObject& from = *reinterpret_cast<const MessageObject*>(message);
  py::error_already_set interrupt;
  if (from.durable != 0) {
    py::list messages;
    messages.append(py::handle(message));
    py::cast(&handle).attr("return_all")(messages);
  }
  if (from.kind == static_cast<unsigned>(MessageKind::request))
    handle.requests->settle(
        from.request, RequestEnd::error,
        exception_for(RequestEnd::error, "its handler was interrupted", from.to));
  throw interrupt;
}

// A request's answer; what else a handler may give is for Python to say.
void conclude(KernelHandle& handle, const Desk& desk, PyObject* message, py::object result) {
  const MessageObject& from = *reinterpret_cast<const MessageObject*>(message);
  const bool asked = from.kind == static_cast<unsigned>(MessageKind::request);
  if (from.durable != 0 && !is_awaitable(result.ptr()))
    desk.handlers.attr("_durable_done")(py::handle(message));
  else if (asked && PyBytes_CheckExact(result.ptr()))
    handle.requests->settle(from.request, RequestEnd::reply, std::move(result));
  else if (asked && result.is_none())
    handle.requests->settle(from.request, RequestEnd::reply, py::bytes());
  else if (is_awaitable(result.ptr()))
    desk.handlers.attr("_start")(py::handle(message), result);
  else if (asked)
    desk.handlers.attr("_answer")(py::handle(message), result);
}

// A request that no one waits for any more does not reach its handler.
bool forgotten(KernelHandle& handle, Kernel& kernel, const Message& message) {
  if (message.kind != MessageKind::request || handle.requests->table.waiting(message.request))
    return false;
  kernel.mailboxes().dead(message, Outcome::cancelled);
  return true;
}

class Turn {
 public:
  Turn(const Batch& batch, KernelHandle& handle, py::handle routes, const py::tuple& desk)
      : batch_(batch),
        all_(batch.messages.messages()),
        tasks_(batch.deliveries),
        handle_(handle),
        kernel_(handle.open()),
        desk_(desk.ptr()) {
    if (!routes.is_none()) routes_ = array_of<int32_t>(routes, "routes", 1);
  }

  // Where it stopped, for those behind to be kept.
  size_t place = 0;

  void run() {
    {
      const Acting acting(handle_, id_none, 0);
      for (; place < all_.size(); ++place) one(all_[place], route(place, all_[place].to));
    }
    for (; place < all_.size() + tasks_.size(); ++place) {
      const Delivery& task = tasks_[place - all_.size()];
      const int32_t to = route(place, task.worker);
      if (to < 0) desk_.handlers.attr("_handle_oddly")(delivery_object(task, batch_.kernel), to);
    }
  }

  // What was taken out behind an interrupt, for Python to keep.
  py::list rest() {
    py::list messages;
    for (size_t i = place + 1; i < all_.size(); ++i)
      if (route(i, all_[i].to) < 0) messages.append(message_object(all_[i], handle_.requests));
    for (size_t i = std::max(place + 1, all_.size()); i < all_.size() + tasks_.size(); ++i)
      if (route(i, tasks_[i - all_.size()].worker) < 0)
        messages.append(delivery_object(tasks_[i - all_.size()], batch_.kernel));
    return messages;
  }

 private:
  int32_t route(size_t row, AgentId agent) {
    return routes_ ? static_cast<const int32_t*>(routes_->data())[row]
                   : handle_.routes.route(kernel_, agent);
  }

  void one(const Message& message, int32_t to) {
    if (to >= 0) return;  // of a group: handled before
    if (to != RouteTable::single || message.kind > MessageKind::request ||
        desk_.held_up(handle_, message.to)) {
      const py::object argument = message_object(message, handle_.requests);
      desk_.handlers.attr("_handle_oddly")(argument, to);
      return;
    }
    if (forgotten(handle_, kernel_, message)) return;
    const py::object argument = message_object(message, handle_.requests);
    handle_.running.back() = message.to;
    handle_.current = message.to;
    handle_.current_request = message.kind == MessageKind::request ? message.request : 0;
    handle_message(handle_, desk_, argument.ptr());
    handle_.running.back() = id_none;
    handle_.current = id_none;
  }

  const Batch& batch_;
  const std::vector<Message>& all_;
  const std::vector<Delivery>& tasks_;
  KernelHandle& handle_;
  Kernel& kernel_;
  const Desk desk_;
  std::optional<py::array> routes_;
};

// Handles what a drain took out, but for the rows of groups. `routes` as Batch.routes gives, or
// None where there are no groups.
void drive(const Batch& batch, KernelHandle& handle, py::object routes, py::tuple desk) {
  Turn turn(batch, handle, routes, desk);
  try {
    turn.run();
  } catch (py::error_already_set&) {
    Desk(desk.ptr()).handlers.attr("_keep_all")(turn.rest());
    throw;
  }
}

// One message to its handler, or kept where that is held up.
void handle_one(KernelHandle& handle, py::object message, py::tuple desk_tuple) {
  (void)handle.open();
  const MessageObject& from = message_of(message);
  const Desk desk(desk_tuple.ptr());
  if (desk.held_up(handle, from.to)) {
    desk.handlers.attr("_keep")(message);
    return;
  }
  const bool asked = from.kind == static_cast<unsigned>(MessageKind::request);
  const Acting acting(handle, from.to, asked ? from.request : 0);
  handle_message(handle, desk, message.ptr());
}

// A batch handler: acts as its group. Returns None, or the Exception that it raised.
py::object handle_batch(KernelHandle& handle, AgentId group, py::object handler, py::object batch,
                        uint64_t count) {
  handle.handled += count;
  const Acting acting(handle, group, 0);
  PyObject* result = PyObject_CallOneArg(handler.ptr(), batch.ptr());
  Py_XDECREF(result);
  if (result != nullptr) return py::none();
  if (!PyErr_ExceptionMatches(PyExc_Exception)) throw py::error_already_set();
  return exception_taken();
}

}  // namespace

bool Desk::held_up(const KernelHandle& handle, AgentId agent) const {
  for (const AgentId one : handle.running)
    if (one == agent) return true;
  if (PySet_GET_SIZE(busy.ptr()) == 0 && PyDict_GET_SIZE(kept.ptr()) == 0) return false;
  const py::int_ id(agent);
  const int is_busy = PySet_Contains(busy.ptr(), id.ptr());
  const int is_kept = is_busy != 0 ? 0 : PyDict_Contains(kept.ptr(), id.ptr());
  if (is_busy < 0 || is_kept < 0) throw py::error_already_set();
  return is_busy + is_kept != 0;
}

void handle_message(KernelHandle& handle, const Desk& desk, PyObject* message) {
  const MessageObject& from = *reinterpret_cast<const MessageObject*>(message);
  const auto index = static_cast<Py_ssize_t>(index_of(from.to));
  HANSE_ASSERT(index < PyList_GET_SIZE(desk.singles.ptr()));
  const py::object handler =
      py::reinterpret_borrow<py::object>(PyList_GET_ITEM(desk.singles.ptr(), index));
  ++handle.handled;
  PyObject* result = PyObject_CallOneArg(handler.ptr(), message);
  if (result == nullptr) {
    failed(handle, desk, message);
  } else if (result == Py_None && from.kind == 0 && from.durable == 0) {
    Py_DECREF(result);
  } else {
    conclude(handle, desk, message, py::reinterpret_steal<py::object>(result));
  }
}

void register_turns(py::module_& module, KernelClass& kernel) {
  (void)module;
  kernel
      .def("drive", [](KernelHandle& handle, const Batch& batch, py::object routes,
                       py::tuple desk) { drive(batch, handle, routes, desk); })
      .def("handle", &handle_one)
      .def("handle_batch", &handle_batch)
      .def("handled", [](KernelHandle& handle) { return handle.handled; })
      .def("count_handled", [](KernelHandle& handle) { ++handle.handled; })
      .def("running",
           [](KernelHandle& handle, AgentId agent) {
             return std::find(handle.running.begin(), handle.running.end(), agent) !=
                    handle.running.end();
           })
      .def("acting", [](KernelHandle& handle) { return acting(handle).agent; })
      .def("acting_token", [](KernelHandle& handle, AgentId agent, uint64_t request) {
        handle.has_async = true;
        return py::make_tuple(py::reinterpret_steal<py::object>(PyLong_FromVoidPtr(&handle)), agent,
                              request);
      });
}

}  // namespace hanse::python
