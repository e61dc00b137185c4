#include "c/handle.hpp"

using namespace hanse;
using namespace hanse::c;

namespace {

static_assert(int(hanse_message_kind_data) == int(MessageKind::data));
static_assert(int(hanse_message_kind_request) == int(MessageKind::request));
static_assert(int(hanse_message_kind_reply) == int(MessageKind::reply));
static_assert(int(hanse_message_kind_failure) == int(MessageKind::failure));
static_assert(int(hanse_message_kind_task) == int(MessageKind::task));
static_assert(int(hanse_message_kind_cancellation) == int(MessageKind::cancellation));
static_assert(HANSE_TASK_CLASS_SIZE_MAX == task_class_size_max);
static_assert(sizeof(hanse_delivery::task_class) > task_class_size_max);

hanse_delivery head_of(const Message& message) {
  hanse_delivery head{};
  head.kind = int32_t(message.kind);
  head.to = message.to;
  head.sender = message.sender;
  head.payload_size = message.payload.size();
  head.sequence = message.sequence;
  head.request = message.request;
  head.lane = message.lane;
  head.deadline_ns = message.rare->deadline_ns;
  return head;
}

hanse_delivery head_of(const Delivery& delivery) {
  hanse_delivery head{};
  head.kind = delivery.durable ? hanse_message_kind_data : hanse_message_kind_task;
  head.durable = delivery.durable;
  head.sequence = delivery.sequence;
  head.to = delivery.worker;
  head.sender = delivery.requester;
  head.payload_size = delivery.payload.size();
  head.task = delivery.task;
  head.deadline_ns = delivery.deadline_ns;
  head.attempt = delivery.attempt;
  head.lane = delivery.lane;
  head.latent_missing = delivery.latent_missing;
  copy_text(delivery.task_class, head.task_class, sizeof head.task_class);
  return head;
}

struct Buffer {
  void* data;
  size_t size;
};

// False: the payload does not fit, and only the head was written.
bool hand_over(const hanse_delivery& head, Bytes payload, hanse_delivery& out, Buffer buffer) {
  write_struct(head, out);
  if (payload.size() > buffer.size) return false;
  if (!payload.empty()) std::memcpy(buffer.data, payload.data(), payload.size());
  return true;
}

hanse_status fetch_held(hanse_kernel& handle, AgentId agent, hanse_delivery& out, Buffer buffer) {
  const auto held = handle.held.find(agent);
  if (!hand_over(held->second.head, held->second.payload, out, buffer))
    return hanse_outcome_too_large;
  handle.held.erase(held);
  return hanse_outcome_ok;
}

// What one drain or receive took out: at most one delivery or message.
hanse_status fetch_taken(hanse_kernel& handle, hanse_delivery& out, Buffer buffer) {
  hanse_delivery head{};
  Bytes payload;
  if (!handle.deliveries.empty()) {
    head = head_of(handle.deliveries.front());
    payload = handle.deliveries.front().payload;
  } else if (handle.batch.count() != 0) {
    head = head_of(handle.batch.messages().front());
    payload = handle.batch.messages().front().payload;
  }
  if (hand_over(head, payload, out, buffer)) return hanse_outcome_ok;
  handle.held[head.to] = {head, {payload.begin(), payload.end()}};
  return hanse_outcome_too_large;
}

void check_receiver(Kernel& kernel, hanse_delivery* out, Buffer buffer) {
  check_size(out, "delivery_out");
  bytes_of(buffer.data, buffer.size, "buffer");
  kernel.mailboxes().own();  // throws wrong_thread, before anything of this thread's is touched
}

}  // namespace

extern "C" {

hanse_status hanse_send(hanse_kernel* kernel, hanse_id actor, hanse_id to, const void* payload,
                        size_t payload_size) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    MessageHeader header;
    header.to = to;
    header.sender = actor_of(in, actor);
    return hanse_status(in.send(header, bytes_of(payload, payload_size, "payload")));
  });
}

hanse_status hanse_receive(hanse_kernel* kernel, hanse_id agent, hanse_delivery* delivery_out,
                           void* buffer, size_t buffer_size) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    const Buffer into{buffer, buffer_size};
    check_receiver(in, delivery_out, into);
    if (kernel->held.contains(agent)) return fetch_held(*kernel, agent, *delivery_out, into);
    in.receive(agent, kernel->batch, kernel->deliveries);
    return fetch_taken(*kernel, *delivery_out, into);
  });
}

hanse_status hanse_next_delivery(hanse_kernel* kernel, hanse_delivery* delivery_out, void* buffer,
                                 size_t buffer_size) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    const Buffer into{buffer, buffer_size};
    check_receiver(in, delivery_out, into);
    if (!kernel->held.empty())
      return fetch_held(*kernel, kernel->held.begin()->first, *delivery_out, into);
    kernel->batch.clear();
    in.drain(kernel->batch, kernel->deliveries, 1);
    return fetch_taken(*kernel, *delivery_out, into);
  });
}

}  // extern "C"
