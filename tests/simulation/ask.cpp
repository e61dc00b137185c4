// Every call that only reads, each put to a random object: a typed error or an answer, and nothing
// has changed. What they answer is compared with the model in checks.cpp.
#include <stdexcept>

#include "simulation/operation.hpp"

namespace hanse::simulation {

namespace {

constexpr uint32_t question_count = 28;

void ask_people(Kernel& kernel, uint32_t question, AgentId actor, AgentId agent, uint64_t any) {
  switch (question) {
    case 0:
      return void(kernel.agent(actor, agent));
    case 1:
      return void(kernel.find_agent(actor, "nobody"));
    case 2:
      return void(kernel.space("default"));
    case 3:
      return void(kernel.space_spec(uint32_t(any % 3)));
    case 4: {
      const PolicyColumn amount{"amount", {Value::of_integer(int64_t(any % 100))}};
      PolicyQuestions questions;
      questions.action = Action(any % uint64_t(Action::count_));
      questions.principals = {&agent, 1};
      questions.resources = {&actor, 1};
      questions.context = {&amount, 1};
      Decision decision;
      return void(kernel.check_policy(actor, questions, {&decision, 1}));
    }
    case 5:
      return void(kernel.policy()->rule_count());
    case 6:
      return void(kernel.memory());
    default:
      return void(kernel.agent_count());
  }
}

void ask_money(Kernel& kernel, uint32_t question, AgentId actor, AgentId agent, uint64_t any) {
  const auto unit = UnitId(any % 3);
  const Position position = any % (kernel.journal().count() + 1);
  switch (question) {
    case 8:
      return void(kernel.unit(unit_text(unit)));
    case 9:
      return void(kernel.unit_name(unit));
    case 10:
      return void(kernel.budget(actor, agent, unit));
    case 11:
      return void(kernel.hold(actor, 1 + any % 100));
    case 12:
      return void(kernel.find_key(actor, {0, 1 + any % 50}));
    case 13:
      return void(kernel.account(actor, agent, unit, AccountPurpose(any % 5)));
    case 14:
      return void(kernel.accounts(actor));
    case 15:
      return void(kernel.totals(unit));
    case 16: {
      EntryQuery query;
      query.agent = any % 2 == 0 ? agent : id_none;
      query.limit = 50;
      return void(kernel.entries(actor, query, nullptr));
    }
    case 17:
      return void(kernel.accounts_at(actor, position, nullptr));
    default:
      return void(
          kernel.account_at(actor, agent, unit, AccountPurpose::balance, position, nullptr));
  }
}

void ask_work(Kernel& kernel, uint32_t question, AgentId actor, AgentId agent, uint64_t any) {
  const TaskId task = make_id(uint32_t(any % 200), 1);
  const Position position = any % (kernel.journal().count() + 1);
  switch (question) {
    case 19:
      return void(kernel.task_class(kernel.task(actor, task)));
    case 20: {
      const std::string key = "k" + std::to_string(any % 50);
      return void(kernel.lookup(actor, {reinterpret_cast<const uint8_t*>(key.data()), key.size()}));
    }
    case 21:
      kernel.economics();
      kernel.economics_of_class("work");
      return void(kernel.economics_of_tier(uint8_t(any % 4)));
    case 22:
      return void(kernel.is_durable(agent));
    case 23:
      return void(kernel.durable_box(actor, agent));
    case 24:
      return void(kernel.durable_dead_letters(actor, agent));
    case 25:
      return void(kernel.durable_state(actor, agent));
    case 26:
      return void(kernel.event(actor, position));
    default:
      kernel.journal().prove(position, kernel.journal().count());
      return void(kernel.journal().prove_consistency(position, kernel.journal().count()));
  }
}

}  // namespace

Answer Performer::ask(const Operation& op) {
  const auto question = uint32_t(op.number % question_count);
  const uint64_t any = op.number / question_count;
  const AgentId actor = agent_id(op.actor), agent = agent_id(op.agent);
  const uint64_t count = kernel_.journal().count();
  try {
    if (question < 8)
      ask_people(kernel_, question, actor, agent, any);
    else if (question < 19)
      ask_money(kernel_, question, actor, agent, any);
    else
      ask_work(kernel_, question, actor, agent, any);
  } catch (const Error& error) {
    if (error_code_info(error.code()).kind == ErrorKind::storage) throw;
  }
  if (kernel_.journal().count() != count) throw std::logic_error("a question left a record");
  return {};
}

}  // namespace hanse::simulation
