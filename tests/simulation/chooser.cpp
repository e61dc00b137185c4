#include <algorithm>
#include <cmath>

#include "simulation/operation.hpp"

namespace hanse::simulation {

namespace {

constexpr uint64_t second_ns = 1'000'000'000;
constexpr uint32_t usual_weight(Verb verb) {
  switch (verb) {
    case Verb::dispatch:
    case Verb::complete:
    case Verb::judge:
    case Verb::transfer:
      return 120;
    case Verb::send_note:
    case Verb::commit_box:
    case Verb::drain:
      return 60;
    case Verb::dispatch_many:
    case Verb::complete_many:
    case Verb::judge_many:
    case Verb::escalate:
    case Verb::publish:
    case Verb::settle:
    case Verb::send_notes:
    case Verb::give_back:
    case Verb::ask:
      return 30;
    case Verb::start:
    case Verb::verify:
      return 40;
    case Verb::revoke:
    case Verb::create_space:
    case Verb::move:
    case Verb::trust:
    case Verb::set_terms:
      return 1;
    case Verb::govern:
    case Verb::narrow:
    case Verb::snapshot:
      return 3;
    case Verb::steer:
    case Verb::repeal:
    case Verb::compact:
    case Verb::identify:
    case Verb::admit:
    case Verb::cancel:
    case Verb::declare_unknown:
      return 5;
    case Verb::storm:
    case Verb::reopen:
      return 0;
    default:
      return 12;
  }
}

}  // namespace

const char* verb_name(Verb verb) {
  static constexpr const char* names[] = {
#define X(name) #name,
      HANSE_VERBS(X)
#undef X
  };
  return names[size_t(verb)];
}

// Swarm testing (Groce et al., ISSTA 2012): leaving verbs out reaches states that all of them
// together don't.
Swarm Swarm::draw(uint64_t seed, uint64_t operations, bool extended) {
  Random random(mix64(seed)), later(mix64(seed ^ 0x6c61746572));
  Swarm swarm;
  swarm.operations = operations;
  swarm.extended = extended;
  for (size_t i = 0; i < verb_count; ++i) {
    const bool added = Verb(i) >= Verb::govern && Verb(i) <= Verb::compact;
    Random& draws = added ? later : random;
    swarm.weights[i] = added && !extended ? 0 : usual_weight(Verb(i));
    if (draws.chance(200)) swarm.weights[i] = 0;
    if (draws.chance(100)) swarm.weights[i] *= 4;
  }
  for (const Verb verb : {Verb::dispatch, Verb::complete, Verb::drain})
    swarm.weights[size_t(verb)] = std::max(swarm.weights[size_t(verb)], 20u);
  if (random.chance(100)) swarm.weights[size_t(Verb::storm)] = 1;
  constexpr uint32_t fees[] = {0, 0, 250, 10'000};
  swarm.fee_basis_points = fees[random.below(4)];
  swarm.batch_max = 1 + uint32_t(random.below(8));
  swarm.payload_max = random.chance(150) ? 6000 : 64;
  swarm.key_count = 10 + uint32_t(random.below(200));
  swarm.segment_size = uint64_t(1) << (14 + random.below(4));
  constexpr uint64_t steps[] = {1000, second_ns / 1000, second_ns};
  swarm.step_ns_max = steps[random.below(3)];
  swarm.policy_chance = random.chance(300) ? 20 : 0;
  swarm.durability = random.chance(200) ? Durability::batch : Durability::each;
  swarm.fault_gap = 40 + uint32_t(random.below(120));
  for (uint32_t& weight : swarm.fault_weights) weight = random.chance(300) ? 0 : 10;
  swarm.fault_weights[0] = std::max(swarm.fault_weights[0], 10u);
  return swarm;
}

std::string show(const Operation& op) {
  std::string text = verb_name(op.verb);
  text += " actor " + std::to_string(op.actor) + " agent " + std::to_string(op.agent) + " other " +
          std::to_string(op.other) + " amount " + std::to_string(op.amount) + " number " +
          std::to_string(op.number) + " unit " + std::to_string(op.unit) + " small " +
          std::to_string(op.small) + (op.atomic ? " atomic" : "");
  for (const Order& order : op.orders)
    text += "\n    order to " + std::to_string(order.to) + " angle " + std::to_string(order.angle) +
            " budget " + std::to_string(order.budget) + " unit " + std::to_string(order.unit) +
            " key '" + order.key + "' deadline " + std::to_string(order.deadline_ns);
  for (const Transfer& t : op.transfers)
    text += "\n    transfer kind " + std::to_string(int(t.kind)) + " flags " +
            std::to_string(t.flags) + " debit " + std::to_string(index_of(t.debit)) + " credit " +
            std::to_string(index_of(t.credit)) + " unit " + std::to_string(t.unit) + " amount " +
            std::to_string(t.amount) + " key " + std::to_string(t.key.low) + " pending " +
            std::to_string(t.pending) + " expires " + std::to_string(t.expires_ns) + " terms " +
            std::to_string(t.post_by) + "/" + std::to_string(t.void_by) + "/" +
            std::to_string(index_of(t.arbiter));
  for (const Note& note : op.notes)
    text += "\n    note to " + std::to_string(note.to) + " key '" + note.key + "' of " +
            std::to_string(note.payload.size()) + " bytes";
  for (const uint64_t number : op.numbers) text += " #" + std::to_string(number);
  return text + " at " + std::to_string(op.now_ns - start_ns);
}

// The root, two tenants, a team in the first, and agents of each.
std::vector<Operation> Chooser::world() {
  std::vector<Operation> first;
  const auto add = [&](uint32_t parent, uint32_t count, bool group) {
    Operation op{.verb = Verb::add};
    op.agent = parent;
    op.amount = count;
    op.small = group ? uint8_t(AgentKind::group) : 0;
    first.push_back(op);
  };
  add(0, 2, true);   // 1 and 2
  add(1, 1, true);   // 3
  add(1, 2, false);  // 4, 5
  add(3, 3, false);  // 6 to 8
  add(2, 3, false);  // 9 to 11
  first.push_back({.verb = Verb::create_space});
  for (uint32_t agent = 4; agent < 12; ++agent) {
    Operation fund{.verb = Verb::fund};
    fund.agent = agent;
    fund.amount = 200 + random_.below(2000);
    fund.unit = UnitId(agent == 11 ? 1 : 0);
    first.push_back(fund);
  }
  // The second unit is there from the start; the model has no units that are not.
  for (UnitId unit = 0; unit < drawn_units; ++unit) {
    Operation rate{.verb = Verb::set_rate};
    rate.unit = unit;
    rate.amount = 100'000 * random_.below(20);
    first.push_back(rate);
  }
  if (swarm_.extended) {
    for (const uint32_t parent : {1u, 2u}) {  // 12 and 13
      add(parent, 1, false);
      first.back().small = uint8_t(AgentKind::human);
      Operation attention{.verb = Verb::set_attention};
      attention.agent = 11 + parent;
      attention.amount = 5 + random_.below(60);
      first.push_back(attention);
    }
  }
  for (Operation& op : first) op.now_ns = start_ns;
  return first;
}

uint32_t Chooser::live_agent(const Model& model) {
  for (int tries = 0; tries < 4; ++tries) {
    const uint32_t agent = any_agent(model);
    if (model.live(agent)) return agent;
  }
  return 0;
}

// Mostly who may; sometimes one above, sometimes anyone.
uint32_t Chooser::actor_for(const Model& model, uint32_t agent) {
  if (random_.chance(30)) return any_agent(model);
  if (random_.chance(100)) return 0;
  const uint32_t parent = model.agents[agent].parent;
  return parent != index_none && random_.chance(100) ? parent : agent;
}

std::string Chooser::payload() {
  const uint64_t size = random_.below(swarm_.payload_max + 1);
  return std::string(size, char('a' + random_.below(26)));
}

std::string Chooser::key(const char* prefix) {
  if (random_.chance(500)) return "";
  return prefix + std::to_string(random_.below(swarm_.key_count));
}

Order Chooser::order(const Model& model, uint64_t now_ns) {
  Order order;
  if (random_.chance(500)) order.to = uint32_t(random_.below(model.agents.size() + 1));
  order.angle = uint32_t(random_.below(620));
  order.budget = 1 + random_.below(random_.chance(50) ? 5000 : 60);
  if (random_.chance(150)) order.unit = unit();
  if (random_.chance(200)) order.deadline_ns = now_ns + random_.below(swarm_.step_ns_max * 40 + 1);
  order.verified = random_.chance(100);
  order.payload = payload();
  order.key = key("k");
  if (swarm_.extended && random_.chance(200)) add_terms(model, order, now_ns);
  return order;
}

Transfer Chooser::ending(const Model& model) {
  Transfer t;
  t.kind = random_.chance(600) ? TransferKind::post : TransferKind::voided;
  const uint64_t count = model.promises.size();
  t.pending = count + 1 - random_.below(std::min<uint64_t>(count + 1, 30) + 1);
  if (random_.chance(200)) t.amount = 1 + random_.below(40);
  if (random_.chance(30)) t.unit = 1;
  if (random_.chance(30)) t.debit = agent_id(any_agent(model));
  return t;
}

Transfer Chooser::transfer(const Model& model, uint32_t actor, uint64_t now_ns) {
  Transfer t;
  if (random_.chance(300)) {
    t = ending(model);
  } else {
    t.kind = random_.chance(400) ? TransferKind::pending : TransferKind::single;
    t.debit = agent_id(random_.chance(900) ? actor : any_agent(model));
    t.credit = agent_id(any_agent(model));
    t.unit = random_.chance(900) ? 0 : UnitId(random_.below(drawn_units + 1));
    if (t.unit == drawn_units) t.unit = unit_count + 1;  // there is no such
    t.amount = random_.below(random_.chance(100) ? 2000 : 50);
    if (random_.chance(100)) t.flags |= random_.chance(500) ? 2 : 4;
    if (random_.chance(20)) t.flags |= random_.chance(500) ? 8 : 16;
    if (t.kind == TransferKind::pending) {
      if (random_.chance(400)) t.expires_ns = now_ns + random_.below(swarm_.step_ns_max * 40 + 1);
      if (random_.chance(300)) {
        t.flags |= transfer_flag::fee;
        t.arbiter = agent_id(any_agent(model));
        t.post_by = releaser::debit | releaser::arbiter;
        t.void_by = releaser::credit | releaser::arbiter;
      }
    }
    if (random_.chance(50)) t.code = uint16_t(random_.below(3));
  }
  if (random_.chance(300)) t.key.low = 1 + random_.below(swarm_.key_count);
  return t;
}

Note Chooser::note(const Model& model) {
  Note note;
  const uint32_t known = 4 + uint32_t(random_.below(6));
  note.to = random_.chance(900) ? known : uint32_t(random_.below(model.agents.size() + 1));
  note.payload = payload();
  note.key = key("n");
  return note;
}

// Mostly such as wait in the agent's box.
std::vector<uint64_t> Chooser::letters(const Model& model, uint32_t agent) {
  std::vector<uint64_t> found;
  const auto box = model.boxes.find(agent);
  if (box == model.boxes.end()) return random_.chance(100) ? std::vector<uint64_t>{0} : found;
  for (const Letter& letter : box->second.queue)
    if (found.size() < swarm_.batch_max && random_.chance(500)) found.push_back(letter.sequence);
  if (random_.chance(20)) found.push_back(random_.below(box->second.accepted + 2));
  return found;
}

uint64_t Chooser::some_task(const Model& model, std::initializer_list<TaskState> wanted) {
  const uint64_t count = model.jobs.size();
  if (count == 0) return 0;
  for (int tries = 0; tries < 12; ++tries) {
    const uint64_t task = count - 1 - random_.below(std::min<uint64_t>(count, 60));
    if (std::find(wanted.begin(), wanted.end(), model.jobs[task].state) != wanted.end())
      return task;
  }
  return random_.below(count + 1);
}

void Chooser::fill_task(const Model& model, Operation& op) {
  const bool completes = op.verb == Verb::complete || op.verb == Verb::complete_many;
  const bool judges = op.verb == Verb::judge || op.verb == Verb::judge_many;
  op.number = completes ? some_task(model, {TaskState::dispatched})
              : judges  ? some_task(model, {TaskState::completed})
                        : some_task(model, {TaskState::completed, TaskState::rejected});
  const uint64_t more = op.verb == Verb::complete_many || op.verb == Verb::judge_many ||
                                op.verb == Verb::escalate_many
                            ? random_.below(swarm_.batch_max)
                            : 0;
  op.numbers = {op.number};
  for (uint64_t i = 0; i < more; ++i)
    op.numbers.push_back(
        some_task(model, {completes ? TaskState::dispatched : TaskState::completed}));
  const Job* job = op.number < model.jobs.size() ? &model.jobs[op.number] : nullptr;
  op.actor = job == nullptr ? 0 : actor_for(model, completes ? job->worker : job->requester);
  if (more != 0) op.actor = 0;
  op.amount = random_.chance(50) ? random_.below(100'000) : random_.below(30);
  op.small = uint8_t(random_.chance(650) ? 0 : 1 + random_.below(2));
  if (completes) {
    op.agent = random_.chance(30) ? uint32_t(random_.below(artifacts_ + 1)) : ++artifacts_;
  } else {
    op.other = judges ? (random_.chance(300) ? any_agent(model) : index_none)
                      : (random_.chance(500) ? uint32_t(random_.below(model.agents.size() + 1))
                                             : index_none);
    op.agent = uint32_t(random_.below(620));
  }
  if (op.verb == Verb::escalate_many && op.other == index_none) op.other = any_agent(model);
}

void Chooser::fill_money(const Model& model, Operation& op) {
  op.agent = any_agent(model);
  op.unit = unit();
  op.amount = random_.below(1000);
  switch (op.verb) {
    case Verb::fund:
      if (random_.chance(10)) op.amount = UINT64_MAX - random_.below(3);
      return;
    case Verb::set_rate:
      op.small = uint8_t(random_.below(3));
      op.amount = random_.below(3'000'000);
      return;
    case Verb::open_account:
      op.small = uint8_t(random_.below(4));
      return;
    case Verb::set_budget:
      op.actor = actor_for(
          model, model.agents[op.agent].parent == index_none ? 0 : model.agents[op.agent].parent);
      return;
    case Verb::settle: {
      const uint64_t count = model.promises.size();
      op.number = count + 1 - random_.below(std::min<uint64_t>(count + 1, 30) + 1);
      const bool there = op.number != 0 && op.number <= count;
      op.actor = there ? actor_for(model, model.promises[op.number - 1].from) : 0;
      op.small = uint8_t(random_.below(3));
      op.amount = random_.chance(300) ? random_.below(40) : 0;
      return;
    }
    default: {
      op.actor = live_agent(model);
      if (random_.chance(100)) op.actor = 0;
      const uint64_t count = 1 + random_.below(swarm_.batch_max);
      op.atomic = random_.chance(150);
      for (uint64_t i = 0; i < count; ++i) {
        op.transfers.push_back(transfer(model, op.actor, op.now_ns));
        if (i + 1 < count && random_.chance(150)) op.transfers.back().flags |= 1;
      }
      if (random_.chance(5)) op.transfers.back().flags |= 1;
      return;
    }
  }
}

void Chooser::fill_box(const Model& model, Operation& op) {
  op.actor = 4 + uint32_t(random_.below(6));
  if (random_.chance(50)) op.actor = any_agent(model);
  op.agent = op.actor;
  op.wait = !random_.chance(200);
  switch (op.verb) {
    case Verb::declare:
      op.actor = actor_for(model, op.agent);
      op.box.capacity_messages = 1 + uint32_t(random_.below(40));
      op.box.in_flight_max = 1 + uint32_t(random_.below(6));
      op.box.payload_bytes_max = random_.chance(200) ? 100 : 1 << 20;
      op.box.attempts_max = uint16_t(1 + random_.below(4));
      return;
    case Verb::send_note:
      op.notes = {note(model)};
      return;
    case Verb::give_back:
      op.numbers = letters(model, op.agent);
      return;
    default: {
      const uint64_t count = random_.below(swarm_.batch_max + 1);
      for (uint64_t i = 0; i < count; ++i) op.notes.push_back(note(model));
      if (op.verb == Verb::send_notes) return;
      op.numbers = letters(model, op.agent);
      if (random_.chance(300) || (op.notes.empty() && op.numbers.empty())) op.state = payload();
      return;
    }
  }
}

Operation Chooser::next(const Model& model, uint64_t now_ns, bool single_records) {
  Operation op;
  op.now_ns = now_ns + 1 + random_.below(swarm_.step_ns_max);
  uint64_t sum = 0;
  for (const uint32_t weight : swarm_.weights) sum += weight;
  uint64_t at = random_.below(sum);
  for (size_t verb = 0; verb < verb_count; ++verb) {
    op.verb = Verb(verb);
    if (at < swarm_.weights[verb]) break;
    at -= swarm_.weights[verb];
  }
  const bool many = op.verb == Verb::dispatch_many || op.verb == Verb::complete_many ||
                    op.verb == Verb::judge_many || op.verb == Verb::escalate_many ||
                    op.verb == Verb::storm || op.verb == Verb::send_notes;
  if (single_records && many) op.verb = Verb::dispatch;
  switch (op.verb) {
    case Verb::dispatch:
    case Verb::dispatch_begin:
    case Verb::dispatch_many: {
      op.actor = random_.chance(900) ? 4 + uint32_t(random_.below(8)) : live_agent(model);
      const bool batch = op.verb == Verb::dispatch_many;
      op.atomic = batch && random_.chance(400);
      for (uint64_t i = batch ? 1 + random_.below(swarm_.batch_max) : 1; i > 0; --i)
        op.orders.push_back(order(model, op.now_ns));
      break;
    }
    case Verb::storm: {
      op.actor = 9;
      Order poor;
      poor.to = 10;
      poor.budget = UINT64_MAX / 4;
      op.orders.assign(1100, poor);
      break;
    }
    case Verb::complete:
    case Verb::complete_many:
    case Verb::judge:
    case Verb::judge_many:
    case Verb::escalate:
    case Verb::escalate_many:
      fill_task(model, op);
      break;
    case Verb::fund:
    case Verb::set_rate:
    case Verb::open_account:
    case Verb::set_budget:
    case Verb::settle:
    case Verb::transfer:
      fill_money(model, op);
      break;
    case Verb::declare:
    case Verb::send_note:
    case Verb::send_notes:
    case Verb::commit_box:
    case Verb::give_back:
      fill_box(model, op);
      break;
    default:
      if (is_rule(op.verb) || op.verb == Verb::snapshot || op.verb == Verb::compact)
        fill_rules(model, op);
      else if (is_work(op.verb))
        fill_work(model, op);
      else
        fill_people(model, op);
      break;
  }
  return op;
}

}  // namespace hanse::simulation
