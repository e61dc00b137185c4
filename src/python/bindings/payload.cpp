#include "payload.hpp"

#include <cstring>

#include "convert.hpp"
#include "dlpack.hpp"
#include "message.hpp"
#include "sender.hpp"

namespace hanse::python {

namespace {

PyTypeObject* loan_type = nullptr;

struct LoanObject {
  PyObject_HEAD Payload payload;
  Py_ssize_t views;  // that live: what is sent must not change any more
};

LoanObject* self_of(PyObject* self) { return reinterpret_cast<LoanObject*>(self); }

void release(PyObject* self) {
  self_of(self)->payload.~Payload();
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  LoanObject* loan = self_of(self);
  try {
    if (!loan->payload) throw Error(ErrorCode::already_resolved, "loan", "it was sent");
  } catch (...) {
    set_python_error();
    view->obj = nullptr;
    return -1;
  }
  const Bytes bytes = loan->payload.bytes();
  if (PyBuffer_FillInfo(view, self, const_cast<uint8_t*>(bytes.data()),
                        static_cast<Py_ssize_t>(bytes.size()), 0, flags) != 0)
    return -1;
  ++loan->views;
  return 0;
}

void release_buffer(PyObject* self, Py_buffer*) { --self_of(self)->views; }

Py_ssize_t length(PyObject* self) { return static_cast<Py_ssize_t>(self_of(self)->payload.size()); }

PyObject* get_sent(PyObject* self, void*) { return PyBool_FromLong(!self_of(self)->payload); }
PyObject* get_view(PyObject* self, void*) { return PyMemoryView_FromObject(self); }

// What a consumer holds of a loan: one view of it, and the shape that the tensor points to.
template <class Tensor>
struct LoanTensor {
  Tensor managed{};
  int64_t size = 0;
};

template <class Tensor>
void delete_tensor(Tensor* managed) {
  auto* held = reinterpret_cast<LoanTensor<Tensor>*>(managed);
  // At the end of the process there is no one to give it back to.
  if (Py_IsInitialized() != 0) {
    const PyGILState_STATE state = PyGILState_Ensure();
    auto* loan = static_cast<PyObject*>(held->managed.owner);
    --self_of(loan)->views;
    Py_DECREF(loan);
    PyGILState_Release(state);
  }
  delete held;
}

template <class Tensor>
void delete_capsule(PyObject* capsule) {
  const char* name = PyCapsule_GetName(capsule);
  // A consumer renames the capsule and deletes the tensor itself.
  if (name == nullptr || std::strncmp(name, "used", 4) == 0) return;
  auto* managed = static_cast<Tensor*>(PyCapsule_GetPointer(capsule, name));
  if (managed != nullptr) managed->deleter(managed);
}

template <class Tensor>
PyObject* tensor_capsule(PyObject* self, const char* name) {
  LoanObject* loan = self_of(self);
  auto held = std::make_unique<LoanTensor<Tensor>>();
  held->size = static_cast<int64_t>(loan->payload.size());
  DlTensor& tensor = held->managed.tensor;
  tensor.data = const_cast<uint8_t*>(loan->payload.bytes().data());
  tensor.device = dl_cpu;
  tensor.dimensions = 1;
  tensor.dtype = dl_uint8;
  tensor.shape = &held->size;
  held->managed.owner = self;
  held->managed.deleter = &delete_tensor<Tensor>;
  if constexpr (requires { held->managed.major; }) held->managed.major = 1;
  PyObject* capsule = PyCapsule_New(&held->managed, name, &delete_capsule<Tensor>);
  if (capsule == nullptr) return nullptr;
  (void)held.release();
  Py_INCREF(self);
  ++loan->views;
  return capsule;
}

PyObject* dlpack(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords) {
  try {
    constexpr const char* names[] = {"stream", "max_version", "dl_device", "copy"};
    PyObject* values[std::size(names)];
    sort_arguments("__dlpack__", names, 0, 0, args, count, keywords, values);
    if (!self_of(self)->payload) throw Error(ErrorCode::already_resolved, "loan", "it was sent");
    if (values[0] != nullptr && values[0] != Py_None)
      throw Error(ErrorCode::bad_array, "stream", "want None: the loan is in the CPU's memory");
    if (values[2] != nullptr && values[2] != Py_None) {
      const auto [type, id] = py::handle(values[2]).cast<std::pair<int32_t, int32_t>>();
      if (type != dl_cpu.type || id != dl_cpu.id)
        throw Error(ErrorCode::bad_array, "dl_device", "want (1, 0), the CPU's memory");
    }
    if (values[3] == Py_True)
      throw Error(ErrorCode::bad_array, "copy", "a loan is for writing: copy what it gives");
    const bool versioned = values[1] != nullptr && values[1] != Py_None &&
                           py::handle(values[1]).cast<std::pair<int32_t, int32_t>>().first >= 1;
    return versioned ? tensor_capsule<DlManagedTensorVersioned>(self, "dltensor_versioned")
                     : tensor_capsule<DlManagedTensor>(self, "dltensor");
  } catch (py::cast_error&) {
    PyErr_SetString(PyExc_TypeError, "max_version and dl_device are pairs of int");
    return nullptr;
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

PyObject* dlpack_device(PyObject*, PyObject*) {
  return Py_BuildValue("(ii)", int{dl_cpu.type}, int{dl_cpu.id});
}

PyMethodDef methods[] = {
    {"__dlpack__", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(&dlpack)),
     METH_FASTCALL | METH_KEYWORDS,
     "__dlpack__($self, *, stream=None, max_version=None, dl_device=None, copy=None)\n--\n\n"
     "Writable uint8[n] for an array library: numpy.from_dlpack(loan), torch.from_dlpack(loan).\n"
     "Let go of it before sending. Raises InvalidError (BadArray, AlreadyResolved)."},
    {"__dlpack_device__", &dlpack_device, METH_NOARGS,
     "__dlpack_device__($self)\n--\n\n(1, 0): the CPU's memory."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef properties[] = {
    {"view", &get_view, nullptr, "writable memoryview; release it before sending", nullptr},
    {"sent", &get_sent, nullptr, "it was moved into a message", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(&release)},
    {Py_tp_getset, properties},
    {Py_tp_methods, methods},
    {Py_sq_length, reinterpret_cast<void*>(&length)},
    {Py_bf_getbuffer, reinterpret_cast<void*>(&get_buffer)},
    {Py_bf_releasebuffer, reinterpret_cast<void*>(&release_buffer)},
    {Py_tp_doc, const_cast<char*>("Memory of the kernel to write a payload into; send moves it.")},
    {0, nullptr}};
PyType_Spec spec = {"hanse._core.Loan", sizeof(LoanObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

void let_go(void* object) {
  // At the end of the process there is no one to give it back to.
  if (Py_IsInitialized() == 0) return;
  const PyGILState_STATE state = PyGILState_Ensure();
  Py_DECREF(static_cast<PyObject*>(object));
  PyGILState_Release(state);
}

py::object loan_of(KernelHandle& handle, py::object size) {
  Kernel& kernel = handle.open();
  const size_t bytes = unsigned_of(size, "size");
  if (bytes == 0) throw Error(ErrorCode::empty, "size", "want at least one byte");
  Payload payload = kernel.mailboxes().loan(bytes);
  if (!payload)
    throw Error(ErrorCode::backpressure, "payload_bytes_max",
                kernel.mailboxes().options().payload_bytes_max, bytes);
  auto* loan = reinterpret_cast<LoanObject*>(loan_type->tp_alloc(loan_type, 0));
  if (loan == nullptr) throw py::error_already_set();
  new (&loan->payload) Payload(std::move(payload));
  return py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(loan));
}

}  // namespace

bool is_loan(PyObject* value) { return Py_TYPE(value) == loan_type; }

const Payload& loan_payload(PyObject* value) {
  LoanObject* loan = self_of(value);
  if (!loan->payload) throw Error(ErrorCode::already_resolved, "loan", "it was sent");
  if (loan->views != 0)
    throw Error(ErrorCode::bad_array, "loan", "a view of it still lives: release it first");
  return loan->payload;
}

Outcome send_loan(Kernel& kernel, const MessageHeader& header, PyObject* value) {
  (void)loan_payload(value);
  return kernel.send_payload(header, std::move(self_of(value)->payload));
}

void spend_loan(PyObject* value) { self_of(value)->payload = Payload(); }

Payload adopted(PyObject* object) {
  Payload payload = Payload::adopt(object, {}, &let_go);
  Py_INCREF(object);
  return payload;
}

PyObject* object_in(const PayloadBuffer* buffer) {
  return buffer != nullptr && buffer->release == &let_go ? static_cast<PyObject*>(buffer->owner)
                                                         : nullptr;
}

void register_payload(py::module_& module, KernelClass& kernel) {
  loan_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (loan_type == nullptr) throw py::error_already_set();
  module.add_object("Loan", reinterpret_cast<PyObject*>(loan_type));
  kernel.def("loan", &loan_of);
}

}  // namespace hanse::python
