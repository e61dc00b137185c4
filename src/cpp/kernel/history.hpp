// The history of the books: the records folded again into a ledger of its own, which tells each
// movement as it applies it. Derived and rebuildable; nothing else rests on it.
#pragma once

#include <array>
#include <functional>
#include <unordered_map>

#include "kernel/agent_records.hpp"
#include "kernel/entries.hpp"
#include "kernel/policy_records.hpp"
#include "kernel/records.hpp"
#include "kernel/task_records.hpp"

namespace hanse {

// The holds of the rates that a dispatch is under; `held` learns of each and when it ends.
void apply_rates(std::span<const RateLine> rates, Ledger& ledger,
                 const std::function<void(uint64_t, HoldId)>& held);

class History {
 public:
  struct TaskMoney {
    HoldId hold;
    uint32_t requester, worker;
    UnitId unit;
    std::vector<TaskRead> reads = {};  // to be paid when a person allows it
  };
  // The books as the first `count` records left them, where those are gone.
  struct Start {
    uint64_t count = 0;
    std::vector<uint8_t> ledger;  // as a snapshot holds it
    std::vector<uint32_t> parents;
    std::vector<TaskMoney> tasks;
  };
  History();
  explicit History(Start start);     // throws corrupt
  History(const History&) = delete;  // the ledger in it tells this object

  Position floor() const { return floor_; }         // there are no entries before it
  uint64_t count() const { return count_; }         // records folded, or gone before
  void fold(Bytes record);                          // the next one
  const Ledger& ledger() const { return ledger_; }  // as the records so far leave it

  // may(agent): whether the asker sees the accounts of an agent.
  EntryPage find(const EntryQuery& query, const std::function<bool(uint32_t)>& may) const;
  // Counters of one account, or of all (in the order of the ledger), after the record at
  // `position`.
  AccountInfo account_at(AccountIndex account, Position position) const;
  std::vector<AccountInfo> accounts_at(Position position) const;

  uint64_t memory_bytes() const;
  static AccountInfo emptied(AccountInfo info);  // as it was before its first entry

 private:
  struct Row {
    Entry entry;
    AccountIndex held_for;  // whose pending credit a posting ends; else as entry.credit
    uint16_t code;
    uint32_t task;  // index_none
    uint32_t user_data_32;
    Position position;
    uint64_t time_ns, user_data_64, user_data_128[2];
  };

  void tell(const Entry& entry);
  AccountInfo at_floor(AccountIndex account) const;
  void add_to_page(const Row& row, EntryPage& page) const;
  bool fits(const Row& row, const EntryQuery& query) const;
  static void count_in(const Row& row, AccountIndex account, AccountInfo& info);

  // Others than these leave the books alone.
  template <class Record>
  void apply(const Envelope&, Record&) {}
  void apply(const Envelope&, GenesisRecord& record);
  void apply(const Envelope&, AgentsAddedRecord& record);
  void apply(const Envelope&, FundedRecord& record);
  void apply(const Envelope&, RatesSetRecord& record);
  void apply(const Envelope&, TransferredRecord& record);
  void apply(const Envelope&, MovedRecord& record);
  void apply(const Envelope&, AccountOpenedRecord& record);
  void apply(const Envelope&, BudgetSetRecord& record);
  void apply(const Envelope&, SettledRecord& record);
  void apply(const Envelope&, DispatchedRecord& record);
  void apply(const Envelope&, CompletedRecord& record);
  void apply(const Envelope&, JudgedRecord& record);
  void apply(const Envelope&, EscalatedRecord& record);
  void apply(const Envelope&, ExpiredRecord& record);
  void apply(const Envelope&, AgentMovedRecord& record);
  void apply(const Envelope&, ReclaimedRecord& record);
  void apply(const Envelope&, TaskedRecord& record);
  void apply(const Envelope&, TaskedUnpaidRecord& record);
  template <class Read>
  void draw_reads(const TaskMoney& task, const std::vector<Read>& reads);
  void apply(const Envelope&, CancelledRecord& record);
  void apply(const Envelope&, ApprovalAnsweredRecord& record);
  void apply(const Envelope&, AttentionSetRecord& record);
  void release(std::span<const uint32_t> tasks);

  Ledger ledger_;
  std::vector<uint32_t> parents_{index_none};
  std::vector<TaskMoney> tasks_;
  std::vector<Row> rows_;
  std::unordered_map<uint32_t, std::vector<uint32_t>> rows_of_agent_, rows_of_task_;
  uint64_t count_ = 0;
  Position floor_ = 0;
  std::vector<AccountInfo> at_floor_;
  Row next_{};  // what every entry of the record being folded shares
};

}  // namespace hanse
