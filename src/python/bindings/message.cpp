#include "message.hpp"

#include <structmember.h>

#include "convert.hpp"

namespace hanse::python {

namespace {

PyTypeObject* message_type = nullptr;

void release(PyObject* self) {
  auto* message = reinterpret_cast<MessageObject*>(self);
  Py_XDECREF(message->payload);
  Py_XDECREF(message->task_class);
  Py_XDECREF(message->latents);
  Py_XDECREF(message->kernel);
  PyTypeObject* type = Py_TYPE(self);
  type->tp_free(self);
  Py_DECREF(type);
}

PyObject* represent(PyObject* self) {
  const auto* message = reinterpret_cast<const MessageObject*>(self);
  return PyUnicode_FromFormat(
      "Message(to=%llu, sender=%llu, kind=%u, request=%llu, sequence=%llu, task=%llu, payload=%R)",
      message->to, message->sender, message->kind, message->request, message->sequence,
      message->task, message->payload);
}

#define HANSE_MEMBER(name, type, doc) {#name, type, offsetof(MessageObject, name), READONLY, doc}
PyMemberDef members[] = {
    HANSE_MEMBER(to, T_ULONGLONG, "id of the agent it is for"),
    HANSE_MEMBER(sender, T_ULONGLONG, "id of the agent that sent it"),
    {"worker", T_ULONGLONG, offsetof(MessageObject, to), READONLY, "of a task: the same as to"},
    {"requester", T_ULONGLONG, offsetof(MessageObject, sender), READONLY,
     "of a task: the same as sender"},
    HANSE_MEMBER(kind, T_UINT, "0 data, 1 request, 2 reply, 3 failure, 4 task"),
    HANSE_MEMBER(request, T_ULONGLONG, "which request it is or answers; 0: none"),
    HANSE_MEMBER(sequence, T_ULONGLONG, "in the receiver's box: gap-free over accepted messages"),
    HANSE_MEMBER(payload, T_OBJECT, "bytes"),
    HANSE_MEMBER(task, T_ULONGLONG, "id of the task it delivers; 0: none"),
    HANSE_MEMBER(attempt, T_UINT, "of a task or durable message: deliveries so far, from 1"),
    HANSE_MEMBER(durable, T_BOOL, "it came from a durable box, and waits for ack()"),
    HANSE_MEMBER(acknowledged, T_BOOL, "of a durable message: ack() or an outbox was here"),
    HANSE_MEMBER(deadline_ns, T_ULONGLONG, "of a task: absolute UNIX time; 0: none"),
    HANSE_MEMBER(task_class, T_OBJECT, "of a task: str"),
    {"latents", T_OBJECT, offsetof(MessageObject, latents), 0,
     "of a task: a tuple of its latents, None where the content is gone"},
    HANSE_MEMBER(latent_missing, T_BOOL, "of a task: a latent's content is gone"),
    {nullptr, 0, 0, 0, nullptr}};
#undef HANSE_MEMBER

MessageObject* allocate() {
  auto* message = reinterpret_cast<MessageObject*>(message_type->tp_alloc(message_type, 0));
  if (message == nullptr) throw py::error_already_set();
  return message;
}

PyObject* payload_from(Bytes payload) {
  PyObject* bytes = PyBytes_FromStringAndSize(reinterpret_cast<const char*>(payload.data()),
                                              static_cast<Py_ssize_t>(payload.size()));
  if (bytes == nullptr) throw py::error_already_set();
  return bytes;
}

PyMethodDef methods[] = {
    {"ack", &acknowledge_message, METH_NOARGS,
     "ack($self, /)\n--\n\n"
     "Acknowledges a durable message: it never comes again. Returns the journal position when "
     "that\n"
     "is on disk. Raises ConflictError (AlreadyResolved; IllegalTransition where the message did\n"
     "not come from a durable box), DeniedError (Revoked), StorageError."},
    {nullptr, nullptr, 0, nullptr}};

PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(&release)},
                       {Py_tp_repr, reinterpret_cast<void*>(&represent)},
                       {Py_tp_members, members},
                       {Py_tp_methods, methods},
                       {Py_tp_doc, const_cast<char*>("One message, or one task for its worker.")},
                       {0, nullptr}};
PyType_Spec spec = {"hanse._core.Message", sizeof(MessageObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

}  // namespace

py::object message_object(const Message& from) {
  MessageObject* message = allocate();
  py::object owner = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(message));
  message->to = from.to;
  message->sender = from.sender;
  message->kind = static_cast<unsigned int>(from.kind);
  message->request = from.request;
  message->sequence = from.sequence;
  message->payload = payload_from(from.payload);
  return owner;
}

py::object delivery_object(const Delivery& from, py::handle kernel) {
  MessageObject* message = allocate();
  py::object owner = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(message));
  message->to = from.worker;
  message->sender = from.requester;
  message->kind = static_cast<unsigned int>(from.durable ? MessageKind::data : MessageKind::task);
  message->sequence = from.sequence;
  if (from.durable) {
    message->durable = 1;
    message->kernel = kernel.inc_ref().ptr();
  }
  message->task = from.task;
  message->attempt = from.attempt;
  message->deadline_ns = from.deadline_ns;
  message->latent_missing = from.latent_missing ? 1 : 0;
  message->payload = payload_from(from.payload);
  message->task_class = py::str(from.task_class).release().ptr();
  py::tuple latents(from.latents.size());
  for (size_t i = 0; i < from.latents.size(); ++i)
    latents[i] = from.latents[i] == id_none ? py::object(py::none()) : py::int_(from.latents[i]);
  message->latents = latents.release().ptr();
  return owner;
}

const MessageObject& message_of(py::handle value) {
  if (Py_TYPE(value.ptr()) != message_type) wrong_type("message", "a Message", value);
  return *reinterpret_cast<const MessageObject*>(value.ptr());
}

void register_message(py::module_& module) {
  message_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (message_type == nullptr) throw py::error_already_set();
  module.add_object("Message", reinterpret_cast<PyObject*>(message_type));
}

}  // namespace hanse::python
