#include "policy/policy.hpp"

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

struct NamedFact {
  Fact fact;
  std::string_view name;
};

constexpr NamedFact named_facts[] = {
#define HANSE_X(name, text) {Fact::name, text},
    HANSE_FACTS(HANSE_X)
#undef HANSE_X
};

Fact fact_of(const std::string& name) {
  for (const NamedFact& row : named_facts)
    if (row.name == name || row.name == "context." + name) return row.fact;
  throw Error(ErrorCode::out_of_range, "context", "there is no fact " + name);
}

py::tuple check_policy(KernelHandle& handle, AgentId actor, py::object principal, py::object action,
                       py::object resource, py::object context) {
  Kernel& kernel = handle.open();
  const AgentId who = unsigned_of(principal, "principal");
  const AgentId what = resource.is_none() ? id_none : unsigned_of(resource, "resource");
  const Action verb = action_of(action);
  std::vector<std::pair<Fact, int64_t>> facts;
  std::string task_class;
  for (const auto& [key, value] : context.cast<py::dict>()) {
    const std::string name = text_of(key, "context");
    if (name == "task_class" || name == "context.task_class")
      task_class = text_of(value, "context.task_class");
    else
      facts.emplace_back(fact_of(name), signed_of(value, name.c_str(), INT64_MIN, INT64_MAX));
  }
  const auto [decision, program] = unlocked([&] {
    // The rules are named by the program that decided; a load in between means asking again.
    while (true) {
      const uint64_t epoch = kernel.policy_epoch();
      const std::shared_ptr<const Program> rules = kernel.policy();
      const Decision made = kernel.check_policy(actor, who, verb, what, facts, task_class);
      if (made.epoch == epoch) return std::pair(made, rules);
    }
  });
  py::list rules;
  for (uint32_t i = 0; i < std::min(decision.rule_count, rules_fired_max); ++i)
    rules.append(program->rule_name(decision.rules[i]));
  return py::make_tuple(decision.allowed, decision.epoch, rules, decision.error);
}

}  // namespace

void register_policy(py::module_&, KernelClass& kernel_class) {
  kernel_class
      .def("load_policy",
           [](KernelHandle& handle, AgentId actor, py::object text) {
             Kernel& kernel = handle.open();
             const std::string rules = text_of(text, "policy");
             return unlocked([&] { return kernel.load_policy(actor, rules); });
           })
      .def("check_policy", &check_policy)
      .def("policy_text",
           [](KernelHandle& handle) {
             Kernel& kernel = handle.open();
             return unlocked([&] { return kernel.policy()->text(); });
           })
      .def("policy_rules",
           [](KernelHandle& handle) {
             Kernel& kernel = handle.open();
             const auto program = unlocked([&] { return kernel.policy(); });
             py::list rules;
             for (uint32_t i = 0; i < program->rule_count(); ++i)
               rules.append(py::make_tuple(program->rule_name(i), program->rule_text(i)));
             return rules;
           })
      .def("policy_epoch", [](KernelHandle& handle) {
        Kernel& kernel = handle.open();
        return unlocked([&] { return kernel.policy_epoch(); });
      });
}

}  // namespace hanse::python
