#include "sender.hpp"

#include <structmember.h>

#include <cstring>

#include "convert.hpp"
#include "message.hpp"
#include "payload.hpp"

namespace hanse::python {

namespace {

PyObject* outcome_numbers[outcome_count_max];
PyObject* context_variable = nullptr;

int create(PyObject* self, PyObject* args, PyObject* keywords) {
  PyObject *kernel = nullptr, *id = nullptr, *desk = nullptr;
  static const char* names[] = {"kernel", "id", "desk", nullptr};
  if (PyArg_ParseTupleAndKeywords(args, keywords, "OOO!", const_cast<char**>(names), &kernel, &id,
                                  &PyTuple_Type, &desk) == 0)
    return -1;
  try {
    KernelHandle& handle = py::handle(kernel).cast<KernelHandle&>();
    const AgentId agent = unsigned_of(id, "agent");
    SenderObject* sender = sender_of(self);
    Py_INCREF(kernel);
    Py_XSETREF(sender->kernel, kernel);
    Py_INCREF(desk);
    Py_XSETREF(sender->desk, desk);
    sender->handle = &handle;
    sender->id = agent;
    return 0;
  } catch (...) {
    set_python_error();
    return -1;
  }
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(sender_of(self)->kernel);
  Py_VISIT(sender_of(self)->desk);
  return 0;
}

int clear(PyObject* self) {
  sender_of(self)->handle = nullptr;
  Py_CLEAR(sender_of(self)->kernel);
  Py_CLEAR(sender_of(self)->desk);
  return 0;
}

void release(PyObject* self) {
  PyObject_GC_UnTrack(self);
  clear(self);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// As unsigned_of; the numbers that a send has as a rule are read without an object in between.
uint64_t field_of(PyObject* value, const char* field, uint64_t most = UINT64_MAX) {
  if (PyLong_CheckExact(value)) [[likely]] {
    const unsigned long long number = PyLong_AsUnsignedLongLong(value);
    if (number != static_cast<unsigned long long>(-1) && number <= most) return number;
    PyErr_Clear();
  }
  return unsigned_of<uint64_t>(value, field, most);
}

bool is_named(PyObject* keyword, const char* name) {
  const size_t size = std::strlen(name);
  return PyUnicode_IS_COMPACT_ASCII(keyword) != 0 &&
         static_cast<size_t>(PyUnicode_GET_LENGTH(keyword)) == size &&
         std::memcmp(PyUnicode_1BYTE_DATA(keyword), name, size) == 0;
}

// Takes the fields that few sends have.
void read_header(std::span<PyObject* const> values, MessageHeader& header) {
  if (values[2] != nullptr)
    header.lane = static_cast<uint8_t>(field_of(values[2], "lane", lane_count - 1));
  if (values[3] != nullptr) header.deadline_ns = field_of(values[3], "deadline_ns");
  if (values[4] != nullptr) header.key = field_of(values[4], "key");
  if (values[5] != nullptr) header.trace = field_of(values[5], "trace");
  if (values[6] != nullptr && values[6] != Py_None) {
    const py::handle latent = values[6];
    header.latent = PyLong_Check(values[6]) ? unsigned_of(latent, "latent")
                    : py::hasattr(latent, "id")
                        ? unsigned_of(py::object(latent.attr("id")), "latent")
                        : unsigned_of(latent, "latent");
  }
}

Outcome send_payload(Kernel& kernel, const MessageHeader& header, PyObject* payload) {
  if (PyBytes_Check(payload)) [[likely]]
    return kernel.send(header, {reinterpret_cast<const uint8_t*>(PyBytes_AS_STRING(payload)),
                                static_cast<size_t>(PyBytes_GET_SIZE(payload))});
  if (is_loan(payload)) return send_loan(kernel, header, payload);
  const BytesArgument bytes(payload, "payload");
  return kernel.send(header, bytes.view());
}

PyObject* send(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
  try {
    SenderObject* sender = sender_of(self);
    KernelHandle& handle = open_handle(sender);
    MessageHeader header;
    header.sender = sender->id != id_none ? sender->id : acting(handle).agent;
    Outcome outcome;
    if (count == 2 && keywords == nullptr) [[likely]] {
      header.to = id_argument(args[0], "to");
      outcome = send_payload(*handle.kernel, header, args[1]);
    } else {
      constexpr const char* names[] = {"to",  "payload", "lane",  "deadline_ns",
                                       "key", "trace",   "latent"};
      PyObject* values[std::size(names)];
      sort_arguments("send", names, 2, 2, args, count, keywords, values);
      header.to = id_argument(values[0], "to");
      read_header(values, header);
      outcome = send_payload(*handle.kernel, header, values[1]);
    }
    handle.work_arrived();
    return outcome_number(outcome);
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyObject* send_object(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
  try {
    SenderObject* sender = sender_of(self);
    KernelHandle& handle = open_handle(sender);
    constexpr const char* names[] = {"to",  "object", "lane",  "deadline_ns",
                                     "key", "trace",  "latent"};
    PyObject* values[std::size(names)];
    sort_arguments("send_object", names, 2, 2, args, count, keywords, values);
    MessageHeader header;
    header.sender = sender->id != id_none ? sender->id : acting(handle).agent;
    header.to = id_argument(values[0], "to");
    read_header(values, header);
    const Outcome outcome = handle.kernel->send_payload(header, adopted(values[1]));
    handle.work_arrived();
    return outcome_number(outcome);
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

#define HANSE_METHOD(name)                                                   \
  #name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&name)), \
      METH_FASTCALL | METH_KEYWORDS
PyMethodDef methods[] = {
    {HANSE_METHOD(send),
     "send($self, to, payload, *, lane=0, deadline_ns=0, key=0, trace=0, latent=None)\n--\n\n"
     "Sends bytes to an agent: one C call, volatile, first in first out per sender and lane.\n\n"
     "to is an agent id, payload any contiguous buffer, or a Loan, which it moves. lane 0 … 3, "
     "the\n"
     "most urgent. deadline_ns: absolute UNIX time, 0 none; a message that is taken later is\n"
     "counted as expired. key: what a coalescing box tells messages apart by, trace: carried\n"
     "along (both uint64, 0 none). latent: one that goes with it, or its id. Returns a\n"
     "hanse.Outcome number: ok, full, unknown, too_large, denied, revoked, dropped. Raises\n"
     "InvalidError (wrong type, out of range, closed, forked)."},
    {HANSE_METHOD(send_object),
     "send_object($self, to, object, *, lane=0, deadline_ns=0, key=0, trace=0, latent=None)\n--\n\n"
     "Sends any Python object by reference, to be found as message.object: not copied, not\n"
     "durable, from the thread that owns the messages alone. It is held until the message is\n"
     "gone; the garbage collector doesn't see that. Returns as send. Raises InvalidError\n"
     "(WrongThread)."},
    {HANSE_METHOD(ask),
     "ask($self, to, payload, *, timeout=None, lane=0, key=0, trace=0)\n--\n\n"
     "Sends a request; await the Reply, from a running event loop. timeout in seconds.\n\n"
     "Ends exactly once: with the reply, or raises TimedOutError, BusyError (Undeliverable where\n"
     "the agent is unknown, revoked or its handler fails; Backpressure; Cancelled), DeniedError.\n"
     "Cancelling who awaits it cancels the request and those that its handler made."},
    {HANSE_METHOD(reply),
     "reply($self, message, payload)\n--\n\n"
     "Answers a request (a message, or its number). False: no one waits for it any more."},
    {nullptr, nullptr, 0, nullptr}};
#undef HANSE_METHOD

PyMemberDef members[] = {{"_core", T_OBJECT, offsetof(SenderObject, kernel), READONLY, nullptr},
                         {"_id", T_ULONGLONG, offsetof(SenderObject, id), READONLY, nullptr},
                         {nullptr, 0, 0, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_init, reinterpret_cast<void*>(&create)},
                       {Py_tp_new, reinterpret_cast<void*>(&PyType_GenericNew)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(&release)},
                       {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(&clear)},
                       {Py_tp_methods, methods},
                       {Py_tp_members, members},
                       {Py_tp_doc, const_cast<char*>("Who sends, asks and answers.")},
                       {0, nullptr}};
PyType_Spec spec = {"hanse._core.Sender", sizeof(SenderObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

}  // namespace

SenderObject* sender_of(PyObject* self) { return reinterpret_cast<SenderObject*>(self); }

KernelHandle& open_handle(SenderObject* sender) {
  if (sender->handle == nullptr) throw Error(ErrorCode::closed, "kernel", "has been closed");
  (void)sender->handle->open();
  return *sender->handle;
}

AgentId id_argument(PyObject* value, const char* field) {
  if (PyLong_CheckExact(value)) [[likely]] {
#if PY_VERSION_HEX < 0x030C0000
    // An id has two digits of 30 bits, or three: read here, since the public way copies bytes.
    const digit* digits = reinterpret_cast<PyLongObject*>(value)->ob_digit;
    if (Py_SIZE(value) == 2) return uint64_t{digits[1]} << PyLong_SHIFT | digits[0];
#endif
    const unsigned long long id = PyLong_AsUnsignedLongLong(value);
    if (id != static_cast<unsigned long long>(-1)) return id;
    PyErr_Clear();
  }
  return unsigned_of(value, field);
}

void sort_arguments(const char* function, std::span<const char* const> names, size_t positional,
                    size_t required, PyObject* const* args, Py_ssize_t count, PyObject* keywords,
                    std::span<PyObject*> values_out) {
  std::fill(values_out.begin(), values_out.end(), nullptr);
  if (static_cast<size_t>(count) > positional) {
    PyErr_Format(PyExc_TypeError, "%s() takes %zu positional arguments but %zd were given",
                 function, positional, count);
    throw py::error_already_set();
  }
  std::copy(args, args + count, values_out.begin());
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
  for (Py_ssize_t i = 0; i < named; ++i) {
    PyObject* keyword = PyTuple_GET_ITEM(keywords, i);
    size_t at = 0;
    while (at < names.size() && !is_named(keyword, names[at])) ++at;
    if (at == names.size() || values_out[at] != nullptr) {
      PyErr_Format(PyExc_TypeError, "%s() got %s argument '%U'", function,
                   at == names.size() ? "an unexpected keyword" : "multiple values for", keyword);
      throw py::error_already_set();
    }
    values_out[at] = args[count + i];
  }
  for (size_t i = 0; i < required; ++i) {
    if (values_out[i] != nullptr) continue;
    PyErr_Format(PyExc_TypeError, "%s() misses the argument '%s'", function, names[i]);
    throw py::error_already_set();
  }
}

PyObject* outcome_number(Outcome outcome) {
  PyObject* number = outcome_numbers[static_cast<uint8_t>(outcome)];
  Py_INCREF(number);
  return number;
}

Actor acting(KernelHandle& handle) {
  if (handle.current != id_none && handle.current_thread == PyThread_get_thread_ident())
    return {handle.current, handle.current_request};
  if (handle.has_async) {
    PyObject* inside = nullptr;
    if (PyContextVar_Get(context_variable, nullptr, &inside) < 0) throw py::error_already_set();
    const py::object owned = py::reinterpret_steal<py::object>(inside);
    if (owned && !owned.is_none()) {
      const py::tuple row = owned;
      if (PyLong_AsVoidPtr(py::object(row[0]).ptr()) == &handle)
        return {row[1].cast<AgentId>(), row[2].cast<uint64_t>()};
    }
  }
  return {handle.kernel->root(), 0};
}

void register_sender(py::module_& module) {
  for (size_t i = 0; i < outcome_count_max; ++i)
    outcome_numbers[i] = PyLong_FromLong(static_cast<long>(i));
  context_variable = PyContextVar_New("hanse_acting", Py_None);
  if (context_variable == nullptr) throw py::error_already_set();
  module.attr("acting") = py::reinterpret_borrow<py::object>(context_variable);
  PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  module.add_object("Sender", type);
}

}  // namespace hanse::python
