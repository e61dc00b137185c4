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
  std::vector<EndedRequest> ended;
  handle.requests->expire(kernel.clock().now_ns(), expiries_per_call_max, ended);
  for (const EndedRequest& one : ended) {
    kernel.mailboxes().cancel(one.to, one.number);
    handle.answers[one.number] = {one.end, {}};
  }
  return *handle.requests;
}

hanse_status end_request(hanse_kernel* kernel, uint64_t request, RequestEnd how, Bytes payload) {
  open_kernel(kernel);
  RequestTable& table = requests_of(*kernel);
  if (!table.end(request, how)) return hanse_outcome_unknown;
  kernel->answers[request] = {how, {payload.begin(), payload.end()}};
  return hanse_outcome_ok;
}

// A request whose receiver is gone will never be answered.
void end_if_undeliverable(hanse_kernel& handle, RequestTable& table, uint64_t request) {
  Kernel& kernel = *handle.kernel;
  if (kernel.agent(kernel.root(), table.receiver(request)).live) return;
  std::vector<EndedRequest> ended;
  table.end_tree(request, RequestEnd::undeliverable, ended);
  for (const EndedRequest& one : ended) handle.answers[one.number] = {one.end, {}};
}

}  // namespace

extern "C" {

hanse_status hanse_on(hanse_kernel* kernel, hanse_id agent, hanse_handler handler, void* context) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    in.own_flow();
    (void)in.agent(in.root(), agent);
    if (handler == nullptr) {
      in.mailboxes().set_native(agent, nullptr, nullptr);
      kernel->natives.erase(agent);
      return 0;
    }
    auto native = std::make_unique<Native>(Native{kernel, handler, context});
    in.mailboxes().set_native(agent, &run_native, native.get());
    kernel->natives[agent] = std::move(native);
    return 0;
  });
}

hanse_status hanse_run(hanse_kernel* kernel, uint32_t count_max, uint32_t* handled_out) {
  return guard([&] {
    const size_t handled = open_kernel(kernel).run_native(count_max);
    if (handled_out != nullptr) *handled_out = uint32_t(handled);
    return 0;
  });
}

hanse_status hanse_ask(hanse_kernel* kernel, hanse_id actor, hanse_id to, const void* payload,
                       size_t payload_size, const hanse_message_options* options,
                       uint64_t* request_out) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    required(request_out, "request_out") = 0;
    const Bytes bytes = bytes_of(payload, payload_size, "payload");
    MessageHeader header = header_of(in, actor, to, options);
    header.kind = MessageKind::request;
    RequestTable& table = requests_of(*kernel);
    if (kernel->answers.size() + table.counters().waiting >= requests_max)
      return hanse_outcome_full;
    header.request = table.open(to, header.deadline_ns, options == nullptr ? 0 : options->parent);
    if (header.request == 0) return hanse_outcome_full;
    const Outcome outcome = in.send(header, bytes);
    if (outcome == Outcome::ok)
      *request_out = header.request;
    else
      table.end(header.request, RequestEnd::undeliverable);
    return hanse_status(outcome);
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
      in.mailboxes().cancel(one.to, one.number);
      kernel->answers[one.number] = {one.end, {}};
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
