// Messages through the C face: options, batches, loans, bounds, counters, topics.
#include <algorithm>

#include "c/handle.hpp"

using namespace hanse;
using namespace hanse::c;

struct hanse_loan {
  Payload payload;
};

struct hanse_batch {
  MessageBatch messages;
  std::vector<Delivery> deliveries;
};

namespace {

static_assert(sizeof(hanse_message_options) == 48);
static_assert(sizeof(hanse_message) == 112);
static_assert(sizeof(hanse_box_options) == 16);
static_assert(sizeof(hanse_mailbox_counters) == 232);
static_assert(sizeof(hanse_dead_letter) == 112);
static_assert(HANSE_LANE_COUNT == lane_count);
static_assert(int(hanse_box_reject) == int(BoxPolicy::reject));
static_assert(int(hanse_box_credit) == int(BoxPolicy::credit));
static_assert(int(hanse_box_drop_oldest) == int(BoxPolicy::drop_oldest));
static_assert(int(hanse_box_drop_newest) == int(BoxPolicy::drop_newest));
static_assert(int(hanse_box_coalesce) == int(BoxPolicy::coalesce));

hanse_message message_from(const Delivery& delivery) {
  hanse_message out{};
  out.kind = delivery.durable ? hanse_message_kind_data : hanse_message_kind_task;
  out.to = delivery.worker;
  out.sender = delivery.requester;
  out.payload = delivery.payload.data();
  out.payload_size = delivery.payload.size();
  out.sequence = delivery.sequence;
  out.deadline_ns = delivery.deadline_ns;
  out.task = delivery.task;
  out.attempt = delivery.attempt;
  out.lane = delivery.lane;
  out.durable = delivery.durable;
  return out;
}

hanse_mailbox_counters counters_from(const MailboxCounters& from) {
  hanse_mailbox_counters out{};
  out.accepted = from.accepted, out.handled = from.handled, out.expired = from.expired;
  out.cancelled = from.cancelled, out.dead = from.dead, out.queued = from.queued;
  out.refused_full = from.refused_full, out.refused_unknown = from.refused_unknown;
  out.refused_too_large = from.refused_too_large, out.refused_other = from.refused_other;
  for (size_t lane = 0; lane < lane_count; ++lane) {
    out.lane_entered[lane] = from.lanes[lane].entered;
    out.lane_handled[lane] = from.lanes[lane].handled;
    out.lane_ended[lane] = from.lanes[lane].ended;
    out.lane_queued[lane] = from.lanes[lane].queued;
  }
  out.published = from.published, out.resent = from.resent;
  return out;
}

// body(topics) -> whether something changed, where the kernel knows the agent.
template <class Body>
bool topics_of(hanse_kernel* kernel, AgentId agent, Body&& body) {
  Kernel& in = open_kernel(kernel);
  if (in.shards()) (void)in.tenant_index(agent);  // else the boxes know
  return in.at_topics(body);
}

hanse_status found(bool was_there) { return was_there ? hanse_outcome_ok : hanse_outcome_unknown; }

}  // namespace

namespace hanse::c {

hanse_message message_from(const Message& message) {
  hanse_message out{};
  out.size_bytes = sizeof out;
  out.kind = int32_t(message.kind);
  out.to = message.to;
  out.sender = message.sender;
  out.payload = message.payload.data();
  out.payload_size = message.payload.size();
  out.sequence = message.sequence;
  out.request = message.request;
  out.deadline_ns = message.rare->deadline_ns;
  out.key = message.rare->key;
  out.trace = message.rare->trace;
  out.latent = message.rare->latent;
  out.lane = message.lane;
  return out;
}

MessageHeader header_of(Kernel& kernel, hanse_id actor, hanse_id to,
                        const hanse_message_options* given) {
  MessageHeader header;
  header.to = to;
  header.sender = actor_of(kernel, actor);
  if (given == nullptr) return header;
  const hanse_message_options& options = read_struct(given, "options");
  if (options.lane >= lane_count)
    throw Error(ErrorCode::out_of_range, "options.lane", options.lane, lane_count - 1);
  header.lane = uint8_t(options.lane);
  header.deadline_ns = options.deadline_ns;
  header.key = options.key;
  header.trace = options.trace;
  header.latent = options.latent;
  return header;
}

}  // namespace hanse::c

extern "C" {

hanse_status hanse_send_with(hanse_kernel* kernel, hanse_id actor, hanse_id to, const void* payload,
                             size_t payload_size, const hanse_message_options* options) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    const Bytes bytes = bytes_of(payload, payload_size, "payload");
    return hanse_status(in.send(header_of(in, actor, to, options), bytes));
  });
}

hanse_status hanse_send_many(hanse_kernel* kernel, hanse_id actor, const hanse_id* to,
                             uint32_t count, const void* payloads, size_t width,
                             const uint32_t* sizes, int32_t* outcomes_out) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    const std::span<const hanse_id> receivers = required_array(to, count, "to");
    const std::span<int32_t> outcomes = required_array(outcomes_out, count, "outcomes_out");
    if (width > payload_size_max)
      throw Error(ErrorCode::too_large, "width", width, payload_size_max);
    const Bytes bytes = bytes_of(payloads, count * width, "payloads");
    const std::span<const uint32_t> ragged =
        sizes == nullptr ? std::span<const uint32_t>{} : std::span(sizes, count);
    std::vector<Outcome> found_outcomes(count);
    in.send_many(actor_of(in, actor), receivers, {bytes.data(), count, width}, ragged,
                 found_outcomes);
    std::transform(found_outcomes.begin(), found_outcomes.end(), outcomes.begin(),
                   [](Outcome outcome) { return int32_t(outcome); });
    return 0;
  });
}

hanse_status hanse_loan_create(hanse_kernel* kernel, size_t size, hanse_loan** loan_out,
                               void** data_out) {
  return guard([&]() -> hanse_status {
    required(loan_out, "loan_out") = nullptr;
    required(data_out, "data_out") = nullptr;
    auto loan = std::make_unique<hanse_loan>();
    loan->payload = open_kernel(kernel).mailboxes().loan(size);
    if (!loan->payload) return hanse_outcome_full;
    *data_out = loan->payload.writable();
    *loan_out = loan.release();
    return 0;
  });
}

hanse_status hanse_loan_send(hanse_kernel* kernel, hanse_id actor, hanse_id to, hanse_loan* loan,
                             const hanse_message_options* options) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    Payload& payload = required(loan, "loan").payload;
    const Outcome outcome = in.send_payload(header_of(in, actor, to, options), std::move(payload));
    // A box that drops what is new has taken the bytes, as a dead letter.
    if (outcome == Outcome::ok || outcome == Outcome::dropped) delete loan;
    return hanse_status(outcome);
  });
}

hanse_status hanse_loan_destroy(hanse_loan* loan) {
  return guard([&] {
    delete loan;
    return 0;
  });
}

hanse_status hanse_batch_create(hanse_batch** batch_out) {
  return guard([&] {
    required(batch_out, "batch_out") = nullptr;
    *batch_out = std::make_unique<hanse_batch>().release();
    return 0;
  });
}

hanse_status hanse_batch_destroy(hanse_batch* batch) {
  return guard([&] {
    delete batch;
    return 0;
  });
}

hanse_status hanse_drain(hanse_kernel* kernel, hanse_batch* batch, uint32_t count_max,
                         uint32_t* count_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    required(batch, "batch");
    required(count_out, "count_out") = 0;
    *count_out = uint32_t(in.drain(batch->messages, batch->deliveries, count_max));
    return 0;
  });
}

hanse_status hanse_batch_message(const hanse_batch* batch, uint32_t index,
                                 hanse_message* message_out) {
  return guard([&] {
    check_size(message_out, "message_out");
    const hanse_batch& from = required(batch, "batch");
    const size_t deliveries = from.deliveries.size();
    const size_t count = deliveries + from.messages.count();
    if (index >= count) throw Error(ErrorCode::out_of_range, "index", index, count);
    write_struct(index < deliveries
                     ? ::message_from(from.deliveries[index])
                     : hanse::c::message_from(from.messages.messages()[index - deliveries]),
                 *message_out);
    return 0;
  });
}

hanse_status hanse_subscribe(hanse_kernel* kernel, hanse_id agent, uint64_t topic) {
  return guard([&]() -> hanse_status {
    topics_of(kernel, agent, [&](auto& topics) { return topics.subscribe(agent, topic); });
    return 0;
  });
}

hanse_status hanse_subscribe_prefix(hanse_kernel* kernel, hanse_id agent, uint64_t prefix,
                                    uint32_t bits) {
  return guard([&]() -> hanse_status {
    topics_of(kernel, agent,
              [&](auto& topics) { return topics.subscribe_prefix(agent, prefix, bits); });
    return 0;
  });
}

hanse_status hanse_unsubscribe(hanse_kernel* kernel, hanse_id agent, uint64_t topic) {
  return guard([&] {
    return found(
        topics_of(kernel, agent, [&](auto& topics) { return topics.unsubscribe(agent, topic); }));
  });
}

hanse_status hanse_unsubscribe_prefix(hanse_kernel* kernel, hanse_id agent, uint64_t prefix,
                                      uint32_t bits) {
  return guard([&] {
    return found(topics_of(kernel, agent, [&](auto& topics) {
      return topics.unsubscribe_prefix(agent, prefix, bits);
    }));
  });
}

hanse_status hanse_group_join(hanse_kernel* kernel, hanse_id agent, uint64_t topic,
                              uint64_t group) {
  return guard([&]() -> hanse_status {
    topics_of(kernel, agent, [&](auto& topics) { return topics.join_group(agent, topic, group); });
    return 0;
  });
}

hanse_status hanse_group_leave(hanse_kernel* kernel, hanse_id agent, uint64_t topic,
                               uint64_t group) {
  return guard([&] {
    return found(topics_of(kernel, agent,
                           [&](auto& topics) { return topics.leave_group(agent, topic, group); }));
  });
}

hanse_status hanse_publish_topic(hanse_kernel* kernel, hanse_id actor, uint64_t topic,
                                 const void* payload, size_t payload_size,
                                 const hanse_message_options* options, uint64_t* accepted_out) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    std::vector<Outcome> outcomes, groups;
    const size_t accepted =
        in.publish(topic, header_of(in, actor, HANSE_ID_NONE, options),
                   bytes_of(payload, payload_size, "payload"), outcomes, groups);
    if (accepted_out != nullptr) *accepted_out = accepted;
    return 0;
  });
}

hanse_status hanse_box_set(hanse_kernel* kernel, hanse_id agent, const hanse_box_options* options) {
  return guard([&]() -> hanse_status {
    const hanse_box_options& from = read_struct(options, "options");
    expect_zero(from.zero, "options.zero");
    if (from.policy < hanse_box_reject || from.policy > hanse_box_coalesce)
      throw Error(ErrorCode::out_of_range, "options.policy",
                  std::to_string(from.policy) + " is no hanse_box_policy");
    const BoxOptions options{BoxPolicy(from.policy), from.capacity_messages};
    open_kernel(kernel).at_box(agent, [&](MailboxTable& boxes) { boxes.set_box(agent, options); });
    return 0;
  });
}

hanse_status hanse_mailbox_count(hanse_kernel* kernel, hanse_mailbox_counters* counters_out) {
  return guard([&] {
    check_size(counters_out, "counters_out");
    write_struct(counters_from(open_kernel(kernel).mailbox_counters()), *counters_out);
    return 0;
  });
}

hanse_status hanse_shard_count(hanse_kernel* kernel, uint32_t shard,
                               hanse_mailbox_counters* counters_out) {
  return guard([&] {
    check_size(counters_out, "counters_out");
    write_struct(counters_from(open_kernel(kernel).shard_report(shard).counters), *counters_out);
    return 0;
  });
}

hanse_status hanse_dead_letters(hanse_kernel* kernel, hanse_dead_letter* letters_out,
                                uint32_t count_max, uint32_t* count_out) {
  return guard([&] {
    required(count_out, "count_out") = 0;
    if (count_max != 0) required(letters_out, "letters_out");
    const StructArray<hanse_dead_letter> out(letters_out, count_max, "letters_out");
    const std::vector<DeadLetter> all = open_kernel(kernel).dead_letters();
    const auto count = uint32_t(std::min<size_t>(all.size(), count_max));
    for (uint32_t i = 0; i < count; ++i) {
      const DeadLetter& from = all[all.size() - count + i];
      hanse_dead_letter letter{};
      letter.kind = int32_t(from.header.kind);
      letter.reason = int32_t(from.reason);
      letter.cut = from.cut;
      letter.number = from.number;
      letter.to = from.header.to;
      letter.sender = from.header.sender;
      letter.payload_size = from.size;
      std::copy_n(from.payload.begin(),
                  std::min<size_t>(from.payload.size(), sizeof letter.payload), letter.payload);
      write_struct(letter, out[i]);
    }
    *count_out = count;
    return 0;
  });
}

hanse_status hanse_dead_letter_resend(hanse_kernel* kernel, uint64_t number) {
  return guard([&] { return hanse_status(open_kernel(kernel).resend(number)); });
}

}  // extern "C"
