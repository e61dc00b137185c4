// Policy in C; see hanse_policy.h.
#include "c/handle.hpp"

using namespace hanse;
using namespace hanse::c;

namespace {

static_assert(int(hanse_obligation_approval) == int(obligation_approval));
static_assert(int(hanse_obligation_verifier) == int(obligation_verifier));
static_assert(int(hanse_obligation_redact) == int(obligation_redact));
static_assert(int(hanse_obligation_rate) == int(obligation_rate));
static_assert(sizeof(hanse_question) == 32);
static_assert(sizeof(hanse_decision) == 176);

Action action_of(const char* name) {
  const std::string_view wanted = &required(name, "question.action");
  for (int i = 0; i < int(Action::count_); ++i)
    if (wanted == action_name(Action(i))) return Action(i);
  throw Error(ErrorCode::out_of_range, "question.action", std::string(wanted) + " is no action");
}

std::string names_of(const Program& program, const Decision& decision) {
  std::string names;
  for (uint32_t i = 0; i < std::min(decision.rule_count, rules_fired_max); ++i)
    names += (i == 0 ? "" : ", ") + std::string(program.rule_name(decision.rules[i]));
  return names;
}

}  // namespace

extern "C" {

hanse_status hanse_load_policy(hanse_kernel* kernel, hanse_id actor, const char* text,
                               uint64_t* epoch_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const uint64_t epoch = in.load_policy(actor_of(in, actor), &required(text, "text"));
    if (epoch_out != nullptr) *epoch_out = epoch;
    return 0;
  });
}

hanse_status hanse_policy_epoch(hanse_kernel* kernel, uint64_t* epoch_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    required(epoch_out, "epoch_out") = in.policy_epoch();
    return 0;
  });
}

hanse_status hanse_check_policy(hanse_kernel* kernel, hanse_id actor,
                                const hanse_question* question, hanse_decision* decision_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const hanse_question& asked = read_struct(question, "question");
    expect_zero(asked.zero, "question.zero");
    check_size(decision_out, "decision_out");
    const AgentId who = actor_of(in, asked.principal), what = asked.resource;
    PolicyQuestions questions{action_of(asked.action), {&who, 1}, {}, {}};
    if (what != HANSE_ID_NONE) questions.resources = {&what, 1};
    Decision found;
    const auto program = in.check_policy(actor_of(in, actor), questions, {&found, 1});
    hanse_decision out{};
    out.allowed = found.allowed;
    out.failed = found.error;
    out.obligations = found.obligations;
    out.epoch = found.epoch;
    copy_text(names_of(*program, found), out.reason, sizeof out.reason);
    write_struct(out, *decision_out);
    return found.allowed ? 0 : int(hanse_outcome_denied);
  });
}

}  // extern "C"
