// Commands on rules, delegation, work in progress and people, as calls of the kernel.
#include <algorithm>

#include "base/hash.hpp"
#include "simulation/operation.hpp"

namespace hanse::simulation {

namespace {

// The first public key of an identity; who signs is not looked at by the kernel.
Digest first_key(uint64_t identity) {
  const std::string text = "key " + std::to_string(identity);
  return sha256(bytes_of(text));
}

std::string_view lesson_text_of(const Operation& op) { return lesson_texts[op.small]; }

}  // namespace

std::string role_name(uint8_t role) { return role == 0 ? "" : "role " + std::to_string(role); }

Answer Performer::rules(const Operation& op) {
  const AgentId actor = agent_id(op.actor), agent = agent_id(op.agent);
  switch (op.verb) {
    case Verb::govern: {
      GovernanceEvent event;
      event.kind = op.small == 0 ? "incident" : "lesson";
      event.note = "as it was told";
      event.rule = lesson_text_of(op);
      event.cause = op.number;
      return {0, {kernel_.govern(actor, event)}};
    }
    case Verb::repeal:
      return {0, {kernel_.repeal_lesson(actor, op.number)}};
    case Verb::trust:
      return {0, {kernel_.set_trusted(actor, agent, op.small != 0)}};
    case Verb::set_role: {
      Role role;
      role.name = role_name(op.small);
      role.permissions = op.number;
      return {0, {kernel_.set_role(actor, role)}};
    }
    default:
      return {0, {kernel_.set_reputation_terms(actor, {op.number, op.amount})}};
  }
}

Answer Performer::delegation(const Operation& op) {
  const AgentId actor = agent_id(op.actor), agent = agent_id(op.agent);
  switch (op.verb) {
    case Verb::steer:
      return {0, {kernel_.steer(actor, agent, op.small != 0)}};
    case Verb::narrow: {
      AgentNarrowed narrowed;
      narrowed.agent = agent;
      narrowed.permissions = op.number;
      narrowed.budget_max = op.amount;
      return {0, {kernel_.narrow(actor, narrowed)}};
    }
    case Verb::move:
      return {0, {kernel_.move_agent(actor, agent, agent_id(op.other))}};
    case Verb::identify: {
      IdentityEntry entry;
      entry.step = IdentityStep(op.small % 3);
      entry.signature.assign(op.small == 3 ? 10 : signature_size, 7);
      if (kernel_.agent(kernel_.root(), agent).identity) {
        const IdentityHistory history = kernel_.identity(kernel_.root(), agent);
        entry.previous = history.head;
        entry.signer = history.key ? *history.key : first_key(op.number);
      }
      if (entry.step == IdentityStep::rotated) entry.key = first_key(op.amount);
      if (entry.step == IdentityStep::model) entry.text = "another model";
      return {0, {kernel_.change_identity(actor, agent, entry)}};
    }
    default: {
      PassportAdmission passport;
      passport.identity = sha256(first_key(op.number));
      passport.source = passport.document = first_key(op.amount);
      Standing standing;
      standing.success = op.amount % 10'000'000;
      standing.accepted = 3;
      passport.standings.push_back({"work", standing});
      return {0, {index_of(kernel_.admit(actor, passport))}};
    }
  }
}

Answer Performer::work(const Operation& op) {
  const AgentId actor = agent_id(op.actor);
  const TaskId task = make_id(uint32_t(op.number), 1);
  switch (op.verb) {
    case Verb::rate:
      return {0, {kernel_.rate(actor, task, op.small == 0)}};
    case Verb::start:
      return {0, {kernel_.start_task(actor, task)}};
    case Verb::return_task:
      return {0, {kernel_.give_back(actor, task)}};
    case Verb::declare_unknown:
      return {0, {kernel_.declare_unknown(actor, task)}};
    case Verb::verify:
      return {0, {kernel_.verify_task(actor, task, op.small == 0)}};
    case Verb::set_attention:
      return {0, {kernel_.set_attention(actor, agent_id(op.agent), op.amount)}};
    default: {
      Answer answer;
      for (const TaskId ended : kernel_.cancel(actor, task))
        answer.values.push_back(index_of(ended));
      return answer;
    }
  }
}

// All that the person is shown, at once; they are shown nothing: an answer to nothing.
Answer Performer::answer(const Operation& op) {
  const AgentId human = agent_id(op.actor);
  const std::vector<ApprovalItem> items = kernel_.inbox(kernel_.root(), human);
  ApprovalAnswer given{approval_rule, "work", 0, UINT64_MAX, {}, (op.small & 1) != 0};
  if (!items.empty()) {
    const ApprovalItem& item = items.front();
    given.asked_to = item.asked_to;
    given.answer_by_ns = item.answer_by_ns;
    if ((op.small & 2) == 0) given.hash = item.hash;
  }
  Answer answer;
  for (const TaskId task : kernel_.answer(human, given)) answer.values.push_back(index_of(task));
  return answer;
}

}  // namespace hanse::simulation
