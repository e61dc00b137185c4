// The other transitions of a task: complete, accept, reject, withdraw, escalate.
#include <algorithm>
#include <numeric>

#include "base/seeded_bug.hpp"
#include "kernel/inner.hpp"

namespace hanse {

// A task is there for the tenants of its requester and its worker; to change it, the actor must be
// the one whose turn it is, or above it.
uint32_t Kernel::Inner::task_for(uint32_t actor, TaskId id, bool as_worker) const {
  const uint32_t index = tasks.index_checked(id);
  const Task& task = tasks.at(index);
  const uint32_t requester = index_of(task.requester), worker = index_of(task.worker);
  if (!same_view(actor, requester) && !same_view(actor, worker))
    throw Error(ErrorCode::unknown_task, "task", "", id);
  if (!HANSE_SEEDED_BUG(43) && !agents.within(as_worker ? worker : requester, actor))
    throw Error(ErrorCode::not_permitted, "task",
                as_worker ? "the actor is not its worker" : "the actor is not its requester", id);
  return index;
}

static void check_usage(const Completion& completion) {
  const Usage& usage = completion.usage;
  if (!completion.total_tokens) return;
  const u128 sum = u128(usage.fresh) + usage.cache_read + usage.cache_write + usage.output;
  if (sum != *completion.total_tokens)
    throw Error(ErrorCode::usage_inconsistent, "usage",
                "the parts make " + std::to_string(uint64_t(sum)) + ", the total says " +
                    std::to_string(*completion.total_tokens),
                completion.task);
}

Position Kernel::Inner::complete_one(uint32_t actor, const Completion& completion) {
  check_usage(completion);
  const uint32_t index = task_for(actor, completion.task, true);
  const Task& task = tasks.at(index);
  tasks.check_complete(index);
  require_policy(actor, Action::complete, index_of(task.requester));
  const AccountIndex payer = ledger.account_find(index_of(task.requester), task.unit);
  const Ledger::Charge charge =
      ledger.charge(payer, completion.usage, ledger.rates(task.unit, task.tier));
  // The worker's fee stays covered: usage can't eat into it. A task sent to an address without an
  // offer has no price of its own; its worker earns what usage leaves.
  const uint64_t left = ledger.hold(task.hold).left;
  const uint64_t fee = task.version == 0 ? 0 : std::min(task.price, left);
  if (charge.amount > left - (HANSE_SEEDED_BUG(41) ? 0 : fee))
    throw Error(ErrorCode::exceeds_hold, "usage", charge.amount, left - fee, completion.task);
  CompletedRecord record{index, completion.artifact, completion.usage, charge.amount,
                         charge.remainder};
  return commit(actor, record);
}

Position Kernel::Inner::judge_one(uint32_t actor, TaskId id, Verdict verdict, AgentId verifier) {
  // It is the requester's turn; the verifier whom it names answers for the verdict.
  uint32_t by = index_none;
  if (verifier != id_none) {
    by = agents.index_checked(verifier);
    if (!agents.live(by)) throw Error(ErrorCode::revoked, "verifier", "is revoked", verifier);
  }
  const uint32_t index = task_for(actor, id, false);
  const Task& task = tasks.at(index);
  const uint32_t worker = index_of(task.worker);
  if (by == worker && !HANSE_SEEDED_BUG(42))
    throw Error(ErrorCode::not_permitted, "verifier", "a worker can't verify its own work", id);
  JudgedRecord record;
  record.task = index;
  record.verdict = uint8_t(verdict);
  record.verifier = by;
  record.epoch = epoch;
  Action action = Action::accept;
  switch (verdict) {
    case Verdict::accept:
      tasks.check_accept(index);
      if (task.verifier_required && task.state != TaskState::verified && !HANSE_SEEDED_BUG(36)) {
        if (by == index_none)
          throw Error(ErrorCode::verifier_required, "verifier", "this task asks for one", id);
        check_verifier(by, index);
      }
      record.fee = std::min(task.price, ledger.hold(task.hold).left);
      record.house = uint64_t(u128(record.fee) * genesis.fee_basis_points / 10'000);
      break;
    case Verdict::reject:
      tasks.check_reject(index);
      action = Action::reject;
      break;
    case Verdict::withdraw:
      tasks.check_void(index);
      action = Action::withdraw;
      break;
  }
  Request question = this->question(actor, action, worker);
  question.task_class = tasks.class_name(task.task_class);
  question[Fact::resource_tier] = task.tier;
  question[Fact::resource_price] = int64_t(std::min<uint64_t>(task.price, INT64_MAX));
  question[Fact::amount] = int64_t(std::min<uint64_t>(record.fee, INT64_MAX));
  question[Fact::verified] = by != index_none || task.state == TaskState::verified;
  question[Fact::attempt] = task.attempt;
  require_policy(actor, question, id);
  return commit(actor, record);
}

Position Kernel::complete(AgentId actor, const Completion& completion) {
  Position position;
  {
    std::lock_guard lock(inner_->writer);
    inner_->begin();
    position = inner_->complete_one(inner_->acting(actor), completion);
  }
  inner_->wait(position);
  return position;
}

Position Kernel::judge(AgentId actor, TaskId task, Verdict verdict, AgentId verifier) {
  Position position;
  {
    std::lock_guard lock(inner_->writer);
    inner_->begin();
    position = inner_->judge_one(inner_->acting(actor), task, verdict, verifier);
  }
  inner_->wait(position);
  return position;
}

// One bad element never aborts the others; what stops the kernel stops the batch. `single`: there
// is one element, and its error is thrown.
template <class One>
static void each(Kernel::Inner& in, AgentId actor, std::span<Outcome> outcomes_out, bool single,
                 One&& one) {
  Position last = position_none;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    for (size_t i = 0; i < outcomes_out.size(); ++i) {
      try {
        const Position position = one(me, i);
        // What left no record must not hide that an earlier element did.
        if (position != position_none) last = position;
        outcomes_out[i] = Outcome::ok;
      } catch (const Error& error) {
        const ErrorKind kind = error_code_info(error.code()).kind;
        if (single || kind == ErrorKind::internal || error.code() == ErrorCode::poisoned) throw;
        outcomes_out[i] = outcome_of(error);
      }
    }
  }
  if (last != position_none) in.wait(last);
}

void Kernel::complete_many(AgentId actor, std::span<const Completion> completions,
                           std::span<Outcome> outcomes_out) {
  if (completions.size() != outcomes_out.size())
    throw Error(ErrorCode::bad_array, "outcomes_out", outcomes_out.size(), completions.size());
  each(*inner_, actor, outcomes_out, false,
       [&](uint32_t me, size_t i) { return inner_->complete_one(me, completions[i]); });
}

void Kernel::judge_many(AgentId actor, std::span<const TaskId> tasks, Verdict verdict,
                        AgentId verifier, std::span<Outcome> outcomes_out) {
  if (tasks.size() != outcomes_out.size())
    throw Error(ErrorCode::bad_array, "outcomes_out", outcomes_out.size(), tasks.size());
  each(*inner_, actor, outcomes_out, false,
       [&](uint32_t me, size_t i) { return inner_->judge_one(me, tasks[i], verdict, verifier); });
}

// Release what is left, reserve what the whole budget still allows, deliver elsewhere: one record.
// False: look for more candidates and come again.
bool Kernel::Inner::escalate_one(uint32_t actor, TaskId id, const DispatchRequest& to,
                                 const Candidates& candidates, bool last_round,
                                 Receipt& receipt_out) {
  const uint32_t index = task_for(actor, id, false);
  tasks.check_escalate(index);
  const Task& task = tasks.at(index);
  const uint64_t left = task.budget - (HANSE_SEEDED_BUG(40) ? 0 : task.spent);
  receipt_out = Receipt{};
  receipt_out.durability = durability;
  receipt_out.task = id;
  DispatchRequest request = to;
  const std::string task_class = tasks.class_name(task.task_class);
  request.task_class = task_class;
  request.budget = left;
  Choice choice = left == 0 ? Choice{}
                            : choose(index_of(task.requester), request, candidates, left,
                                     Action::escalate, last_round, nullptr);
  if (choice.retry) return false;
  if (left != 0 && choice.outcome == Outcome::no_match && candidates.busy) {
    choice.outcome = Outcome::full;
    choice.reason = "every offer that what is left can pay is full: try again";
  } else if (left == 0 || (choice.outcome == Outcome::no_match && candidates.dearer)) {
    choice.outcome = Outcome::budget_exceeded;
  }
  receipt_out.outcome = choice.outcome;
  receipt_out.reason = choice.reason;
  receipt_out.epoch = choice.epoch;
  if (choice.outcome == Outcome::budget_exceeded) {
    // The task has failed on its budget: what it spent stays billed, the rest goes back.
    JudgedRecord record;
    record.task = index;
    record.verdict = uint8_t(Verdict::withdraw);
    record.reason = Outcome::budget_exceeded;
    record.epoch = epoch;
    receipt_out.position = commit(actor, record);
    receipt_out.reason =
        "the next tier costs more than the " + std::to_string(left) + " that is left";
    return true;
  }
  if (choice.outcome != Outcome::ok) {
    if (choice.recorded) receipt_out.position = record_refusal(actor, request, {}, choice);
    return true;
  }
  commit_escalation(actor, index, left, choice, receipt_out);
  return true;
}

void Kernel::Inner::commit_escalation(uint32_t actor, uint32_t index, uint64_t left,
                                      const Choice& choice, Receipt& receipt_out) {
  const uint32_t requester = index_of(tasks.at(index).requester);
  if (label_flow(requester, choice.worker) != Outcome::ok)
    throw Error(ErrorCode::policy_denied, "escalate",
                "by the flow of labels: untrusted words end after " +
                    std::to_string(untrusted_hops_max) + " hops",
                agents.id_at(requester));
  EscalatedRecord record{index,          choice.worker,     choice.space, choice.row, choice.offer,
                         choice.version, choice.tier,       choice.price, left,       choice.epoch,
                         choice.score,   choice.considered, choice.rules};
  const auto held = task_latents.find(index);
  std::vector<LatentId> carried;
  if (held != task_latents.end())
    for (const LatentId latent : held->second) carried.push_back(hand_over(latent, choice.worker));
  receipt_out.position = commit(actor, record);  // drops the old worker's handles
  if (!carried.empty()) task_latents[index] = std::move(carried);
  receipt_out.agent = agents.id_at(choice.worker);
  receipt_out.offer = choice.offer;
  receipt_out.version = choice.version;
  receipt_out.score = choice.score;
  receipt_out.price = choice.price;
  receipt_out.reserved = left;
  receipt_out.attempt = tasks.at(index).attempt;
}

// Looks at every row, so only where the task would end otherwise. The mutex is held.
bool Kernel::Inner::busy_but_affordable(uint32_t actor, const DispatchRequest& request) const {
  const Feasible& f = request.feasible;
  const auto price_max =
      std::min(f.price_max, int64_t(std::min<uint64_t>(request.budget, INT64_MAX)));
  for (uint32_t i = 0; i < capabilities.row_count(request.space); ++i) {
    const CapabilityStore::Row row = capabilities.row(request.space, i);
    if (!row.found || row.agent == actor || capabilities.has_slot(request.space, i)) continue;
    if (row.price < f.price_min || row.price > price_max) continue;
    if (row.tier < f.tier_min || row.tier > f.tier_max) continue;
    if ((row.skills & f.skills_all) != f.skills_all || (row.skills & f.skills_none) != 0) continue;
    if (f.skills_any != 0 && (row.skills & f.skills_any) == 0) continue;
    if ((row.policy_bits & f.policy_all) != f.policy_all || (row.policy_bits & f.policy_none) != 0)
      continue;
    if (f.region != UINT16_MAX && row.region != f.region) continue;
    if (f.tenant != index_none && row.tenant != f.tenant) continue;
    if (agents.live(row.agent)) return true;
  }
  return false;
}

// A search asks for offers that what is left of the budget can pay. Where there are none at all but
// a dearer one, the answer is budget_exceeded, not no_match. Without the mutex.
void Kernel::Inner::find_affordable(uint32_t actor,
                                    std::span<const DispatchRequest* const> requests,
                                    uint32_t round, std::vector<Candidates>& candidates_out) {
  find_candidates(actor, requests, round, candidates_out);
  std::vector<DispatchRequest> unbounded;
  std::vector<size_t> without;
  for (size_t i = 0; i < requests.size(); ++i) {
    if (requests[i]->to != id_none || !candidates_out[i].matches.empty()) continue;
    unbounded.push_back(*requests[i]);
    unbounded.back().budget = uint64_t(INT64_MAX);
    without.push_back(i);
  }
  if (without.empty()) return;
  std::vector<const DispatchRequest*> wanted;
  for (const DispatchRequest& request : unbounded) wanted.push_back(&request);
  std::vector<Candidates> found;
  find_candidates(actor, wanted, 0, found);
  std::lock_guard lock(writer);
  for (size_t j = 0; j < without.size(); ++j) {
    Candidates& candidates = candidates_out[without[j]];
    candidates.dearer = !found[j].matches.empty();
    candidates.busy = busy_but_affordable(actor, *requests[without[j]]);
  }
}

void Kernel::Inner::escalate_all(AgentId actor, std::span<const TaskId> ids,
                                 std::span<const DispatchRequest> to,
                                 std::span<Receipt> receipts_out, bool single) {
  check_open();
  std::vector<DispatchRequest> requests(to.begin(), to.end());
  {
    std::lock_guard lock(writer);
    begin();  // what has just expired gives its slot back before the search
    acting(actor);
    for (size_t i = 0; i < ids.size(); ++i) {
      // Where there is no such task, or nothing left, escalate_one says so.
      const Task* task = tasks.contains(ids[i]) ? &tasks.at(index_of(ids[i])) : nullptr;
      requests[i].budget = task ? std::max<uint64_t>(task->budget - task->spent, 1) : 1;
    }
  }
  for (const DispatchRequest& request : requests) check_request(request);
  std::vector<size_t> waiting(ids.size());
  std::iota(waiting.begin(), waiting.end(), size_t(0));
  for (uint32_t round = 0; round < search_rounds && !waiting.empty(); ++round) {
    std::vector<const DispatchRequest*> wanted;
    for (const size_t i : waiting) wanted.push_back(&requests[i]);
    std::vector<Candidates> candidates;
    find_affordable(index_of(actor), wanted, round, candidates);
    std::vector<size_t> again;
    std::vector<Outcome> outcomes(waiting.size());
    each(*this, actor, outcomes, single, [&](uint32_t me, size_t j) {
      const size_t i = waiting[j];
      if (!escalate_one(me, ids[i], requests[i], candidates[j], round + 1 == search_rounds,
                        receipts_out[i]))
        again.push_back(i);
      return receipts_out[i].position;
    });
    for (size_t j = 0; j < waiting.size(); ++j) {
      if (outcomes[j] == Outcome::ok) continue;
      Receipt& receipt = receipts_out[waiting[j]] = Receipt{};
      receipt.outcome = outcomes[j];
      receipt.task = ids[waiting[j]];
      receipt.durability = durability;
    }
    waiting = std::move(again);
  }
}

void Kernel::escalate_many(AgentId actor, std::span<const TaskId> tasks,
                           std::span<const DispatchRequest> to, std::span<Receipt> receipts_out) {
  if (tasks.size() != to.size() || tasks.size() != receipts_out.size())
    throw Error(ErrorCode::bad_array, "to", to.size(), tasks.size());
  inner_->escalate_all(actor, tasks, to, receipts_out, false);
}

Receipt Kernel::escalate(AgentId actor, TaskId task, const DispatchRequest& to) {
  Receipt receipt;
  inner_->escalate_all(actor, {&task, 1}, {&to, 1}, {&receipt, 1}, true);
  return receipt;
}

Task Kernel::task(AgentId actor, TaskId id) const {
  Inner& in = *inner_;
  Task task;
  {
    std::lock_guard lock(in.writer);
    in.check_open();
    const uint32_t me = in.agents.index_checked(actor);
    const uint32_t index = in.tasks.index_checked(id);
    task = in.tasks.at(index);
    if (!in.same_view(me, index_of(task.requester)) && !in.same_view(me, index_of(task.worker)))
      throw Error(ErrorCode::unknown_task, "task", "", id);
  }
  if (task.payload_size > payload_inline_max)
    task.payload = in.journal->get_extent(task.payload_extent);
  return task;
}

std::string Kernel::task_class(const Task& task) const {
  std::lock_guard lock(inner_->writer);
  return inner_->tasks.class_name(task.task_class);
}

uint32_t Kernel::task_count() const {
  std::lock_guard lock(inner_->writer);
  return inner_->tasks.count();
}

Economics Kernel::economics() const {
  std::lock_guard lock(inner_->writer);
  return inner_->tasks.economics();
}

std::optional<Economics> Kernel::economics_of_class(std::string_view task_class) const {
  std::lock_guard lock(inner_->writer);
  const TaskTable& tasks = inner_->tasks;
  for (uint32_t i = 0; i < tasks.class_count(); ++i)
    if (tasks.class_name(uint16_t(i)) == task_class) return tasks.economics_of_class(uint16_t(i));
  return std::nullopt;
}

Economics Kernel::economics_of_tier(uint8_t tier) const {
  std::lock_guard lock(inner_->writer);
  return inner_->tasks.economics_of_tier(tier);
}

}  // namespace hanse
