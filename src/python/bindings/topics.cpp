// Topics: one payload to all that subscribed, by reference.
#include "convert.hpp"
#include "handle.hpp"
#include "payload.hpp"

namespace hanse::python {

namespace {

// one(topics, agent): false where nothing changed. All agents are looked at before the first.
template <class One>
uint64_t each_agent(KernelHandle& handle, py::handle agents, One&& one) {
  Kernel& kernel = handle.open();
  std::vector<AgentId> ids;
  if (py::isinstance<py::array>(agents)) {
    const py::array array = array_of<uint64_t>(agents, "agents", 1);
    const auto span = span_of<uint64_t>(array);
    ids.assign(span.begin(), span.end());
  } else {
    ids.push_back(unsigned_of(agents, "agents"));
  }
  for (const AgentId agent : ids) (void)kernel.tenant_index(agent);
  return kernel.at_topics([&](auto& topics) {
    uint64_t changed = 0;
    for (const AgentId agent : ids) changed += one(topics, agent);
    return changed;
  });
}

uint64_t subscribe(KernelHandle& handle, py::object agents, py::object topic) {
  const uint64_t number = unsigned_of(topic, "topic");
  return each_agent(handle, agents,
                    [&](auto& topics, AgentId agent) { return topics.subscribe(agent, number); });
}

uint64_t unsubscribe(KernelHandle& handle, py::object agents, py::object topic) {
  const uint64_t number = unsigned_of(topic, "topic");
  return each_agent(handle, agents,
                    [&](auto& topics, AgentId agent) { return topics.unsubscribe(agent, number); });
}

uint64_t subscribe_prefix(KernelHandle& handle, py::object agents, py::object prefix,
                          py::object bits) {
  const uint64_t number = unsigned_of(prefix, "prefix");
  const auto length = unsigned_of<uint32_t>(bits, "bits", 64);
  return each_agent(handle, agents, [&](auto& topics, AgentId agent) {
    return topics.subscribe_prefix(agent, number, length);
  });
}

uint64_t unsubscribe_prefix(KernelHandle& handle, py::object agents, py::object prefix,
                            py::object bits) {
  const uint64_t number = unsigned_of(prefix, "prefix");
  const auto length = unsigned_of<uint32_t>(bits, "bits", 64);
  return each_agent(handle, agents, [&](auto& topics, AgentId agent) {
    return topics.unsubscribe_prefix(agent, number, length);
  });
}

uint64_t join_group(KernelHandle& handle, py::object agents, py::object topic, py::object group) {
  const uint64_t number = unsigned_of(topic, "topic"), of = unsigned_of(group, "group");
  return each_agent(handle, agents, [&](auto& topics, AgentId agent) {
    return topics.join_group(agent, number, of);
  });
}

uint64_t leave_group(KernelHandle& handle, py::object agents, py::object topic, py::object group) {
  const uint64_t number = unsigned_of(topic, "topic"), of = unsigned_of(group, "group");
  return each_agent(handle, agents, [&](auto& topics, AgentId agent) {
    return topics.leave_group(agent, number, of);
  });
}

py::array_t<uint64_t> ids_of(std::span<const AgentId> all) {
  py::array_t<uint64_t> ids = new_array<uint64_t>(all.size());
  std::copy(all.begin(), all.end(), ids.mutable_data());
  return ids;
}

py::array_t<uint64_t> members(KernelHandle& handle, py::object topic, py::object group) {
  const uint64_t number = unsigned_of(topic, "topic"), of = unsigned_of(group, "group");
  return handle.open().at_topics(
      [&](auto& topics) { return ids_of(topics.consumer_groups().members(number, of)); });
}

py::array_t<uint8_t> numbers_of(std::span<const Outcome> outcomes) {
  py::array_t<uint8_t> numbers = new_array<uint8_t>(outcomes.size());
  std::copy(outcomes.begin(), outcomes.end(), reinterpret_cast<Outcome*>(numbers.mutable_data()));
  return numbers;
}

py::array_t<uint64_t> subscribers(KernelHandle& handle, py::object topic) {
  const uint64_t number = unsigned_of(topic, "topic");
  return handle.open().at_topics([&](auto& topics) { return ids_of(topics.subscribers(number)); });
}

// (how many took it, an outcome a subscriber, an outcome a consumer group)
py::tuple publish(KernelHandle& handle, AgentId sender, py::object topic, py::object payload,
                  py::object lane, py::object deadline_ns, py::object key, py::object trace) {
  Kernel& kernel = handle.open();
  MessageHeader header;
  header.sender = sender;
  header.lane = unsigned_of<uint8_t>(lane, "lane", lane_count - 1);
  header.deadline_ns = unsigned_of(deadline_ns, "deadline_ns");
  header.key = unsigned_of(key, "key");
  header.trace = unsigned_of(trace, "trace");
  const uint64_t number = unsigned_of(topic, "topic");
  std::vector<Outcome> outcomes, groups;
  size_t taken = 0;
  if (is_loan(payload.ptr())) {
    taken = kernel.publish(number, header, loan_payload(payload.ptr()), outcomes, groups);
    spend_loan(payload.ptr());
  } else {
    const BytesArgument bytes(payload, "payload");
    taken = kernel.publish(number, header, bytes.view(), outcomes, groups);
  }
  handle.work_arrived();
  return py::make_tuple(taken, numbers_of(outcomes), numbers_of(groups));
}

}  // namespace

void register_topics(py::module_& module, KernelClass& kernel) {
  (void)module;
  kernel.def("subscribe", &subscribe)
      .def("unsubscribe", &unsubscribe)
      .def("subscribe_prefix", &subscribe_prefix)
      .def("unsubscribe_prefix", &unsubscribe_prefix)
      .def("subscribers", &subscribers)
      .def("join_group", &join_group)
      .def("leave_group", &leave_group)
      .def("group_members", &members)
      .def("publish_message", &publish);
}

}  // namespace hanse::python
