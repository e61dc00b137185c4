// Operations as calls of the kernel, and what it answers in the model's words.
#include <algorithm>
#include <cmath>

#include "base/hash.hpp"
#include "simulation/operation.hpp"

namespace hanse::simulation {

Bytes bytes_of(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::vector<float> direction(double angle) {
  return {float(std::cos(angle / 100)), float(std::sin(angle / 100))};
}

namespace {

void add_receipt(const Receipt& receipt, Answer& answer) {
  const bool placed = receipt.outcome == Outcome::ok || receipt.outcome == Outcome::pending ||
                      receipt.outcome == Outcome::replayed;
  for (const uint64_t value :
       {uint64_t(receipt.outcome), placed ? uint64_t(index_of(receipt.task)) : 0,
        placed ? uint64_t(index_of(receipt.agent)) : 0, uint64_t(receipt.version), receipt.price,
        receipt.reserved, receipt.position})
    answer.values.push_back(value);
}

// What the answers of a kernel's calls are made of lives as long as the calls.
struct Requests {
  std::vector<DispatchRequest> requests;
  std::vector<std::vector<float>> queries;
  std::vector<std::array<std::string, 2>> roles;

  explicit Requests(const std::vector<Order>& orders) {
    for (const Order& order : orders) {
      queries.push_back(direction(order.angle + 0.3));
      roles.push_back({role_name(order.role), role_name(order.verifier_role)});
    }
    for (size_t i = 0; i < orders.size(); ++i) {
      DispatchRequest& request = requests.emplace_back();
      request.to = agent_id(orders[i].to);
      if (orders[i].to == index_none) request.query = queries[i];
      request.task_class = "work";
      request.payload = bytes_of(orders[i].payload);
      request.budget = orders[i].budget;
      request.unit = orders[i].unit;
      request.deadline_ns = orders[i].deadline_ns;
      request.key = bytes_of(orders[i].key);
      request.verifier_required = orders[i].verified;
      request.role = roles[i][0];
      request.verifier_role = roles[i][1];
      request.verifier = agent_id(orders[i].verifier);
      request.approver = agent_id(orders[i].approver);
      request.lease_ns = orders[i].lease_ns;
      if (orders[i].parent != Order::no_task)
        request.parent = make_id(uint32_t(orders[i].parent), 1);
      if (orders[i].approval) request.approval = approval_rule;
    }
  }
};

DurableMessage message_of(const Note& note) {
  return {agent_id(note.to), bytes_of(note.payload), bytes_of(note.key), {}};
}

Completion completion_of(uint64_t task, uint32_t artifact, uint64_t fresh) {
  Completion completion;
  completion.task = make_id(uint32_t(task), 1);
  completion.artifact = artifact_of(artifact);
  completion.usage.fresh = fresh;
  completion.total_tokens = fresh;
  return completion;
}

}  // namespace

Digest artifact_of(uint32_t number) {
  Digest digest{};
  for (size_t i = 0; i < 4; ++i) digest[i] = uint8_t(number >> (8 * i));
  return digest;
}

std::string unit_text(UnitId unit) {
  return unit == 0 ? "usd_micro" : unit == attention_in ? "attention" : "tokens";
}

Answer Performer::dispatch(const Operation& op) {
  const Requests given(op.orders);
  std::vector<Receipt> receipts(given.requests.size());
  if (op.verb == Verb::dispatch)
    receipts[0] = kernel_.dispatch(agent_id(op.actor), given.requests[0]);
  else if (op.verb == Verb::dispatch_begin)
    receipts[0] = kernel_.dispatch_begin(agent_id(op.actor), given.requests[0]);
  else
    kernel_.dispatch_many(agent_id(op.actor), given.requests, receipts, op.atomic);
  Answer answer;
  for (const Receipt& receipt : receipts) add_receipt(receipt, answer);
  return answer;
}

Answer Performer::people(const Operation& op) {
  const AgentId actor = agent_id(op.actor);
  Answer answer;
  switch (op.verb) {
    case Verb::add: {
      AgentsAdded added;
      added.parent = agent_id(op.agent);
      added.count = uint32_t(op.amount);
      added.kind = AgentKind(op.small);
      std::vector<AgentId> ids(added.count);
      kernel_.add_agents(actor, added, ids);
      for (const AgentId id : ids) answer.values.push_back(index_of(id));
      return answer;
    }
    case Verb::revoke:
      return {0, {kernel_.revoke(actor, agent_id(op.agent))}};
    case Verb::create_space: {
      const std::string name = "space" + std::to_string(op.now_ns);
      return {0, {kernel_.create_space(kernel_.root(), {name, 2, Metric::cosine, "none"})}};
    }
    case Verb::publish: {
      const AgentId agent = agent_id(op.agent);
      const std::vector<float> vector = direction(op.offer.angle);
      const uint64_t none = 0;
      const uint16_t region = 0;
      Kernel::PublishRequest request;
      request.agents = {&agent, 1};
      request.space = 0;
      request.offers.vectors = {vector.data(), 1, vector.size()};
      request.offers.price = {{&op.offer.price, 1}};
      request.offers.tier = {{&op.offer.tier, 1}};
      request.offers.skills = {{&none, 1}};
      request.offers.region = {{&region, 1}};
      request.offers.policy_bits = {{&none, 1}};
      request.offers.slots = {{&op.offer.slots, 1}};
      uint32_t version = 0;
      kernel_.publish(agent, request, {&version, 1});
      return {0, {version}};
    }
    case Verb::withdraw:
      return {0, {kernel_.withdraw(actor, agent_id(op.agent), 0, 0)}};
    default:
      return {0,
              {kernel_.load_policy(kernel_.root(), policy_texts[op.number],
                                   op.small == 0 ? "" : policy_schema)}};
  }
}

Answer Performer::match(const Operation& op) {
  const std::vector<float> query = direction(double(op.number) + 0.3);
  Feasible feasible;
  feasible.price_max = int64_t(op.amount);
  feasible.exclude_agent = op.actor;
  Kernel::MatchRequest request;
  request.queries = {query.data(), 1, query.size()};
  request.feasible = {&feasible, 1};
  request.options.k = 5;
  std::vector<AgentId> agents(5);
  std::vector<uint32_t> offers(5), versions(5);
  std::vector<float> scores(5);
  int32_t count = 0;
  kernel_.match(agent_id(op.actor), request, agents, offers, versions, scores, {&count, 1});
  Answer answer;
  for (int32_t i = 0; i < count; ++i) answer.values.push_back(index_of(agents[size_t(i)]));
  kernel_.explain_match(agent_id(op.actor), 0, feasible);
  return answer;
}

Answer Performer::money(const Operation& op) {
  const AgentId actor = agent_id(op.actor), agent = agent_id(op.agent);
  const std::string unit = unit_text(op.unit);
  switch (op.verb) {
    case Verb::fund:
      return {0, {kernel_.fund(actor, agent, op.amount, unit)}};
    case Verb::set_rate:
      return {0, {kernel_.set_rates(actor, unit, op.small, {op.amount, 0, 0, 0})}};
    case Verb::open_account: {
      AccountTerms terms;
      terms.flags = op.small;
      return {0, {kernel_.open_account(actor, agent, unit, terms)}};
    }
    case Verb::set_budget:
      return {0, {kernel_.set_budget(actor, agent, unit, op.amount)}};
    case Verb::settle:
      return {0, {kernel_.settle(actor, op.number, Settlement(op.small), op.amount, {})}};
    default: {
      std::vector<Transfer> transfers = op.transfers;
      std::vector<Moved> moved(transfers.size());
      const Position position = kernel_.transfer(actor, transfers, op.atomic, moved);
      Answer answer;
      for (const Moved& one : moved)
        for (const uint64_t value : {uint64_t(one.outcome), one.amount, one.hold})
          answer.values.push_back(value);
      answer.values.push_back(position);
      return answer;
    }
  }
}

Answer Performer::tasks(const Operation& op) {
  const AgentId actor = agent_id(op.actor);
  const TaskId task = make_id(uint32_t(op.number), 1);
  switch (op.verb) {
    case Verb::complete:
      return {0, {kernel_.complete(actor, completion_of(op.number, op.agent, op.amount))}};
    case Verb::judge:
      return {0, {kernel_.judge(actor, task, Verdict(op.small), agent_id(op.other))}};
    default: {
      Order order;
      order.to = op.other;
      order.angle = op.agent;
      order.budget = 1;
      const Requests given({order});
      const Receipt receipt = kernel_.escalate(actor, task, given.requests[0]);
      return {0, {uint64_t(receipt.outcome), receipt.position}};
    }
  }
}

Answer Performer::many(const Operation& op) {
  const AgentId actor = agent_id(op.actor);
  std::vector<Outcome> outcomes(op.numbers.size());
  std::vector<TaskId> tasks;
  for (const uint64_t number : op.numbers) tasks.push_back(make_id(uint32_t(number), 1));
  if (op.verb == Verb::complete_many) {
    std::vector<Completion> completions;
    for (const uint64_t number : op.numbers)
      completions.push_back(completion_of(number, op.agent, op.amount));
    kernel_.complete_many(actor, completions, outcomes);
  } else if (op.verb == Verb::judge_many) {
    kernel_.judge_many(actor, tasks, Verdict(op.small), agent_id(op.other), outcomes);
  } else {
    Order order;
    order.to = op.other;
    order.budget = 1;
    const Requests given(std::vector<Order>(op.numbers.size(), order));
    std::vector<Receipt> receipts(op.numbers.size());
    kernel_.escalate_many(actor, tasks, given.requests, receipts);
    for (size_t i = 0; i < receipts.size(); ++i) outcomes[i] = receipts[i].outcome;
  }
  Answer answer;
  for (const Outcome outcome : outcomes) answer.values.push_back(uint64_t(outcome));
  return answer;
}

Answer Performer::boxes(const Operation& op) {
  const AgentId actor = agent_id(op.actor), agent = agent_id(op.agent);
  std::vector<DurableMessage> messages;
  for (const Note& note : op.notes) messages.push_back(message_of(note));
  std::vector<DurableSent> sent(messages.size());
  Answer answer;
  const auto add_sent = [&] {
    for (const DurableSent& one : sent)
      for (const uint64_t value : {uint64_t(one.outcome), one.sequence, one.position})
        answer.values.push_back(value);
  };
  switch (op.verb) {
    case Verb::declare:
      return {0, {kernel_.declare_durable(actor, {&agent, 1}, op.box)}};
    case Verb::send_note:
      sent[0] = kernel_.send_durable(agent, messages[0]);
      add_sent();
      return answer;
    case Verb::send_notes:
      kernel_.send_durable_many(agent, messages, sent);
      add_sent();
      return answer;
    case Verb::give_back:
      return {0, {kernel_.return_durable(agent, op.numbers, op.wait)}};
    default: {
      DurableCommit commit;
      commit.acknowledge = op.numbers;
      commit.send = messages;
      if (op.state) commit.state = bytes_of(*op.state);
      const Position position = kernel_.commit_durable(agent, commit, sent, op.wait);
      for (const DurableSent& one : sent) answer.values.push_back(uint64_t(one.outcome));
      answer.values.push_back(position);
      return answer;
    }
  }
}

HandedOut Performer::drain() {
  MessageBatch batch;
  std::vector<Delivery> deliveries;
  HandedOut out;
  while (kernel_.drain(batch, deliveries, 4096) != 0) {
    for (const Delivery& one : deliveries)
      out.given.push_back({index_of(one.worker), one.durable ? one.sequence : index_of(one.task),
                           one.attempt, one.durable});
    for (const Message& message : batch.messages())
      out.mail[index_of(message.to)].emplace_back(message.payload.begin(), message.payload.end());
  }
  std::sort(out.given.begin(), out.given.end());
  return out;
}

// Volatile messages: what is sent arrives once, in order; they are not in the journal.
Answer Performer::send(const Operation& op) {
  const std::string text = std::to_string(op.number);
  MessageHeader header;
  header.sender = agent_id(op.actor);
  header.to = agent_id(op.agent);
  return {0, {uint64_t(kernel_.send(header, bytes_of(text)))}};
}

Answer Performer::perform(const Operation& op) {
  try {
    if (is_rule(op.verb)) return op.verb < Verb::rate ? rules(op) : delegation(op);
    if (is_work(op.verb)) return op.verb == Verb::answer ? answer(op) : work(op);
    switch (op.verb) {
      case Verb::add:
      case Verb::revoke:
      case Verb::create_space:
      case Verb::publish:
      case Verb::withdraw:
      case Verb::load_policy:
        return people(op);
      case Verb::match:
        return match(op);
      case Verb::fund:
      case Verb::set_rate:
      case Verb::open_account:
      case Verb::set_budget:
      case Verb::settle:
      case Verb::transfer:
        return money(op);
      case Verb::dispatch:
      case Verb::dispatch_many:
      case Verb::dispatch_begin:
      case Verb::storm:
        return dispatch(op);
      case Verb::complete:
      case Verb::judge:
      case Verb::escalate:
        return tasks(op);
      case Verb::complete_many:
      case Verb::judge_many:
      case Verb::escalate_many:
        return many(op);
      case Verb::tick:
        return {0, {kernel_.tick()}};
      case Verb::send:
        return send(op);
      case Verb::snapshot:
        return {0, {kernel_.snapshot().count}};
      case Verb::compact:
        kernel_.compact(op.amount, 1 + op.small);
        return {};
      case Verb::ask:
        return ask(op);
      case Verb::flush:
        kernel_.flush();
        return {};
      default:
        return boxes(op);
    }
  } catch (const Error& error) {
    if (error_code_info(error.code()).kind == ErrorKind::storage) throw;
    return {int32_t(error.code()), {}};
  }
}

}  // namespace hanse::simulation
