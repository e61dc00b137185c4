// What a handler gets: one message, or one task on its way to its worker.
#pragma once

#include "handle.hpp"

namespace hanse::python {

struct MessageObject {
  PyObject_HEAD unsigned long long to, sender, request, sequence, task, deadline_ns;
  unsigned int kind, attempt;
  PyObject* payload;     // bytes
  PyObject* task_class;  // str
  PyObject* latents;     // tuple
  char latent_missing;
  char durable, acknowledged;
  PyObject* kernel;  // of a durable message: a _core.Kernel, kept alive for its ack()
};

// New references.
py::object message_object(const Message& message);
py::object delivery_object(const Delivery& delivery, py::handle kernel);
// Throws wrong_type.
const MessageObject& message_of(py::handle value);

// durable.cpp: the method ack() of a message.
PyObject* acknowledge_message(PyObject* self, PyObject*);

}  // namespace hanse::python
