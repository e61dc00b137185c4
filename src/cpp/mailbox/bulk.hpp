// The log form of a table: when it is in use, and how it lives beside the boxes.
//
// A receiver has its lane 0 messages in its box or in the log, never in both. What the log can't
// hold (other kinds, keys, traces, payloads over 64 bytes) and what goes to boxes that are not
// plain (paused, closed, with a policy or a handler) enters the box; where such a thing meets rows
// of the same receiver, all of the log is spilled into the boxes first.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>

#include "mailbox/bulk_arena.hpp"
#include "mailbox/epoch_log.hpp"
#include "mailbox/observation.hpp"

namespace hanse {

// The rows of one call, checked.
struct BulkRows {
  const MessageHeader& header;  // its `to` is ignored
  std::span<const AgentId> to;
  MatrixView<const uint8_t> payloads;
  std::span<const uint32_t> sizes;     // empty: all as wide as the payloads
  std::span<const AgentId> senders{};  // empty: the header's
  size_t stride = 0;                   // bytes from row to row; 0: as wide as the payloads

  const uint8_t* bytes(size_t row) const {
    return payloads.data + row * (stride == 0 ? payloads.columns : stride);
  }
  AgentId sender(size_t row) const { return senders.empty() ? header.sender : senders[row]; }
  size_t count() const { return to.size(); }
  uint32_t size(size_t row) const {
    return sizes.empty() ? uint32_t(payloads.columns) : sizes[row];
  }
};

struct Bulk {
  // Whether the log has a column for all that this header says.
  static bool holds(const MessageHeader& header, size_t size) {
    return size <= message_inline_bytes && header.kind == MessageKind::data && header.lane == 0 &&
           header.request == 0 && header.key == 0 && header.trace == 0 && header.latent == id_none;
  }

  EpochLog log;
  std::shared_ptr<ArenaPool> arenas = std::make_shared<ArenaPool>();
  bool in_log = false;  // marks are kept, and the log may hold rows

  // Rows of large batches speak for the log; single messages, small batches and rows that had to be
  // spilled speak against it, four times. So each change of form is paid for by many messages.
  static constexpr int64_t credit_max = int64_t(1) << 16, credit_min = -(int64_t(1) << 24);
  static constexpr int64_t cost = 4;
  int64_t credit = 0;
  void earn(size_t rows) { credit = std::min(credit + int64_t(rows), credit_max); }
  void pay(size_t rows) { credit = std::max(credit - cost * int64_t(rows), credit_min); }

  uint64_t bytes = 0;  // of the log, as counted last

  // Read by any thread.
  std::atomic<MailboxForm> form{MailboxForm::linked};
  std::atomic<uint64_t> epochs{0}, switches{0}, spills{0};
};

}  // namespace hanse
