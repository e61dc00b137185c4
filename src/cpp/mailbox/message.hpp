// What travels: the header that a sender fills, and the message that a receiver sees.
#pragma once

#include <array>

#include "base/ids.hpp"
#include "base/outcome.hpp"
#include "base/view.hpp"
#include "mailbox/payload.hpp"

namespace hanse {

constexpr uint32_t message_inline_bytes = 64;
constexpr uint8_t lane_count = 4;

// Replies, failures and cancellations have reserved room: a box full of work can't keep them out.
enum class MessageKind : uint8_t {
  data = 0,
  request = 1,
  reply = 2,
  failure = 3,
  task = 4,
  cancellation = 5
};

struct MessageHeader {
  AgentId to = id_none, sender = id_none;
  MessageKind kind = MessageKind::data;
  uint8_t lane = 0;          // 0 … 3, the most urgent
  uint64_t request = 0;      // request, reply, failure, cancellation: which one
  uint64_t deadline_ns = 0;  // Clock time; 0: none
  uint64_t key = 0;          // what a coalescing or durable box tells messages apart by; 0: none
  uint64_t trace = 0;        // carried along as it is; 0: none
  LatentId latent = id_none;
};

// The fields that few messages have.
struct MessageRare {
  uint64_t deadline_ns = 0, key = 0, trace = 0;
  LatentId latent = id_none;
};
inline constexpr MessageRare message_rare_none{};

// As taken out of a box. Payload, buffer and rare fields are valid until the batch it came with is
// cleared, or the native handler that was given it returns.
struct Message {
  AgentId to = id_none, sender = id_none;
  MessageKind kind = MessageKind::data;
  uint8_t lane = 0;
  uint64_t request = 0;
  uint64_t sequence = 0;  // in the receiver's box and lane, from 0: gap-free over all that entered
  Bytes payload;
  // What the payload lies in where it came by reference or is over 64 bytes; null: inline. To keep
  // it longer: Payload::share(buffer).
  PayloadBuffer* buffer = nullptr;
  const MessageRare* rare = &message_rare_none;

  MessageHeader header() const {
    return {to,        sender,      kind,        lane, request, rare->deadline_ns,
            rare->key, rare->trace, rare->latent};
  }
};

}  // namespace hanse
