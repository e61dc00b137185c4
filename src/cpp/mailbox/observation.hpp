// What can be seen of a mailbox table from outside: counters, ages, traces, the digest of a run.
#pragma once

#include <array>

#include "mailbox/message.hpp"

namespace hanse {

// Which form messages are kept in: boxes linked through slots, or one log that is partitioned by
// destination at a drain.
enum class MailboxForm : uint8_t { automatic = 0, linked = 1, log = 2 };

constexpr size_t outcome_count_max = 32;

// What entered boxes by this lane. entered = handled + ended + queued.
struct LaneCounters {
  uint64_t entered = 0, handled = 0;
  uint64_t ended = 0;  // expired, cancelled or dead (a failed handler's message stays in handled)
  uint64_t queued = 0;
};

// accepted = handled + expired + cancelled + dead + queued, always, for any observer. What another
// thread sends is accepted, and queued, when it is in the ring. A message that a full box drops
// counts as accepted and dead.
struct MailboxCounters {
  uint64_t accepted = 0, handled = 0, expired = 0, cancelled = 0, dead = 0, queued = 0;
  uint64_t refused_full = 0, refused_unknown = 0, refused_too_large = 0, refused_other = 0;
  std::array<LaneCounters, lane_count> lanes{};
  std::array<uint64_t, outcome_count_max> dead_by_reason{};  // by Outcome
  uint64_t published = 0;                  // publications, each to any number of subscribers
  uint64_t resent = 0;                     // dead letters that were accepted again
  MailboxForm form = MailboxForm::linked;  // in use now
  uint64_t epochs = 0, switches = 0,
           spills = 0;  // of the log: partitioned, taken up or left, spilled
};

// Time in the table, of the sampled messages that were handled. counts[i]: ages in [2^i, 2^(i+1))
// nanoseconds; counts[0] also those below 1 ns, the last one also those above.
struct QueueAges {
  static constexpr size_t bucket_count = 44;
  std::array<uint64_t, bucket_count> counts{};
  uint64_t sum_ns = 0, max_ns = 0;
};

// A sampled message that was handled (or one that carried a trace of its own and was sampled).
struct TraceRecord {
  uint64_t trace = 0;
  AgentId to = id_none, sender = id_none;
  MessageKind kind = MessageKind::data;
  uint8_t lane = 0;
  uint64_t sequence = 0;
  uint64_t sent_ns = 0, taken_ns = 0;  // Clock time
};

// Of all messages handled so far; kept where MailboxOptions::digest says so.
struct TraceDigest {
  uint64_t count = 0;
  // Over (to, sender, lane, kind, sequence, payload) in the order of handling: the same for two
  // runs that did the same in the same order.
  uint64_t ordered = 0;
  // Over (to, sender, lane, kind, payload), whatever the order: sums over shards are comparable.
  uint64_t unordered = 0;
};

}  // namespace hanse
