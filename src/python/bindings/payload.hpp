// Payloads that travel by reference: loans, and Python objects as they are.
#pragma once

#include "handle.hpp"

namespace hanse::python {

bool is_loan(PyObject* value);
// Throws already_resolved (it was sent), bad_array (a view of it still lives).
const Payload& loan_payload(PyObject* loan);
// Moves the loan's buffer into a message; when that is refused the loan still holds it. Throws as
// loan_payload.
Outcome send_loan(Kernel& kernel, const MessageHeader& header, PyObject* loan);
// It was published: the loan holds nothing any more.
void spend_loan(PyObject* loan);
// A reference to a Python object, given back wherever the message ends.
Payload adopted(PyObject* object);

}  // namespace hanse::python
