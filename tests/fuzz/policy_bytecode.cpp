// Compiled rules of which bytes are changed at will: refused by the verifier, or run to their end.
#include <cstring>

#include "policy/compiled.hpp"

using namespace hanse;
using namespace hanse::policy;

namespace {

const char* const text = R"(
permit(principal in Agent::"a", action, resource) when { context.budget <= 100 };
permit(principal is Human, action in [Action::"send", Action::"dispatch"], resource == Agent::"b")
  when { [1, 2, 3].contains(resource.tier + 1) || context.task_class like "a*b" }
  unless { resource.skills.hasAll(3) && !(context.amount * 2 - -5 >= 7) };
forbid(principal, action, resource)
  when { if context has tags then context.tags.containsAny(["x"]) else context.note like "y*" };
permit(principal, action, resource)
  when { (if context.flag then 1 else context.size) == 1 && context.tags == ["x", "y"] };
)";

uint32_t resolve(std::string_view, std::string_view name) { return uint32_t(name[0] % 8); }

template <class T>
T take(const uint8_t*& data, size_t& size) {
  T value{};
  const size_t count = size < sizeof value ? size : sizeof value;
  std::memcpy(&value, data, count);
  data += count;
  size -= count;
  return value;
}

void change(Instruction& instruction, uint8_t what, int16_t to) {
  if (what % 6 == 0) instruction.op = Op(uint8_t(to) % (size_t(Op::count_) + 1));
  if (what % 6 == 1) instruction.target = uint16_t(to);
  if (what % 6 == 2) instruction.operand = to;
  if (what % 6 == 3) instruction.fact = uint8_t(to);
  if (what % 6 == 4) instruction.sense = (to & 1) != 0;
  if (what % 6 == 5) instruction.compare = Compare(uint8_t(to) % 8);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Compiled original = compile_text(text, resolve);
  Code code = original.code;
  while (size >= 5) {
    const auto at = take<uint16_t>(data, size);
    const auto what = take<uint8_t>(data, size);
    change(code.instructions[at % code.instructions.size()], what, take<int16_t>(data, size));
  }
  if (!find_fault(code).empty()) return 0;

  const ValueSet tags = ValueSet::of_texts({"x", "y"});
  const Value attributes[] = {Value::of_set(tags), Value::of_text("yes"), Value::of_boolean(true),
                              Value::none()};
  Request request;
  request.principal.chain[0] = 1;
  request.principal.size = 1;
  request.task_class = "ab";
  request.attributes = attributes;
  for (int64_t& fact : request.facts) fact = int64_t(size) - 1;
  for (size_t action = 0; action < action_count; ++action) {
    request.action = Action(action);
    const Decision decision = decide_with(code, request, 1);
    if (decision.allowed && decision.error) __builtin_trap();
  }
  return 0;
}
