// What the model says to an operation.
#include "simulation/operation.hpp"

namespace hanse::simulation {

namespace {

// One of many: its refusal is an outcome, as the kernel maps errors to outcomes.
uint64_t outcome_of_refusal(ErrorCode code) {
  switch (code) {
    case ErrorCode::unknown_task:
    case ErrorCode::unknown_agent:
      return uint64_t(Outcome::unknown);
    case ErrorCode::not_permitted:
    case ErrorCode::policy_denied:
    case ErrorCode::verifier_required:
      return uint64_t(Outcome::denied);
    case ErrorCode::revoked:
      return uint64_t(Outcome::revoked);
    case ErrorCode::exceeds_hold:
      return uint64_t(Outcome::exceeds_hold);
    case ErrorCode::already_resolved:
    case ErrorCode::illegal_transition:
      return uint64_t(Outcome::illegal_transition);
    case ErrorCode::duplicate_artifact:
      return uint64_t(Outcome::duplicate_artifact);
    default:
      return uint64_t(Outcome::invalid);
  }
}

Answer many(Model& model, const Operation& op) {
  model.expire();
  if (!model.live(op.actor)) throw Refused{ErrorCode::revoked};
  Answer answer;
  for (const uint64_t number : op.numbers) {
    try {
      if (op.verb == Verb::complete_many)
        model.complete(op.actor, number, op.agent, op.amount);
      else if (op.verb == Verb::judge_many)
        model.judge(op.actor, number, Verdict(op.small), op.other);
      else
        answer.values.push_back(model.escalate(op.actor, number, op.other, 0).values[0]);
      if (op.verb != Verb::escalate_many) answer.values.push_back(uint64_t(Outcome::ok));
    } catch (const Refused& refused) {
      answer.values.push_back(outcome_of_refusal(refused.code));
    }
  }
  return answer;
}

Answer said(Model& model, const Operation& op) {
  switch (op.verb) {
    case Verb::add:
      return model.add(op.actor, op.agent, uint32_t(op.amount), op.small != 0);
    case Verb::revoke:
      return model.revoke(op.actor, op.agent);
    case Verb::create_space:
      return model.create_space();
    case Verb::publish:
      return model.publish(op.agent, op.offer);
    case Verb::withdraw:
      return model.withdraw(op.agent);
    case Verb::match: {
      Answer answer;
      for (const uint32_t agent : model.feasible(op.actor, uint32_t(op.number), int64_t(op.amount)))
        if (answer.values.size() < 5) answer.values.push_back(agent);
      return answer;
    }
    case Verb::load_policy:
      return model.load_policy(uint32_t(op.number));
    case Verb::fund:
      return model.fund(op.agent, op.amount, op.unit);
    case Verb::set_rate:
      return model.set_rate(op.unit, op.small, op.amount);
    case Verb::open_account:
      return model.open_account(op.agent, op.unit, op.small);
    case Verb::set_budget:
      return model.set_budget(op.actor, op.agent, op.unit, op.amount);
    case Verb::transfer:
      return model.transfer(op.actor, op.transfers, op.atomic);
    case Verb::settle:
      return model.settle(op.actor, op.number, Settlement(op.small), op.amount);
    case Verb::dispatch:
    case Verb::dispatch_begin:
      return model.dispatch(op.actor, op.orders[0]);
    case Verb::dispatch_many:
    case Verb::storm:
      return model.dispatch_many(op.actor, op.orders, op.atomic);
    case Verb::complete:
      return model.complete(op.actor, op.number, op.agent, op.amount);
    case Verb::judge:
      return model.judge(op.actor, op.number, Verdict(op.small), op.other);
    case Verb::escalate:
      return model.escalate(op.actor, op.number, op.other, op.agent);
    case Verb::complete_many:
    case Verb::judge_many:
    case Verb::escalate_many:
      return many(model, op);
    case Verb::tick:
      return {0, {model.expire()}};
    case Verb::declare:
      return model.declare(op.actor, op.agent, op.box);
    case Verb::send_note:
    case Verb::send_notes:
      return model.send_notes(op.agent, op.notes);
    case Verb::commit_box:
      return model.commit_box(op.agent, op.numbers, op.notes, op.state);
    case Verb::give_back:
      return model.give_back(op.agent, op.numbers);
    case Verb::send:
      return model.send(op.actor, op.agent, std::to_string(op.number));
    case Verb::reopen:
      model.reopen();
      return {};
    default:
      return {};
  }
}

}  // namespace

Answer answer_of(Model& model, const Operation& op) {
  model.now = op.now_ns;
  try {
    return said(model, op);
  } catch (const Refused& refused) {
    return {int32_t(refused.code), {}};
  }
}

bool answers_position(const Operation& op) {
  switch (op.verb) {
    case Verb::revoke:
    case Verb::withdraw:
    case Verb::fund:
    case Verb::set_rate:
    case Verb::open_account:
    case Verb::set_budget:
    case Verb::transfer:
    case Verb::settle:
    case Verb::dispatch:
    case Verb::complete:
    case Verb::judge:
    case Verb::declare:
      return true;
    case Verb::commit_box:
    case Verb::give_back:
      return op.wait;
    default:
      return false;
  }
}

}  // namespace hanse::simulation
