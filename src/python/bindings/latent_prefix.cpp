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
  const LatentSpec* spec;  // owned
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
    const auto& wanted = py::handle(spec).cast<const LatentSpec&>();
    prefix->fingerprint = latent_layout(wanted)->fingerprint;
    delete std::exchange(prefix->spec, new LatentSpec(wanted));
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
  delete std::exchange(prefix_of(self)->spec, nullptr);
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

// A contiguous buffer of whole elements of the spec's dtype.
class Values {
 public:
  Values(PyObject* value, const LatentLayout& layout, size_t tokens) {
    if (PyObject_CheckBuffer(value) == 0) wrong_type("kv", "an array", value);
    if (PyObject_GetBuffer(value, &buffer_, PyBUF_C_CONTIGUOUS) != 0) {
      PyErr_Clear();
      throw Error(ErrorCode::bad_array, "kv", "want a C-contiguous array");
    }
    const auto have = static_cast<uint64_t>(buffer_.len);
    const auto element =
        static_cast<Py_ssize_t>(std::max<uint32_t>(latent_dtype_bits(layout.spec.dtype) / 8, 1));
    const bool fits = have == layout.token_bytes() * tokens && buffer_.itemsize == element;
    if (fits) return;
    PyBuffer_Release(&buffer_);
    throw Error(ErrorCode::dimension_mismatch, "kv",
                "want " + std::to_string(layout.token_bytes() * tokens) + " bytes in elements of " +
                    std::to_string(element) + ", have " + std::to_string(have));
  }
  ~Values() { PyBuffer_Release(&buffer_); }
  Values(const Values&) = delete;
  Values& operator=(const Values&) = delete;
  uint8_t* data() const { return static_cast<uint8_t*>(buffer_.buf); }

 private:
  Py_buffer buffer_{};
};

// Small copies keep the GIL.
constexpr uint64_t locked_bytes_max = uint64_t(1) << 20;

PyObject* put(PyObject* self, PyObject* const* args, Py_ssize_t count) {
  if (count != 2 && count != 3) {
    PyErr_Format(PyExc_TypeError, "put(tokens, kv, cost=None) takes 2 or 3 arguments, %zd given",
                 count);
    return nullptr;
  }
  try {
    Kernel& kernel = kernel_of(self);
    const PrefixObject* prefix = prefix_of(self);
    const Tokens tokens(args[0]);
    const bool keeps = count == 3 && args[2] != Py_None;
    const uint64_t cost = keeps ? unsigned_of(args[2], "cost") : 0;
    const std::shared_ptr<const LatentLayout> layout = latent_layout(*prefix->spec);
    const Values kv(args[1], *layout, tokens.view().size());
    LatentTerms terms;
    terms.tokens = tokens.view();
    const auto token_count = static_cast<uint32_t>(tokens.view().size());
    const auto store = [&] {
      LatentPool& pool = kernel.latents();
      const LatentId latent =
          pool.put(prefix->reader, prefix->tenant, layout->spec,
                   layout->contiguous(kv.data(), token_count), token_count, terms);
      try {
        if (keeps) pool.keep(latent, prefix->reader, prefix->tenant, cost, false);
      } catch (...) {
        pool.release(latent);
        throw;
      }
      return latent;
    };
    const bool small = layout->token_bytes() * token_count <= locked_bytes_max;
    return PyLong_FromUnsignedLongLong(small ? store() : unlocked(store));
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
    {"put", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&put)), METH_FASTCALL,
     "put($self, tokens, kv, cost=None, /)\n--\n\n"
     "Copies kv, contiguous and as the spec orders it, in under these tokens; returns the id.\n\n"
     "cost: not None: it is kept, too, as `Latent.keep` does.\n"
     "Raises InvalidError, BusyError (QuotaExceeded)."},
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
