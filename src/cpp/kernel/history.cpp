#include "kernel/history.hpp"

#include <algorithm>

#include "kernel/codec.hpp"
#include "kernel/inner.hpp"

namespace hanse {

History::History() {
  ledger_.set_parents([this](uint32_t agent) { return parents_[agent]; });
  ledger_.observe([this](const Entry& entry) { tell(entry); });
}

History::History(Start start) : History() {
  SnapshotReader reader(start.ledger, Ledger::snapshot_version);
  ledger_.decode(reader);
  parents_ = std::move(start.parents);
  tasks_ = std::move(start.tasks);
  floor_ = count_ = start.count;
  for (AccountIndex i = 0; i < ledger_.account_count(); ++i) {
    AccountInfo& info = at_floor_.emplace_back(ledger_.account(i));
    info.remainder = 0;  // as those of later positions: the history knows neither
    info.terms.flags &= uint8_t(~account_flag::closed);
  }
}

void History::tell(const Entry& entry) {
  Row row = next_;
  row.entry = entry;
  row.held_for = entry.credit;
  if (entry.hold != 0) {
    const Hold& hold = ledger_.hold(entry.hold);
    row.held_for = hold.credit;
    if (row.code == 0) row.code = hold.code;
  }
  const auto index = uint32_t(rows_.size());
  rows_.push_back(row);
  std::array<uint32_t, 3> agents{};
  size_t count = 0;
  for (const AccountIndex account : {entry.debit, entry.credit, row.held_for}) {
    const uint32_t agent = index_of(ledger_.account(account).owner);
    if (std::find(agents.begin(), agents.begin() + count, agent) != agents.begin() + count)
      continue;
    agents[count++] = agent;
    rows_of_agent_[agent].push_back(index);
  }
  if (row.task != index_none) rows_of_task_[row.task].push_back(index);
}

void History::fold(Bytes record) {
  ByteReader reader(record);
  const Envelope envelope = decode_envelope(reader);
  next_ = {};
  next_.task = index_none;
  next_.position = count_;
  next_.time_ns = envelope.time_ns;
  visit_record(envelope, reader, [&](auto&& body) { apply(envelope, body); });
  ++count_;
}

void History::apply(const Envelope&, GenesisRecord& record) {
  ledger_.apply_fee(record.fee_basis_points);
}
void History::apply(const Envelope&, AgentsAddedRecord& record) {
  parents_.insert(parents_.end(), record.count, record.parent);
}
void History::apply(const Envelope&, FundedRecord& record) {
  ledger_.apply_fund(record.agent, record.amount, ledger_.apply_unit(record.unit));
}
void History::apply(const Envelope&, RatesSetRecord& record) {
  ledger_.apply_rates(ledger_.apply_unit(record.unit), record.tier, record.rates);
}

void History::apply(const Envelope& envelope, TransferredRecord& record) {
  replay_transfers(record, envelope.time_ns, ledger_);
}

void History::apply(const Envelope& envelope, MovedRecord& record) {
  const size_t first = rows_.size();
  replay_transfers(record, envelope.time_ns, ledger_);
  // Which line made which entries: only lines that took place made some, in their order.
  size_t at = first;
  for (const MoveLine& line : record.lines) {
    if (line.outcome != TransferOutcome::ok) continue;
    const bool ends = line.kind == TransferKind::post || line.kind == TransferKind::voided;
    const auto ours = [&](const Entry& entry) {
      if (ends) return entry.hold == line.pending;
      return entry.kind ==
             (line.kind == TransferKind::pending ? EntryKind::held : EntryKind::transferred);
    };
    for (bool more = true; more && at < rows_.size() && ours(rows_[at].entry); ++at) {
      Row& row = rows_[at];
      if (line.code != 0) row.code = line.code;
      row.user_data_32 = line.user_data_32;
      row.user_data_64 = line.user_data_64;
      row.user_data_128[0] = line.user_data_128_high;
      row.user_data_128[1] = line.user_data_128_low;
      more = ends;  // a posting may pay a fee and release a rest
    }
  }
}

void History::apply(const Envelope&, AccountOpenedRecord& record) {
  ledger_.apply_open(record.agent, ledger_.apply_unit(record.unit), record.terms);
}
void History::apply(const Envelope&, BudgetSetRecord& record) {
  ledger_.apply_budget(record.agent, ledger_.apply_unit(record.unit), record.limit);
}
void History::apply(const Envelope&, SettledRecord& record) {
  ledger_.apply_settlement(record.hold, record.verdict, record.amount);
}

void History::apply(const Envelope&, DispatchedRecord& record) {
  next_.task = uint32_t(tasks_.size());
  const HoldId hold = ledger_.apply_hold(record.requester, record.budget, record.unit, 0);
  tasks_.push_back({hold, record.requester, record.worker, record.unit});
}

void History::apply(const Envelope&, CompletedRecord& record) {
  const TaskMoney& task = tasks_.at(record.task);
  next_.task = record.task;
  if (record.cost != 0)
    ledger_.apply_draw(task.hold, record.cost,
                       ledger_.apply_account(0, task.unit, AccountPurpose::usage));
  ledger_.apply_remainder(ledger_.apply_account(task.requester, task.unit), record.remainder);
}

void History::apply(const Envelope&, JudgedRecord& record) {
  const TaskMoney& task = tasks_.at(record.task);
  next_.task = record.task;
  const auto verdict = Verdict(record.verdict);
  if (verdict == Verdict::reject) return;
  if (verdict == Verdict::accept && record.fee > record.house)
    ledger_.apply_draw(task.hold, record.fee - record.house,
                       ledger_.apply_account(task.worker, task.unit));
  if (verdict == Verdict::accept && record.house != 0)
    ledger_.apply_draw(task.hold, record.house,
                       ledger_.apply_account(0, task.unit, AccountPurpose::fees));
  ledger_.apply_resolve(task.hold,
                        verdict == Verdict::accept ? HoldState::posted : HoldState::voided);
}

void History::apply(const Envelope&, EscalatedRecord& record) {
  TaskMoney& task = tasks_.at(record.task);
  next_.task = record.task;
  ledger_.apply_resolve(task.hold, HoldState::voided);
  task.hold = ledger_.apply_hold(task.requester, record.reserved, task.unit, 0);
  task.worker = record.worker;
}

void History::apply(const Envelope&, ExpiredRecord& record) {
  for (const uint32_t task : record.tasks) {
    next_.task = task;
    ledger_.apply_resolve(tasks_.at(task).hold, HoldState::expired);
  }
  next_.task = index_none;
  for (const HoldId hold : record.holds) ledger_.apply_resolve(hold, HoldState::expired);
}

void History::apply(const Envelope&, AgentMovedRecord& record) {
  parents_.at(record.agent) = record.parent;
}
// Reads of the record, or of a task that waited for a person.
template <class Read>
void History::draw_reads(const TaskMoney& task, const std::vector<Read>& reads) {
  for (const Read& read : reads)
    ledger_.apply_draw(task.hold, read.amount, ledger_.apply_account(read.producer, task.unit));
}

void History::apply(const Envelope& envelope, TaskedRecord& record) {
  apply_rates(record.rates, ledger_, [](uint64_t, HoldId) {});
  apply(envelope, record.base);
  draw_reads(tasks_.back(), record.reads);
}
void History::apply(const Envelope& envelope, TaskedUnpaidRecord& record) {
  apply_rates(record.rates, ledger_, [](uint64_t, HoldId) {});
  apply(envelope, record.base);
  for (const ReadLine& read : record.reads)
    tasks_.back().reads.push_back({read.producer, read.amount});
}

void History::apply(const Envelope&, CancelledRecord& record) { release(record.tasks); }
void History::apply(const Envelope&, AttentionSetRecord& record) {
  apply_attention(record.human, record.renewed, 0, ledger_);
}

void History::release(std::span<const uint32_t> tasks) {
  for (const uint32_t task : tasks) {
    next_.task = task;
    ledger_.apply_resolve(tasks_.at(task).hold, HoldState::voided);
  }
  next_.task = index_none;
}

void History::apply(const Envelope& envelope, ReclaimedRecord& record) {
  release(record.tasks);
  apply_reclaimed(record, envelope.time_ns, ledger_);
}

void History::apply(const Envelope&, ApprovalAnsweredRecord& record) {
  if (!record.allow) release(record.tasks);
  for (const uint32_t task : record.tasks) {
    if (!record.allow) break;
    next_.task = task;
    draw_reads(tasks_.at(task), tasks_.at(task).reads);
  }
  next_.task = index_none;
  apply_attention(record.human, record.renewed, record.attention, ledger_);
}

// --- asking

bool History::fits(const Row& row, const EntryQuery& query) const {
  const AccountInfo debit = ledger_.account(row.entry.debit);
  if (query.unit != unit_none && debit.unit != query.unit) return false;
  if (query.hold != 0 && row.entry.hold != query.hold) return false;
  if (query.task != id_none && row.task != index_of(query.task)) return false;
  return query.agent == id_none || debit.owner == query.agent ||
         ledger_.account(row.entry.credit).owner == query.agent;
}

void History::add_to_page(const Row& row, EntryPage& page) const {
  const AccountInfo debit = ledger_.account(row.entry.debit);
  const AccountInfo credit = ledger_.account(row.entry.credit);
  page.position.push_back(row.position);
  page.time_ns.push_back(row.time_ns);
  page.kind.push_back(uint8_t(row.entry.kind));
  page.debit.push_back(debit.owner);
  page.debit_purpose.push_back(uint8_t(debit.purpose));
  page.credit.push_back(credit.owner);
  page.credit_purpose.push_back(uint8_t(credit.purpose));
  page.amount.push_back(row.entry.amount);
  page.unit.push_back(debit.unit);
  page.hold.push_back(row.entry.hold);
  page.task.push_back(row.task == index_none ? id_none : make_id(row.task, 1));
  page.code.push_back(row.code);
  page.user_data_32.push_back(row.user_data_32);
  page.user_data_64.push_back(row.user_data_64);
  page.user_data_128_high.push_back(row.user_data_128[0]);
  page.user_data_128_low.push_back(row.user_data_128[1]);
}

EntryPage History::find(const EntryQuery& query, const std::function<bool(uint32_t)>& may) const {
  // Positions and times ascend together, so that both bound the rows to one range.
  const auto first_row = [&](auto&& before) {
    return uint64_t(std::partition_point(rows_.begin(), rows_.end(), before) - rows_.begin());
  };
  uint64_t at = first_row(
      [&](const Row& row) { return row.position < query.start || row.time_ns < query.since_ns; });
  at = std::max(at, query.after);
  const uint64_t end = first_row(
      [&](const Row& row) { return row.position < query.stop && row.time_ns < query.until_ns; });

  const std::vector<uint32_t>* rows = nullptr;  // those of an agent or a task alone
  static const std::vector<uint32_t> nothing;
  const auto listed = [&](const auto& lists, uint64_t id) {
    const auto found = lists.find(index_of(id));
    rows = found == lists.end() ? &nothing : &found->second;
  };
  if (query.task != id_none)
    listed(rows_of_task_, query.task);
  else if (query.agent != id_none)
    listed(rows_of_agent_, query.agent);

  EntryPage page;
  const auto take = [&](uint64_t index) {
    const Row& row = rows_[index];
    if (!fits(row, query)) return true;
    if (!may(index_of(ledger_.account(row.entry.debit).owner)) &&
        !may(index_of(ledger_.account(row.entry.credit).owner)))
      return true;
    if (page.position.size() == query.limit) {
      page.next = index;
      return false;
    }
    add_to_page(row, page);
    return true;
  };
  if (rows == nullptr) {
    while (at < end && take(at)) ++at;
    return page;
  }
  for (auto row = std::lower_bound(rows->begin(), rows->end(), at); row != rows->end(); ++row)
    if (*row >= end || !take(*row)) break;
  return page;
}

void History::count_in(const Row& row, AccountIndex account, AccountInfo& info) {
  const Entry& entry = row.entry;
  const uint64_t amount = entry.amount;
  const bool debited = entry.debit == account, credited = entry.credit == account;
  switch (entry.kind) {
    case EntryKind::funded:
    case EntryKind::transferred:
      if (debited) info.debits_posted += amount;
      if (credited) info.credits_posted += amount;
      return;
    case EntryKind::held:
      if (debited) info.debits_pending += amount;
      if (credited) info.credits_pending += amount;
      return;
    case EntryKind::posted:
      if (debited) info.debits_pending -= amount, info.debits_posted += amount;
      if (credited) info.credits_posted += amount;
      if (row.held_for == account) info.credits_pending -= amount;
      return;
    case EntryKind::released:
      if (debited) info.debits_pending -= amount;
      if (credited) info.credits_pending -= amount;
      return;
  }
}

AccountInfo History::emptied(AccountInfo info) {
  info.debits_pending = info.debits_posted = info.credits_pending = info.credits_posted = 0;
  info.remainder = 0;
  info.terms.flags &= uint8_t(~account_flag::closed);
  return info;
}

AccountInfo History::at_floor(AccountIndex account) const {
  return account < at_floor_.size() ? at_floor_[account] : emptied(ledger_.account(account));
}

AccountInfo History::account_at(AccountIndex account, Position position) const {
  AccountInfo info = at_floor(account);
  const auto rows = rows_of_agent_.find(index_of(info.owner));
  if (rows == rows_of_agent_.end()) return info;
  for (const uint32_t index : rows->second) {
    if (rows_[index].position > position) break;
    count_in(rows_[index], account, info);
  }
  return info;
}

std::vector<AccountInfo> History::accounts_at(Position position) const {
  std::vector<AccountInfo> found;
  for (AccountIndex i = 0; i < ledger_.account_count(); ++i) found.push_back(at_floor(i));
  for (const Row& row : rows_) {
    if (row.position > position) break;
    std::array<AccountIndex, 3> accounts{row.entry.debit, row.entry.credit, row.held_for};
    for (size_t i = 0; i < 3; ++i)
      if (std::find(accounts.begin(), accounts.begin() + i, accounts[i]) == accounts.begin() + i)
        count_in(row, accounts[i], found[accounts[i]]);
  }
  return found;
}

uint64_t History::memory_bytes() const {
  // Each row is listed under two agents, mostly.
  return rows_.capacity() * (sizeof(Row) + 2 * sizeof(uint32_t)) + ledger_.memory_bytes() +
         at_floor_.capacity() * sizeof(AccountInfo) + parents_.capacity() * sizeof(uint32_t) +
         tasks_.capacity() * sizeof(TaskMoney);
}

}  // namespace hanse
