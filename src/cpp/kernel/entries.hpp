// What is asked of the history of the books, and what it answers.
#pragma once

#include <optional>
#include <vector>

#include "ledger/ledger.hpp"

namespace hanse {

constexpr uint32_t entries_per_page_max = 65'536;

// All that is given must hold. Positions and times are of the records, `stop` and `until` excluded.
struct EntryQuery {
  AgentId agent = id_none;  // debited or credited
  UnitId unit = unit_none;  // unit_none: any
  TaskId task = id_none;
  HoldId hold = 0;
  Position start = 0, stop = position_none;
  uint64_t since_ns = 0, until_ns = UINT64_MAX;
  uint64_t after = 0;     // where the page before ended: its `next`
  uint32_t limit = 1000;  // 1 … entries_per_page_max
};

// Columns, one row an entry, in the order of the journal.
struct EntryPage {
  std::vector<uint64_t> position, time_ns, debit, credit, amount, hold, task, user_data_64,
      user_data_128_high, user_data_128_low;
  std::vector<uint32_t> user_data_32;
  std::vector<uint16_t> unit, code;
  std::vector<uint8_t> kind, debit_purpose, credit_purpose;
  std::optional<uint64_t> next;  // none: this was the last page
  Position floor = 0;  // of a compacted journal: entries of records before it are not there

  // Calls f(name, column) for each column, in a fixed order.
  template <class F>
  void columns(F&& f) {
    f("position", position), f("time_ns", time_ns), f("kind", kind), f("debit", debit);
    f("debit_purpose", debit_purpose), f("credit", credit), f("credit_purpose", credit_purpose);
    f("amount", amount), f("unit", unit), f("hold", hold), f("task", task), f("code", code);
    f("user_data_32", user_data_32), f("user_data_64", user_data_64);
    f("user_data_128_high", user_data_128_high), f("user_data_128_low", user_data_128_low);
  }
};

}  // namespace hanse
