// ask and reply: one C call each, without a turn of the loop where the handler can run here.
#include "requests.hpp"

#include <ctime>

#include "convert.hpp"
#include "message.hpp"
#include "sender.hpp"
#include "turns.hpp"

namespace hanse::python {

namespace {

constexpr size_t inline_depth_max = 64;  // handlers that ask each other, on one stack
constexpr double timeout_s_max = 3.2e9;

// Timeouts run by the machine's time also where the kernel's clock is driven by hand.
uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

uint64_t duration_ns(PyObject* seconds, const char* field) {
  if (PyBool_Check(seconds) || !(PyFloat_Check(seconds) || PyLong_Check(seconds)))
    wrong_type(field, "seconds", seconds);
  const double value = PyFloat_AsDouble(seconds);
  if (PyErr_Occurred() != nullptr) PyErr_Clear();
  if (!(value > 0 && value <= timeout_s_max))
    throw Error(ErrorCode::out_of_range, field,
                "want more than 0 and at most 3.2e9 seconds, have " +
                    std::string(py::str(py::handle(seconds))));
  return std::max<uint64_t>(static_cast<uint64_t>(value * 1e9), 1);
}

// The event loop that runs in this thread, or None. asyncio is not imported to find out.
py::object running_loop() {
  static PyObject* get = nullptr;
  if (get == nullptr) {
    const py::dict modules = py::module_::import("sys").attr("modules");
    if (!modules.contains("asyncio.events")) return py::none();
    get = py::object(modules["asyncio.events"].attr("_get_running_loop")).release().ptr();
  }
  PyObject* loop = PyObject_CallNoArgs(get);
  if (loop == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(loop);
}

void attach_loop(PyObject* sender, KernelHandle& handle) {
  if (handle.loop && running_loop().is(handle.loop)) return;
  py::handle(sender).attr("_attach_here")();
}

[[noreturn]] void refuse_request(Outcome outcome, AgentId to) {
  switch (outcome) {
    case Outcome::full:
      throw Error(ErrorCode::backpressure, "to", "full", to);
    case Outcome::too_large:
      throw Error(ErrorCode::payload_too_large, "to", "too_large", to);
    case Outcome::denied:
      throw Error(ErrorCode::policy_denied, "to", "denied", to);
    case Outcome::unknown:
      throw Error(ErrorCode::undeliverable, "to", "unknown", to);
    case Outcome::revoked:
      throw Error(ErrorCode::undeliverable, "to", "revoked", to);
    case Outcome::closed:
      throw Error(ErrorCode::undeliverable, "to", "closed", to);
    default:
      throw Error(ErrorCode::undeliverable, "to", "dropped", to);
  }
}

struct Question {
  MessageHeader header;
  PyObject* payload = nullptr;
  uint64_t timeout_ns = 0;
};

Question question_of(PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
  constexpr const char* names[] = {"to", "payload", "timeout", "lane", "key", "trace"};
  PyObject* values[std::size(names)];
  sort_arguments("ask", names, 2, 2, args, count, keywords, values);
  Question question;
  question.header.kind = MessageKind::request;
  question.header.to = id_argument(values[0], "to");
  question.payload = values[1];
  if (values[2] != nullptr && values[2] != Py_None)
    question.timeout_ns = duration_ns(values[2], "timeout");
  if (values[3] != nullptr)
    question.header.lane = unsigned_of<uint8_t>(values[3], "lane", lane_count - 1);
  if (values[4] != nullptr) question.header.key = unsigned_of(values[4], "key");
  if (values[5] != nullptr) question.header.trace = unsigned_of(values[5], "trace");
  return question;
}

// Opens the request and sends its message; throws what a single call throws for an outcome.
void send_question(KernelHandle& handle, Question& question, uint64_t parent) {
  const BytesArgument payload(question.payload, "payload");
  uint64_t deadline_ns = 0;
  if (question.timeout_ns != 0) {
    deadline_ns = monotonic_ns() + question.timeout_ns;
    question.header.deadline_ns = handle.clock->now_ns() + question.timeout_ns;
  }
  RequestTable& table = handle.requests->table;
  question.header.request = table.open(question.header.to, deadline_ns, parent);
  if (question.header.request == 0)
    throw Error(ErrorCode::backpressure, "requests", "too many wait for an answer");
  try {
    const Outcome outcome = handle.kernel->send(question.header, payload.view());
    if (outcome != Outcome::ok) refuse_request(outcome, question.header.to);
  } catch (...) {
    table.end(question.header.request, RequestEnd::undeliverable);
    throw;
  }
}

// Handles one agent's only message, a request, where that is allowed: without a turn. False: it is
// in its box.
bool handle_now(KernelHandle& handle, const Desk& desk, AgentId to) {
  Kernel& kernel = *handle.kernel;
  MailboxTable& mailboxes = kernel.mailboxes();
  if (handle.routes.route(kernel, to) != RouteTable::single || !mailboxes.owned_by_caller() ||
      handle.running.size() >= inline_depth_max || mailboxes.queued(to) != 1 ||
      desk.held_up(handle, to))
    return false;
  // The one that asks is inside of its own handler, also of an async one.
  const Actor outer = acting(handle);
  if (outer.agent == to) return false;
  handle.one.clear();
  if (!mailboxes.receive(to, handle.one, 0)) return false;
  const Message& message = handle.one.messages().front();
  const py::object argument = message_object(message, handle.requests);
  const Acting acting(handle, to, message.request);
  handle_message(handle, desk, argument.ptr());
  return true;
}

py::object expire(KernelHandle& handle) {
  std::vector<EndedRequest> ended;
  RequestTable& table = handle.requests->table;
  table.expire(monotonic_ns(), SIZE_MAX, ended);
  if (!handle.closed)
    for (const EndedRequest& one : ended) handle.kernel->cancel_message(one.to, one.number);
  handle.requests->settle_ended(ended, "no reply in time");
  const uint64_t next = table.next_deadline_ns(), now = monotonic_ns();
  if (next == 0) return py::none();
  return py::float_(next <= now ? 0.0 : static_cast<double>(next - now) / 1e9);
}

void cancel_all(KernelHandle& handle, const std::string& why) {
  std::vector<EndedRequest> ended;
  for (const EndedRequest& one : handle.requests->table.all())
    handle.requests->table.end_tree(one.number, RequestEnd::cancelled, ended);
  handle.requests->settle_ended(ended, why.c_str());
}

py::dict counters_of(KernelHandle& handle) {
  const RequestCounters counters = handle.requests->table.counters();
  py::dict fields;
  fields["opened"] = counters.opened;
  fields["waiting"] = counters.waiting;
  fields["replies"] = counters.replies;
  fields["errors"] = counters.errors;
  fields["cancelled"] = counters.cancelled;
  fields["expired"] = counters.expired;
  fields["undeliverable"] = counters.undeliverable;
  return fields;
}

}  // namespace

PyObject* ask(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
  try {
    SenderObject* sender = sender_of(self);
    KernelHandle& handle = open_handle(sender);
    Question question = question_of(args, count, keywords);
    attach_loop(self, handle);
    const Actor actor = acting(handle);
    question.header.sender = sender->id != id_none ? sender->id : actor.agent;
    send_question(handle, question, actor.request);
    const uint64_t number = question.header.request;
    py::object reply = handle.requests->reply_for(number, question.header.to, handle.loop);
    const bool begun = handle_now(handle, Desk(sender->desk), question.header.to);
    if (handle.requests->table.waiting(number)) {
      if (!begun) handle.work_arrived();
      if (question.timeout_ns != 0) py::handle(self).attr("_watch_deadlines")();
    }
    return reply.release().ptr();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyObject* reply(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
  try {
    SenderObject* sender = sender_of(self);
    KernelHandle& handle = open_handle(sender);
    constexpr const char* names[] = {"message", "payload"};
    PyObject* values[std::size(names)];
    sort_arguments("reply", names, 2, 2, args, count, keywords, values);
    const uint64_t number =
        PyLong_Check(values[0]) ? id_argument(values[0], "message") : message_of(values[0]).request;
    const BytesArgument payload(values[1], "payload");
    const uint32_t size_max = handle.kernel->mailboxes().options().payload_size_bytes_max;
    if (payload.view().size() > size_max)
      throw Error(ErrorCode::payload_too_large, "payload", payload.view().size(), size_max);
    py::object value = PyBytes_CheckExact(values[1]) ? py::reinterpret_borrow<py::object>(values[1])
                                                     : py::object(bytes_from(payload.view()));
    return PyBool_FromLong(handle.requests->settle(number, RequestEnd::reply, std::move(value)));
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

void register_requests(py::module_& module, KernelClass& kernel) {
  (void)module;
  kernel.def("expire_requests", &expire)
      .def("cancel_all_requests", &cancel_all)
      .def("waiting_requests", [](KernelHandle& handle) { return handle.requests->waiting(); })
      .def("request_counters", &counters_of)
      .def("fail_request",
           [](KernelHandle& handle, uint64_t number, const std::string& why, AgentId agent,
              bool undeliverable) {
             const RequestEnd end = undeliverable ? RequestEnd::undeliverable : RequestEnd::error;
             return handle.requests->table.waiting(number) &&
                    handle.requests->settle(number, end, exception_for(end, why.c_str(), agent));
           })
      .def("end_request", [](KernelHandle& handle, uint64_t number, py::bytes value) {
        return handle.requests->settle(number, RequestEnd::reply, value);
      });
}

}  // namespace hanse::python
