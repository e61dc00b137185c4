#include "ledger/ledger.hpp"

#include "convert.hpp"
#include "handle.hpp"

namespace hanse::python {

py::tuple account_from(const AccountInfo& info) {
  return py::make_tuple(
      info.owner, static_cast<uint8_t>(info.purpose), info.unit, int_from(info.debits_pending),
      int_from(info.debits_posted), int_from(info.credits_pending), int_from(info.credits_posted),
      info.remainder, info.terms.flags, info.terms.code,
      int_from(u128(info.terms.user_data_128[0]) << 64 | info.terms.user_data_128[1]),
      info.terms.user_data_64, info.terms.user_data_32);
}

namespace {

py::tuple account_of(KernelHandle& handle, AgentId actor, py::object agent, UnitId unit,
                     py::object purpose) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  const auto which = static_cast<AccountPurpose>(unsigned_of<uint8_t>(purpose, "purpose", 4));
  return account_from(unlocked([&] { return kernel.account(actor, id, unit, which); }));
}

py::list accounts_of(KernelHandle& handle, AgentId actor) {
  Kernel& kernel = handle.open();
  const std::vector<AccountInfo> accounts = unlocked([&] { return kernel.accounts(actor); });
  py::list rows;
  for (const AccountInfo& info : accounts) rows.append(account_from(info));
  return rows;
}

py::tuple totals_of(KernelHandle& handle, UnitId unit) {
  Kernel& kernel = handle.open();
  const Ledger::Totals totals = unlocked([&] { return kernel.totals(unit); });
  return py::make_tuple(int_from(totals.debits_posted), int_from(totals.credits_posted),
                        int_from(totals.debits_pending), int_from(totals.credits_pending));
}

Position set_rates(KernelHandle& handle, AgentId actor, py::object unit, py::object tier,
                   py::object fresh, py::object cache_read, py::object cache_write,
                   py::object output) {
  Kernel& kernel = handle.open();
  const std::string name = text_of(unit, "unit");
  const auto tier_number = unsigned_of<uint8_t>(tier, "tier");
  const Rates rates{unsigned_of(fresh, "fresh"), unsigned_of(cache_read, "cache_read"),
                    unsigned_of(cache_write, "cache_write"), unsigned_of(output, "output")};
  return unlocked([&] { return kernel.set_rates(actor, name, tier_number, rates); });
}

// An optional column of a batch: nothing, one value for all, or one a row.
template <class T>
class OptionalColumn {
 public:
  OptionalColumn(const py::dict& columns, const char* field, size_t count) {
    if (columns.contains(field) && !columns[field].is_none())
      column_.emplace(columns[field], field, count);
  }
  // Calls set(row, value) for every row; nothing where the column isn't given.
  template <class Set>
  void each(size_t count, Set&& set) const {
    if (!column_) return;
    const Column<T> values = column_->column();
    for (size_t row = 0; row < count; ++row) set(row, values[row]);
  }

 private:
  std::optional<ColumnArgument<T>> column_;
};

// Keys: uint64[n], or uint64[n, 2] with the high half first; or one for all.
class KeyColumn {
 public:
  KeyColumn(const py::dict& columns, const char* field, size_t count) {
    if (!columns.contains(field) || columns[field].is_none()) return;
    const py::object given = columns[field];
    const bool wide =
        py::isinstance<py::array>(given) && py::reinterpret_borrow<py::array>(given).ndim() == 2;
    array_ = array_of<uint64_t>(given, field, wide ? 2 : 1);
    check_count(field, count, static_cast<size_t>(array_->shape(0)));
    if (wide) check_count(field, 2, static_cast<size_t>(array_->shape(1)));
    wide_ = wide;
  }
  template <class Set>
  void each(Set&& set) const {
    if (!array_) return;
    const auto words = span_of<uint64_t>(*array_);
    const size_t count = wide_ ? words.size() / 2 : words.size();
    for (size_t row = 0; row < count; ++row)
      set(row,
          wide_ ? TransferKey{words[2 * row], words[2 * row + 1]} : TransferKey{0, words[row]});
  }

 private:
  std::optional<py::array> array_;
  bool wide_ = false;
};

// What is the same for all kinds of transfer, column by column.
void fill(const py::dict& columns, std::span<Transfer> transfers) {
  const size_t count = transfers.size();
  const auto put = [&]<class T, class Member>(const char* field, T, Member member) {
    OptionalColumn<T>(columns, field, count).each(count, [&](size_t row, T value) {
      transfers[row].*member = value;
    });
  };
  put("debit", uint64_t(), &Transfer::debit);
  put("credit", uint64_t(), &Transfer::credit);
  put("amounts", uint64_t(), &Transfer::amount);
  put("holds", uint64_t(), &Transfer::pending);
  put("expires_ns", uint64_t(), &Transfer::expires_ns);
  put("flags", uint8_t(), &Transfer::flags);
  put("code", uint16_t(), &Transfer::code);
  put("user_data_64", uint64_t(), &Transfer::user_data_64);
  put("user_data_32", uint32_t(), &Transfer::user_data_32);
  put("arbiter", uint64_t(), &Transfer::arbiter);
  put("post_by", uint8_t(), &Transfer::post_by);
  put("void_by", uint8_t(), &Transfer::void_by);
  KeyColumn(columns, "user_data_128", count).each([&](size_t row, TransferKey value) {
    transfers[row].user_data_128[0] = value.high;
    transfers[row].user_data_128[1] = value.low;
  });
  KeyColumn(columns, "keys", count).each([&](size_t row, TransferKey key) {
    transfers[row].key = key;
  });
  KeyColumn(columns, "chain_keys", count).each([&](size_t row, TransferKey key) {
    transfers[row].chain = key;
  });
}

// Transfers of one kind, or of kinds uint8[n]: (position, outcomes, holds, amounts).
py::tuple move_many(KernelHandle& handle, AgentId actor, py::object count, py::object kinds,
                    UnitId unit, py::object atomic, py::dict columns) {
  Kernel& kernel = handle.open();
  // More than a record holds is the kernel's to refuse; far more would be this array's.
  const size_t rows = unsigned_of<uint32_t>(count, "count", 1 << 24);
  const ColumnArgument<uint8_t> kind_column(kinds, "kinds", rows);
  const bool all_or_none = truth_of(atomic, "atomic");
  std::vector<Transfer> transfers(rows);
  for (size_t row = 0; row < rows; ++row) {
    const uint8_t kind = kind_column.column()[row];
    if (kind > 3) out_of_range<uint64_t>("kinds", 0, 3, std::to_string(kind));
    transfers[row].kind = static_cast<TransferKind>(kind);
    transfers[row].unit = unit;
  }
  fill(columns, transfers);
  py::array_t<uint8_t> outcomes = new_array<uint8_t>(rows);
  py::array_t<uint64_t> holds = new_array<uint64_t>(rows), amounts = new_array<uint64_t>(rows);
  uint8_t* outcomes_out = outcomes.mutable_data();
  uint64_t* holds_out = holds.mutable_data();
  uint64_t* amounts_out = amounts.mutable_data();
  const Position position = unlocked([&] {
    std::vector<Moved> moved(rows);
    const Position at = kernel.transfer(actor, transfers, all_or_none, moved);
    for (size_t row = 0; row < rows; ++row) {
      outcomes_out[row] = static_cast<uint8_t>(moved[row].outcome);
      holds_out[row] = moved[row].hold;
      amounts_out[row] = moved[row].amount;
    }
    return at;
  });
  return py::make_tuple(position_from(position), outcomes, holds, amounts);
}

AccountTerms terms_of(py::object flags, py::object code, py::object user_data) {
  AccountTerms terms;
  terms.flags = unsigned_of<uint8_t>(flags, "flags", 3);
  terms.code = unsigned_of<uint16_t>(code, "code");
  const py::tuple data = user_data.cast<py::tuple>();
  terms.user_data_128[0] = unsigned_of(data[0], "user_data_128");
  terms.user_data_128[1] = unsigned_of(data[1], "user_data_128");
  terms.user_data_64 = unsigned_of(data[2], "user_data_64");
  terms.user_data_32 = unsigned_of<uint32_t>(data[3], "user_data_32");
  return terms;
}

py::object open_account(KernelHandle& handle, AgentId actor, py::object agent, py::object unit,
                        py::object flags, py::object code, py::object user_data) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  const std::string name = text_of(unit, "unit");
  const AccountTerms terms = terms_of(flags, code, user_data);
  return position_from(unlocked([&] { return kernel.open_account(actor, id, name, terms); }));
}

Position set_budget(KernelHandle& handle, AgentId actor, py::object agent, py::object limit,
                    py::object unit) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  const uint64_t value = unsigned_of(limit, "limit");
  const std::string name = text_of(unit, "unit");
  return unlocked([&] { return kernel.set_budget(actor, id, name, value); });
}

py::object budget_of(KernelHandle& handle, AgentId actor, py::object agent, UnitId unit) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  const std::optional<Budget> budget = unlocked([&] { return kernel.budget(actor, id, unit); });
  if (!budget) return py::none();
  return py::make_tuple(budget->limit, int_from(budget->pending), int_from(budget->posted));
}

Position settle(KernelHandle& handle, AgentId actor, py::object hold, py::object verdict,
                py::object amount, py::object evidence) {
  Kernel& kernel = handle.open();
  const HoldId id = unsigned_of(hold, "hold");
  const auto to = static_cast<Settlement>(unsigned_of<uint8_t>(verdict, "verdict", 2));
  const uint64_t value = unsigned_of(amount, "amount");
  const Digest digest = evidence.is_none() ? Digest{} : digest_of(evidence, "evidence");
  return unlocked([&] { return kernel.settle(actor, id, to, value, digest); });
}

py::tuple hold_of(KernelHandle& handle, AgentId actor, py::object hold) {
  Kernel& kernel = handle.open();
  const HoldId id = unsigned_of(hold, "hold");
  const Kernel::HoldInfo info = unlocked([&] { return kernel.hold(actor, id); });
  const Hold& held = info.hold;
  return py::make_tuple(info.id, static_cast<uint8_t>(held.state), info.debit, info.credit,
                        info.arbiter, info.unit, held.amount, held.left, held.expires_ns, held.code,
                        held.post_by, held.void_by, held.flags, info.of_task);
}

// (outcome, amount, hold) that a key was used for.
py::tuple find_key(KernelHandle& handle, AgentId actor, py::object high, py::object low) {
  Kernel& kernel = handle.open();
  const TransferKey key{unsigned_of(high, "key"), unsigned_of(low, "key")};
  const Kernel::KeyInfo info = unlocked([&] { return kernel.find_key(actor, key); });
  const HoldId hold = is_resolution(info.transfer) ? info.transfer.pending : info.moved.hold;
  return py::make_tuple(static_cast<uint8_t>(info.moved.outcome), info.moved.amount, hold);
}

}  // namespace

void register_ledger(py::module_&, KernelClass& kernel_class) {
  kernel_class
      .def("unit",
           [](KernelHandle& handle, py::object name) {
             Kernel& kernel = handle.open();
             const std::string text = text_of(name, "unit");
             return unlocked([&] { return kernel.unit(text); });
           })
      .def("unit_name",
           [](KernelHandle& handle, UnitId unit) { return handle.open().unit_name(unit); })
      .def("fund",
           [](KernelHandle& handle, AgentId actor, py::object agent, py::object amount,
              py::object unit) {
             Kernel& kernel = handle.open();
             const AgentId id = unsigned_of(agent, "agent");
             const uint64_t value = unsigned_of(amount, "amount");
             const std::string name = text_of(unit, "unit");
             return unlocked([&] { return kernel.fund(actor, id, value, name); });
           })
      .def("set_rates", &set_rates)
      .def("move_many", &move_many)
      .def("open_account", &open_account)
      .def("set_budget", &set_budget)
      .def("budget", &budget_of)
      .def("settle", &settle)
      .def("hold", &hold_of)
      .def("find_key", &find_key)
      .def("account", &account_of)
      .def("accounts", &accounts_of)
      .def("totals", &totals_of);
  register_history(kernel_class);
}

}  // namespace hanse::python
