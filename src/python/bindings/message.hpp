// What a handler gets: one message, or one task on its way to its worker.
#pragma once

#include "handle.hpp"

namespace hanse::python {

// Grows by reference: the fields behind `latents` are set where a payload lies in a buffer alone.
struct MessageObject {
  PyObject_HEAD unsigned long long to, sender, request, sequence, task, deadline_ns;
  unsigned long long key, trace, latent;
  unsigned int kind, attempt, lane;
  PyObject* payload;     // bytes; null where it is in `buffer` and was not asked for
  PyObject* task_class;  // str
  PyObject* latents;     // tuple
  char latent_missing;
  char durable, acknowledged;
  PyObject* kernel;       // of a durable message: a _core.Kernel, kept alive for its ack()
  RequestCentre* centre;  // of a request: who knows whether it still waits
  PayloadBuffer* buffer;  // a reference of its own, or null
};

// New references.
py::object message_object(const Message& message, RequestCentre* centre);
py::object delivery_object(const Delivery& delivery, py::handle kernel);
// Throws wrong_type.
const MessageObject& message_of(py::handle value);
bool is_message(PyObject* value);
Bytes payload_of(const MessageObject& message);
// What send_object put into this buffer, or null.
PyObject* object_in(const PayloadBuffer* buffer);

// durable.cpp: the method ack() of a message.
PyObject* acknowledge_message(PyObject* self, PyObject*);

}  // namespace hanse::python
