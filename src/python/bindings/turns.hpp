// Turns: the handlers of what a drain took out.
#pragma once

#include "handle.hpp"

namespace hanse::python {

// The handlers of one kernel as its Python side keeps them; all borrowed.
struct Desk {
  explicit Desk(PyObject* tuple)
      : singles(PyTuple_GET_ITEM(tuple, 0)),
        busy(PyTuple_GET_ITEM(tuple, 1)),
        kept(PyTuple_GET_ITEM(tuple, 2)),
        handlers(PyTuple_GET_ITEM(tuple, 3)) {}
  // Its handler can't be called now: an async one runs, or older messages are kept for it, or it is
  // on the stack already.
  bool held_up(const KernelHandle& handle, AgentId agent) const;

  py::handle singles;   // list of handlers, by agent index
  py::handle busy;      // set of agents whose async handler runs
  py::handle kept;      // dict of agents to older messages
  py::handle handlers;  // hanse.handlers.Handlers
};

// Calls the handler of the agent for which `running` has a place at the end. What it gives or
// raises is concluded; throws error_already_set for what is no Exception.
void handle_message(KernelHandle& handle, const Desk& desk, PyObject* message);

}  // namespace hanse::python
