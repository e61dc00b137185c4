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
};

// New references.
py::object message_object(const Message& message);
py::object delivery_object(const Delivery& delivery);
// Throws wrong_type.
const MessageObject& message_of(py::handle value);

}  // namespace hanse::python
