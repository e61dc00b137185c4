// The records of durable boxes. One record is what an agent did at once: what it acknowledged, what
// it sent, and its state. Messages are named by box and sequence.
#pragma once

#include "kernel/records.hpp"
#include "mailbox/durable.hpp"

namespace hanse {

struct DurableDeclaredRecord {
  static constexpr RecordType type = RecordType::durable_declared;
  std::vector<uint32_t> agents;
  DurableOptions options;
  template <class F>
  void fields(F&& f) {
    f("agents", agents), f("capacity_messages", options.capacity_messages);
    f("in_flight_max", options.in_flight_max), f("payload_bytes_max", options.payload_bytes_max);
    f("attempts_max", options.attempts_max);
  }
};

struct DurableLine {
  uint32_t to = 0;
  std::vector<uint8_t> key, body;  // body: the digest of a keyed message, else empty
  Bulk payload;
  template <class F>
  void fields(F&& f) {
    f("to", to), f("key", key), f("body", body), f("payload", payload);
  }
};

struct DurableCommittedRecord {
  static constexpr RecordType type = RecordType::durable_committed;
  uint32_t agent = 0;
  std::vector<uint64_t> acknowledged;
  std::vector<DurableLine> sent;
  uint8_t has_state = 0;
  Bulk state;
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("acknowledged", acknowledged), f("sent", sent);
    f("has_state", has_state), f("state", state);
  }
};

struct DurableTermsLine {
  uint32_t line = 0;  // of `sent`
  uint8_t lane = 0;
  uint64_t deadline_ns = 0;
  template <class F>
  void fields(F&& f) {
    f("line", line), f("lane", lane), f("deadline_ns", deadline_ns);
  }
};

// As DurableCommittedRecord, where some message has a lane or a deadline.
struct DurableOnTermsRecord {
  static constexpr RecordType type = RecordType::durable_on_terms;
  DurableCommittedRecord committed;
  std::vector<DurableTermsLine> terms;  // ascending by line
  template <class F>
  void fields(F&& f) {
    committed.fields(f);
    f("terms", terms);
  }
};

struct DurableResentRecord {
  static constexpr RecordType type = RecordType::durable_resent;
  uint32_t agent = 0;
  uint64_t sequence = 0;  // that the dead letter had
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("sequence", sequence);
  }
};

struct DurableNamed {
  uint32_t agent = 0;
  uint64_t sequence = 0;
  template <class F>
  void fields(F&& f) {
    f("agent", agent), f("sequence", sequence);
  }
};

struct DurableReturnedRecord {
  static constexpr RecordType type = RecordType::durable_returned;
  Outcome reason = Outcome::expired;  // of the dead
  std::vector<DurableNamed> again, dead;
  template <class F>
  void fields(F&& f) {
    f("reason", reason), f("again", again), f("dead", dead);
  }
};

}  // namespace hanse
