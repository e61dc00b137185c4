#include "message.hpp"

#include <structmember.h>

#include "convert.hpp"
#include "requests.hpp"

namespace hanse::python {

namespace {

PyTypeObject* message_type = nullptr;
PyTypeObject* shared_type = nullptr;  // its payload lies in a buffer that others may share

// Handlers see one message after the other: the last one's memory is still in the cache.
constexpr size_t spare_count_max = 64;
MessageObject* spare[spare_count_max];
size_t spare_count = 0;

MessageObject* self_of(PyObject* self) { return reinterpret_cast<MessageObject*>(self); }

void release(PyObject* self) {
  MessageObject* message = self_of(self);
  Py_XDECREF(message->payload);
  Py_XDECREF(message->task_class);
  Py_XDECREF(message->latents);
  Py_XDECREF(message->kernel);
  if (message->centre) message->centre->release();
  if (message->buffer) Payload::drop(message->buffer);
  PyTypeObject* type = Py_TYPE(self);
  if (type == message_type && spare_count < spare_count_max)
    spare[spare_count++] = message;
  else
    type->tp_free(self);
  Py_DECREF(type);
}

PyObject* get_payload(PyObject* self, void*) {
  MessageObject* message = self_of(self);
  if (message->payload == nullptr) {
    const Bytes bytes = payload_of(*message);
    message->payload = PyBytes_FromStringAndSize(reinterpret_cast<const char*>(bytes.data()),
                                                 static_cast<Py_ssize_t>(bytes.size()));
  }
  Py_XINCREF(message->payload);
  return message->payload;
}

PyObject* represent(PyObject* self) {
  const MessageObject* message = self_of(self);
  PyObject* payload = get_payload(self, nullptr);
  if (payload == nullptr) return nullptr;
  PyObject* text = PyUnicode_FromFormat(
      "Message(to=%llu, sender=%llu, kind=%u, lane=%u, request=%llu, sequence=%llu, task=%llu, "
      "payload=%R)",
      message->to, message->sender, message->kind, message->lane, message->request,
      message->sequence, message->task, payload);
  Py_DECREF(payload);
  return text;
}

PyObject* get_view(PyObject* self, void*) { return PyMemoryView_FromObject(self); }

PyObject* get_object(PyObject* self, void*) {
  PyObject* object = object_in(self_of(self)->buffer);
  if (object == nullptr) object = Py_None;
  Py_INCREF(object);
  return object;
}

PyObject* get_cancelled(PyObject* self, void*) {
  const MessageObject* message = self_of(self);
  return PyBool_FromLong(message->centre != nullptr &&
                         !message->centre->table.waiting(message->request));
}

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  const Bytes bytes = payload_of(*self_of(self));
  // An empty payload may have no address; a buffer must.
  static uint8_t nothing;
  void* start = bytes.empty() ? &nothing : const_cast<uint8_t*>(bytes.data());
  return PyBuffer_FillInfo(view, self, start, static_cast<Py_ssize_t>(bytes.size()), 1, flags);
}

#define HANSE_MEMBER(name, type, doc) {#name, type, offsetof(MessageObject, name), READONLY, doc}
PyMemberDef members[] = {
    HANSE_MEMBER(to, T_ULONGLONG, "id of the agent it is for"),
    HANSE_MEMBER(sender, T_ULONGLONG, "id of the agent that sent it"),
    {"worker", T_ULONGLONG, offsetof(MessageObject, to), READONLY, "of a task: the same as to"},
    {"requester", T_ULONGLONG, offsetof(MessageObject, sender), READONLY,
     "of a task: the same as sender"},
    HANSE_MEMBER(kind, T_UINT, "0 data, 1 request, 2 reply, 3 failure, 4 task"),
    HANSE_MEMBER(lane, T_UINT, "0 … 3, the most urgent"),
    HANSE_MEMBER(request, T_ULONGLONG, "which request it is or answers; 0: none"),
    HANSE_MEMBER(sequence, T_ULONGLONG,
                 "in the receiver's box and lane: gap-free over accepted messages"),
    // Not T_OBJECT: for this kind the interpreter has a short way.
    HANSE_MEMBER(payload, T_OBJECT_EX, "bytes"),
    HANSE_MEMBER(task, T_ULONGLONG, "id of the task it delivers; 0: none"),
    HANSE_MEMBER(attempt, T_UINT, "of a task or durable message: deliveries so far, from 1"),
    HANSE_MEMBER(durable, T_BOOL, "it came from a durable box, and waits for ack()"),
    HANSE_MEMBER(acknowledged, T_BOOL, "of a durable message: ack() or an outbox was here"),
    HANSE_MEMBER(deadline_ns, T_ULONGLONG, "absolute UNIX time; 0: none"),
    HANSE_MEMBER(key, T_ULONGLONG, "what the sender tells its messages apart by; 0: none"),
    HANSE_MEMBER(trace, T_ULONGLONG, "trace number, carried along; 0: none"),
    HANSE_MEMBER(latent, T_ULONGLONG, "id of a latent that goes with it; 0: none"),
    HANSE_MEMBER(task_class, T_OBJECT, "of a task: str"),
    {"latents", T_OBJECT, offsetof(MessageObject, latents), 0,
     "of a task: a tuple of its latents, None where the content is gone"},
    HANSE_MEMBER(latent_missing, T_BOOL, "of a task: a latent's content is gone"),
    {nullptr, 0, 0, 0, nullptr}};
#undef HANSE_MEMBER

PyGetSetDef properties[] = {
    {"view", &get_view, nullptr, "memoryview of the payload, read-only, not copied", nullptr},
    {"object", &get_object, nullptr, "what send_object sent, itself; else None", nullptr},
    {"cancelled", &get_cancelled, nullptr,
     "of a request: no one waits for its answer any more (cancelled, timed out, answered)",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyGetSetDef shared_properties[] = {
    {"payload", &get_payload, nullptr, "bytes, copied when first asked for", nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

MessageObject* allocate(PyTypeObject* type) {
  if (type == message_type && spare_count != 0) {
    MessageObject* message = spare[--spare_count];
    std::memset(reinterpret_cast<char*>(message) + sizeof(PyObject), 0,
                sizeof(MessageObject) - sizeof(PyObject));
    PyObject_Init(reinterpret_cast<PyObject*>(message), type);
    return message;
  }
  auto* message = reinterpret_cast<MessageObject*>(type->tp_alloc(type, 0));
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
                       {Py_tp_getset, properties},
                       {Py_bf_getbuffer, reinterpret_cast<void*>(&get_buffer)},
                       {Py_tp_doc, const_cast<char*>("One message, or one task for its worker.")},
                       {0, nullptr}};
PyType_Spec spec = {"hanse._core.Message", sizeof(MessageObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                    slots};

PyType_Slot shared_slots[] = {
    {Py_tp_getset, shared_properties},
    {Py_tp_doc, const_cast<char*>("A message whose payload came by reference.")},
    {0, nullptr}};
PyType_Spec shared_spec = {"hanse._core.SharedMessage", sizeof(MessageObject), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, shared_slots};

}  // namespace

py::object message_object(const Message& from, RequestCentre* centre) {
  MessageObject* message = allocate(from.buffer != nullptr ? shared_type : message_type);
  py::object owner = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(message));
  message->to = from.to;
  message->sender = from.sender;
  message->kind = static_cast<unsigned int>(from.kind);
  message->lane = from.lane;
  message->request = from.request;
  message->sequence = from.sequence;
  if (from.rare != &message_rare_none) {
    message->deadline_ns = from.rare->deadline_ns;
    message->key = from.rare->key;
    message->trace = from.rare->trace;
    message->latent = from.rare->latent;
  }
  if (from.kind == MessageKind::request && centre != nullptr) {
    centre->retain();
    message->centre = centre;
  }
  if (from.buffer != nullptr)
    message->buffer = Payload::share(from.buffer).detach();
  else
    message->payload = payload_from(from.payload);
  return owner;
}

py::object delivery_object(const Delivery& from, py::handle kernel) {
  MessageObject* message = allocate(message_type);
  py::object owner = py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(message));
  message->to = from.worker;
  message->sender = from.requester;
  message->kind = static_cast<unsigned int>(from.durable ? MessageKind::data : MessageKind::task);
  message->sequence = from.sequence;
  if (from.durable) {
    message->durable = 1;
    message->lane = from.lane;
    message->deadline_ns = from.deadline_ns;
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

bool is_message(PyObject* value) {
  return Py_TYPE(value) == message_type || Py_TYPE(value) == shared_type;
}

const MessageObject& message_of(py::handle value) {
  if (!is_message(value.ptr())) wrong_type("message", "a Message", value);
  return *reinterpret_cast<const MessageObject*>(value.ptr());
}

Bytes payload_of(const MessageObject& message) {
  if (message.buffer != nullptr) return {message.buffer->data, message.buffer->size};
  return {reinterpret_cast<const uint8_t*>(PyBytes_AS_STRING(message.payload)),
          static_cast<size_t>(PyBytes_GET_SIZE(message.payload))};
}

void register_message(py::module_& module) {
  message_type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (message_type == nullptr) throw py::error_already_set();
  module.add_object("Message", reinterpret_cast<PyObject*>(message_type));
  const py::tuple bases = py::make_tuple(py::handle(reinterpret_cast<PyObject*>(message_type)));
  shared_type =
      reinterpret_cast<PyTypeObject*>(PyType_FromSpecWithBases(&shared_spec, bases.ptr()));
  if (shared_type == nullptr) throw py::error_already_set();
  module.add_object("SharedMessage", reinterpret_cast<PyObject*>(shared_type));
}

}  // namespace hanse::python
