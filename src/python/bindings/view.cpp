// The hot path: `view.send(to, payload)` as one C call, without pybind11's dispatcher.
#include "convert.hpp"
#include "handle.hpp"

namespace hanse::python {

namespace {

struct ViewObject {
  PyObject_HEAD PyObject* kernel;  // a _core.Kernel, kept alive
  KernelHandle* handle;            // inside it
  AgentId id;
};

PyObject* outcome_numbers[32];

ViewObject* view_of(PyObject* self) { return reinterpret_cast<ViewObject*>(self); }

int create(PyObject* self, PyObject* args, PyObject* keywords) {
  PyObject *kernel = nullptr, *id = nullptr;
  static const char* names[] = {"kernel", "id", nullptr};
  if (PyArg_ParseTupleAndKeywords(args, keywords, "OO", const_cast<char**>(names), &kernel, &id) ==
      0)
    return -1;
  try {
    KernelHandle& handle = py::handle(kernel).cast<KernelHandle&>();
    const AgentId agent = unsigned_of(id, "agent");
    ViewObject* view = view_of(self);
    Py_INCREF(kernel);
    Py_XSETREF(view->kernel, kernel);
    view->handle = &handle;
    view->id = agent;
    return 0;
  } catch (...) {
    set_python_error();
    return -1;
  }
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(view_of(self)->kernel);
  return 0;
}

int clear(PyObject* self) {
  view_of(self)->handle = nullptr;
  Py_CLEAR(view_of(self)->kernel);
  return 0;
}

void release(PyObject* self) {
  PyObject_GC_UnTrack(self);
  clear(self);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

uint64_t id_of(PyObject* value) {
  if (PyLong_CheckExact(value)) {
    const unsigned long long id = PyLong_AsUnsignedLongLong(value);
    if (id != static_cast<unsigned long long>(-1)) return id;
    PyErr_Clear();
  }
  return unsigned_of(value, "to");
}

PyObject* send(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  if (count != 2) {
    PyErr_Format(PyExc_TypeError, "send(to, payload) takes 2 arguments, %zd were given", count);
    return nullptr;
  }
  try {
    ViewObject* view = view_of(self);
    if (view->handle == nullptr) throw Error(ErrorCode::closed, "kernel", "has been closed");
    Kernel& kernel = view->handle->open();
    MessageHeader header;
    header.to = id_of(args[0]);
    header.sender = view->id;
    Outcome outcome;
    if (PyBytes_Check(args[1])) {
      outcome = kernel.send(header, {reinterpret_cast<const uint8_t*>(PyBytes_AS_STRING(args[1])),
                                     static_cast<size_t>(PyBytes_GET_SIZE(args[1]))});
    } else {
      const BytesArgument payload(args[1], "payload");
      outcome = kernel.send(header, payload.view());
    }
    view->handle->work_arrived();
    PyObject* number = outcome_numbers[static_cast<uint8_t>(outcome)];
    Py_INCREF(number);
    return number;
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyObject* get_id(PyObject* self, void*) { return PyLong_FromUnsignedLongLong(view_of(self)->id); }

PyMethodDef methods[] = {
    {"send", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&send)), METH_FASTCALL,
     "send($self, to, payload, /)\n--\n\n"
     "Sends bytes to an agent: one C call, volatile, first in first out per sender.\n\n"
     "to is an agent id, payload any contiguous buffer. Returns a hanse.Outcome number: ok, full,\n"
     "unknown, too_large, denied, revoked. Raises InvalidError (wrong type, closed, forked)."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef properties[] = {{"id", &get_id, nullptr, "id of the agent that acts", nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {{Py_tp_init, reinterpret_cast<void*>(&create)},
                       {Py_tp_new, reinterpret_cast<void*>(&PyType_GenericNew)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(&release)},
                       {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(&clear)},
                       {Py_tp_methods, methods},
                       {Py_tp_getset, properties},
                       {Py_tp_doc, const_cast<char*>("An agent that sends.")},
                       {0, nullptr}};
PyType_Spec spec = {"hanse._core.AgentView", sizeof(ViewObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

}  // namespace

void register_view(py::module_& module) {
  for (long i = 0; i < 32; ++i) outcome_numbers[i] = PyLong_FromLong(i);
  PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  module.add_object("AgentView", type);
}

}  // namespace hanse::python
