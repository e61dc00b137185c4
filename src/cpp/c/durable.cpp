// Durable boxes through the C face.
#include <algorithm>

#include "c/handle.hpp"

using namespace hanse;
using namespace hanse::c;

namespace {

static_assert(sizeof(hanse_durable_options) == 24);
static_assert(sizeof(hanse_durable_message) == 56);
static_assert(sizeof(hanse_commit_request) == 48);
static_assert(sizeof(hanse_durable_box) == 48);

DurableOptions options_of(const hanse_durable_options* given) {
  DurableOptions options;
  if (given == nullptr) return options;
  const hanse_durable_options& from = read_struct(given, "options");
  if (from.capacity_messages != 0) options.capacity_messages = from.capacity_messages;
  if (from.in_flight_max != 0) options.in_flight_max = from.in_flight_max;
  if (from.attempts_max > UINT16_MAX)
    throw Error(ErrorCode::out_of_range, "options.attempts_max", from.attempts_max, UINT16_MAX);
  if (from.attempts_max != 0) options.attempts_max = uint16_t(from.attempts_max);
  if (from.payload_bytes_max != 0) options.payload_bytes_max = from.payload_bytes_max;
  return options;
}

DurableMessage message_from(const hanse_durable_message& from) {
  if (from.lane >= durable_lane_count)
    throw Error(ErrorCode::out_of_range, "message.lane", from.lane, durable_lane_count - 1);
  return {from.to,
          bytes_of(from.payload, from.payload_size, "payload"),
          bytes_of(from.key, from.key_size, "key"),
          {uint8_t(from.lane), from.deadline_ns}};
}

std::vector<DurableMessage> messages_from(const hanse_durable_message* first, uint32_t count,
                                          const char* field) {
  if (count > durable_batch_max) throw Error(ErrorCode::too_large, field, count, durable_batch_max);
  if (count != 0) required(first, field);
  const StructArray<const hanse_durable_message> from(first, count, field);
  std::vector<DurableMessage> messages;
  for (uint32_t i = 0; i < count; ++i) messages.push_back(message_from(from[i]));
  return messages;
}

void write_position(Position position, uint64_t* position_out) {
  if (position_out != nullptr) *position_out = position;
}

}  // namespace

extern "C" {

hanse_status hanse_durable_declare(hanse_kernel* kernel, hanse_id actor, const hanse_id* agents,
                                   uint32_t count, const hanse_durable_options* options,
                                   uint64_t* position_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const std::span<const hanse_id> boxes = required_array(agents, count, "agents");
    write_position(in.declare_durable(actor_of(in, actor), boxes, options_of(options)),
                   position_out);
    return 0;
  });
}

hanse_status hanse_send_durable(hanse_kernel* kernel, hanse_id actor,
                                const hanse_durable_message* message, uint64_t* position_out) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    const DurableSent sent =
        in.send_durable(actor_of(in, actor), message_from(read_struct(message, "message")));
    write_position(sent.position, position_out);
    return hanse_status(sent.outcome);
  });
}

hanse_status hanse_send_durable_many(hanse_kernel* kernel, hanse_id actor,
                                     const hanse_durable_message* messages, uint32_t count,
                                     int32_t* outcomes_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const std::span<int32_t> outcomes = required_array(outcomes_out, count, "outcomes_out");
    const std::vector<DurableMessage> given = messages_from(messages, count, "messages");
    std::vector<DurableSent> sent(count);
    in.send_durable_many(actor_of(in, actor), given, sent);
    std::transform(sent.begin(), sent.end(), outcomes.begin(),
                   [](const DurableSent& one) { return int32_t(one.outcome); });
    return 0;
  });
}

hanse_status hanse_commit(hanse_kernel* kernel, hanse_id agent, const hanse_commit_request* request,
                          int32_t* outcomes_out, uint64_t* position_out) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    const hanse_commit_request& from = read_struct(request, "request");
    const std::vector<DurableMessage> send = messages_from(from.send, from.send_count, "send");
    DurableCommit commit;
    commit.acknowledge = required_array(from.acknowledge, from.acknowledge_count, "acknowledge");
    commit.send = send;
    if (flag_of(from.state_given, "request.state_given"))
      commit.state = bytes_of(from.state, from.state_size, "state");
    std::vector<DurableSent> sent(send.size());
    write_position(in.commit_durable(agent, commit, sent), position_out);
    Outcome refused = Outcome::ok;
    for (size_t i = 0; i < sent.size(); ++i) {
      const Outcome outcome = sent[i].outcome;
      if (outcomes_out != nullptr) outcomes_out[i] = int32_t(outcome);
      if (refused == Outcome::ok && outcome != Outcome::ok && outcome != Outcome::replayed &&
          outcome != Outcome::aborted)
        refused = outcome;
    }
    return hanse_status(refused);
  });
}

hanse_status hanse_give_back(hanse_kernel* kernel, hanse_id agent, const uint64_t* sequences,
                             uint32_t count, uint64_t* position_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    write_position(in.return_durable(agent, required_array(sequences, count, "sequences")),
                   position_out);
    return 0;
  });
}

hanse_status hanse_durable_count(hanse_kernel* kernel, hanse_id actor, hanse_id agent,
                                 hanse_durable_box* box_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    check_size(box_out, "box_out");
    const DurableBoxInfo info = in.durable_box(actor_of(in, actor), agent);
    hanse_durable_box out{};
    out.queued = info.queued, out.in_flight = info.in_flight;
    out.accepted = info.accepted, out.acknowledged = info.acknowledged, out.dead = info.dead;
    out.payload_bytes = info.payload_bytes;
    write_struct(out, *box_out);
    return 0;
  });
}

hanse_status hanse_durable_dead_letters(hanse_kernel* kernel, hanse_id actor, hanse_id agent,
                                        hanse_dead_letter* letters_out, uint32_t count_max,
                                        uint32_t* count_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    required(count_out, "count_out") = 0;
    if (count_max != 0) required(letters_out, "letters_out");
    const StructArray<hanse_dead_letter> out(letters_out, count_max, "letters_out");
    const std::vector<DurableDead> all = in.durable_dead_letters(actor_of(in, actor), agent);
    const auto count = uint32_t(std::min<size_t>(all.size(), count_max));
    for (uint32_t i = 0; i < count; ++i) {
      const DurableDead& from = all[all.size() - count + i];
      hanse_dead_letter letter{};
      letter.reason = int32_t(from.reason);
      letter.number = from.sequence;
      letter.to = agent;
      letter.sender = make_id(from.sender, 1);
      letter.payload_size = from.payload.size;
      std::copy_n(from.payload.bytes.begin(),
                  std::min<size_t>(from.payload.bytes.size(), sizeof letter.payload),
                  letter.payload);
      write_struct(letter, out[i]);
    }
    *count_out = count;
    return 0;
  });
}

hanse_status hanse_durable_dead_letter_resend(hanse_kernel* kernel, hanse_id actor, hanse_id agent,
                                              uint64_t sequence, uint64_t* position_out) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    const DurableSent sent = in.resend_durable(actor_of(in, actor), agent, sequence);
    write_position(sent.position, position_out);
    return hanse_status(sent.outcome);
  });
}

hanse_status hanse_durable_state(hanse_kernel* kernel, hanse_id actor, hanse_id agent, void* buffer,
                                 size_t buffer_size, size_t* size_out) {
  return guard([&]() -> hanse_status {
    Kernel& in = open_kernel(kernel);
    bytes_of(buffer, buffer_size, "buffer");
    const std::vector<uint8_t> state = in.durable_state(actor_of(in, actor), agent);
    required(size_out, "size_out") = state.size();
    if (state.size() > buffer_size) return hanse_outcome_too_large;
    if (!state.empty()) std::memcpy(buffer, state.data(), state.size());
    return hanse_outcome_ok;
  });
}

}  // extern "C"
