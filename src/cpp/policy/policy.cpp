#include "policy/policy.hpp"

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
  std::string text;
};

Program::Program() = default;
Program::~Program() = default;

std::shared_ptr<const Program> Program::compile(std::string_view text, const Resolve& resolve) {
  auto compiled = std::make_unique<Compiled>();
  compiled->program = policy::compile_text(text, resolve);
  compiled->text = text;
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

const std::string& Program::text() const { return compiled_->text; }

}  // namespace hanse
