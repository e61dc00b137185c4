// The text of a policy: compiled, or refused with a place; what compiles decides within its bounds.
#include "policy/policy.hpp"
#include "fuzz.hpp"

using namespace hanse;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  fuzz::typed([&] {
    const auto program = Program::compile(text, [](std::string_view, std::string_view name) {
      return name.empty() ? index_none : uint32_t(name[0] % 8);
    });
    fuzz::require(program->rule_count() <= 1000);
    for (size_t action = 0; action < size_t(Action::count_); ++action) {
      Request request;
      request.action = Action(action);
      request.principal.chain[0] = 3;
      request.principal.size = 1;
      for (int64_t& fact : request.facts) fact = INT64_MAX - int64_t(size);
      request.task_class = text.substr(0, 20);
      const Decision decision = program->decide(request, 1);
      fuzz::require(!(decision.error && decision.allowed));
    }
  });
  return 0;
}
