#include "payload.hpp"

#include "convert.hpp"
#include "message.hpp"

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

PyGetSetDef properties[] = {
    {"view", &get_view, nullptr, "writable memoryview; release it before sending", nullptr},
    {"sent", &get_sent, nullptr, "it was moved into a message", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(&release)},
    {Py_tp_getset, properties},
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
