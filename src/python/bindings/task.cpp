#include "task/task.hpp"

#include "convert.hpp"
#include "handle.hpp"
#include "terms.hpp"

namespace hanse::python {

namespace {

// One request and the Python memory that it borrows from.
struct RequestArguments {
  DispatchRequest request;
  py::array query;
  BytesArgument payload, key;

  RequestArguments(const Terms& terms, py::handle to, py::handle query_value,
                   py::handle payload_value, py::handle budget, py::handle key_value)
      : payload(payload_value, "payload"),
        key(key_value.is_none() ? BytesArgument() : BytesArgument(key_value, "key")) {
    if (!to.is_none()) request.to = unsigned_of(to, "to");
    if (!query_value.is_none()) {
      query = array_of<float>(query_value, "query", 1);
      request.query = span_of<float>(query);
    }
    terms.add_to(request);
    request.payload = payload.view();
    request.budget = unsigned_of(budget, "budget");
    request.key = key.view();
  }
};

// The requests of a batch: columns over arrays, and payloads and keys by row.
struct BatchArguments {
  std::vector<DispatchRequest> requests;
  py::array to, queries, payloads, sizes;
  std::vector<BytesArgument> held;

  BatchArguments(const Terms& terms, size_t count, py::handle to_value, py::handle query_value,
                 py::handle payload_value, py::handle size_value, py::handle budgets,
                 py::handle keys) {
    requests.resize(count);
    const ColumnArgument<uint64_t> budget_argument(budgets, "budgets", count);
    const Column<uint64_t> budget = budget_argument.column();
    for (size_t i = 0; i < count; ++i) {
      DispatchRequest& request = requests[i];
      terms.add_to(request);
      request.budget = budget[i];
    }
    set_targets(to_value, query_value);
    set_payloads(payload_value, size_value);
    if (!keys.is_none()) set_keys(keys);
  }

 private:
  void set_targets(py::handle to_value, py::handle query_value) {
    if (!to_value.is_none()) {
      const ColumnArgument<uint64_t> to_argument(to_value, "to", requests.size());
      const Column<uint64_t> column = to_argument.column();
      for (size_t i = 0; i < requests.size(); ++i) requests[i].to = column[i];
    }
    if (query_value.is_none()) return;
    queries = array_of<float>(query_value, "queries", 2);
    check_count("queries", requests.size(), static_cast<size_t>(queries.shape(0)));
    const MatrixView<const float> rows = matrix_of<float>(queries);
    for (size_t i = 0; i < requests.size(); ++i) requests[i].query = rows.row_span(i);
  }

  // A matrix of rows (with sizes where they are ragged), or a sequence of bytes.
  void set_payloads(py::handle value, py::handle size_value) {
    if (value.is_none()) return;
    if (!py::isinstance<py::array>(value)) return set_byte_payloads(value);
    payloads = array_of<uint8_t>(value, "payloads", 2);
    check_count("payloads", requests.size(), static_cast<size_t>(payloads.shape(0)));
    const MatrixView<const uint8_t> rows = matrix_of<uint8_t>(payloads);
    for (size_t i = 0; i < requests.size(); ++i) requests[i].payload = rows.row_span(i);
    if (size_value.is_none()) return;
    sizes = array_of<uint32_t>(size_value, "sizes", 1);
    check_count("sizes", requests.size(), static_cast<size_t>(sizes.size()));
    const std::span<const uint32_t> size = span_of<uint32_t>(sizes);
    for (size_t i = 0; i < requests.size(); ++i) {
      if (size[i] > rows.columns)
        throw Error(ErrorCode::out_of_range, "sizes", size[i], rows.columns);
      requests[i].payload = requests[i].payload.first(size[i]);
    }
  }

  py::sequence sequence_of(py::handle value, const char* field) {
    if (PyBytes_Check(value.ptr()) || PyUnicode_Check(value.ptr()) ||
        PySequence_Check(value.ptr()) == 0)
      wrong_type(field, "a sequence of bytes", value);
    auto sequence = py::reinterpret_borrow<py::sequence>(value);
    check_count(field, requests.size(), sequence.size());
    return sequence;
  }

  void set_byte_payloads(py::handle value) {
    const py::sequence rows = sequence_of(value, "payloads");
    held.reserve(held.capacity() + requests.size() * 2);
    for (size_t i = 0; i < requests.size(); ++i) {
      const py::object row = rows[i];
      held.emplace_back(row, "payloads");
      requests[i].payload = held.back().view();
    }
  }

  void set_keys(py::handle value) {
    const py::sequence rows = sequence_of(value, "keys");
    held.reserve(held.size() + requests.size());
    for (size_t i = 0; i < requests.size(); ++i) {
      const py::object row = rows[i];
      if (row.is_none()) continue;
      held.emplace_back(row, "keys");
      requests[i].key = held.back().view();
    }
  }
};

py::tuple receipt_from(const Receipt& receipt) {
  return py::make_tuple(
      static_cast<uint8_t>(receipt.outcome), static_cast<uint8_t>(receipt.durability), receipt.task,
      receipt.agent, receipt.offer, receipt.version, receipt.attempt, receipt.score, receipt.price,
      receipt.reserved, receipt.epoch, position_from(receipt.position), receipt.reason);
}

template <class T, class Get>
py::array_t<T> column_from(const std::vector<Receipt>& receipts, Get&& get) {
  py::array_t<T> array = new_array<T>(receipts.size());
  T* out = array.mutable_data();
  for (size_t i = 0; i < receipts.size(); ++i) out[i] = static_cast<T>(get(receipts[i]));
  return array;
}

// (durability, columns …, {row: reason} of the refused rows)
py::tuple receipts_from(const std::vector<Receipt>& all) {
  py::dict reasons;
  for (size_t i = 0; i < all.size(); ++i)
    if (!all[i].reason.empty()) reasons[py::int_(i)] = all[i].reason;
  const auto durability = all.empty() ? Durability::memory : all[0].durability;
  return py::make_tuple(static_cast<uint8_t>(durability),
                        column_from<uint8_t>(all, [](const Receipt& r) { return r.outcome; }),
                        column_from<uint64_t>(all, [](const Receipt& r) { return r.task; }),
                        column_from<uint64_t>(all, [](const Receipt& r) { return r.agent; }),
                        column_from<uint32_t>(all, [](const Receipt& r) { return r.offer; }),
                        column_from<uint32_t>(all, [](const Receipt& r) { return r.version; }),
                        column_from<uint16_t>(all, [](const Receipt& r) { return r.attempt; }),
                        column_from<float>(all, [](const Receipt& r) { return r.score; }),
                        column_from<uint64_t>(all, [](const Receipt& r) { return r.price; }),
                        column_from<uint64_t>(all, [](const Receipt& r) { return r.reserved; }),
                        column_from<uint64_t>(all, [](const Receipt& r) { return r.epoch; }),
                        column_from<uint64_t>(all, [](const Receipt& r) { return r.position; }),
                        reasons);
}

py::tuple dispatch(KernelHandle& handle, AgentId actor, const Terms& terms, py::object to,
                   py::object query, py::object payload, py::object budget, py::object key,
                   bool wait) {
  Kernel& kernel = handle.open();
  const RequestArguments arguments(terms, to, query, payload, budget, key);
  const Receipt receipt = unlocked([&] {
    return wait ? kernel.dispatch(actor, arguments.request)
                : kernel.dispatch_begin(actor, arguments.request);
  });
  handle.work_arrived();
  return receipt_from(receipt);
}

py::tuple dispatch_many(KernelHandle& handle, AgentId actor, const Terms& terms, size_t count,
                        py::object to, py::object queries, py::object payloads, py::object sizes,
                        py::object budgets, py::object keys, py::object atomic) {
  Kernel& kernel = handle.open();
  const BatchArguments arguments(terms, count, to, queries, payloads, sizes, budgets, keys);
  const bool all_or_none = truth_of(atomic, "atomic");
  std::vector<Receipt> receipts(count);
  unlocked([&] { kernel.dispatch_many(actor, arguments.requests, receipts, all_or_none); });
  handle.work_arrived();
  return receipts_from(receipts);
}

py::tuple escalate(KernelHandle& handle, AgentId actor, py::object task, const Terms& terms,
                   py::object to, py::object query) {
  Kernel& kernel = handle.open();
  const RequestArguments arguments(terms, to, query, py::bytes(), py::int_(0), py::none());
  const TaskId id = unsigned_of(task, "task");
  const Receipt receipt = unlocked([&] { return kernel.escalate(actor, id, arguments.request); });
  handle.work_arrived();
  return receipt_from(receipt);
}

py::tuple escalate_many(KernelHandle& handle, AgentId actor, py::object tasks, const Terms& terms,
                        py::object to, py::object queries) {
  Kernel& kernel = handle.open();
  const py::array task_array = array_of<uint64_t>(tasks, "tasks", 1);
  const auto ids = span_of<uint64_t>(task_array);
  const BatchArguments arguments(terms, ids.size(), to, queries, py::none(), py::none(),
                                 py::int_(0), py::none());
  std::vector<Receipt> receipts(ids.size());
  unlocked([&] { kernel.escalate_many(actor, ids, arguments.requests, receipts); });
  handle.work_arrived();
  return receipts_from(receipts);
}

Position complete(KernelHandle& handle, AgentId actor, py::object task, py::object artifact,
                  py::object fresh, py::object cache_read, py::object cache_write,
                  py::object output, py::object total_tokens) {
  Kernel& kernel = handle.open();
  Completion completion;
  completion.task = unsigned_of(task, "task");
  completion.artifact = digest_of(artifact, "artifact");
  completion.usage = {unsigned_of(fresh, "fresh"), unsigned_of(cache_read, "cache_read"),
                      unsigned_of(cache_write, "cache_write"), unsigned_of(output, "output")};
  if (!total_tokens.is_none()) completion.total_tokens = unsigned_of(total_tokens, "total_tokens");
  return unlocked([&] { return kernel.complete(actor, completion); });
}

py::array_t<uint8_t> complete_many(KernelHandle& handle, AgentId actor, py::object tasks,
                                   py::object artifacts, py::object usage) {
  Kernel& kernel = handle.open();
  const py::array task_array = array_of<uint64_t>(tasks, "tasks", 1);
  const py::array artifact_array = array_of<uint8_t>(artifacts, "artifacts", 2);
  const py::array usage_array = array_of<uint64_t>(usage, "usage", 2);
  const auto ids = span_of<uint64_t>(task_array);
  const auto digests = matrix_of<uint8_t>(artifact_array);
  const auto tokens = matrix_of<uint64_t>(usage_array);
  check_count("artifacts", ids.size(), digests.rows);
  check_count("usage", ids.size(), tokens.rows);
  if (digests.columns != sizeof(Digest))
    throw Error(ErrorCode::dimension_mismatch, "artifacts",
                "want 32 columns, have " + std::to_string(digests.columns));
  if (tokens.columns != 4)
    throw Error(ErrorCode::dimension_mismatch, "usage",
                "want 4 columns, have " + std::to_string(tokens.columns));

  py::array_t<uint8_t> outcomes = new_array<uint8_t>(ids.size());
  const std::span<Outcome> outcomes_out(reinterpret_cast<Outcome*>(outcomes.mutable_data()),
                                        ids.size());
  unlocked([&] {
    std::vector<Completion> completions(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) {
      completions[i].task = ids[i];
      std::memcpy(completions[i].artifact.data(), digests.row(i), sizeof(Digest));
      const uint64_t* row = tokens.row(i);
      completions[i].usage = {row[0], row[1], row[2], row[3]};
    }
    kernel.complete_many(actor, completions, outcomes_out);
  });
  return outcomes;
}

Position judge(KernelHandle& handle, AgentId actor, py::object task, py::object verdict,
               py::object verifier) {
  Kernel& kernel = handle.open();
  const TaskId id = unsigned_of(task, "task");
  const auto which = static_cast<Verdict>(unsigned_of<uint8_t>(verdict, "verdict", 2));
  const AgentId judge = verifier.is_none() ? id_none : unsigned_of(verifier, "verifier");
  return unlocked([&] { return kernel.judge(actor, id, which, judge); });
}

py::array_t<uint8_t> judge_many(KernelHandle& handle, AgentId actor, py::object tasks,
                                py::object verdict, py::object verifier) {
  Kernel& kernel = handle.open();
  const py::array task_array = array_of<uint64_t>(tasks, "tasks", 1);
  const auto ids = span_of<uint64_t>(task_array);
  const auto which = static_cast<Verdict>(unsigned_of<uint8_t>(verdict, "verdict", 2));
  const AgentId judge = verifier.is_none() ? id_none : unsigned_of(verifier, "verifier");
  py::array_t<uint8_t> outcomes = new_array<uint8_t>(ids.size());
  const std::span<Outcome> outcomes_out(reinterpret_cast<Outcome*>(outcomes.mutable_data()),
                                        ids.size());
  unlocked([&] { kernel.judge_many(actor, ids, which, judge, outcomes_out); });
  return outcomes;
}

py::tuple usage_from(const Usage& usage) {
  return py::make_tuple(usage.fresh, usage.cache_read, usage.cache_write, usage.output);
}

py::dict task_of(KernelHandle& handle, AgentId actor, py::object id) {
  Kernel& kernel = handle.open();
  const TaskId wanted = unsigned_of(id, "task");
  const auto [task, task_class] = unlocked([&] {
    Task found = kernel.task(actor, wanted);
    std::string name = kernel.task_class(found);
    return std::pair(std::move(found), std::move(name));
  });
  py::list latents;
  for (const LatentManifest& latent : task.latents)
    latents.append(py::make_tuple(bytes_from(latent.content), bytes_from(latent.fingerprint),
                                  latent.tokens, latent.size_bytes));
  py::dict fields;
  fields["id"] = wanted;
  fields["requester"] = task.requester;
  fields["worker"] = task.worker;
  fields["verifier"] = task.verifier;
  fields["state"] = task_state_name(task.state);
  fields["task_class"] = task_class;
  fields["space"] = task.space;
  fields["offer"] = task.offer;
  fields["version"] = task.version;
  fields["tier"] = task.tier;
  fields["attempt"] = task.attempt;
  fields["unit"] = kernel.unit_name(task.unit);
  fields["price"] = task.price;
  fields["budget"] = task.budget;
  fields["spent"] = task.spent;
  fields["hold"] = task.hold;
  fields["dispatched_ns"] = task.dispatched_ns;
  fields["deadline_ns"] = task.deadline_ns;
  fields["dispatched_at"] = task.dispatched_at;
  fields["changed_at"] = task.changed_at;
  fields["epoch"] = task.epoch;
  fields["score"] = task.score;
  fields["artifact"] = bytes_from(task.artifact);
  fields["usage"] = usage_from(task.usage);
  fields["payload"] = bytes_from(task.payload);
  fields["latents"] = py::tuple(latents);
  fields["verifier_required"] = task.verifier_required;
  return fields;
}

py::object economics_of(KernelHandle& handle, py::object task_class, py::object tier) {
  Kernel& kernel = handle.open();
  std::optional<Economics> sums;
  if (!task_class.is_none()) {
    const std::string name = text_of(task_class, "task_class");
    sums = unlocked([&] { return kernel.economics_of_class(name); });
  } else if (!tier.is_none()) {
    const auto number = unsigned_of<uint8_t>(tier, "tier");
    sums = unlocked([&] { return kernel.economics_of_tier(number); });
  } else {
    sums = unlocked([&] { return kernel.economics(); });
  }
  if (!sums) return py::none();
  const py::tuple counts =
      py::make_tuple(sums->dispatched, sums->completed, sums->accepted, sums->rejected,
                     sums->escalated, sums->voided, sums->expired, int_from(sums->spend));
  return py::make_tuple(counts, usage_from(sums->usage));
}

}  // namespace

void register_task(py::module_&, KernelClass& kernel_class) {
  kernel_class.def("dispatch", &dispatch)
      .def("dispatch_many", &dispatch_many)
      .def("escalate", &escalate)
      .def("escalate_many", &escalate_many)
      .def("complete", &complete)
      .def("complete_many", &complete_many)
      .def("judge", &judge)
      .def("judge_many", &judge_many)
      .def("lookup",
           [](KernelHandle& handle, AgentId actor, py::object key) {
             Kernel& kernel = handle.open();
             const BytesArgument bytes(key, "key");
             return receipt_from(unlocked([&] { return kernel.lookup(actor, bytes.view()); }));
           })
      .def("task", &task_of)
      .def("task_count", [](KernelHandle& handle) { return handle.open().task_count(); })
      .def("economics", &economics_of);
}

}  // namespace hanse::python
