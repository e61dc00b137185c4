// Who sends, asks and answers: the C type under Kernel and AgentView.
#pragma once

#include "handle.hpp"

namespace hanse::python {

struct SenderObject {
  PyObject_HEAD PyObject* kernel;  // a _core.Kernel, kept alive
  PyObject* desk;                  // see Desk
  KernelHandle* handle;            // inside `kernel`
  AgentId id;                      // none: whoever acts
};

SenderObject* sender_of(PyObject* self);
// Throws closed, forked.
KernelHandle& open_handle(SenderObject* sender);
AgentId id_argument(PyObject* value, const char* field);
// For a function that takes its first arguments by position and all of them by name: sorts them
// into `values_out`, null where one was not given. Throws with the Python error set.
void sort_arguments(const char* function, std::span<const char* const> names, size_t positional,
                    size_t required, PyObject* const* args, Py_ssize_t count, PyObject* keywords,
                    std::span<PyObject*> values_out);
PyObject* outcome_number(Outcome outcome);

PyObject* ask(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords);
PyObject* reply(PyObject* self, PyObject* const* args, Py_ssize_t count, PyObject* keywords);

}  // namespace hanse::python
