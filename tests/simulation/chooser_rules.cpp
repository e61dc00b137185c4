// Operations on agents, rules, delegation, work in progress and people.
#include <algorithm>

#include "simulation/operation.hpp"

namespace hanse::simulation {

namespace {

constexpr uint8_t role_count = 3;
constexpr uint32_t identity_count = 6;

}  // namespace

// What few orders ask for; each of it now and then.
void Chooser::add_terms(const Model& model, Order& order, uint64_t now_ns) {
  (void)now_ns;
  if (random_.chance(300)) order.role = uint8_t(1 + random_.below(role_count));
  if (random_.chance(200)) order.verifier_role = uint8_t(1 + random_.below(role_count));
  if (random_.chance(200)) order.verifier = any_agent(model);
  if (random_.chance(400)) order.lease_ns = 1 + random_.below(swarm_.step_ns_max * 60 + 1);
  if (random_.chance(300))
    order.parent = some_task(model, {TaskState::dispatched, TaskState::running,
                                     TaskState::completed, TaskState::offered});
  if (random_.chance(400)) {
    order.approval = true;
    if (random_.chance(300)) order.approver = random_.chance(800) ? 12 : any_agent(model);
  }
}

void Chooser::fill_people(const Model& model, Operation& op) {
  op.agent = any_agent(model);
  switch (op.verb) {
    case Verb::add:
      op.actor = actor_for(model, op.agent);
      op.amount = model.agents.size() < agents_max ? 1 + random_.below(2) : 0;
      if (op.amount == 0) op.verb = Verb::tick;
      return;
    case Verb::revoke:
      op.agent = 4 + uint32_t(random_.below(model.agents.size() - 4));
      op.actor = actor_for(model, op.agent);
      return;
    case Verb::publish:
      op.agent = live_agent(model);
      op.actor = op.agent;
      // Each agent has an arc of its own, so that no two offers are equally near.
      op.offer.angle = (op.agent * 15 + uint32_t(random_.below(15))) % 620;
      op.offer.price = int64_t(random_.below(40));
      op.offer.tier = uint8_t(random_.below(3));
      op.offer.slots = uint16_t(random_.below(4));
      return;
    case Verb::withdraw:
      op.actor = op.agent;
      return;
    case Verb::match:
      op.actor = live_agent(model);
      op.amount = random_.below(60);
      op.number = random_.below(620);
      return;
    case Verb::load_policy:
      op.number = random_.chance(swarm_.policy_chance * 20) ? random_.below(policy_count) : 0;
      if (swarm_.extended) op.small = uint8_t(random_.below(2));
      return;
    default:
      op.actor = live_agent(model);
      op.number = random_.next();
      return;
  }
}

void Chooser::fill_rules(const Model& model, Operation& op) {
  op.agent = any_agent(model);
  op.actor = random_.chance(80) ? any_agent(model) : 0;
  switch (op.verb) {
    case Verb::govern:
      op.small = uint8_t(random_.below(uint64_t(LessonText::count_)));
      op.number = random_.chance(100) ? random_.below(model.count + 5) : UINT64_MAX;
      return;
    case Verb::repeal:
      op.number = model.lessons.empty() || random_.chance(50)
                      ? random_.below(model.count + 1)
                      : model.lessons[random_.below(model.lessons.size())].event;
      return;
    case Verb::trust:
      op.actor = actor_for(model, op.agent);
      op.small = random_.chance(700);
      return;
    case Verb::set_role:
      op.small = uint8_t(1 + random_.below(role_count));
      op.number = uint64_t(1) << random_.below(4);
      return;
    case Verb::set_terms:
      op.number = random_.below(2) * random_.below(1'000'000'000'000);
      op.amount = random_.below(2'000'000);
      return;
    case Verb::steer:
      op.agent = 3 + uint32_t(random_.below(model.agents.size() - 3));
      op.actor = actor_for(model, op.agent);
      // More often on than off, so that the world does not come to rest.
      op.small = random_.chance(350);
      return;
    case Verb::narrow:
      op.actor = actor_for(model, op.agent);
      op.number = random_.chance(500)
                      ? UINT64_MAX
                      : model.agents[op.agent].permissions & ~(uint64_t(1) << random_.below(6));
      op.amount = random_.chance(900) ? UINT64_MAX : 200 + random_.below(4000);
      if (random_.chance(50)) op.number = UINT64_MAX - 1;
      return;
    case Verb::move:
      op.agent = 4 + uint32_t(random_.below(model.agents.size() - 4));
      if (model.revoked(op.agent)) op.agent = live_agent(model);
      op.other = any_agent(model);
      return;
    case Verb::identify:
      for (uint32_t i = 0; i < model.agents.size() && random_.chance(900); ++i)
        if (model.agents[i].identity != 0) op.agent = i;
      op.number = model.agents[op.agent].identity;
      op.amount = random_.next();
      op.small = uint8_t(random_.chance(50) ? 1 : random_.chance(100) ? 3 : 2 * random_.below(2));
      return;
    case Verb::admit:
      op.number = 1 + random_.below(identity_count);
      op.amount = random_.next();
      if (model.agents.size() + 1 >= agents_max) op.verb = Verb::tick;
      return;
    default:
      op.small = uint8_t(random_.below(2));
      op.amount = random_.below(200);
      return;
  }
}

void Chooser::fill_work(const Model& model, Operation& op) {
  const auto job_of = [&](std::initializer_list<TaskState> states) -> const Job* {
    op.number = some_task(model, states);
    return op.number < model.jobs.size() ? &model.jobs[op.number] : nullptr;
  };
  op.small = random_.chance(200);
  switch (op.verb) {
    case Verb::start:
    case Verb::return_task:
    case Verb::declare_unknown: {
      const Job* job = job_of({TaskState::dispatched, TaskState::running});
      op.actor = job == nullptr ? 0 : actor_for(model, job->worker);
      return;
    }
    case Verb::verify: {
      const Job* job = job_of({TaskState::completed});
      op.actor = any_agent(model);
      if (job != nullptr && job->more.verifier != index_none && random_.chance(600))
        op.actor = job->more.verifier;
      return;
    }
    case Verb::cancel:
    case Verb::rate: {
      const Job* job = op.verb == Verb::cancel
                           ? job_of({TaskState::dispatched, TaskState::running, TaskState::offered})
                           : job_of({TaskState::accepted, TaskState::rejected});
      op.actor = job == nullptr ? 0 : actor_for(model, job->requester);
      return;
    }
    case Verb::answer:
      op.actor = random_.chance(100) ? any_agent(model) : 12 + uint32_t(random_.below(2));
      op.small = uint8_t(random_.below(2) + (random_.chance(100) ? 2 : 0));
      return;
    default:
      op.actor = random_.chance(50) ? any_agent(model) : 0;
      op.agent = random_.chance(100) ? any_agent(model) : 12 + uint32_t(random_.below(2));
      op.amount = random_.below(80);
      return;
  }
}

}  // namespace hanse::simulation
