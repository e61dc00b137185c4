// Durable boxes: declaring, sending, acknowledging, the outbox.
#include <map>

#include "convert.hpp"
#include "handle.hpp"
#include "message.hpp"

namespace hanse::python {

namespace {

// Messages and the Python memory that they borrow from.
struct DurableArguments {
  std::vector<DurableMessage> messages;
  std::vector<BytesArgument> held;
  py::array to, payloads, sizes, keys;

  // (to, payload, key or None, lane, deadline_ns), one a message.
  explicit DurableArguments(const py::list& rows) {
    held.reserve(rows.size() * 2);
    for (const py::handle row : rows) {
      const auto parts = py::cast<py::tuple>(row);
      const py::object receiver = parts[0], payload = parts[1], key = parts[2];
      const py::object lane = parts[3], deadline_ns = parts[4];
      add(receiver, payload, key, lane, deadline_ns);
    }
  }

  // Columns: payloads as rows (with sizes where they are ragged) or as a sequence of bytes; keys as
  // numbers or as a sequence of bytes and None.
  DurableArguments(py::handle to_value, py::handle payload_value, py::handle size_value,
                   py::handle key_value, py::handle lane_value, py::handle deadline_value) {
    to = array_of<uint64_t>(to_value, "to", 1);
    const std::span<const uint64_t> receivers = span_of<uint64_t>(to);
    messages.resize(receivers.size());
    held.reserve(messages.size() * 2);
    for (size_t i = 0; i < messages.size(); ++i) messages[i].to = receivers[i];
    set_payloads(payload_value, size_value);
    if (!key_value.is_none()) set_keys(key_value);
    set_terms(lane_value, deadline_value);
  }

  void add(py::handle receiver, py::handle payload, py::handle key, py::handle lane,
           py::handle deadline_ns) {
    DurableMessage message;
    message.terms.lane = unsigned_of<uint8_t>(lane, "lane", durable_lane_count - 1);
    message.terms.deadline_ns = unsigned_of(deadline_ns, "deadline_ns");
    message.to = unsigned_of(receiver, "to");
    held.emplace_back(payload, "payload");
    message.payload = held.back().view();
    if (!key.is_none()) {
      held.emplace_back(key, "key");
      message.key = held.back().view();
    }
    messages.push_back(message);
  }

 private:
  void set_payloads(py::handle value, py::handle size_value) {
    if (!py::isinstance<py::array>(value)) {
      const py::sequence rows = sequence_of(value, "payloads");
      for (size_t i = 0; i < messages.size(); ++i) {
        const py::object row = rows[i];
        held.emplace_back(row, "payloads");
        messages[i].payload = held.back().view();
      }
      return;
    }
    payloads = array_of<uint8_t>(value, "payloads", 2);
    check_count("payloads", messages.size(), static_cast<size_t>(payloads.shape(0)));
    const MatrixView<const uint8_t> rows = matrix_of<uint8_t>(payloads);
    for (size_t i = 0; i < messages.size(); ++i) messages[i].payload = rows.row_span(i);
    if (size_value.is_none()) return;
    sizes = array_of<uint32_t>(size_value, "sizes", 1);
    check_count("sizes", messages.size(), static_cast<size_t>(sizes.size()));
    const std::span<const uint32_t> size = span_of<uint32_t>(sizes);
    for (size_t i = 0; i < messages.size(); ++i) {
      if (size[i] > rows.columns)
        throw Error(ErrorCode::out_of_range, "sizes", size[i], rows.columns);
      messages[i].payload = messages[i].payload.first(size[i]);
    }
  }

  void set_keys(py::handle value) {
    if (py::isinstance<py::array>(value)) {
      keys = array_of<uint64_t>(value, "keys", 1);
      check_count("keys", messages.size(), static_cast<size_t>(keys.size()));
      const auto* numbers = static_cast<const uint8_t*>(keys.data());
      for (size_t i = 0; i < messages.size(); ++i) messages[i].key = {numbers + i * 8, 8};
      return;
    }
    const py::sequence rows = sequence_of(value, "keys");
    for (size_t i = 0; i < messages.size(); ++i) {
      const py::object row = rows[i];
      if (row.is_none()) continue;
      held.emplace_back(row, "keys");
      messages[i].key = held.back().view();
    }
  }

  // One for all, or one each.
  void set_terms(py::handle lane_value, py::handle deadline_value) {
    if (py::isinstance<py::array>(lane_value)) {
      const py::array lanes = array_of<uint8_t>(lane_value, "lane", 1);
      check_count("lane", messages.size(), static_cast<size_t>(lanes.size()));
      const auto span = span_of<uint8_t>(lanes);
      for (size_t i = 0; i < messages.size(); ++i) messages[i].terms.lane = span[i];
    } else {
      const auto lane = unsigned_of<uint8_t>(lane_value, "lane", durable_lane_count - 1);
      for (DurableMessage& message : messages) message.terms.lane = lane;
    }
    if (py::isinstance<py::array>(deadline_value)) {
      const py::array deadlines = array_of<uint64_t>(deadline_value, "deadline_ns", 1);
      check_count("deadline_ns", messages.size(), static_cast<size_t>(deadlines.size()));
      const auto span = span_of<uint64_t>(deadlines);
      for (size_t i = 0; i < messages.size(); ++i) messages[i].terms.deadline_ns = span[i];
    } else {
      const uint64_t deadline_ns = unsigned_of(deadline_value, "deadline_ns");
      for (DurableMessage& message : messages) message.terms.deadline_ns = deadline_ns;
    }
  }

  py::sequence sequence_of(py::handle value, const char* field) const {
    if (PyBytes_Check(value.ptr()) || PyUnicode_Check(value.ptr()) ||
        PySequence_Check(value.ptr()) == 0)
      wrong_type(field, "a sequence of bytes", value);
    auto sequence = py::reinterpret_borrow<py::sequence>(value);
    check_count(field, messages.size(), sequence.size());
    return sequence;
  }
};

py::object declare(KernelHandle& handle, AgentId actor, py::object agents, py::object capacity,
                   py::object in_flight, py::object payload_bytes, py::object attempts) {
  Kernel& kernel = handle.open();
  const py::array ids = array_of<uint64_t>(agents, "agents", 1);
  DurableOptions options;
  options.capacity_messages = unsigned_of<uint32_t>(capacity, "capacity");
  options.in_flight_max = unsigned_of<uint32_t>(in_flight, "in_flight");
  options.payload_bytes_max = unsigned_of(payload_bytes, "payload_bytes");
  options.attempts_max = unsigned_of<uint16_t>(attempts, "attempts");
  return position_from(
      unlocked([&] { return kernel.declare_durable(actor, span_of<uint64_t>(ids), options); }));
}

py::tuple sent_from(const DurableSent& sent) {
  return py::make_tuple(static_cast<uint8_t>(sent.outcome), sent.sequence,
                        position_from(sent.position));
}

py::tuple send(KernelHandle& handle, AgentId actor, py::object to, py::object payload,
               py::object key, py::object lane, py::object deadline_ns) {
  Kernel& kernel = handle.open();
  DurableArguments arguments{py::list()};
  arguments.add(to, payload, key, lane, deadline_ns);
  const DurableSent sent =
      unlocked([&] { return kernel.send_durable(actor, arguments.messages.front()); });
  handle.work_arrived();
  return sent_from(sent);
}

// (outcomes, sequences)
py::tuple send_many(KernelHandle& handle, AgentId actor, py::object to, py::object payloads,
                    py::object sizes, py::object keys, py::object lane, py::object deadline_ns) {
  Kernel& kernel = handle.open();
  const DurableArguments arguments(to, payloads, sizes, keys, lane, deadline_ns);
  std::vector<DurableSent> sent(arguments.messages.size());
  unlocked([&] { kernel.send_durable_many(actor, arguments.messages, sent); });
  handle.work_arrived();
  py::array_t<uint8_t> outcomes = new_array<uint8_t>(sent.size());
  py::array_t<uint64_t> sequences = new_array<uint64_t>(sent.size());
  for (size_t i = 0; i < sent.size(); ++i) {
    outcomes.mutable_data()[i] = static_cast<uint8_t>(sent[i].outcome);
    sequences.mutable_data()[i] = sent[i].sequence;
  }
  return py::make_tuple(outcomes, sequences);
}

MessageObject& durable_message_of(py::handle value, AgentId agent) {
  auto& message = const_cast<MessageObject&>(message_of(value));
  if (message.durable == 0)
    throw Error(ErrorCode::illegal_transition, "message", "did not come from a durable box");
  if (message.to != agent)
    throw Error(ErrorCode::not_permitted, "message", "is for another agent", message.to);
  return message;
}

// Messages, or the numbers that they have in the agent's box.
std::vector<uint64_t> sequences_of(const py::list& values, AgentId agent) {
  std::vector<uint64_t> sequences;
  for (const py::handle value : values)
    sequences.push_back(PyLong_Check(value.ptr()) ? unsigned_of(value, "sequence")
                                                  : durable_message_of(value, agent).sequence);
  return sequences;
}

// (position or None, [(outcome, sequence, position)])
py::tuple commit(KernelHandle& handle, AgentId agent, const py::list& acknowledged,
                 const py::list& sends, py::object state, bool wait) {
  Kernel& kernel = handle.open();
  const std::vector<uint64_t> sequences = sequences_of(acknowledged, agent);
  const DurableArguments arguments(sends);
  const BytesArgument state_bytes =
      state.is_none() ? BytesArgument() : BytesArgument(state, "state");
  DurableCommit what{sequences, arguments.messages, {}};
  if (!state.is_none()) what.state = state_bytes.view();
  std::vector<DurableSent> sent(arguments.messages.size());
  const Position position =
      unlocked([&] { return kernel.commit_durable(agent, what, sent, wait); });
  if (position != position_none)
    for (const py::handle value : acknowledged)
      if (!PyLong_Check(value.ptr())) durable_message_of(value, agent).acknowledged = 1;
  handle.work_arrived();
  py::list rows;
  for (const DurableSent& one : sent) rows.append(sent_from(one));
  return py::make_tuple(position_from(position), rows);
}

py::object give_back(KernelHandle& handle, AgentId agent, const py::list& messages) {
  Kernel& kernel = handle.open();
  const std::vector<uint64_t> sequences = sequences_of(messages, agent);
  const Position position = unlocked([&] { return kernel.return_durable(agent, sequences); });
  handle.work_arrived();
  return position_from(position);
}

using ByAgent = std::map<AgentId, std::vector<uint64_t>>;

ByAgent by_agent(const py::list& messages) {
  ByAgent found;
  for (const py::handle value : messages) {
    const MessageObject& message = message_of(value);
    if (message.durable != 0 && message.acknowledged == 0)
      found[message.to].push_back(message.sequence);
  }
  return found;
}

// What a turn of handlers has done, one record an agent, without waiting for the disk. What
// somebody else acknowledged meanwhile, or whose agent is revoked, is settled already.
template <class Change>
void settle(Kernel& kernel, const ByAgent& given, Change&& change) {
  for (const auto& [agent, sequences] : given) {
    for (size_t at = 0; at < sequences.size(); at += durable_batch_max) {
      const std::span<const uint64_t> part = std::span(sequences).subspan(
          at, std::min<size_t>(durable_batch_max, sequences.size() - at));
      try {
        change(agent, part);
      } catch (const Error& error) {
        if (error.code() == ErrorCode::revoked) continue;
        if (error.code() != ErrorCode::already_resolved) throw;
        for (const uint64_t sequence : part) {
          try {
            change(agent, std::span(&sequence, 1));
          } catch (const Error& single) {
            if (single.code() != ErrorCode::already_resolved) throw;
          }
        }
      }
    }
  }
  if (!given.empty()) kernel.request_flush();
}

void acknowledge_all(KernelHandle& handle, const py::list& messages) {
  Kernel& kernel = handle.open();
  const ByAgent given = by_agent(messages);
  unlocked([&] {
    settle(kernel, given, [&](AgentId agent, std::span<const uint64_t> sequences) {
      kernel.commit_durable(agent, {sequences, {}, {}}, {}, false);
    });
  });
}

void return_all(KernelHandle& handle, const py::list& messages) {
  Kernel& kernel = handle.open();
  const ByAgent given = by_agent(messages);
  unlocked([&] {
    settle(kernel, given, [&](AgentId agent, std::span<const uint64_t> sequences) {
      // Waited for: what goes out again is there for the next turn.
      kernel.return_durable(agent, sequences, true);
    });
  });
  handle.work_arrived();
}

py::dict box_of(KernelHandle& handle, AgentId actor, py::object agent) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  const DurableBoxInfo info = unlocked([&] { return kernel.durable_box(actor, id); });
  py::dict fields;
  fields["capacity"] = info.options.capacity_messages;
  fields["in_flight_max"] = info.options.in_flight_max;
  fields["payload_bytes_max"] = info.options.payload_bytes_max;
  fields["attempts"] = info.options.attempts_max;
  fields["accepted"] = info.accepted;
  fields["acknowledged"] = info.acknowledged;
  fields["dead"] = info.dead;
  fields["queued"] = info.queued;
  fields["in_flight"] = info.in_flight;
  fields["payload_bytes"] = info.payload_bytes;
  return fields;
}

py::list dead_letters_of(KernelHandle& handle, AgentId actor, py::object agent) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  const std::vector<DurableDead> letters =
      unlocked([&] { return kernel.durable_dead_letters(actor, id); });
  py::list rows;
  for (const DurableDead& letter : letters)
    rows.append(py::make_tuple(id, make_id(letter.sender, 1), letter.sequence, letter.attempt,
                               static_cast<uint8_t>(letter.reason),
                               bytes_from(letter.payload.bytes), letter.lane));
  return rows;
}

py::tuple resend(KernelHandle& handle, AgentId actor, py::object agent, py::object sequence) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  const uint64_t number = unsigned_of(sequence, "sequence");
  const DurableSent sent = unlocked([&] { return kernel.resend_durable(actor, id, number); });
  handle.work_arrived();
  return sent_from(sent);
}

}  // namespace

PyObject* acknowledge_message(PyObject* self, PyObject*) {
  auto* message = reinterpret_cast<MessageObject*>(self);
  try {
    if (message->durable == 0)
      throw Error(ErrorCode::illegal_transition, "message", "did not come from a durable box");
    KernelHandle& handle = py::handle(message->kernel).cast<KernelHandle&>();
    Kernel& kernel = handle.open();
    const AgentId agent = message->to;
    const uint64_t sequence = message->sequence;
    const Position position = unlocked(
        [&] { return kernel.commit_durable(agent, {std::span(&sequence, 1), {}, {}}, {}, true); });
    message->acknowledged = 1;
    return PyLong_FromUnsignedLongLong(position);
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

void register_durable(KernelClass& kernel_class) {
  kernel_class.def("declare_durable", &declare)
      .def("send_durable", &send)
      .def("send_durable_many", &send_many)
      .def("commit_durable", &commit)
      .def("acknowledge_all", &acknowledge_all)
      .def("return_all", &return_all)
      .def("give_back", &give_back)
      .def("is_durable",
           [](KernelHandle& handle, py::object agent) {
             Kernel& kernel = handle.open();
             const AgentId id = unsigned_of(agent, "agent");
             return unlocked([&] { return kernel.is_durable(id); });
           })
      .def("durable_box", &box_of)
      .def("durable_dead_letters", &dead_letters_of)
      .def("resend_durable", &resend)
      .def("durable_state", [](KernelHandle& handle, AgentId actor, py::object agent) {
        Kernel& kernel = handle.open();
        const AgentId id = unsigned_of(agent, "agent");
        return bytes_from(unlocked([&] { return kernel.durable_state(actor, id); }));
      });
}

}  // namespace hanse::python
