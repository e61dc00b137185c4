// The bounds of boxes, what became of their messages, and the wait for more.
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmath>

#include "convert.hpp"
#include "handle.hpp"
#include "requests.hpp"

namespace hanse::python {

namespace {

constexpr const char* policy_names[] = {"reject", "credit", "drop_oldest", "drop_newest",
                                        "coalesce"};
constexpr const char* form_names[] = {"automatic", "linked", "log"};

BoxPolicy policy_of(py::handle value) {
  const std::string name = text_of(value, "policy");
  for (size_t i = 0; i < std::size(policy_names); ++i)
    if (name == policy_names[i]) return static_cast<BoxPolicy>(i);
  throw Error(ErrorCode::out_of_range, "policy",
              "want reject, credit, drop_oldest, drop_newest or coalesce, have " + name);
}

void configure(KernelHandle& handle, py::object agents, py::object capacity, py::object policy) {
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
  const uint32_t messages =
      capacity.is_none() ? 0 : unsigned_of<uint32_t>(capacity, "capacity", 1u << 30);
  if (!capacity.is_none() && messages == 0)
    throw Error(ErrorCode::out_of_range, "capacity", "want at least 1, have 0");
  std::optional<BoxPolicy> wanted;
  if (!policy.is_none()) wanted = policy_of(policy);
  const auto set = [&](MailboxTable& mailboxes, AgentId agent) {
    BoxOptions options = mailboxes.box_options(agent);
    if (messages != 0) options.capacity_messages = messages;
    if (wanted) options.policy = *wanted;
    mailboxes.set_box(agent, options);
  };
  kernel.own_flow();
  for (const AgentId agent : ids)
    if (kernel.shard_count() == 1)
      set(kernel.mailboxes(), agent);
    else
      kernel.at_box(agent, [&](MailboxTable& mailboxes) { set(mailboxes, agent); });
}

// (capacity, policy, queued)
py::tuple box_of(KernelHandle& handle, py::object agent) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  (void)kernel.tenant_index(id);
  py::tuple fields;
  const auto read = [&](const MailboxTable& mailboxes) {
    const BoxOptions options = mailboxes.box_options(id);
    const uint32_t capacity = options.capacity_messages != 0
                                  ? options.capacity_messages
                                  : mailboxes.options().box_capacity_messages;
    fields = py::make_tuple(capacity, policy_names[static_cast<size_t>(options.policy)],
                            mailboxes.queued(id));
  };
  if (kernel.shard_of(id) == 0)
    read(kernel.mailboxes());
  else
    kernel.at_box(id, read);
  return fields;
}

py::list take_credited(KernelHandle& handle) {
  std::vector<AgentId> agents;
  handle.open().mailboxes().take_credited(agents);
  py::list ids;
  for (const AgentId agent : agents) ids.append(agent);
  return ids;
}

py::dict counters_of(KernelHandle& handle) {
  const MailboxCounters counters = handle.open().mailbox_counters();
  py::dict fields;
  fields["accepted"] = counters.accepted;
  fields["handled"] = counters.handled;
  fields["expired"] = counters.expired;
  fields["cancelled"] = counters.cancelled;
  fields["dead"] = counters.dead;
  fields["queued"] = counters.queued;
  fields["refused_full"] = counters.refused_full;
  fields["refused_unknown"] = counters.refused_unknown;
  fields["refused_too_large"] = counters.refused_too_large;
  fields["refused_other"] = counters.refused_other;
  return fields;
}

py::dict statistics_of(KernelHandle& handle) {
  const MailboxCounters counters = handle.open().mailbox_counters();
  py::dict fields = counters_of(handle);
  py::list lanes;
  for (const LaneCounters& lane : counters.lanes)
    lanes.append(py::make_tuple(lane.entered, lane.handled, lane.ended, lane.queued));
  fields["lanes"] = lanes;
  py::list reasons;
  for (const uint64_t count : counters.dead_by_reason) reasons.append(count);
  fields["dead_by_reason"] = reasons;
  fields["published"] = counters.published;
  fields["resent"] = counters.resent;
  fields["form"] = form_names[static_cast<size_t>(counters.form)];
  fields["epochs"] = counters.epochs;
  fields["switches"] = counters.switches;
  fields["spills"] = counters.spills;
  return fields;
}

// (counts by power of two, their sum, the largest)
py::tuple ages_of(KernelHandle& handle) {
  const QueueAges ages = handle.open().queue_ages();
  py::array_t<uint64_t> counts = new_array<uint64_t>(ages.counts.size());
  std::copy(ages.counts.begin(), ages.counts.end(), counts.mutable_data());
  return py::make_tuple(counts, ages.sum_ns, ages.max_ns);
}

py::list traces_of(KernelHandle& handle) {
  py::list rows;
  for (const TraceRecord& trace : handle.open().traces())
    rows.append(py::make_tuple(trace.trace, trace.to, trace.sender,
                               static_cast<uint8_t>(trace.kind), trace.lane, trace.sequence,
                               trace.sent_ns, trace.taken_ns));
  return rows;
}

py::tuple digest_of_run(KernelHandle& handle) {
  const TraceDigest digest = handle.open().digest();
  return py::make_tuple(digest.count, digest.ordered, digest.unordered);
}

py::list dead_letters_of(KernelHandle& handle) {
  py::list rows;
  for (const DeadLetter& letter : handle.open().dead_letters()) {
    const MessageHeader& header = letter.header;
    rows.append(py::make_tuple(letter.number, header.to, header.sender,
                               static_cast<uint8_t>(header.kind), header.lane, header.request,
                               header.key, header.trace, static_cast<uint8_t>(letter.reason),
                               letter.size, bytes_from(letter.payload), letter.cut));
  }
  return rows;
}

uint8_t resend(KernelHandle& handle, py::object number) {
  const Outcome outcome = handle.open().resend(unsigned_of(number, "number"));
  handle.work_arrived();
  return static_cast<uint8_t>(outcome);
}

// Requests whose messages became dead letters, or expired in a box, end so.
void settle_dead_requests(KernelHandle& handle) {
  Kernel& kernel = handle.open();
  handle.undelivered.clear();
  kernel.take_undelivered(handle.undelivered);
  for (const Undelivered& one : handle.undelivered) {
    if (!handle.requests->table.waiting(one.request)) continue;
    const bool late = one.reason == Outcome::expired;
    const RequestEnd end = late ? RequestEnd::expired : RequestEnd::undeliverable;
    const char* why = late ? "no reply in time" : "its message became a dead letter";
    handle.requests->settle(one.request, end, exception_for(end, why, one.to));
  }
}

// An eventfd of this handle's own, written when something is put into an idle kernel's boxes.
int own_wake(KernelHandle& handle) {
  Kernel& kernel = handle.open();
  kernel.mailboxes().own();
  if (handle.wake_fd >= 0) return handle.wake_fd;
  if (handle.own_fd < 0) handle.own_fd = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (handle.own_fd < 0) throw Error(ErrorCode::storage_failed, "eventfd", "none is left");
  handle.wake_fd = handle.own_fd;
  handle.pump_scheduled = false;
  kernel.set_notify_fd(handle.own_fd);
  return handle.own_fd;
}

// From now on the next arrival wakes again.
void rearm(KernelHandle& handle) {
  if (handle.own_fd < 0) return;
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t read = ::read(handle.own_fd, &count, sizeof count);
  handle.pump_scheduled = false;
}

// Sleeps until something arrives, at most `seconds`; without the GIL.
void wait_for_work(KernelHandle& handle, double seconds) {
  pollfd polled{own_wake(handle), POLLIN, 0};
  // Above a day: in slices, since poll counts milliseconds in an int.
  const int timeout_ms = static_cast<int>(std::ceil(std::min(seconds, 86'400.0) * 1e3));
  unlocked([&] { return ::poll(&polled, 1, timeout_ms); });
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  (void)handle.open();
  rearm(handle);
}

}  // namespace

void register_boxes(py::module_& module, KernelClass& kernel) {
  (void)module;
  kernel.def("configure_boxes", &configure)
      .def("box", &box_of)
      .def("take_credited", &take_credited)
      .def("mailbox_counters", &counters_of)
      .def("mailbox_statistics", &statistics_of)
      .def("queue_ages", &ages_of)
      .def("traces", &traces_of)
      .def("digest", &digest_of_run)
      .def("dead_letters", &dead_letters_of)
      .def("resend", &resend)
      .def("settle_dead_requests", &settle_dead_requests)
      .def("rest", [](KernelHandle& handle) { handle.open().rest(); })
      .def("own_wake", &own_wake)
      .def("rearm", &rearm)
      .def("wait_for_work", &wait_for_work);
}

}  // namespace hanse::python
