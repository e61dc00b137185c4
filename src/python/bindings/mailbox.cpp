#include "mailbox/mailbox.hpp"

#include "batch.hpp"
#include "columns.hpp"
#include "convert.hpp"
#include "handle.hpp"
#include "mailbox/batch_columns.hpp"
#include "message.hpp"

namespace hanse::python {

namespace {

py::list deliveries_of(const Batch& batch) {
  py::list tasks(batch.deliveries.size());
  for (size_t i = 0; i < batch.deliveries.size(); ++i)
    tasks[i] = delivery_object(batch.deliveries[i], batch.kernel);
  return tasks;
}

py::list messages_of(const Batch& batch, KernelHandle& handle) {
  const std::vector<Message>& all = batch.messages.messages();
  py::list messages(all.size());
  for (size_t i = 0; i < all.size(); ++i) messages[i] = message_object(all[i], handle.requests);
  return messages;
}

// Route of each message, then of each delivery: see RouteTable.
py::array_t<int32_t> routes_of(const Batch& batch, KernelHandle& handle) {
  Kernel& kernel = handle.open();
  const size_t count = batch.messages.count();
  py::array_t<int32_t> routes = new_array<int32_t>(count + batch.deliveries.size());
  int32_t* out = routes.mutable_data();
  if (const MessageColumns* columns = batch.messages.columns()) {
    for (size_t i = 0; i < count; ++i) *out++ = handle.routes.route(kernel, columns->to[i]);
  } else {
    for (const Message& message : batch.messages.messages())
      *out++ = handle.routes.route(kernel, message.to);
  }
  for (const Delivery& delivery : batch.deliveries)
    *out++ = handle.routes.route(kernel, delivery.worker);
  return routes;
}

std::unique_ptr<Batch> drain(KernelHandle& handle, py::object max_messages) {
  Kernel& kernel = handle.open();
  const size_t count_max = unsigned_of<uint32_t>(max_messages, "max_messages");
  auto batch = std::make_unique<Batch>();
  batch->kernel = py::cast(&handle);
  kernel.drain(batch->messages, batch->deliveries, count_max);
  return batch;
}

// Only what has a handler: the rest waits in its boxes, which stay as full as they are.
std::unique_ptr<Batch> drain_handled(KernelHandle& handle, uint32_t count_max) {
  Kernel& kernel = handle.open();
  auto batch = std::make_unique<Batch>();
  batch->kernel = py::cast(&handle);
  const WantedBoxes wanted{[](void* context, AgentId agent) {
                             KernelHandle& asked = *static_cast<KernelHandle*>(context);
                             return asked.routes.route(*asked.kernel, agent) != RouteTable::none;
                           },
                           &handle};
  kernel.drain(batch->messages, batch->deliveries, count_max, &wanted);
  return batch;
}

// A Message, or None.
py::object receive(KernelHandle& handle, py::object agent) {
  Kernel& kernel = handle.open();
  Batch batch;
  if (!kernel.receive(unsigned_of(agent, "agent"), batch.messages, batch.deliveries))
    return py::none();
  if (!batch.deliveries.empty())
    return delivery_object(batch.deliveries.front(), py::cast(&handle));
  if (batch.messages.count() == 0) return py::none();
  return message_object(batch.messages.messages().front(), handle.requests);
}

py::array_t<uint8_t> send_many(KernelHandle& handle, AgentId sender, py::object to,
                               py::object payloads, py::object sizes) {
  Kernel& kernel = handle.open();
  const py::array to_array = array_of<uint64_t>(to, "to", 1);
  const size_t count = static_cast<size_t>(to_array.size());
  const py::array payload_array = array_of<uint8_t>(payloads, "payloads", 2);
  check_count("payloads", count, static_cast<size_t>(payload_array.shape(0)));
  std::optional<py::array> size_array;
  if (!sizes.is_none()) {
    size_array = array_of<uint32_t>(sizes, "sizes", 1);
    check_count("sizes", count, static_cast<size_t>(size_array->size()));
    const auto width = static_cast<uint32_t>(payload_array.shape(1));
    for (const uint32_t size : span_of<uint32_t>(*size_array))
      if (size > width) throw Error(ErrorCode::out_of_range, "sizes", size, width);
  }
  py::array_t<uint8_t> outcomes = new_array<uint8_t>(count);
  const std::span<Outcome> outcomes_out(reinterpret_cast<Outcome*>(outcomes.mutable_data()), count);
  const std::span<const uint32_t> size_span =
      size_array ? span_of<uint32_t>(*size_array) : std::span<const uint32_t>{};
  // The GIL stays held: the flow plane belongs to this thread and takes no lock.
  kernel.send_many(sender, span_of<uint64_t>(to_array), matrix_of<uint8_t>(payload_array),
                   size_span, outcomes_out);
  handle.work_arrived();
  return outcomes;
}

// A handler failed, or was not called since no one waits any more: what it was given, or would have
// been, becomes a dead letter.
void dead(KernelHandle& handle, py::object value, bool cancelled) {
  const MessageObject& from = message_of(value);
  Message message;
  message.to = from.to;
  message.sender = from.sender;
  message.kind = static_cast<MessageKind>(from.kind);
  message.request = from.request;
  message.sequence = from.sequence;
  message.lane = static_cast<uint8_t>(from.lane);
  message.payload = payload_of(from);
  message.buffer = from.buffer;
  const MessageRare rare{from.deadline_ns, from.key, from.trace, from.latent};
  message.rare = &rare;
  const Outcome reason = cancelled ? Outcome::cancelled : Outcome::invalid;
  handle.open().mailboxes_here().dead(message, reason);
}

// Many at once: all are looked at before the first is changed.
void route_singles(KernelHandle& handle, py::object agents, py::list singles, py::object handler,
                   py::object nobody) {
  Kernel& kernel = handle.open();
  const py::array array = array_of<uint64_t>(agents, "agents", 1);
  const std::span<const AgentId> ids = span_of<uint64_t>(array);
  uint32_t count = 0;
  for (const AgentId agent : ids) {
    (void)kernel.tenant_index(agent);
    if (kernel.shards() != nullptr && kernel.shard_of(agent) != 0)
      throw Error(ErrorCode::wrong_thread, "agents",
                  "it is on shard " + std::to_string(kernel.shard_of(agent)), agent);
    count = std::max(count, index_of(agent) + 1);
  }
  while (singles.size() < count) singles.append(nobody);
  for (const AgentId agent : ids) {
    singles[index_of(agent)] = handler;
    handle.routes.add_single(agent);
  }
}

}  // namespace

void RouteTable::add_single(AgentId agent) {
  const uint32_t index = index_of(agent);
  if (index >= singles_.size()) singles_.resize(index + size_t{1}, 0);
  singles_[index] = 1;
  if (index < routes_.size()) routes_[index] = single;
}

int32_t RouteTable::add_group(AgentId group) {
  for (size_t slot = 0; slot < groups_.size(); ++slot)
    if (groups_[slot] == group) return static_cast<int32_t>(slot);
  groups_.push_back(group);
  routes_.clear();
  return static_cast<int32_t>(groups_.size()) - 1;
}

int32_t RouteTable::find(Kernel& kernel, AgentId agent) {
  const uint32_t index = index_of(agent);
  if (index >= routes_.size()) routes_.resize(kernel.agent_count(), not_known);
  if (index >= routes_.size()) return none;
  int32_t found = none;
  if (index < singles_.size() && singles_[index] != 0) {
    found = single;
  } else if (!groups_.empty()) {
    for (AgentId at = agent; at != id_none && found == none;) {
      for (size_t slot = 0; slot < groups_.size(); ++slot)
        if (groups_[slot] == at) found = static_cast<int32_t>(slot);
      if (found == none) at = kernel.agent(kernel.root(), at).parent;
    }
  }
  routes_[index] = found;
  return found;
}

void register_mailbox(py::module_& module, KernelClass& kernel_class) {
  py::class_<Batch>(module, "Batch")
      .def("count", [](const Batch& batch) { return batch.messages.count(); })
      .def("task_count", [](const Batch& batch) { return batch.deliveries.size(); })
      .def("column", &column_of)
      .def("tasks", &deliveries_of)
      .def("messages", &messages_of)
      .def("message",
           [](const Batch& batch, KernelHandle& handle, size_t index) {
             return message_object(batch.messages.messages().at(index), handle.requests);
           })
      .def("routes", &routes_of);

  kernel_class.def("drain", &drain)
      .def("drain_handled", &drain_handled)
      .def("unpark", [](KernelHandle& handle) { handle.open().mailboxes().unpark(); })
      .def("receive", &receive)
      .def("send_many", &send_many)
      .def("route_single",
           [](KernelHandle& handle, AgentId agent) { handle.routes.add_single(agent); })
      .def("route_singles", &route_singles)
      .def("route_group",
           [](KernelHandle& handle, AgentId group) { return handle.routes.add_group(group); })
      .def("route", [](KernelHandle& handle,
                       AgentId agent) { return handle.routes.route(handle.open(), agent); })
      .def("set_paused", [](KernelHandle& handle, AgentId agent,
                            bool paused) { handle.open().mailboxes().set_paused(agent, paused); })
      .def("queued", [](KernelHandle& handle,
                        AgentId agent) { return handle.open().mailboxes().queued(agent); })
      .def("owned_here",
           [](KernelHandle& handle) { return handle.open().mailboxes().owned_here(); })
      .def("own", [](KernelHandle& handle) { handle.open().mailboxes().own(); })
      .def("dead", &dead);
}

}  // namespace hanse::python
