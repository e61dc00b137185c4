#include "c/handle.hpp"

using namespace hanse;
using namespace hanse::c;

namespace {

static_assert(int(hanse_task_dispatched) == int(TaskState::dispatched));
static_assert(int(hanse_task_completed) == int(TaskState::completed));
static_assert(int(hanse_task_accepted) == int(TaskState::accepted));
static_assert(int(hanse_task_rejected) == int(TaskState::rejected));
static_assert(int(hanse_task_voided) == int(TaskState::voided));
static_assert(int(hanse_task_expired) == int(TaskState::expired));

// Where a task may go. One that is addressed needs no space: there may be none yet.
uint32_t space_to_search(Kernel& kernel, const hanse_dispatch_request& from) {
  if (from.space != nullptr || from.query != nullptr) return space_of(kernel, from.space);
  try {
    return space_of(kernel, nullptr);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::unknown_space) throw;
    return 0;
  }
}

DispatchRequest request_of(Kernel& kernel, const hanse_dispatch_request* given) {
  const hanse_dispatch_request& from = read_struct(given, "request");
  expect_zero(from.zero, "request.zero");
  DispatchRequest request;
  request.to = from.to;
  if (from.query != nullptr) request.query = {from.query, from.dim};
  request.space = space_to_search(kernel, from);
  request.feasible = feasible_of(kernel, from.feasible);
  request.task_class = text_or(from.task_class, "");
  request.payload = bytes_of(from.payload, from.payload_size, "request.payload");
  request.key = bytes_of(from.key, from.key_size, "request.key");
  request.budget = from.budget;
  request.unit = from.unit == nullptr ? UnitId(0) : kernel.unit(from.unit);
  request.deadline_ns = from.deadline_ns;
  request.verifier_required = flag_of(from.verifier_required, "request.verifier_required");
  return request;
}

int32_t durability_of(Durability durability) {
  switch (durability) {
    case Durability::memory:
      return hanse_durability_memory;
    case Durability::batch:
      return hanse_durability_batch;
    case Durability::each:
      break;
  }
  return hanse_durability_each;
}

hanse_status write_receipt(const Receipt& receipt, hanse_receipt& receipt_out) {
  hanse_receipt out{};
  out.outcome = int32_t(receipt.outcome);
  out.durability = durability_of(receipt.durability);
  out.attempt = receipt.attempt;
  out.task = receipt.task;
  out.agent = receipt.agent;
  out.offer = receipt.offer;
  out.version = receipt.version;
  out.score = receipt.score;
  out.price = receipt.price;
  out.held = receipt.reserved;
  out.epoch = receipt.epoch;
  out.position = receipt.position;
  copy_text(receipt.reason, out.reason, sizeof out.reason);
  write_struct(out, receipt_out);
  return out.outcome;
}

hanse_status judge(hanse_kernel* kernel, hanse_id actor, hanse_id task, Verdict verdict,
                   hanse_id verifier, uint64_t* position_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const Position position = in.judge(actor_of(in, actor), task, verdict, verifier);
    if (position_out != nullptr) *position_out = position;
    return 0;
  });
}

}  // namespace

extern "C" {

hanse_status hanse_dispatch(hanse_kernel* kernel, hanse_id actor,
                            const hanse_dispatch_request* request, hanse_receipt* receipt_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    check_size(receipt_out, "receipt_out");
    return write_receipt(in.dispatch(actor_of(in, actor), request_of(in, request)), *receipt_out);
  });
}

hanse_status hanse_dispatch_many(hanse_kernel* kernel, hanse_id actor,
                                 const hanse_dispatch_request* requests, uint32_t count,
                                 int32_t atomic, hanse_receipt* receipts_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const StructArray<const hanse_dispatch_request> from(requests, count, "requests");
    const StructArray<hanse_receipt> out(receipts_out, count, "receipts_out");
    std::vector<DispatchRequest> converted;
    converted.reserve(count);
    for (uint32_t i = 0; i < count; ++i) converted.push_back(request_of(in, &from[i]));
    std::vector<Receipt> receipts(count);
    in.dispatch_many(actor_of(in, actor), converted, receipts, flag_of(uint32_t(atomic), "atomic"));
    for (uint32_t i = 0; i < count; ++i) write_receipt(receipts[i], out[i]);
    return 0;
  });
}

hanse_status hanse_complete(hanse_kernel* kernel, hanse_id actor,
                            const hanse_completion* completion, uint64_t* position_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const hanse_completion& from = read_struct(completion, "completion");
    Completion done;
    done.task = from.task;
    std::memcpy(done.artifact.data(), from.artifact, done.artifact.size());
    done.usage = {from.fresh, from.cache_read, from.cache_write, from.output};
    if (flag_of(from.total_given, "completion.total_given")) done.total_tokens = from.total_tokens;
    const Position position = in.complete(actor_of(in, actor), done);
    if (position_out != nullptr) *position_out = position;
    return 0;
  });
}

hanse_status hanse_accept(hanse_kernel* kernel, hanse_id actor, hanse_id task, hanse_id verifier,
                          uint64_t* position_out) {
  return judge(kernel, actor, task, Verdict::accept, verifier, position_out);
}

hanse_status hanse_reject(hanse_kernel* kernel, hanse_id actor, hanse_id task, hanse_id verifier,
                          uint64_t* position_out) {
  return judge(kernel, actor, task, Verdict::reject, verifier, position_out);
}

hanse_status hanse_void(hanse_kernel* kernel, hanse_id actor, hanse_id task,
                        uint64_t* position_out) {
  return judge(kernel, actor, task, Verdict::withdraw, id_none, position_out);
}

hanse_status hanse_escalate(hanse_kernel* kernel, hanse_id actor, hanse_id task,
                            const hanse_dispatch_request* to, hanse_receipt* receipt_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    check_size(receipt_out, "receipt_out");
    return write_receipt(in.escalate(actor_of(in, actor), task, request_of(in, to)), *receipt_out);
  });
}

hanse_status hanse_task_state(hanse_kernel* kernel, hanse_id actor, hanse_id task,
                              hanse_task* task_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    check_size(task_out, "task_out");
    const Task found = in.task(actor_of(in, actor), task);
    hanse_task out{};
    out.state = int32_t(found.state);
    out.requester = found.requester;
    out.worker = found.worker;
    out.verifier = found.verifier;
    out.attempt = found.attempt;
    out.tier = found.tier;
    out.offer = found.offer;
    out.version = found.version;
    out.price = found.price;
    out.budget = found.budget;
    out.spent = found.spent;
    out.dispatched_ns = found.dispatched_ns;
    out.deadline_ns = found.deadline_ns;
    out.dispatched_at = found.dispatched_at;
    out.changed_at = found.changed_at;
    std::memcpy(out.artifact, found.artifact.data(), found.artifact.size());
    write_struct(out, *task_out);
    return 0;
  });
}

}  // extern "C"
