#include "ledger/ledger.hpp"

#include "convert.hpp"
#include "handle.hpp"

namespace hanse::python {

namespace {

py::tuple account_from(const AccountInfo& info) {
  return py::make_tuple(info.owner, static_cast<uint8_t>(info.purpose), info.unit,
                        int_from(info.debits_pending), int_from(info.debits_posted),
                        int_from(info.credits_pending), int_from(info.credits_posted),
                        info.remainder);
}

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

// One transfer of any kind: (position, outcome, hold id or 0).
py::tuple transfer(KernelHandle& handle, AgentId actor, py::object kind, py::object debit,
                   py::object credit, py::object amount, UnitId unit, py::object key,
                   py::object pending, py::object expires_ns) {
  Kernel& kernel = handle.open();
  Transfer transfer;
  transfer.kind = static_cast<TransferKind>(unsigned_of<uint8_t>(kind, "kind", 3));
  transfer.debit = unsigned_of(debit, "debit");
  transfer.credit = unsigned_of(credit, "credit");
  transfer.amount = unsigned_of(amount, "amount");
  transfer.unit = unit;
  transfer.key = unsigned_of(key, "key");
  transfer.pending = unsigned_of(pending, "hold");
  transfer.expires_ns = unsigned_of(expires_ns, "expires_ns");
  TransferOutcome outcome{};
  HoldId hold = 0;
  const Position position = unlocked(
      [&] { return kernel.transfer(actor, {&transfer, 1}, false, {&outcome, 1}, {&hold, 1}); });
  return py::make_tuple(position_from(position), static_cast<uint8_t>(outcome), hold);
}

py::array_t<uint8_t> transfer_many(KernelHandle& handle, AgentId actor, py::object debit,
                                   py::object credit, py::object amounts, UnitId unit,
                                   py::object keys, py::object atomic) {
  Kernel& kernel = handle.open();
  const py::array debit_array = array_of<uint64_t>(debit, "debit", 1);
  const size_t count = static_cast<size_t>(debit_array.size());
  const auto debits = span_of<uint64_t>(debit_array);
  const ColumnArgument<uint64_t> credits(credit, "credit", count);
  const ColumnArgument<uint64_t> amount_column(amounts, "amounts", count);
  std::optional<py::array> key_array;
  if (!keys.is_none()) {
    key_array = array_of<uint64_t>(keys, "keys", 1);
    check_count("keys", count, static_cast<size_t>(key_array->size()));
  }
  const bool all_or_none = truth_of(atomic, "atomic");
  const std::span<const uint64_t> key_span =
      key_array ? span_of<uint64_t>(*key_array) : std::span<const uint64_t>{};
  py::array_t<uint8_t> outcomes = new_array<uint8_t>(count);
  const std::span<TransferOutcome> outcomes_out(
      reinterpret_cast<TransferOutcome*>(outcomes.mutable_data()), count);
  unlocked([&] {
    const Column<uint64_t> to = credits.column(), amount = amount_column.column();
    std::vector<Transfer> transfers(count);
    for (size_t i = 0; i < count; ++i) {
      transfers[i].debit = debits[i];
      transfers[i].credit = to[i];
      transfers[i].amount = amount[i];
      transfers[i].unit = unit;
      transfers[i].key = key_span.empty() ? 0 : key_span[i];
    }
    kernel.transfer(actor, transfers, all_or_none, outcomes_out, {});
  });
  return outcomes;
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
      .def("transfer", &transfer)
      .def("transfer_many", &transfer_many)
      .def("account", &account_of)
      .def("accounts", &accounts_of)
      .def("totals", &totals_of);
}

}  // namespace hanse::python
