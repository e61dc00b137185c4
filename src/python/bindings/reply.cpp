// Reply: an awaitable that needs no future where the answer is there already.
#include "requests.hpp"

#include <structmember.h>

#include "convert.hpp"

namespace hanse::python {

struct ReplyObject {
  PyObject_HEAD RequestCentre* centre;
  unsigned long long number, to;
  PyObject* value;    // bytes, or the exception; null while it waits
  PyObject* loop;     // None: no loop waits for it
  PyObject* waiters;  // list of futures; null: none
  unsigned long thread;
  RequestEnd end;
  char done;
};

namespace {

PyTypeObject* reply_type = nullptr;

ReplyObject* self_of(PyObject* self) { return reinterpret_cast<ReplyObject*>(self); }

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(self_of(self)->value);
  Py_VISIT(self_of(self)->loop);
  Py_VISIT(self_of(self)->waiters);
  return 0;
}

int clear(PyObject* self) {
  Py_CLEAR(self_of(self)->value);
  Py_CLEAR(self_of(self)->loop);
  Py_CLEAR(self_of(self)->waiters);
  return 0;
}

void release(PyObject* self) {
  PyObject_GC_UnTrack(self);
  clear(self);
  self_of(self)->centre->release();
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// New reference to the value, or null with the exception set.
PyObject* outcome_of(ReplyObject* reply) {
  if (reply->done == 0 || reply->value == nullptr) {
    PyErr_SetString(PyExc_RuntimeError, "the request still waits");
    return nullptr;
  }
  if (reply->end == RequestEnd::reply) {
    Py_INCREF(reply->value);
    return reply->value;
  }
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(reply->value)), reply->value);
  return nullptr;
}

PyObject* await(PyObject* self) {
  if (self_of(self)->done != 0) {
    Py_INCREF(self);
    return self;
  }
  try {
    return py::module_::import("hanse.reply").attr("wait")(py::handle(self)).release().ptr();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PySendResult send(PyObject* self, PyObject*, PyObject** result) {
  *result = outcome_of(self_of(self));
  return *result == nullptr ? PYGEN_ERROR : PYGEN_RETURN;
}

PyObject* next(PyObject* self) {
  PyObject* value = outcome_of(self_of(self));
  if (value == nullptr) return nullptr;
  PyErr_SetObject(PyExc_StopIteration, value);
  Py_DECREF(value);
  return nullptr;
}

PyObject* result(PyObject* self, PyObject*) { return outcome_of(self_of(self)); }

PyObject* cancel(PyObject* self, PyObject*) {
  ReplyObject* reply = self_of(self);
  try {
    if (reply->done != 0 || reply->centre->handle == nullptr) Py_RETURN_FALSE;
    cancel_request(*reply->centre->handle, reply->number);
    Py_RETURN_TRUE;
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyObject* get_status(PyObject* self, void*) {
  constexpr const char* names[] = {"waiting",   "reply",   "error",
                                   "cancelled", "expired", "undeliverable"};
  return PyUnicode_InternFromString(names[static_cast<size_t>(self_of(self)->end)]);
}

PyMemberDef members[] = {
    {"to", T_ULONGLONG, offsetof(ReplyObject, to), READONLY, "id of the agent that was asked"},
    {"number", T_ULONGLONG, offsetof(ReplyObject, number), READONLY, "number of the request"},
    {"done", T_BOOL, offsetof(ReplyObject, done), READONLY, "it has ended"},
    {"_loop", T_OBJECT, offsetof(ReplyObject, loop), READONLY, "event loop of who asked"},
    {"_waiters", T_OBJECT, offsetof(ReplyObject, waiters), 0, "futures to wake"},
    {"_thread", T_ULONG, offsetof(ReplyObject, thread), READONLY, "thread of who asked"},
    {nullptr, 0, 0, 0, nullptr}};

PyGetSetDef properties[] = {
    {"status", &get_status, nullptr,
     "str: waiting, reply, error, cancelled, expired or undeliverable", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef methods[] = {
    {"result", &result, METH_NOARGS,
     "result($self, /)\n--\n\nThe reply's bytes; raises what await raises. Only when done."},
    {"cancel", &cancel, METH_NOARGS,
     "cancel($self, /)\n--\n\n"
     "Ends the request, and those that its handler made, as cancelled. False: it had ended."},
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(&release)},
                       {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(&clear)},
                       {Py_am_await, reinterpret_cast<void*>(&await)},
                       {Py_am_send, reinterpret_cast<void*>(&send)},
                       {Py_tp_iter, reinterpret_cast<void*>(&PyObject_SelfIter)},
                       {Py_tp_iternext, reinterpret_cast<void*>(&next)},
                       {Py_tp_members, members},
                       {Py_tp_getset, properties},
                       {Py_tp_methods, methods},
                       {Py_tp_doc, const_cast<char*>("A reply to come; await it once or more.")},
                       {0, nullptr}};
PyType_Spec spec = {"hanse._core.Reply", sizeof(ReplyObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

}  // namespace

py::object exception_of(const Error& error) {
  try {
    throw Error(error);
  } catch (...) {
    set_python_error();
  }
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  Py_XDECREF(type);
  Py_XDECREF(trace);
  return py::reinterpret_steal<py::object>(value);
}

py::object exception_for(RequestEnd end, const char* why, AgentId to) {
  const ErrorCode code = end == RequestEnd::cancelled ? ErrorCode::cancelled
                         : end == RequestEnd::expired ? ErrorCode::timed_out
                                                      : ErrorCode::undeliverable;
  return exception_of(Error(code, "ask", why, to));
}

py::object RequestCentre::reply_for(uint64_t number, AgentId to, py::handle loop) {
  auto* reply = reinterpret_cast<ReplyObject*>(reply_type->tp_alloc(reply_type, 0));
  if (reply == nullptr) throw py::error_already_set();
  py::object owner = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(reply));
  retain();
  reply->centre = this;
  reply->number = number;
  reply->to = to;
  reply->loop = loop.inc_ref().ptr();
  reply->thread = PyThread_get_thread_ident();
  const uint32_t place = RequestTable::place_of(number);
  if (place >= replies_.size()) replies_.resize(place + size_t{1}, nullptr);
  replies_[place] = reinterpret_cast<ReplyObject*>(owner.inc_ref().ptr());
  return owner;
}

ReplyObject* RequestCentre::taken(uint64_t number) {
  const uint32_t place = RequestTable::place_of(number);
  if (place >= replies_.size() || replies_[place] == nullptr) return nullptr;
  if (replies_[place]->number != number) return nullptr;
  return std::exchange(replies_[place], nullptr);
}

namespace {

void finish(ReplyObject* reply, RequestEnd how, py::object value) {
  const py::object owner = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(reply));
  reply->end = how;
  reply->value = value.release().ptr();
  reply->done = 1;
  if (reply->waiters != nullptr) py::module_::import("hanse.reply").attr("wake")(owner);
}

}  // namespace

void cancel_request(KernelHandle& handle, uint64_t number) {
  std::vector<EndedRequest> ended;
  handle.requests->table.end_tree(number, RequestEnd::cancelled, ended);
  // What still waits in a box is taken out; another thread than the owner leaves that to the turn
  // in which the message would be handled.
  if (!handle.closed)
    for (const EndedRequest& one : ended) handle.kernel->cancel_message(one.to, one.number);
  handle.requests->settle_ended(ended, "the request was cancelled");
}

bool RequestCentre::settle(uint64_t number, RequestEnd how, py::object value) {
  if (!table.end(number, how)) return false;
  if (ReplyObject* reply = taken(number)) finish(reply, how, std::move(value));
  return true;
}

void RequestCentre::settle_ended(const std::vector<EndedRequest>& ended, const char* why) {
  for (const EndedRequest& one : ended)
    if (ReplyObject* reply = taken(one.number))
      finish(reply, one.end, exception_for(one.end, why, one.to));
}

py::list RequestCentre::waiting() const {
  py::list rows;
  for (const EndedRequest& one : table.all()) rows.append(py::make_tuple(one.number, one.to));
  return rows;
}

void register_reply(py::module_& module) {
  reply_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (reply_type == nullptr) throw py::error_already_set();
  module.add_object("Reply", reinterpret_cast<PyObject*>(reply_type));
}

}  // namespace hanse::python
