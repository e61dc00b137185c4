#include <bit>

#include "base/hash.hpp"
#include "journal/merkle.hpp"
#include "simulation/schedule.hpp"

namespace hanse::simulation {

namespace {

void require_equal(Wide seen, Wide expected, const std::string& what) {
  if (seen == expected) return;
  throw Violation(what + ": the kernel says " + std::to_string(int64_t(seen)) + ", the model " +
                  std::to_string(int64_t(expected)));
}

void check_purse(const AccountInfo& seen, const Purse& purse, const std::string& whose) {
  require_equal(Wide(seen.credits_posted), purse.in, whose + " credits");
  require_equal(Wide(seen.credits_pending), purse.in_pending, whose + " pending credits");
  require_equal(Wide(seen.debits_posted), purse.out, whose + " debits");
  require_equal(Wide(seen.debits_pending), purse.out_pending, whose + " pending debits");
  require_equal(seen.remainder, purse.remainder, whose + " remainder");
  const bool closed = (seen.terms.flags & account_flag::closed) != 0;
  require(closed == purse.closed, whose + " is closed in only one of them");
}

void check_books(Kernel& kernel, const Model& model) {
  const AgentId root = kernel.root();
  for (UnitId unit = 0; unit < unit_count && unit < kernel.unit_count(); ++unit) {
    const std::string of = " in unit " + std::to_string(unit);
    for (uint32_t agent = 0; agent < model.agents.size(); ++agent)
      check_purse(kernel.account(root, agent_id(agent), unit), model.purses[agent][unit],
                  "agent " + std::to_string(agent) + of);
    const auto house = [&](AccountPurpose purpose, const Purse& purse, const char* name) {
      check_purse(kernel.account(root, root, unit, purpose), purse, name + of);
    };
    house(AccountPurpose::fees, model.fees[unit], "fees");
    house(AccountPurpose::usage, model.usage[unit], "usage");
    house(AccountPurpose::escrow, model.escrow[unit], "escrow");
    house(AccountPurpose::issuance, model.issuance[unit], "issuance");
    // Conservation, from the accounts alone.
    const Ledger::Totals totals = kernel.totals(unit);
    require(totals.debits_posted == totals.credits_posted, "debits and credits differ" + of);
    require(totals.debits_pending == totals.credits_pending, "pending sides differ" + of);
    Wide sum = 0;
    for (const AccountInfo& account : kernel.accounts(root)) {
      if (account.unit != unit) continue;
      sum += Wide(account.credits_posted) - Wide(account.debits_posted);
      const bool limited = (account.terms.flags & account_flag::debits_limited) != 0;
      require(!limited || account.debits_posted + account.debits_pending <= account.credits_posted,
              "an account owes more than it has" + of);
    }
    require_equal(sum, 0, "money made from nothing" + of);
  }
  for (const auto& [whose, ceiling] : model.ceilings) {
    const auto budget = kernel.budget(root, agent_id(whose.first), whose.second);
    const std::string name = "budget of " + std::to_string(whose.first);
    require(budget.has_value(), name + " is lost");
    require_equal(budget->limit, ceiling.limit, name + ", limit");
    require_equal(Wide(budget->pending), ceiling.pending, name + ", pending");
    require_equal(Wide(budget->posted), ceiling.used, name + ", used");
  }
  for (size_t i = 0; i < model.promises.size(); ++i) {
    const Promise& promise = model.promises[i];
    const Kernel::HoldInfo seen = kernel.hold(root, i + 1);
    const std::string name = "hold " + std::to_string(i + 1);
    require(seen.hold.state == promise.state, name + " is in another state");
    require_equal(seen.hold.left, promise.left, name + ", left");
    require_equal(seen.hold.amount, promise.amount, name + ", amount");
  }
}

void check_party(Kernel& kernel, const Model& model, uint32_t agent) {
  const AgentInfo seen = kernel.agent(kernel.root(), agent_id(agent));
  const Party& party = model.agents[agent];
  const std::string name = "agent " + std::to_string(agent);
  require(seen.live == model.live(agent), name + " is live in only one of them");
  require(seen.permissions == party.permissions, name + " has other permissions");
  require(seen.budget_max == party.budget_max, name + " may spend something else");
  require(agent == 0 || index_of(seen.parent) == party.parent, name + " has another parent");
  require(seen.identity.has_value() == (party.identity != 0), name + " has another identity");
  const std::optional<uint8_t> hops = kernel.untrusted_hops(kernel.root(), agent_id(agent));
  require(hops.value_or(trusted_label) == party.hops, name + " has another label");
}

void check_jobs(Kernel& kernel, const Model& model) {
  require_equal(kernel.task_count(), model.jobs.size(), "tasks");
  for (size_t i = 0; i < model.jobs.size(); ++i) {
    const Job& job = model.jobs[i];
    const Task task = kernel.task(kernel.root(), make_id(uint32_t(i), 1));
    const std::string name = "task " + std::to_string(i);
    require(task.state == job.state,
            name + " is " + task_state_name(task.state) + ", not " + task_state_name(job.state));
    require_equal(index_of(task.worker), job.worker, name + ", worker");
    require_equal(task.spent, job.spent, name + ", spent");
    require_equal(task.price, job.price, name + ", price");
    require_equal(task.budget, job.budget, name + ", budget");
    require_equal(task.attempt, job.attempt, name + ", attempt");
    require_equal(task.version, job.version, name + ", version");
    require_equal(task.hold, job.hold, name + ", hold");
    require_equal(task.dispatched_at, job.dispatched_at, name + ", dispatched at");
    require_equal(task.changed_at, job.changed_at, name + ", changed at");
    require(task.artifact == artifact_of(job.artifact), name + " has another artifact");
    require(std::string(task.payload.begin(), task.payload.end()) == job.payload,
            name + " has another payload");
  }
}

void check_boxes(Kernel& kernel, const Model& model) {
  const AgentId root = kernel.root();
  for (const auto& [owner, box] : model.boxes) {
    const DurableBoxInfo seen = kernel.durable_box(root, agent_id(owner));
    const std::string name = "box of " + std::to_string(owner);
    require_equal(seen.accepted, box.accepted, name + ", accepted");
    require_equal(seen.acknowledged, box.acknowledged, name + ", acknowledged");
    require_equal(seen.dead, box.dead_count, name + ", dead");
    require_equal(seen.queued, box.queue.size(), name + ", queued");
    require(seen.accepted == seen.acknowledged + seen.dead + seen.queued,
            name + " has lost or made a message");
    const std::vector<DurableDead> dead = kernel.durable_dead_letters(root, agent_id(owner));
    require_equal(dead.size(), box.dead.size(), name + ", dead letters");
    for (size_t i = 0; i < dead.size(); ++i)
      require(dead[i].sequence == box.dead[i].sequence && dead[i].reason == box.dead[i].reason &&
                  dead[i].attempt == box.dead[i].attempt,
              name + " has another dead letter");
  }
  for (const auto& [agent, state] : model.states) {
    const std::vector<uint8_t> seen = kernel.durable_state(root, agent_id(agent));
    require(std::string(seen.begin(), seen.end()) == state,
            "the state of " + std::to_string(agent) + " is another");
  }
}

// RFC 6962, section 2.1, from its definition.
Digest root_of(std::span<const Digest> leaves) {
  if (leaves.empty()) return sha256({});
  if (leaves.size() == 1) return leaves[0];
  const size_t half = std::bit_ceil(leaves.size()) / 2;
  const Digest left = root_of(leaves.first(half)), right = root_of(leaves.subspan(half));
  std::vector<uint8_t> node{1};
  node.insert(node.end(), left.begin(), left.end());
  node.insert(node.end(), right.begin(), right.end());
  return sha256(node);
}

}  // namespace

void require(bool truth, const std::string& what) {
  if (!truth) throw Violation(what);
}

std::string difference(const HandedOut& seen, const HandedOut& expected) {
  std::string text = "handed out";
  for (const auto& [name, list] : {std::pair("kernel", &seen), std::pair("model", &expected)}) {
    text += std::string("\n  ") + name + ":";
    for (const Given& given : list->given)
      text += " " + std::to_string(given.worker) + (given.durable ? "/box " : "/task ") +
              std::to_string(given.number) + " try " + std::to_string(given.attempt);
    for (const auto& [agent, letters] : list->mail)
      text += " mail " + std::to_string(agent) + " x" + std::to_string(letters.size());
  }
  return text;
}

void check_state(Kernel& kernel, const Model& model) {
  require_equal(kernel.journal().count(), model.count, "records");
  require_equal(kernel.agent_count(), model.agents.size(), "agents");
  for (uint32_t agent = 0; agent < model.agents.size(); ++agent) check_party(kernel, model, agent);
  require_equal(kernel.policy_epoch(), model.epoch, "policy epoch");
  const Governance governance = kernel.governance();
  require_equal(governance.report.events, model.governed, "events of governance");
  require_equal(governance.lessons.size(), model.lessons.size(), "lessons");
  for (size_t i = 0; i < model.lessons.size(); ++i)
    require(governance.lessons[i].event == model.lessons[i].event &&
                governance.lessons[i].repealed == model.lessons[i].repealed,
            "lesson " + std::to_string(i) + " is another");
  check_books(kernel, model);
  check_jobs(kernel, model);
  check_boxes(kernel, model);
  const MemoryReport memory = kernel.memory();
  require(memory.agents + memory.capabilities + memory.ledger + memory.tasks + memory.journal +
                  memory.mailboxes + memory.latents <=
              memory_cap,
          "more memory than the kernel was given");
}

void count_records(Kernel& kernel, Tally& tally, uint64_t from) {
  for (Position position = from; position < kernel.journal().count(); ++position) {
    const std::vector<uint8_t> record = kernel.journal().read(position);
    ++tally.record_types[uint16_t(record[0] | record[1] << 8)];
  }
}

void check_history(Kernel& kernel) {
  const AgentId root = kernel.root();
  const uint64_t count = kernel.journal().count();
  for (const AccountInfo& then : kernel.accounts_at(root, count - 1, nullptr)) {
    const AccountInfo now = kernel.account(root, then.owner, then.unit, then.purpose);
    require(then.credits_posted == now.credits_posted && then.debits_posted == now.debits_posted &&
                then.credits_pending == now.credits_pending &&
                then.debits_pending == now.debits_pending,
            "the history comes to other books than those of agent " +
                std::to_string(index_of(then.owner)));
  }
  EntryQuery query;
  query.limit = 1;
  const Position floor = kernel.entries(root, query, nullptr).floor;
  if (floor > 1) {
    try {
      (void)kernel.accounts_at(root, floor - 2, nullptr);
    } catch (const Error& error) {
      require(error.code() == ErrorCode::unknown_event && error.position() == floor,
              "what is gone is refused by another name");
      return;
    }
    throw Violation("the history answered what is gone");
  }
}

Digest check_merkle(Kernel& kernel, Tally& tally, uint64_t counted) {
  Journal& journal = kernel.journal();
  const uint64_t count = journal.count(), oldest = journal.oldest();
  std::vector<Digest> leaves;
  for (Position position = 0; position < oldest; ++position)
    leaves.push_back(journal.leaf(position));
  for (Position position = oldest; position < count; ++position) {
    std::vector<uint8_t> record = journal.read(position);
    record.insert(record.begin(), 0);
    leaves.push_back(sha256(record));
  }
  count_records(kernel, tally, std::max(counted, oldest));
  const Digest root = root_of(leaves);
  require(root == journal.root(), "the root is not that of the records");
  for (uint64_t i = 0; i < 8 && i < count; ++i) {
    const Position position = mix64(count + i) % count;
    require(
        verify_inclusion(leaves[position], position, count, journal.prove(position, count), root),
        "no proof of record " + std::to_string(position));
    const uint64_t before = position + 1;
    require(verify_consistency(before, root_of(std::span(leaves).first(before)), count, root,
                               journal.prove_consistency(before, count)),
            "no proof of the first " + std::to_string(before));
    ++tally.proofs;
  }
  return root;
}

}  // namespace hanse::simulation
