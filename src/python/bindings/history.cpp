#include <pybind11/functional.h>

#include "convert.hpp"
#include "handle.hpp"
#include "ledger/ledger.hpp"

namespace hanse::python {

namespace {

// Called with the GIL while the kernel works without it.
Kernel::Progress progress_of(const py::object& progress) {
  if (progress.is_none()) return {};
  return [&progress](uint64_t done, uint64_t total) {
    const py::gil_scoped_acquire held;
    progress(done, total);
  };
}

template <class T>
py::array_t<T> array_from(const std::vector<T>& values) {
  py::array_t<T> array = new_array<T>(values.size());
  std::copy(values.begin(), values.end(), array.mutable_data());
  return array;
}

py::tuple entries_of(KernelHandle& handle, AgentId actor, py::dict given, py::object progress) {
  Kernel& kernel = handle.open();
  EntryQuery query;
  const auto read = [&]<class T>(const char* field, T& value) {
    if (given.contains(field) && !given[field].is_none())
      value = unsigned_of<T>(given[field], field);
  };
  read("agent", query.agent);
  read("unit", query.unit);
  read("task", query.task);
  read("hold", query.hold);
  read("start", query.start);
  read("stop", query.stop);
  read("since_ns", query.since_ns);
  read("until_ns", query.until_ns);
  read("after", query.after);
  read("limit", query.limit);
  const Kernel::Progress report = progress_of(progress);
  EntryPage page = unlocked([&] { return kernel.entries(actor, query, report); });
  py::dict columns;
  page.columns([&](const char* name, auto& column) { columns[name] = array_from(column); });
  const py::object next = page.next ? py::object(py::int_(*page.next)) : py::none();
  return py::make_tuple(columns, next, page.floor);
}

py::list accounts_at(KernelHandle& handle, AgentId actor, py::object position,
                     py::object progress) {
  Kernel& kernel = handle.open();
  const Position at = unsigned_of(position, "at");
  const Kernel::Progress report = progress_of(progress);
  const std::vector<AccountInfo> accounts =
      unlocked([&] { return kernel.accounts_at(actor, at, report); });
  py::list rows;
  for (const AccountInfo& info : accounts) rows.append(account_from(info));
  return rows;
}

py::tuple account_at(KernelHandle& handle, AgentId actor, py::object agent, UnitId unit,
                     py::object purpose, py::object position, py::object progress) {
  Kernel& kernel = handle.open();
  const AgentId id = unsigned_of(agent, "agent");
  const auto which = static_cast<AccountPurpose>(unsigned_of<uint8_t>(purpose, "purpose", 4));
  const Position at = unsigned_of(position, "at");
  const Kernel::Progress report = progress_of(progress);
  return account_from(
      unlocked([&] { return kernel.account_at(actor, id, unit, which, at, report); }));
}

}  // namespace

void register_history(KernelClass& kernel_class) {
  kernel_class.def("entries", &entries_of)
      .def("accounts_at", &accounts_at)
      .def("account_at", &account_at);
}

}  // namespace hanse::python
