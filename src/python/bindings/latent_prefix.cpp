// The hot path of prefixes: one tree of (tenant, fingerprint) as a C type, without pybind11's
// dispatcher.
#include "convert.hpp"
#include "latent.hpp"
#include "latent/latent.hpp"

namespace hanse::python {

namespace {

struct PrefixObject {
  PyObject_HEAD PyObject* kernel;  // a _core.Kernel, kept alive
  KernelHandle* handle;            // inside it
  AgentId reader;
  uint32_t tenant;
  Digest fingerprint;
};

PrefixObject* prefix_of(PyObject* self) { return reinterpret_cast<PrefixObject*>(self); }

int create(PyObject* self, PyObject* args, PyObject* keywords) {
  PyObject *kernel = nullptr, *reader = nullptr, *spec = nullptr;
  static const char* names[] = {"kernel", "reader", "spec", nullptr};
  if (PyArg_ParseTupleAndKeywords(args, keywords, "OOO", const_cast<char**>(names), &kernel,
                                  &reader, &spec) == 0)
    return -1;
  try {
    KernelHandle& handle = py::handle(kernel).cast<KernelHandle&>();
    PrefixObject* prefix = prefix_of(self);
    prefix->reader = unsigned_of(reader, "reader");
    prefix->tenant = handle.open().tenant_index(prefix->reader);
    prefix->fingerprint = latent_fingerprint(py::handle(spec).cast<const LatentSpec&>());
    Py_INCREF(kernel);
    Py_XSETREF(prefix->kernel, kernel);
    prefix->handle = &handle;
    return 0;
  } catch (...) {
    set_python_error();
    return -1;
  }
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(prefix_of(self)->kernel);
  return 0;
}

int clear(PyObject* self) {
  prefix_of(self)->handle = nullptr;
  Py_CLEAR(prefix_of(self)->kernel);
  return 0;
}

void release(PyObject* self) {
  PyObject_GC_UnTrack(self);
  clear(self);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

// A contiguous buffer of 32-bit integers, signed or not.
class Tokens {
 public:
  explicit Tokens(PyObject* value) {
    if (PyObject_CheckBuffer(value) == 0) wrong_type("tokens", "an int32 or uint32 array", value);
    if (PyObject_GetBuffer(value, &buffer_, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) {
      PyErr_Clear();
      throw Error(ErrorCode::bad_array, "tokens", "want a C-contiguous array");
    }
    const char* format = buffer_.format;
    const bool known =
        format != nullptr && buffer_.itemsize == 4 && format[0] != 0 && format[1] == 0 &&
        (format[0] == 'i' || format[0] == 'I' || format[0] == 'l' || format[0] == 'L');
    if (known && buffer_.ndim == 1) return;
    PyBuffer_Release(&buffer_);
    throw Error(ErrorCode::wrong_type, "tokens", "want one dimension of int32 or uint32");
  }
  ~Tokens() { PyBuffer_Release(&buffer_); }
  Tokens(const Tokens&) = delete;
  Tokens& operator=(const Tokens&) = delete;
  std::span<const uint32_t> view() const {
    return {static_cast<const uint32_t*>(buffer_.buf), static_cast<size_t>(buffer_.len) / 4};
  }

 private:
  Py_buffer buffer_{};
};

Kernel& kernel_of(PyObject* self) {
  PrefixObject* prefix = prefix_of(self);
  if (prefix->handle == nullptr) throw Error(ErrorCode::closed, "kernel", "has been closed");
  return prefix->handle->open();
}

// The GIL stays held: looking up takes less than giving it up would.
PyObject* match(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  if (count != 1) {
    PyErr_Format(PyExc_TypeError, "match(tokens) takes 1 argument, %zd were given", count);
    return nullptr;
  }
  try {
    Kernel& kernel = kernel_of(self);
    const PrefixObject* prefix = prefix_of(self);
    const Tokens tokens(args[0]);
    return PyLong_FromUnsignedLong(
        kernel.latents().match(prefix->tenant, prefix->fingerprint, tokens.view()));
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyObject* acquire(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  if (count != 1) {
    PyErr_Format(PyExc_TypeError, "acquire(tokens) takes 1 argument, %zd were given", count);
    return nullptr;
  }
  try {
    Kernel& kernel = kernel_of(self);
    const PrefixObject* prefix = prefix_of(self);
    const Tokens tokens(args[0]);
    const LatentPool::Prefix found = kernel.latents().longest_prefix(
        prefix->reader, prefix->tenant, prefix->fingerprint, tokens.view());
    return Py_BuildValue("(Kk)", static_cast<unsigned long long>(found.latent),
                         static_cast<unsigned long>(found.matched));
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyMethodDef methods[] = {
    {"match", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&match)), METH_FASTCALL,
     "match($self, tokens, /)\n--\n\n"
     "How many of these tokens, int32 or uint32 [n], a stored latent begins with: whole pages.\n\n"
     "Raises InvalidError (wrong type, closed, forked)."},
    {"acquire", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&acquire)),
     METH_FASTCALL,
     "acquire($self, tokens, /)\n--\n\n"
     "The same, and a new handle of what was found: (id, matched); (0, 0): there is none."},
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_init, reinterpret_cast<void*>(&create)},
                       {Py_tp_new, reinterpret_cast<void*>(&PyType_GenericNew)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(&release)},
                       {Py_tp_traverse, reinterpret_cast<void*>(&traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(&clear)},
                       {Py_tp_methods, methods},
                       {Py_tp_doc, const_cast<char*>("The stored prefixes of one kind.")},
                       {0, nullptr}};
PyType_Spec type_spec = {"hanse._core.PrefixView", sizeof(PrefixObject), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC, slots};

}  // namespace

void register_prefix_view(py::module_& module) {
  PyObject* type = PyType_FromSpec(&type_spec);
  if (type == nullptr) throw py::error_already_set();
  module.add_object("PrefixView", type);
}

}  // namespace hanse::python
