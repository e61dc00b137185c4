// Questions to policy that have no effect: what the rules would say, would have said by other
// rules, and which of them nobody came to lately.
#include <algorithm>

#include "kernel/inner.hpp"

namespace hanse {

namespace {

struct NamedFact {
  Fact fact;
  std::string_view name;
};
constexpr NamedFact named_facts[] = {
#define HANSE_X(name, text) {Fact::name, text},
    HANSE_FACTS(HANSE_X)
#undef HANSE_X
};

// A column of the context, and where its values go.
struct Bound {
  const PolicyColumn* column = nullptr;
  uint32_t fact = index_none, slot = index_none;
  bool is_class = false;
  const Value& at(size_t i) const { return column->values[column->values.size() == 1 ? 0 : i]; }
};

[[noreturn]] void misfit(const std::string& name, const std::string& want) {
  throw Error(ErrorCode::wrong_type, name, "want " + want);
}

Bound bind(const Program& program, const PolicyColumn& column) {
  Bound bound;
  bound.column = &column;
  const bool rooted = column.name.starts_with("context.") ||
                      column.name.starts_with("principal.") || column.name.starts_with("resource.");
  const std::string name = rooted ? column.name : "context." + column.name;
  bound.is_class = name == "context.task_class";
  for (const NamedFact& row : named_facts)
    if (row.name == name || row.name == column.name) bound.fact = uint32_t(row.fact);
  if (bound.fact == index_none && !bound.is_class) bound.slot = program.attribute_find(name);
  for (const Value& value : column.values) {
    if (bound.fact != index_none && value.kind != Value::Kind::integer)
      misfit(column.name, "a number");
    if (bound.is_class && value.kind != Value::Kind::text) misfit(column.name, "a string");
    if (bound.fact != index_none || bound.is_class) continue;
    if (const char* want = program.attribute_misfit(name, value)) misfit(column.name, want);
  }
  return bound;
}

void check_size(const char* field, size_t size, size_t count, bool none) {
  if (size != count && size != 1 && !(none && size == 0))
    throw Error(ErrorCode::bad_array, field, size, count);
}

std::vector<std::string> names_of(const Program& program, const Decision& decision) {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < std::min(decision.rule_count, rules_fired_max); ++i)
    names.push_back(program.rule_name(decision.rules[i]));
  return names;
}

}  // namespace

std::shared_ptr<const Program> Kernel::check_policy(AgentId actor, const PolicyQuestions& questions,
                                                    std::span<Decision> decisions_out) const {
  constexpr size_t block = 4096;  // of questions, between which other threads have their turn
  Inner& in = *inner_;
  const size_t count = decisions_out.size();
  check_size("principals", questions.principals.size(), count, false);
  check_size("resources", questions.resources.size(), count, true);
  for (const PolicyColumn& column : questions.context)
    check_size(column.name.c_str(), column.values.size(), count, false);
  const auto at = [](std::span<const AgentId> ids, size_t i) {
    return ids[ids.size() == 1 ? 0 : i];
  };

  std::shared_ptr<const Program> program;
  uint64_t epoch = 0;
  std::vector<Bound> context;
  std::vector<Value> attributes;
  for (size_t from = 0; from < count || !program; from += block) {
    std::lock_guard lock(in.writer);
    in.check_open();
    if (!program) {
      program = in.program;
      epoch = in.epoch;
      for (const PolicyColumn& column : questions.context)
        context.push_back(bind(*program, column));
      attributes.assign(program->attributes().size(), Value::none());
    }
    const uint32_t me = in.agents.index_checked(actor);
    for (size_t i = from; i < std::min(count, from + block); ++i) {
      const uint32_t who = in.visible(me, at(questions.principals, i));
      const uint32_t what =
          questions.resources.empty() ? index_none : in.visible(me, at(questions.resources, i));
      Request request = in.question(who, questions.action, what);
      request.attributes = attributes;
      for (const Bound& bound : context) {
        const Value& value = bound.at(i);
        if (bound.fact != index_none) request.facts[bound.fact] = value.number;
        if (bound.slot != index_none) attributes[bound.slot] = value;
        if (bound.is_class) request.task_class = value.text();
      }
      decisions_out[i] = program->decide(request, epoch);
    }
  }
  return program;
}

// --- the last decisions

void Kernel::Inner::remember(const Request& request, const Decision& decision) {
  const size_t at = decisions_made % decisions_remembered_max;
  if (remembered.size() <= at) remembered.emplace_back();
  Remembered& entry = remembered[at];
  entry.request = request;
  entry.task_class = request.task_class;
  entry.request.task_class = {};
  entry.request.attributes = {};
  entry.decision = decision;
  entry.position = journal->count();
  ++decisions_made;  // last: where memory ran out above, nothing was remembered
}

// The n-th newest; null: so many were not made, or are forgotten.
const Kernel::Inner::Remembered* Kernel::Inner::recall(size_t n) const {
  if (n >= std::min<uint64_t>(remembered.size(), decisions_made)) return nullptr;
  return &remembered[(decisions_made - 1 - n) % decisions_remembered_max];
}

DryRun Kernel::dry_run(AgentId actor, std::string_view text, std::string_view schema,
                       size_t last) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  if (in.agents.index_checked(actor) != 0)
    throw Error(ErrorCode::not_permitted, "policy", "only the root tries rules", actor);
  const auto next = in.compile_next(in.governance.composed(text), schema);
  DryRun result;
  for (; result.decisions < last; ++result.decisions) {
    const Inner::Remembered* const entry = in.recall(result.decisions);
    if (entry == nullptr) break;
    Request request = entry->request;
    request.task_class = entry->task_class;
    const Decision before = in.program->decide(request, in.epoch);
    const Decision after = next->decide(request, in.epoch + 1);
    if (before.allowed == after.allowed && before.obligations == after.obligations) continue;
    ++result.differences;
    if (result.listed.size() == differences_listed_max) continue;
    DryRun::Difference difference;
    difference.position = entry->position;
    difference.action = request.action;
    difference.principal = in.agents.id_at(request.principal.chain[0]);
    if (request.resource.size != 0)
      difference.resource = in.agents.id_at(request.resource.chain[0]);
    difference.task_class = entry->task_class;
    difference.allowed_before = before.allowed;
    difference.allowed_after = after.allowed;
    difference.obligations_before = before.obligations;
    difference.obligations_after = after.obligations;
    difference.rules_before = names_of(*in.program, before);
    difference.rules_after = names_of(*next, after);
    result.listed.push_back(std::move(difference));
  }
  return result;
}

size_t Kernel::shelved(size_t last, std::vector<uint8_t>& shelved_out) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  std::vector<uint8_t> evaluated(in.program->rule_count());
  size_t dispatches = 0;
  for (size_t n = 0; dispatches < last; ++n) {
    const Inner::Remembered* const entry = in.recall(n);
    if (entry == nullptr) break;
    if (entry->request.action != Action::dispatch) continue;
    ++dispatches;
    in.program->mark_evaluated(entry->request, evaluated);
  }
  shelved_out.assign(evaluated.size(), 0);
  for (size_t i = 0; i < evaluated.size(); ++i) shelved_out[i] = evaluated[i] == 0;
  return dispatches;
}

}  // namespace hanse
