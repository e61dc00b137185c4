#include "policy/policy.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "policy/compiled.hpp"

namespace hanse {

const char* action_name(Action action) {
  switch (action) {
#define HANSE_X(name) \
  case Action::name:  \
    return #name;
    HANSE_ACTIONS(HANSE_X)
#undef HANSE_X
    case Action::count_:
      break;
  }
  return "unknown";
}

struct Program::Compiled {
  policy::Compiled program;
  std::string text, schema;
  std::array<bool, policy::fact_count> asked{};
};

Program::Program() = default;
Program::~Program() = default;

std::shared_ptr<const Program> Program::compile(std::string_view text, const Resolve& resolve,
                                                std::string_view schema) {
  auto compiled = std::make_unique<Compiled>();
  compiled->program = policy::compile_text(text, resolve, schema);
  compiled->text = text;
  compiled->schema = schema;
  for (const policy::Instruction& instruction : compiled->program.code.instructions)
    compiled->asked[instruction.fact] |= policy::reads_fact(instruction.op);
  const std::string fault = policy::find_fault(compiled->program.code);
  if (!fault.empty()) throw Error(ErrorCode::invariant, "policy", "the compiler made: " + fault);

  std::shared_ptr<Program> program(new Program);
  program->compiled_ = std::move(compiled);
  return program;
}

Decision Program::decide(const Request& request, uint64_t epoch) const {
  return policy::decide_with(compiled_->program.code, request, epoch);
}

uint32_t Program::rule_count() const { return uint32_t(compiled_->program.sources.size()); }

namespace {

const policy::RuleSource& source_checked(const policy::Compiled& program, uint32_t rule) {
  if (rule >= program.sources.size())
    throw Error(ErrorCode::out_of_range, "rule", rule, program.sources.size());
  return program.sources[rule];
}

}  // namespace

std::string Program::rule_name(uint32_t rule) const {
  return source_checked(compiled_->program, rule).name;
}

std::string Program::rule_text(uint32_t rule) const {
  const policy::RuleSource& source = source_checked(compiled_->program, rule);
  return compiled_->text.substr(source.begin, source.size);
}

RuleInfo Program::rule(uint32_t rule) const {
  const policy::RuleSource& source = source_checked(compiled_->program, rule);
  const policy::Rule& code = compiled_->program.code.rules[rule];
  RuleInfo info;
  info.name = source.name;
  info.text = compiled_->text.substr(source.begin, source.size);
  info.forbids = code.effect == policy::Effect::forbid;
  info.obligations = code.obligations;
  info.redact = source.redact;
  info.rate = source.rate;
  info.approver = source.approver;
  info.lesson = source.lesson;
  return info;
}

const std::string& Program::text() const { return compiled_->text; }
const std::string& Program::schema() const { return compiled_->schema; }

const std::vector<std::string>& Program::attributes() const {
  return compiled_->program.attributes;
}

uint32_t Program::attribute_find(std::string_view name) const {
  const std::vector<std::string>& names = compiled_->program.attributes;
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? index_none : uint32_t(found - names.begin());
}

namespace {

bool fits(policy::Type type, const Value& value) {
  const auto all = [&](Value::Kind kind) {
    return value.kind == Value::Kind::set &&
           std::all_of(value.set->elements.begin(), value.set->elements.end(),
                       [kind](const Value& element) { return element.kind == kind; });
  };
  switch (type) {
    case policy::Type::boolean:
      return value.kind == Value::Kind::boolean;
    case policy::Type::integer:
      return value.kind == Value::Kind::integer;
    case policy::Type::text:
      return value.kind == Value::Kind::text;
    case policy::Type::integer_set:
      return all(Value::Kind::integer);
    case policy::Type::text_set:
      return all(Value::Kind::text);
    default:
      return true;
  }
}

}  // namespace

const char* Program::attribute_misfit(std::string_view name, const Value& value) const {
  const policy::SchemaEntry* declared = compiled_->program.schema.find(name);
  if (declared == nullptr) return compiled_->schema.empty() ? nullptr : "no such attribute";
  return fits(declared->type, value) ? nullptr : policy::type_name(declared->type);
}

bool Program::asks(Fact fact) const { return compiled_->asked[size_t(fact)]; }

void Program::mark_evaluated(const Request& request, std::span<uint8_t> evaluated_out) const {
  const policy::Code& code = compiled_->program.code;
  const auto& listed = code.by_action[size_t(request.action)][policy::kind_of_resource(request)];
  for (const uint16_t number : listed)
    if (policy::in_scope(code.rules[number], request)) evaluated_out[number] = 1;
}

}  // namespace hanse
