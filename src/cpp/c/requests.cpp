// Native handlers, and requests that wait for an answer.
#include "c/handle.hpp"

using namespace hanse;
using namespace hanse::c;

namespace {

static_assert(sizeof(hanse_reply) == 16);
static_assert(int(hanse_request_waiting) == int(RequestEnd::waiting));
static_assert(int(hanse_request_reply) == int(RequestEnd::reply));
static_assert(int(hanse_request_error) == int(RequestEnd::error));
static_assert(int(hanse_request_cancelled) == int(RequestEnd::cancelled));
static_assert(int(hanse_request_expired) == int(RequestEnd::expired));
static_assert(int(hanse_request_undeliverable) == int(RequestEnd::undeliverable));

constexpr uint32_t requests_max = 1u << 16;  // waiting, or answered and not fetched
constexpr size_t expiries_per_call_max = 256;

void run_native(void* context, MailboxTable&, const Message& message) {
  const Native& native = *static_cast<const Native*>(context);
  const hanse_message given = message_from(message);
  native.handler(native.context, native.kernel, &given);
}

void keep_answer(hanse_kernel& handle, uint64_t request, RequestEnd how, Bytes payload) {
  handle.answers[request] = {how, {payload.begin(), payload.end()}};
  if (handle.waiters.contains(request)) handle.ended.push_back(request);
}

// Answers that the handlers of other shards gave, in the order in which they came.
void take_arrived(hanse_kernel& handle) {
  std::vector<std::pair<uint64_t, Answer>> arrived;
  {
    const std::lock_guard lock(handle.arrived_mutex);
    arrived.swap(handle.arrived);
  }
  for (const auto& [request, answer] : arrived)
    if (handle.requests->end(request, answer.end))
      keep_answer(handle, request, answer.end, answer.payload);
}

// On the thread of another shard than 0: told to who asked when its thread looks.
bool answer_from_shard(hanse_kernel& handle, uint64_t request, RequestEnd how, Bytes payload,
                       hanse_status& status_out) {
  Shards* const shards = handle.kernel->shards();
  const uint32_t here = shards == nullptr ? 0 : shards->driven_here();
  if (here == 0 || here == index_none) return false;
  const std::lock_guard lock(handle.arrived_mutex);
  status_out = handle.arrived.size() < requests_max ? hanse_outcome_ok : hanse_outcome_full;
  if (status_out == hanse_outcome_ok)
    handle.arrived.push_back({request, {how, {payload.begin(), payload.end()}}});
  shards->wake(0);
  return true;
}

// What is due, and what will never be answered since its message ended otherwise.
void end_what_is_due(hanse_kernel& handle) {
  Kernel& kernel = *handle.kernel;
  RequestTable& table = *handle.requests;
  take_arrived(handle);
  std::vector<EndedRequest> ended;
  std::vector<Undelivered> undelivered;
  kernel.take_undelivered(undelivered);
  for (const Undelivered& one : undelivered) {
    const bool late = one.reason == Outcome::expired;
    table.end_tree(one.request, late ? RequestEnd::expired : RequestEnd::undeliverable, ended);
  }
  table.expire(kernel.clock().now_ns(), expiries_per_call_max, ended);
  for (const EndedRequest& one : ended) {
    kernel.cancel_message(one.to, one.number);
    keep_answer(handle, one.number, one.end, {});
  }
}

// The table, with what is due ended. Owner thread.
RequestTable& requests_of(hanse_kernel& handle) {
  Kernel& kernel = open_kernel(&handle);
  kernel.own_flow();
  if (!handle.requests) {
    RequestOptions options;
    options.count_max = requests_max;
    // A number is a right to answer: it is drawn under a key that nobody outside knows.
    const Digest root = kernel.journal().root();
    std::memcpy(&options.key_low, root.data(), 8);
    options.key_high = kernel.clock().now_ns() ^ reinterpret_cast<uintptr_t>(&handle);
    handle.requests = std::make_unique<RequestTable>(options);
  }
  end_what_is_due(handle);
  return *handle.requests;
}

hanse_status end_request(hanse_kernel* kernel, uint64_t request, RequestEnd how, Bytes payload) {
  open_kernel(kernel);
  hanse_status status = hanse_outcome_ok;
  if (answer_from_shard(*kernel, request, how, payload, status)) return status;
  RequestTable& table = requests_of(*kernel);
  if (!table.end(request, how)) return hanse_outcome_unknown;
  keep_answer(*kernel, request, how, payload);
  return hanse_outcome_ok;
}

// A request whose receiver is gone will never be answered.
void end_if_undeliverable(hanse_kernel& handle, RequestTable& table, uint64_t request) {
  Kernel& kernel = *handle.kernel;
  if (kernel.agent(kernel.root(), table.receiver(request)).live) return;
  std::vector<EndedRequest> ended;
  table.end_tree(request, RequestEnd::undeliverable, ended);
  for (const EndedRequest& one : ended) keep_answer(handle, one.number, one.end, {});
}

hanse_status ask(hanse_kernel* kernel, hanse_id actor, hanse_id to, Bytes payload,
                 const hanse_message_options* options, const Waiter& waiter,
                 uint64_t* request_out) {
  Kernel& in = open_kernel(kernel);
  required(request_out, "request_out") = 0;
  MessageHeader header = header_of(in, actor, to, options);
  header.kind = MessageKind::request;
  RequestTable& table = requests_of(*kernel);
  if (kernel->answers.size() + table.counters().waiting >= requests_max) return hanse_outcome_full;
  header.request = table.open(to, header.deadline_ns, options == nullptr ? 0 : options->parent);
  if (header.request == 0) return hanse_outcome_full;
  if (waiter.then != nullptr) kernel->waiters[header.request] = waiter;
  const Outcome outcome = in.send(header, payload);
  if (outcome == Outcome::ok) {
    *request_out = header.request;
  } else {
    table.end(header.request, RequestEnd::undeliverable);
    kernel->waiters.erase(header.request);
  }
  return hanse_status(outcome);
}

// Those that have ended so far; what their handlers end is told by the next run.
void tell_ended(hanse_kernel& handle) {
  if (!handle.requests) return;
  end_what_is_due(handle);
  if (handle.revoked.exchange(false)) {
    std::vector<uint64_t> waiting;
    for (const auto& [request, waiter] : handle.waiters)
      if (handle.requests->waiting(request)) waiting.push_back(request);
    for (const uint64_t request : waiting)
      if (handle.requests->waiting(request))
        end_if_undeliverable(handle, *handle.requests, request);
  }
  for (size_t count = handle.ended.size(); count != 0 && !handle.ended.empty(); --count) {
    const uint64_t request = handle.ended.front();
    handle.ended.pop_front();
    const auto waiting = handle.waiters.find(request);
    const auto found = handle.answers.find(request);
    if (waiting == handle.waiters.end() || found == handle.answers.end()) continue;
    const Waiter waiter = waiting->second;
    const Answer answer = std::move(found->second);
    handle.waiters.erase(waiting);
    handle.answers.erase(found);
    hanse_reply reply{};
    reply.size_bytes = sizeof reply;
    reply.end = int32_t(answer.end);
    reply.payload_size = answer.payload.size();
    waiter.then(waiter.context, &handle, request, &reply, answer.payload.data());
  }
}

}  // namespace

extern "C" {

hanse_status hanse_on(hanse_kernel* kernel, hanse_id agent, hanse_handler handler, void* context) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    (void)in.agent(in.root(), agent);
    std::unique_ptr<Native> native;
    if (handler != nullptr) native = std::make_unique<Native>(Native{kernel, handler, context});
    in.set_native(agent, native ? &run_native : nullptr, native.get());
    const std::lock_guard lock(kernel->natives_mutex);
    if (native)
      kernel->natives[agent].swap(native);
    else
      kernel->natives.erase(agent);
    return 0;
  });
}

hanse_status hanse_run(hanse_kernel* kernel, uint32_t count_max, uint32_t* handled_out) {
  return guard([&] {
    const size_t handled = open_kernel(kernel).run_native(count_max);
    if (handled_out != nullptr) *handled_out = uint32_t(handled);
    tell_ended(*kernel);
    return 0;
  });
}

hanse_status hanse_ask(hanse_kernel* kernel, hanse_id actor, hanse_id to, const void* payload,
                       size_t payload_size, const hanse_message_options* options,
                       uint64_t* request_out) {
  return guard([&]() -> hanse_status {
    const Bytes bytes = bytes_of(payload, payload_size, "payload");
    return ask(kernel, actor, to, bytes, options, {}, request_out);
  });
}

hanse_status hanse_ask_then(hanse_kernel* kernel, hanse_id actor, hanse_id to, const void* payload,
                            size_t payload_size, const hanse_message_options* options,
                            hanse_reply_handler then, void* context, uint64_t* request_out) {
  return guard([&]() -> hanse_status {
    const Bytes bytes = bytes_of(payload, payload_size, "payload");
    if (then == nullptr) throw Error(ErrorCode::empty, "then", "is NULL");
    return ask(kernel, actor, to, bytes, options, {then, context}, request_out);
  });
}

hanse_status hanse_answer(hanse_kernel* kernel, uint64_t request, const void* payload,
                          size_t payload_size) {
  return guard([&] {
    const Bytes bytes = bytes_of(payload, payload_size, "payload");
    if (bytes.size() > payload_size_max)
      throw Error(ErrorCode::payload_too_large, "payload", bytes.size(), payload_size_max);
    return end_request(kernel, request, RequestEnd::reply, bytes);
  });
}

hanse_status hanse_answer_error(hanse_kernel* kernel, uint64_t request) {
  return guard([&] { return end_request(kernel, request, RequestEnd::error, {}); });
}

hanse_status hanse_cancel(hanse_kernel* kernel, uint64_t request) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    std::vector<EndedRequest> ended;
    if (requests_of(*kernel).end_tree(request, RequestEnd::cancelled, ended) == 0)
      return hanse_outcome_unknown;
    for (const EndedRequest& one : ended) {
      in.cancel_message(one.to, one.number);
      keep_answer(*kernel, one.number, one.end, {});
    }
    return hanse_outcome_ok;
  });
}

hanse_status hanse_reply_fetch(hanse_kernel* kernel, uint64_t request, hanse_reply* reply_out,
                               void* buffer, size_t buffer_size) {
  return guard([&]() -> hanse_status {
    open_kernel(kernel);
    check_size(reply_out, "reply_out");
    bytes_of(buffer, buffer_size, "buffer");
    RequestTable& table = requests_of(*kernel);
    if (table.waiting(request)) end_if_undeliverable(*kernel, table, request);
    hanse_reply reply{};
    const auto found = kernel->answers.find(request);
    if (found == kernel->answers.end()) {
      write_struct(reply, *reply_out);
      return table.waiting(request) ? hanse_outcome_ok : hanse_outcome_unknown;
    }
    const Answer& answer = found->second;
    reply.end = int32_t(answer.end);
    reply.payload_size = answer.payload.size();
    write_struct(reply, *reply_out);
    if (answer.payload.size() > buffer_size) return hanse_outcome_too_large;
    if (!answer.payload.empty()) std::memcpy(buffer, answer.payload.data(), answer.payload.size());
    kernel->answers.erase(found);
    return hanse_outcome_ok;
  });
}

}  // extern "C"
