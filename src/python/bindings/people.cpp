#include "kernel/people.hpp"

#include "convert.hpp"
#include "handle.hpp"

namespace hanse::python {

namespace {

std::vector<uint8_t> octets_of(py::handle value, const char* field) {
  const BytesArgument bytes(value, field);
  return {bytes.view().begin(), bytes.view().end()};
}

Position change_identity(KernelHandle& handle, AgentId actor, py::object agent, py::object step,
                         py::object previous, py::object signer, py::object key, py::object text,
                         py::object signature) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  IdentityEntry entry;
  entry.step = static_cast<IdentityStep>(unsigned_of<uint8_t>(step, "step", 3));
  entry.previous = digest_of(previous, "previous");
  entry.signer = digest_of(signer, "signer");
  entry.key = digest_of(key, "key");
  entry.text = text_of(text, "text");
  entry.signature = octets_of(signature, "signature");
  return unlocked([&] { return kernel.change_identity(actor, id, entry); });
}

// (identity, head, epoch, key or None, key revoked, [(step, previous, signer, key, text, signature,
// position)])
py::tuple identity_of(KernelHandle& handle, AgentId actor, py::object agent) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  const IdentityHistory history = unlocked([&] { return kernel.identity(actor, id); });
  py::list entries;
  for (const IdentityEntry& entry : history.entries)
    entries.append(py::make_tuple(static_cast<uint8_t>(entry.step), bytes_from(entry.previous),
                                  bytes_from(entry.signer), bytes_from(entry.key), entry.text,
                                  bytes_from(entry.signature), position_from(entry.position)));
  py::object key = py::none();
  if (history.key) key = bytes_from(*history.key);
  return py::make_tuple(bytes_from(history.identity), bytes_from(history.head), history.epoch(),
                        key, history.key_revoked, entries);
}

Position narrow(KernelHandle& handle, AgentId actor, py::object agent, py::object permissions,
                py::object budget_max, py::object levels) {
  Kernel& kernel = handle.open();
  AgentNarrowed narrowed;
  narrowed.agent = unsigned_of(agent, "agent");
  if (!permissions.is_none()) narrowed.permissions = unsigned_of(permissions, "permissions");
  if (!budget_max.is_none()) narrowed.budget_max = unsigned_of(budget_max, "budget_max");
  if (!levels.is_none()) narrowed.levels = unsigned_of<uint32_t>(levels, "levels");
  return unlocked([&] { return kernel.narrow(actor, narrowed); });
}

Position move_agent(KernelHandle& handle, AgentId actor, py::object agent, py::object parent) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent"), under = unsigned_of(parent, "parent");
  return unlocked([&] { return kernel.move_agent(actor, id, under); });
}

Position steer(KernelHandle& handle, AgentId actor, py::object agent, py::object paused) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  const bool stop = truth_of(paused, "paused");
  const Position position = unlocked([&] { return kernel.steer(actor, id, stop); });
  handle.work_arrived();
  return position;
}

py::tuple standing_from(const Standing& standing) {
  return py::make_tuple(standing.success, standing.failure, standing.accepted, standing.rejected,
                        standing.at_ns);
}

py::list standings_of(KernelHandle& handle, AgentId actor, py::object agent) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  py::list rows;
  for (const NamedStanding& line : unlocked([&] { return kernel.standings(actor, id); }))
    rows.append(py::make_tuple(line.task_class, standing_from(line.standing)));
  return rows;
}

py::list judged_of(KernelHandle& handle, AgentId actor, py::object agent) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  py::list rows;
  for (const Attempt& attempt : unlocked([&] { return kernel.judged_attempts(actor, id); }))
    rows.append(py::make_tuple(make_id(attempt.task, 1), attempt.first, attempt.started_at,
                               attempt.judged_at, attempt.ending == Ending::accepted));
  return rows;
}

AgentId admit(KernelHandle& handle, AgentId actor, py::object parent, py::object name,
              py::object identity, py::object source, py::object document, py::list entries,
              py::list standings) {
  Kernel& kernel = handle.open();
  PassportAdmission passport;
  if (!parent.is_none()) passport.parent = unsigned_of(parent, "parent");
  passport.name = text_of(name, "name");
  passport.identity = digest_of(identity, "identity");
  passport.source = digest_of(source, "source");
  passport.document = digest_of(document, "document");
  for (const py::handle row : entries) {
    const auto fields = py::reinterpret_borrow<py::tuple>(row);
    IdentityEntry entry;
    entry.step = static_cast<IdentityStep>(unsigned_of<uint8_t>(fields[0], "step", 3));
    entry.previous = digest_of(fields[1], "previous");
    entry.signer = digest_of(fields[2], "signer");
    entry.key = digest_of(fields[3], "key");
    entry.text = text_of(fields[4], "text");
    entry.signature = octets_of(fields[5], "signature");
    passport.entries.push_back(std::move(entry));
  }
  for (const py::handle row : standings) {
    const auto fields = py::reinterpret_borrow<py::tuple>(row);
    Standing standing;
    standing.success = unsigned_of(fields[1], "success");
    standing.failure = unsigned_of(fields[2], "failure");
    standing.accepted = unsigned_of(fields[3], "accepted");
    standing.rejected = unsigned_of(fields[4], "rejected");
    standing.at_ns = unsigned_of(fields[5], "at_ns");
    passport.standings.push_back({text_of(fields[0], "task_class"), standing});
  }
  return unlocked([&] { return kernel.admit(actor, passport); });
}

py::list inbox(KernelHandle& handle, AgentId actor, py::object human) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(human, "human");
  py::list rows;
  for (const ApprovalItem& item : unlocked([&] { return kernel.inbox(actor, id); })) {
    py::list tasks;
    for (const TaskId task : item.tasks) tasks.append(task);
    rows.append(py::make_tuple(item.rule, item.task_class, py::tuple(tasks), item.budget,
                               item.answer_by_ns, item.asked_to, bytes_from(item.hash)));
  }
  return rows;
}

py::list answer(KernelHandle& handle, AgentId human, py::object rule, py::object task_class,
                py::object asked_to, py::object answer_by_ns, py::object hash, py::object allow) {
  Kernel& kernel = handle.open();
  ApprovalAnswer answer;
  answer.rule = text_of(rule, "rule");
  answer.task_class = text_of(task_class, "task_class");
  answer.asked_to = unsigned_of(asked_to, "asked_to");
  answer.answer_by_ns = unsigned_of(answer_by_ns, "answer_by_ns");
  answer.hash = digest_of(hash, "hash");
  answer.allow = truth_of(allow, "allow");
  py::list settled;
  for (const TaskId task : unlocked([&] { return kernel.answer(human, answer); }))
    settled.append(task);
  handle.work_arrived();
  return settled;
}

Position set_role(KernelHandle& handle, AgentId actor, py::object name, py::object task_class,
                  py::object mean_min, py::object weight_min, py::object permissions) {
  Kernel& kernel = handle.open();
  const Role role{text_of(name, "name"), text_of(task_class, "task_class"),
                  unsigned_of(mean_min, "mean"), unsigned_of(weight_min, "count"),
                  unsigned_of(permissions, "permissions")};
  return unlocked([&] { return kernel.set_role(actor, role); });
}

// (type, time, tenant, fields) of a record that came from elsewhere.
py::tuple describe_record(py::object record) {
  const BytesArgument bytes(record, "record");
  const EventInfo event = hanse::describe_record(bytes.view());
  py::dict fields;
  for (const auto& [name, value] : event.fields) fields[py::str(name)] = value;
  return py::make_tuple(event.type, event.time_ns, event.tenant, fields);
}

void register_standing(KernelClass& kernel_class) {
  kernel_class
      .def("standing",
           [](KernelHandle& handle, AgentId actor, py::object agent, py::object task_class) {
             Kernel& kernel = handle.open();
             const AgentId id = unsigned_of(agent, "agent");
             const std::string name = text_of(task_class, "task_class");
             return standing_from(unlocked([&] { return kernel.standing(actor, id, name); }));
           })
      .def("rate",
           [](KernelHandle& handle, AgentId actor, py::object task, py::object success) {
             Kernel& kernel = handle.open();
             const TaskId id = unsigned_of(task, "task");
             const bool good = truth_of(success, "good");
             return unlocked([&] { return kernel.rate(actor, id, good); });
           })
      .def("set_reputation_terms",
           [](KernelHandle& handle, AgentId actor, py::object half_life_ns,
              py::object fee_per_verdict) {
             Kernel& kernel = handle.open();
             const ReputationTerms terms{unsigned_of(half_life_ns, "half_life"),
                                         unsigned_of(fee_per_verdict, "fee_per_verdict")};
             return unlocked([&] { return kernel.set_reputation_terms(actor, terms); });
           })
      .def("roles",
           [](KernelHandle& handle) {
             Kernel& kernel = handle.open();
             py::list rows;
             for (const Role& role : unlocked([&] { return kernel.roles(); }))
               rows.append(py::make_tuple(role.name, role.task_class, role.mean_min,
                                          role.weight_min, role.permissions));
             return rows;
           })
      .def("has_role",
           [](KernelHandle& handle, AgentId actor, py::object agent, py::object role) {
             Kernel& kernel = handle.open();
             const AgentId id = unsigned_of(agent, "agent");
             const std::string name = text_of(role, "role");
             return unlocked([&] { return kernel.has_role(actor, id, name); });
           })
      .def("set_attention",
           [](KernelHandle& handle, AgentId actor, py::object human, py::object per_day) {
             Kernel& kernel = handle.open();
             const AgentId id = unsigned_of(human, "human");
             const uint64_t units = unsigned_of(per_day, "per_day");
             return unlocked([&] { return kernel.set_attention(actor, id, units); });
           })
      .def("offers_of",
           [](KernelHandle& handle, py::object agent) {
             Kernel& kernel = handle.open();
             const AgentId id = unsigned_of(agent, "agent");
             py::list rows;
             for (const OfferHeld& offer : unlocked([&] { return kernel.offers_of(id); }))
               rows.append(py::make_tuple(offer.space, offer.offer, offer.version, offer.price,
                                          offer.tier, offer.skills));
             return rows;
           })
      .def("record_bytes", [](KernelHandle& handle, py::object position) {
        Kernel& kernel = handle.open();
        const Position at = unsigned_of(position, "position");
        return bytes_from(unlocked([&] { return kernel.journal().read(at); }));
      });
}

}  // namespace

void register_people(py::module_& module, KernelClass& kernel_class) {
  module.def("describe_record", &describe_record);
  kernel_class.def("change_identity", &change_identity)
      .def("identity", &identity_of)
      .def("narrow", &narrow)
      .def("move_agent", &move_agent)
      .def("steer", &steer)
      .def("standings", &standings_of)
      .def("judged", &judged_of)
      .def("admit", &admit)
      .def("inbox", &inbox)
      .def("answer", &answer)
      .def("set_role", &set_role);
  register_standing(kernel_class);
}

}  // namespace hanse::python
