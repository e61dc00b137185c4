#include "journal/journal.hpp"

#include <pybind11/functional.h>

#include "convert.hpp"
#include "handle.hpp"

namespace hanse::python {

namespace {

py::list digests_from(const std::vector<Digest>& digests) {
  py::list rows;
  for (const Digest& digest : digests) rows.append(bytes_from(digest));
  return rows;
}

py::dict status_of(KernelHandle& handle) {
  Kernel& kernel = handle.open();
  const JournalStatus status = unlocked([&] { return kernel.journal().status(); });
  py::dict fields;
  fields["count"] = status.count;
  fields["durable_count"] = status.durable_count;
  fields["size_bytes"] = status.size_bytes;
  fields["segment_count"] = status.segment_count;
  fields["flush_count"] = status.flush_count;
  fields["torn_bytes_cut"] = status.torn_bytes_cut;
  fields["poisoned"] = status.poisoned;
  fields["oldest"] = status.oldest;
  fields["replayed_from"] = status.replayed_from;
  return fields;
}

py::tuple event_of(KernelHandle& handle, AgentId actor, py::object position) {
  Kernel& kernel = handle.open();
  const Position at = unsigned_of(position, "position");
  const EventInfo event = unlocked([&] { return kernel.event(actor, at); });
  py::dict fields;
  for (const auto& [name, value] : event.fields) fields[py::str(name)] = value;
  return py::make_tuple(event.position, event.time_ns, event.type, event.tenant, fields);
}

py::dict hashes_from(const ConceptHashes& hashes) {
  py::dict digests;
  digests["agent"] = bytes_from(hashes.agent);
  digests["capability"] = bytes_from(hashes.capability);
  digests["policy"] = bytes_from(hashes.policy);
  digests["ledger"] = bytes_from(hashes.ledger);
  digests["task"] = bytes_from(hashes.task);
  if (hashes.mailbox) digests["mailbox"] = bytes_from(*hashes.mailbox);
  digests["all"] = bytes_from(hashes.all);
  return digests;
}

py::tuple snapshot_from(const SnapshotInfo& info) {
  return py::make_tuple(info.count, info.size_bytes, info.taken, bytes_from(info.state_hash));
}

py::list snapshots_of(KernelHandle& handle) {
  Kernel& kernel = handle.open();
  py::list rows;
  for (const SnapshotInfo& info : unlocked([&] { return kernel.snapshots(); }))
    rows.append(snapshot_from(info));
  return rows;
}

py::tuple compact(KernelHandle& handle, py::object keep, py::object snapshots) {
  Kernel& kernel = handle.open();
  const uint64_t records = unsigned_of(keep, "keep");
  const auto relied_on = unsigned_of<uint32_t>(snapshots, "snapshots", UINT32_MAX);
  const CompactionInfo info = unlocked([&] { return kernel.compact(records, relied_on); });
  return py::make_tuple(info.freed_bytes, info.oldest, info.count, info.freed_extents,
                        info.freed_extent_bytes);
}

py::tuple verify(py::object directory, py::object jobs, py::object progress) {
  const std::string path = text_of(directory, "directory");
  const auto threads = unsigned_of<uint32_t>(jobs, "jobs", 1024);
  std::function<void(uint64_t, uint64_t)> report;
  if (!progress.is_none())
    report = [&progress](uint64_t done, uint64_t total) {
      const py::gil_scoped_acquire held;
      progress(done, total);
    };
  const KernelVerification verified =
      unlocked([&] { return verify_directory(path, threads, report); });
  const VerifyReport& journal = verified.journal;
  return py::make_tuple(journal.count, journal.segment_count, journal.size_bytes,
                        journal.extent_count, journal.torn_bytes, bytes_from(journal.root),
                        bytes_from(verified.state.all), verified.balanced, journal.oldest,
                        verified.snapshot_count, verified.folded_from);
}

template <class Call>
auto on_journal(KernelHandle& handle, Call&& call) {
  Kernel& kernel = handle.open();
  return unlocked([&] { return call(kernel.journal()); });
}

}  // namespace

void register_journal(py::module_& module, KernelClass& kernel_class) {
  kernel_class
      .def("journal_root",
           [](KernelHandle& handle) {
             return bytes_from(on_journal(handle, [](Journal& journal) { return journal.root(); }));
           })
      .def("journal_root_at",
           [](KernelHandle& handle, py::object count) {
             const uint64_t of = unsigned_of(count, "count");
             return bytes_from(
                 on_journal(handle, [&](Journal& journal) { return journal.root_at(of); }));
           })
      .def("journal_leaf",
           [](KernelHandle& handle, py::object position) {
             const Position at = unsigned_of(position, "position");
             return bytes_from(
                 on_journal(handle, [&](Journal& journal) { return journal.leaf(at); }));
           })
      .def("journal_count", [](KernelHandle& handle) { return handle.open().journal().count(); })
      .def("durable_count", [](KernelHandle& handle) { return handle.open().durable_count(); })
      .def("prove",
           [](KernelHandle& handle, py::object position, py::object count) {
             const Position at = unsigned_of(position, "position");
             const uint64_t of = unsigned_of(count, "count");
             return digests_from(
                 on_journal(handle, [&](Journal& journal) { return journal.prove(at, of); }));
           })
      .def("prove_consistency",
           [](KernelHandle& handle, py::object old_count, py::object count) {
             const uint64_t before = unsigned_of(old_count, "old_count");
             const uint64_t of = unsigned_of(count, "count");
             return digests_from(on_journal(
                 handle, [&](Journal& journal) { return journal.prove_consistency(before, of); }));
           })
      .def("journal_status", &status_of)
      .def("event", &event_of)
      .def("snapshot",
           [](KernelHandle& handle) {
             Kernel& kernel = handle.open();
             return snapshot_from(unlocked([&] { return kernel.snapshot(); }));
           })
      .def("snapshots", &snapshots_of)
      .def("compact", &compact)
      .def("state_hash", [](KernelHandle& handle) {
        Kernel& kernel = handle.open();
        return hashes_from(unlocked([&] { return kernel.state_hash(); }));
      });
  module.def("verify", &verify);
}

}  // namespace hanse::python
