// People: their attention is an account, what waits for them comes in groups, silence is a denial.
#include <algorithm>
#include <map>

#include "kernel/inner.hpp"

namespace hanse {

bool Kernel::Inner::may_approve(uint32_t human, uint32_t index) const {
  const TaskMore* more = tasks.more(index);
  if (more == nullptr) return false;
  if (more->approver != id_none) return index_of(more->approver) == human;
  if (agents.kind(human) != AgentKind::human) return false;
  const uint32_t requester = index_of(tasks.at(index).requester);
  const uint32_t tenant = agents.tenant(human);
  return agents.within(requester, human) || (tenant != 0 && agents.tenant(requester) == tenant);
}

// Grouped by (rule, class), in the order of their names. `asked_to`: later requests are left out.
std::vector<ApprovalItem> Kernel::Inner::approvals(uint32_t human, Position asked_to) const {
  std::map<std::pair<std::string, std::string>, ApprovalItem> items;
  for (const uint32_t index : tasks.offered()) {
    const Task& task = tasks.at(index);
    if (task.dispatched_at > asked_to || !may_approve(human, index)) continue;
    const TaskMore& more = *tasks.more(index);
    const std::string& task_class = tasks.class_name(task.task_class);
    ApprovalItem& item = items[{more.rule, task_class}];
    item.rule = more.rule;
    item.task_class = task_class;
    item.tasks.push_back(tasks.id_at(index));
    item.budget += task.budget;
    item.answer_by_ns =
        item.answer_by_ns == 0 ? more.answer_by_ns : std::min(item.answer_by_ns, more.answer_by_ns);
    item.asked_to = std::max(item.asked_to, task.dispatched_at);
  }
  std::vector<ApprovalItem> found;
  for (auto& [name, item] : items) {
    ByteWriter writer;
    writer.put_text(item.rule), writer.put_text(item.task_class);
    for (const TaskId task : item.tasks) {
      writer.put(task);
      writer.put_digest(tasks.more(index_of(task))->asked);
    }
    item.hash = sha256(writer.bytes());
    found.push_back(std::move(item));
  }
  return found;
}

std::vector<ApprovalItem> Kernel::inbox(AgentId actor, AgentId human) const {
  const Inner& in = *inner_;
  std::lock_guard lock(in.writer);
  in.check_open();
  const uint32_t me = in.agents.index_checked(actor);
  return in.approvals(in.within(me, human), position_none - 1);
}

Position Kernel::set_attention(AgentId actor, AgentId human, uint64_t per_day) {
  Inner& in = *inner_;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    if (me != 0)
      throw Error(ErrorCode::not_permitted, "attention", "only the root issues it", actor);
    const uint32_t target = in.within(me, human);
    if (in.agents.kind(target) != AgentKind::human)
      throw Error(ErrorCode::out_of_range, "human", "is no human", human);
    in.ledger.check_unit(attention_unit);
    const UnitId unit = in.ledger.unit_find(attention_unit);
    const uint64_t left = unit == unit_none ? 0 : in.ledger.available(target, unit);
    AttentionSetRecord record{target, per_day, per_day > left ? per_day - left : 0};
    if (record.renewed != 0 &&
        in.ledger.check_fund(target, record.renewed, unit) != TransferOutcome::ok)
      throw Error(ErrorCode::amount_overflow, "per_day", std::to_string(per_day), human);
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

// One answer settles all that the item showed, and costs one unit of attention.
std::vector<TaskId> Kernel::answer(AgentId human, const ApprovalAnswer& answer) {
  Inner& in = *inner_;
  Position position;
  std::vector<TaskId> settled;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(human);
    const std::vector<ApprovalItem> items = in.approvals(me, answer.asked_to);
    const auto item = std::find_if(items.begin(), items.end(), [&](const ApprovalItem& one) {
      return one.rule == answer.rule && one.task_class == answer.task_class;
    });
    if (item == items.end() && in.agents.kind(me) != AgentKind::human)
      throw Error(ErrorCode::policy_denied, "answer", "is no approver of this", human);
    if (answer.answer_by_ns <= std::max(in.last_time_ns, in.clock->now_ns()))
      throw Error(ErrorCode::approval_expired, "answer",
                  "was due at " + std::to_string(answer.answer_by_ns), human);
    bool asked_others = false;
    for (const uint32_t index : in.tasks.offered())
      asked_others = asked_others || in.tasks.more(index)->rule == answer.rule;
    if (item == items.end() && asked_others)
      throw Error(ErrorCode::policy_denied, "answer", "is no approver of this", human);
    if (item == items.end() || item->hash != answer.hash)
      throw Error(ErrorCode::approval_stale, "hash",
                  item == items.end() ? "nothing of it waits any more"
                                      : "what is asked has changed: it is " + hex(item->hash),
                  human);
    ApprovalAnsweredRecord record;
    record.human = me;
    record.rule = answer.rule;
    record.task_class = answer.task_class;
    record.allow = answer.allow;
    const uint64_t now = in.next_time_ns();
    if (const AttentionTable::Daily* daily = in.attention.find(me)) {
      const UnitId unit = in.ledger.unit_find(attention_unit);
      uint64_t left = in.ledger.available(me, unit);
      if (now / day_ns > daily->day && left < daily->per_day)
        record.renewed = daily->per_day - left;
      left += record.renewed;
      if (left == 0)
        throw Error(ErrorCode::insufficient_funds, "attention",
                    "0 where an answer takes 1; the day brings " + std::to_string(daily->per_day),
                    human);
      record.attention = 1;
    }
    for (const TaskId task : item->tasks) record.tasks.push_back(index_of(task));
    settled = item->tasks;
    position = in.commit_at(me, now, record);
  }
  in.wait(position);
  return settled;
}

void apply_attention(uint32_t human, uint64_t renewed, uint64_t taken, Ledger& ledger) {
  const UnitId unit = ledger.apply_unit(attention_unit);
  if (renewed != 0) ledger.apply_fund(human, renewed, unit);
  if (taken == 0) return;
  const HoldId hold = ledger.apply_hold(human, taken, unit, 0);
  ledger.apply_draw(hold, taken, ledger.apply_account(0, unit, AccountPurpose::usage));
  ledger.apply_resolve(hold, HoldState::posted);
}

// --- apply

void Kernel::Inner::apply(const Envelope& envelope, Position, AttentionSetRecord& record) {
  apply_attention(record.human, record.renewed, 0, ledger);
  attention.apply_set(record.human, record.per_day, envelope.time_ns / day_ns);
}

void Kernel::Inner::apply(const Envelope& envelope, Position position,
                          ApprovalAnsweredRecord& record) {
  for (const uint32_t task : record.tasks) {
    if (record.allow) {
      if (const TaskMore* more = tasks.more(task)) {
        const Task& allowed = tasks.at(task);
        for (const TaskRead& read : more->reads)
          ledger.apply_draw(allowed.hold, read.amount,
                            ledger.apply_account(read.producer, allowed.unit));
      }
      tasks.apply_approve(task, position);
      queue_delivery(task, position);
    } else {
      settle_task(task, HoldState::voided);
      tasks.apply_void(task, position);
    }
  }
  apply_attention(record.human, record.renewed, record.attention, ledger);
  if (record.attention != 0) attention.apply_renew(record.human, envelope.time_ns / day_ns);
}

}  // namespace hanse
