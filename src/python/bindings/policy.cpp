#include "policy/policy.hpp"

#include <chrono>
#include <deque>

#include "convert.hpp"
#include "handle.hpp"

namespace hanse::python {

namespace {

Action action_of(py::handle value) {
  const std::string name = text_of(value, "action");
  for (size_t i = 0; i < static_cast<size_t>(Action::count_); ++i)
    if (name == action_name(static_cast<Action>(i))) return static_cast<Action>(i);
  throw Error(ErrorCode::out_of_range, "action", "there is no action " + name);
}

// The context of a question as columns, and what their values borrow.
class Context {
 public:
  Context(py::handle mapping, size_t count) {
    for (const auto& [key, value] : mapping.cast<py::dict>()) {
      columns_.push_back({text_of(key, "context"), {}});
      PolicyColumn& column = columns_.back();
      if (py::isinstance<py::array>(value) && count_of(value) != 1)
        read_array(column, value, count);
      else
        column.values.push_back(read(column.name, value));
    }
  }
  std::span<const PolicyColumn> columns() const { return columns_; }

 private:
  static py::ssize_t count_of(py::handle value) {
    return py::reinterpret_borrow<py::array>(value).size();
  }

  Value read(const std::string& name, py::handle value) {
    if (PyBool_Check(value.ptr())) return Value::of_boolean(value.ptr() == Py_True);
    if (PyUnicode_Check(value.ptr())) {
      texts_.push_back(text_of(value, name.c_str()));
      return Value::of_text(texts_.back());
    }
    if (PyAnySet_Check(value.ptr()) || PyList_Check(value.ptr()) || PyTuple_Check(value.ptr()))
      return read_set(name, value);
    if (PyIndex_Check(value.ptr()))
      return Value::of_integer(signed_of(value, name.c_str(), INT64_MIN, INT64_MAX));
    wrong_type(name.c_str(), "an int, a bool, a str or a set of them", value);
  }

  Value read_set(const std::string& name, py::handle value) {
    ValueSet set;
    for (const py::handle element : py::iter(value)) {
      const Value read_one = read(name, element);
      if (read_one.kind == Value::Kind::set) wrong_type(name.c_str(), "a set without sets", value);
      set.elements.push_back(read_one);
    }
    set.sort();
    sets_.push_back(std::move(set));
    return Value::of_set(sets_.back());
  }

  void read_array(PolicyColumn& column, py::handle value, size_t count) {
    const char* field = column.name.c_str();
    column.values.reserve(count);
    if (py::isinstance<py::array_t<bool>>(value)) {
      for (const bool one : span_of<bool>(array_of<bool>(value, field, 1)))
        column.values.push_back(Value::of_boolean(one));
    } else {
      for (const int64_t one : span_of<int64_t>(array_of<int64_t>(value, field, 1)))
        column.values.push_back(Value::of_integer(one));
    }
  }

  std::deque<std::string> texts_;
  std::deque<ValueSet> sets_;
  std::vector<PolicyColumn> columns_;
};

py::list list_of(const std::vector<std::string>& names) {
  py::list list;
  for (const std::string& name : names) list.append(name);
  return list;
}

py::list names_of(const Program& program, const Decision& decision) {
  py::list rules;
  for (uint32_t i = 0; i < std::min(decision.rule_count, rules_fired_max); ++i)
    rules.append(program.rule_name(decision.rules[i]));
  return rules;
}

py::tuple check_policy(KernelHandle& handle, AgentId actor, py::object principal, py::object action,
                       py::object resource, py::object context) {
  Kernel& kernel = handle.open();
  const AgentId who = unsigned_of(principal, "principal");
  const AgentId what = resource.is_none() ? id_none : unsigned_of(resource, "resource");
  const Context said(context, 1);
  PolicyQuestions questions{action_of(action), {&who, 1}, {}, said.columns()};
  if (!resource.is_none()) questions.resources = {&what, 1};
  Decision decision;
  const auto program =
      unlocked([&] { return kernel.check_policy(actor, questions, {&decision, 1}); });
  return py::make_tuple(decision.allowed, decision.epoch, names_of(*program, decision),
                        decision.error, decision.obligations);
}

// An id, or uint64[n]; None: empty.
class Ids {
 public:
  Ids(py::handle value, const char* field) {
    if (value.is_none()) return;
    if (py::isinstance<py::array>(value)) {
      array_ = array_of<uint64_t>(value, field, 1);
      view_ = span_of<uint64_t>(*array_);
    } else {
      one_ = unsigned_of(value, field);
      view_ = {&one_, 1};
    }
  }
  Ids(const Ids&) = delete;
  Ids& operator=(const Ids&) = delete;
  std::span<const AgentId> view() const { return view_; }

 private:
  std::optional<py::array> array_;
  AgentId one_ = id_none;
  std::span<const AgentId> view_;
};

constexpr size_t questions_max = 1u << 22;

py::tuple check_policy_many(KernelHandle& handle, AgentId actor, py::object principals,
                            py::object action, py::object resources, py::object context,
                            size_t count) {
  Kernel& kernel = handle.open();
  if (count > questions_max) throw Error(ErrorCode::too_large, "count", count, questions_max);
  const Ids who(principals, "principal"), what(resources, "resource");
  const Context said(context, count);
  const PolicyQuestions questions{action_of(action), who.view(), what.view(), said.columns()};
  std::vector<Decision> decisions(count);
  py::array_t<bool> allowed(static_cast<py::ssize_t>(count)),
      failed(static_cast<py::ssize_t>(count));
  py::array_t<uint8_t> obligations(static_cast<py::ssize_t>(count));
  bool* const allowed_out = allowed.mutable_data();
  bool* const failed_out = failed.mutable_data();
  uint8_t* const obligations_out = obligations.mutable_data();
  const uint64_t epoch = unlocked([&] {
    kernel.check_policy(actor, questions, decisions);
    for (size_t i = 0; i < count; ++i) {
      allowed_out[i] = decisions[i].allowed;
      failed_out[i] = decisions[i].error;
      obligations_out[i] = decisions[i].obligations;
    }
    return count == 0 ? kernel.policy_epoch() : decisions[0].epoch;
  });
  return py::make_tuple(allowed, failed, obligations, epoch);
}

py::object position_of(uint64_t position) {
  return position == UINT64_MAX ? py::object(py::none()) : py::object(py::int_(position));
}

py::list policy_rules(KernelHandle& handle, size_t last) {
  Kernel& kernel = handle.open();
  std::vector<uint8_t> shelved;
  const auto program = unlocked([&] {
    std::shared_ptr<const Program> found = kernel.policy();
    kernel.shelved(last, shelved);
    return found;
  });
  py::list rules;
  for (uint32_t i = 0; i < program->rule_count(); ++i) {
    const RuleInfo rule = program->rule(i);
    rules.append(py::make_tuple(rule.name, rule.text, rule.forbids, rule.obligations,
                                i < shelved.size() && shelved[i] != 0, position_of(rule.lesson),
                                rule.approver));
  }
  return rules;
}

py::tuple dry_run_policy(KernelHandle& handle, AgentId actor, py::object text, py::object schema,
                         size_t last) {
  Kernel& kernel = handle.open();
  const std::string rules = text_of(text, "policy"), types = text_of(schema, "schema");
  const DryRun run = unlocked([&] { return kernel.dry_run(actor, rules, types, last); });
  py::list listed;
  for (const DryRun::Difference& one : run.listed)
    listed.append(py::make_tuple(
        one.position, action_name(one.action), one.principal,
        one.resource == id_none ? py::object(py::none()) : py::object(py::int_(one.resource)),
        one.task_class, one.allowed_before, one.allowed_after, one.obligations_before,
        one.obligations_after, list_of(one.rules_before), list_of(one.rules_after)));
  return py::make_tuple(run.decisions, run.differences, listed);
}

py::list policy_lessons(KernelHandle& handle) {
  Kernel& kernel = handle.open();
  const Governance governance = unlocked([&] { return kernel.governance(); });
  py::list lessons;
  for (const Lesson& lesson : governance.lessons)
    lessons.append(py::make_tuple(lesson.event, position_of(lesson.cause), lesson.epoch,
                                  lesson.author, lesson.kind, lesson.rule, lesson.repealed));
  return lessons;
}

py::tuple governance_report(KernelHandle& handle) {
  Kernel& kernel = handle.open();
  const GovernanceReport report = unlocked([&] { return kernel.governance().report; });
  py::dict by_kind;
  for (const auto& [kind, count] : report.by_kind) by_kind[py::str(kind)] = count;
  return py::make_tuple(report.events, report.active_days, by_kind);
}

uint64_t cause_of(py::handle value) {
  return value.is_none() ? UINT64_MAX : unsigned_of(value, "cause");
}

// Nanoseconds of one decision, over blocks of `block` of them: the program alone, asked the same
// question over and over in other orders would learn nothing, so each principal asks in turn.
py::array_t<double> time_policy(KernelHandle& handle, py::object principals, py::object action,
                                py::object resource, size_t block, size_t blocks) {
  Kernel& kernel = handle.open();
  const Ids who(principals, "principal");
  if (block == 0 || blocks == 0 || block * blocks > 1u << 28 || who.view().empty())
    throw Error(ErrorCode::out_of_range, "block", "want 1 to 2^28 decisions in all");
  const AgentId what = unsigned_of(resource, "resource");
  const Action verb = action_of(action);
  py::array_t<double> times(static_cast<py::ssize_t>(blocks));
  double* const out = times.mutable_data();
  unlocked([&] {
    const auto program = kernel.policy();
    std::vector<Request> requests;
    for (const AgentId one : who.view())
      requests.push_back(kernel.policy_question(one, verb, what));
    size_t next = 0;
    uint64_t allowed = 0;
    for (size_t i = 0; i < blocks; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      for (size_t j = 0; j < block; ++j) {
        allowed += program->decide(requests[next], 1).allowed;
        next = next + 1 == requests.size() ? 0 : next + 1;
      }
      const std::chrono::duration<double, std::nano> spent =
          std::chrono::steady_clock::now() - begin;
      out[i] = spent.count() / static_cast<double>(block);
    }
    if (allowed > block * blocks) throw Error(ErrorCode::invariant, "policy", "more than asked");
  });
  return times;
}

}  // namespace

void register_policy(py::module_&, KernelClass& kernel_class) {
  kernel_class
      .def("load_policy",
           [](KernelHandle& handle, AgentId actor, py::object text, py::object schema) {
             Kernel& kernel = handle.open();
             const std::string rules = text_of(text, "policy"), types = text_of(schema, "schema");
             return unlocked([&] { return kernel.load_policy(actor, rules, types); });
           })
      .def("check_policy", &check_policy)
      .def("check_policy_many", &check_policy_many)
      .def("dry_run_policy", &dry_run_policy)
      .def("time_policy", &time_policy)
      .def("policy_rules", &policy_rules)
      .def("policy_lessons", &policy_lessons)
      .def("governance_report", &governance_report)
      .def("govern",
           [](KernelHandle& handle, AgentId actor, py::object kind, py::object note,
              py::object rule, py::object cause) {
             Kernel& kernel = handle.open();
             const std::string what = text_of(kind, "kind"), why = text_of(note, "note"),
                               text = text_of(rule, "rule");
             const GovernanceEvent event{what, why, text, cause_of(cause)};
             return unlocked([&] { return kernel.govern(actor, event); });
           })
      .def("repeal_lesson",
           [](KernelHandle& handle, AgentId actor, py::object lesson, py::object cause) {
             Kernel& kernel = handle.open();
             const uint64_t event = unsigned_of(lesson, "lesson"), why = cause_of(cause);
             return unlocked([&] { return kernel.repeal_lesson(actor, event, why); });
           })
      .def("set_trusted",
           [](KernelHandle& handle, AgentId actor, py::object agent, bool trusted) {
             Kernel& kernel = handle.open();
             const AgentId whom = unsigned_of(agent, "agent");
             return unlocked([&] { return kernel.set_trusted(actor, whom, trusted); });
           })
      .def("untrusted_hops",
           [](KernelHandle& handle, AgentId actor, py::object agent) {
             Kernel& kernel = handle.open();
             const AgentId whom = unsigned_of(agent, "agent");
             const auto hops = unlocked([&] { return kernel.untrusted_hops(actor, whom); });
             return hops ? py::object(py::int_(*hops)) : py::object(py::none());
           })
      .def("policy_text",
           [](KernelHandle& handle) {
             Kernel& kernel = handle.open();
             return unlocked([&] { return kernel.governance().loaded; });
           })
      .def("policy_epoch", [](KernelHandle& handle) {
        Kernel& kernel = handle.open();
        return unlocked([&] { return kernel.policy_epoch(); });
      });
}

}  // namespace hanse::python
