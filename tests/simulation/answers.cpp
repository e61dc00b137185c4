// What the model says to an operation.
#include "simulation/operation.hpp"

namespace hanse::simulation {

namespace {

Answer many(Model& model, const Operation& op) {
  model.expire();
  if (model.revoked(op.actor)) throw Refused{ErrorCode::revoked};
  if (!model.live(op.actor)) throw Refused{ErrorCode::paused};
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
      answer.values.push_back(uint64_t(outcome_of_refusal(refused.code)));
    }
  }
  return answer;
}

Answer ruled(Model& model, const Operation& op) {
  switch (op.verb) {
    case Verb::govern:
      return model.govern(op.actor, LessonText(op.small), op.number);
    case Verb::repeal:
      return model.repeal(op.actor, op.number);
    case Verb::trust:
      return model.trust(op.actor, op.agent, op.small != 0);
    case Verb::set_role:
      return model.set_role(op.actor, op.small, op.number);
    case Verb::set_terms:
      return model.set_terms(op.actor);
    case Verb::steer:
      return model.steer(op.actor, op.agent, op.small != 0);
    case Verb::narrow:
      return model.narrow(op.actor, op.agent, op.number, op.amount);
    case Verb::move:
      return model.move(op.actor, op.agent, op.other);
    case Verb::identify:
      return model.identify(op.actor, op.agent, op.small);
    default:
      return model.admit(op.actor, uint32_t(op.number));
  }
}

Answer worked(Model& model, const Operation& op) {
  switch (op.verb) {
    case Verb::rate:
      return model.rate(op.actor, op.number);
    case Verb::start:
      return model.start(op.actor, op.number);
    case Verb::return_task:
      return model.return_task(op.actor, op.number);
    case Verb::declare_unknown:
      return model.declare_unknown(op.actor, op.number);
    case Verb::verify:
      return model.verify(op.actor, op.number, op.small == 0);
    case Verb::cancel:
      return model.cancel(op.actor, op.number);
    case Verb::answer:
      return model.answer(op.actor, (op.small & 1) != 0, (op.small & 2) != 0);
    default:
      return model.set_attention(op.actor, op.agent, op.amount);
  }
}

Answer paid(Model& model, const Operation& op) {
  switch (op.verb) {
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
    default:
      return model.settle(op.actor, op.number, Settlement(op.small), op.amount);
  }
}

Answer said(Model& model, const Operation& op) {
  if (is_rule(op.verb)) return ruled(model, op);
  if (is_work(op.verb)) return worked(model, op);
  if (op.verb >= Verb::fund && op.verb <= Verb::settle) return paid(model, op);
  switch (op.verb) {
    case Verb::add:
      return model.add(op.actor, op.agent, uint32_t(op.amount), AgentKind(op.small));
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
    case Verb::snapshot:
      return {0, {model.count}};
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

void answer_until_stopped(Model& model, const Operation& op) {
  try {
    answer_of(model, op);
  } catch (const StoppedAtCount&) {
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
    case Verb::govern:
    case Verb::trust:
    case Verb::set_role:
    case Verb::set_terms:
    case Verb::steer:
    case Verb::narrow:
    case Verb::move:
    case Verb::identify:
    case Verb::rate:
    case Verb::start:
    case Verb::return_task:
    case Verb::declare_unknown:
    case Verb::verify:
    case Verb::set_attention:
      return true;
    case Verb::commit_box:
    case Verb::give_back:
      return op.wait;
    default:
      return false;
  }
}

}  // namespace hanse::simulation
