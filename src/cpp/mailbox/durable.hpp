// Durable boxes: messages that outlive the process, handed out at least once until acknowledged.
//
// Record plane: one thread at a time (the writer); checks are const, `apply_*` follows from a
// record and can't fail after its check. A message is named by its box and its sequence there:
// gap-free from 0, so that the order of a box is the order of every sender in it. accepted =
// acknowledged + dead + queued, for each box, always.
//
// At most `in_flight_max` messages of a box are out with its agent and not acknowledged, and they
// are always the oldest ones of their lanes. So reopening, which can't know what had been handed
// out, counts an attempt against those alone, and a backlog never dies of restarts.
//
// Lanes 0 to 3, the most urgent: the order of a box holds within each, and a lane that was passed
// over sixteen times is served first. A message whose deadline comes before it is handed out is a
// dead letter; one that is out may still be acknowledged, and is dead when it comes back.
//
// Keys: the newest `durable_keys_per_sender_max` keyed messages of each sender are remembered, sent
// to whomever, acknowledged or not. An older key is new again.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <set>
#include <vector>

#include "base/chunked_hash.hpp"
#include "base/hash_map.hpp"
#include "base/ids.hpp"
#include "base/outcome.hpp"
#include "base/snapshot.hpp"

namespace hanse {

constexpr uint32_t durable_capacity_max = 1u << 20;
constexpr uint32_t durable_in_flight_max = 1u << 16;
constexpr uint32_t durable_keys_per_sender_max = 4096;
constexpr uint32_t durable_dead_per_box_max = 64;
constexpr uint32_t agent_state_size_max = 1u << 16;
constexpr uint8_t durable_lane_count = 4;

// What few messages have.
struct DurableTerms {
  uint8_t lane = 0;
  uint64_t deadline_ns = 0;  // UNIX; 0: none
  bool any() const { return lane != 0 || deadline_ns != 0; }
};

struct DurableOptions {
  uint32_t capacity_messages = 1024;                // queued, in flight included
  uint32_t in_flight_max = 256;                     // handed out and not acknowledged
  uint64_t payload_bytes_max = uint64_t(16) << 20;  // of what is queued
  uint16_t attempts_max = 5;                        // then it is a dead letter

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.capacity_messages, self.in_flight_max, self.payload_bytes_max, self.attempts_max);
  }
};

// Bytes as they are kept: here, or in the journal's extent of that digest.
struct StoredBytes {
  uint32_t size = 0;
  Digest extent{};
  std::vector<uint8_t> bytes;
  bool in_extent() const { return bytes.size() != size; }

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.size, self.extent, self.bytes);
  }
};

// What a key was used up by.
struct DurableKeyed {
  uint32_t sender = 0, to = 0;
  std::vector<uint8_t> key;
  Digest body{};
  uint64_t sequence = 0;
  Position position = 0;

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.sender, self.to, self.key, self.body, self.sequence, self.position);
  }
};

struct DurableTaken {
  uint32_t to = 0, sender = 0;
  uint16_t attempt = 1;
  uint64_t sequence = 0;
  DurableTerms terms;
  StoredBytes payload;
};

struct DurableDead {
  uint32_t sender = 0;
  uint16_t attempt = 1;
  Outcome reason = Outcome::invalid;  // expired: its attempts are used up, or its deadline passed
  uint64_t sequence = 0;
  StoredBytes payload;
  uint8_t lane = 0;  // kept in the table of terms

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.sender, self.attempt, self.reason, self.sequence, self.payload);
  }
};

struct DurableBoxInfo {
  DurableOptions options;
  uint64_t accepted = 0, acknowledged = 0, dead = 0;
  uint32_t queued = 0, in_flight = 0;
  uint64_t payload_bytes = 0;
};

// What a record that is being put together has taken so far: room in boxes, and keys.
class DurableDraft {
 public:
  void clear();
  void add(uint32_t box, uint64_t size);
  uint32_t messages(uint32_t box) const { return box < rooms_.size() ? rooms_[box].messages : 0; }
  uint64_t bytes(uint32_t box) const { return box < rooms_.size() ? rooms_[box].bytes : 0; }
  // Lines of the record that have a key, by the key's hash.
  HashMap keys;

 private:
  struct Room {
    uint32_t messages = 0;
    uint64_t bytes = 0;
  };
  std::vector<Room> rooms_;  // by box
  std::vector<uint32_t> touched_;
};

class DurableTable {
 public:
  // Nothing was ever declared or stored: the state hash leaves the table out.
  bool empty() const { return boxes_.empty() && parties_.empty(); }
  bool declared(uint32_t agent) const { return box_find(agent) != index_none; }

  static void check_options(const DurableOptions& options);  // throws out_of_range
  // nullptr: the key is new, or older than the sender's window.
  const DurableKeyed* keyed(uint32_t sender, Bytes key) const;
  // ok; invalid: not a durable box; too_large: it can never fit; full.
  Outcome check_send(uint32_t to, uint64_t size, const DurableDraft& draft) const;
  // The caller has checked: the message will be sent by the record of `draft`.
  void draft_send(uint32_t to, uint64_t size, DurableDraft& draft) const;
  // Throws already_resolved (acknowledged or dead, or twice in here), out_of_range (never sent).
  void check_queued(uint32_t agent, std::span<const uint64_t> sequences) const;
  bool attempts_used(uint32_t agent, uint64_t sequence) const;
  bool late(uint32_t agent, uint64_t sequence, uint64_t now_ns) const;  // its deadline has passed
  // nullptr: it is none of the box's newest dead letters.
  const DurableDead* dead_letter(uint32_t agent, uint64_t sequence) const;

  void apply_declare(uint32_t agent, const DurableOptions& options);
  // The sequence that it got. An empty key is none.
  uint64_t apply_send(uint32_t sender, uint32_t to, std::vector<uint8_t> key, const Digest& body,
                      StoredBytes payload, Position position, const DurableTerms& terms = {});
  // A dead letter enters its box anew, behind what waits: without its deadline and key. It stays
  // counted as dead. The sequence that it got.
  uint64_t apply_resend(uint32_t agent, uint64_t sequence, Position position);
  void apply_acknowledge(uint32_t agent, uint64_t sequence);
  void apply_return(uint32_t agent, uint64_t sequence, Position position);  // attempt + 1
  void apply_dead(uint32_t agent, uint64_t sequence, Outcome reason);
  // Every message of a box for which closed(agent) holds is dead.
  void apply_close(const std::function<bool(uint32_t agent)>& closed, Outcome reason);
  void apply_state(uint32_t agent, StoredBytes state);

  // What reopening counts an attempt against, ascending by box and sequence.
  struct Named {
    uint32_t agent = 0;
    uint64_t sequence = 0;
  };
  void unacknowledged(std::vector<Named>& out) const;
  // Those that wait past their deadline, the earliest first. Appends.
  void due(uint64_t now_ns, size_t count_max, std::vector<Named>& out) const;
  uint64_t earliest_deadline_ns() const {
    return deadlines_.empty() ? UINT64_MAX : deadlines_.begin()->deadline_ns;
  }

  // Hands out messages whose record is below `durable_count`, at most 64 of a box in a turn, boxes
  // in the order in which they became ready; boxes for which skip(agent) holds keep theirs, and
  // what is late stays. Appends.
  void take(uint64_t durable_count, uint64_t now_ns, size_t count_max,
            const std::function<bool(uint32_t agent)>& skip, std::vector<DurableTaken>& out);
  bool take_from(uint32_t agent, uint64_t durable_count, uint64_t now_ns, DurableTaken& out);
  bool ready() const { return !ready_.empty(); }
  // It was not handed out after all, and goes out again as the same attempt.
  void untake(uint32_t agent, uint64_t sequence);

  // What payloads and states are in extents.
  template <class Add>
  void each_extent(Add&& add) const {
    const auto see = [&](const StoredBytes& bytes) {
      if (bytes.in_extent()) add(bytes.extent);
    };
    for (const Box& box : boxes_) {
      for (const Entry& entry : box.entries) see(entry.payload);
      for (const DurableDead& dead : box.dead) see(dead.payload);
    }
    for (const Party& party : parties_)
      if (party.has_state) see(party.state);
  }

  DurableBoxInfo info(uint32_t agent) const;                  // of a declared box
  const std::deque<DurableDead>& dead(uint32_t agent) const;  // the newest of the box
  const StoredBytes* state(uint32_t agent) const;             // nullptr: never written

  Digest state_hash() const;
  static constexpr uint16_t snapshot_version = 2;
  // As it was before there were terms, where no message has any.
  uint16_t snapshot_version_needed() const { return has_terms() ? 2 : 1; }
  void encode(SnapshotWriter& out) const;
  // `agent_count`: no box is of an agent from there on.
  void decode(SnapshotReader& in, uint32_t agent_count);
  uint64_t memory_bytes() const;

 private:
  struct Entry {
    uint64_t sequence = 0;
    Position position = 0;  // of the record that sent or returned it
    uint32_t sender = 0;
    uint16_t attempt = 1;
    bool gone = false;    // acknowledged or dead, not yet removed
    bool handed = false;  // volatile
    StoredBytes payload;
    DurableTerms terms;  // kept in a table of their own

    template <class Coder, class Self>
    static void each_field(Coder& coder, Self& self) {
      coder(self.sequence, self.position, self.sender, self.attempt, self.payload);
    }
  };
  struct Box {
    uint32_t agent = 0;
    DurableOptions options;
    uint64_t next_sequence = 0, acknowledged = 0, dead_count = 0, payload_bytes = 0;
    uint32_t queued = 0;
    uint32_t gone = 0;          // of entries
    std::deque<Entry> entries;  // ascending by sequence
    std::deque<DurableDead> dead;
    // Volatile.
    uint32_t in_flight = 0;
    struct Lane {
      uint32_t queued = 0;
      uint32_t passed = 0;          // how often a more urgent lane was served while it waited
      uint64_t next_out = 0;        // everything below was handed out once
      std::set<uint64_t> returned;  // and what of it must go out again
    };
    std::array<Lane, durable_lane_count> lanes;
    bool ready = false;

    template <class Coder, class Self>
    static void each_field(Coder& coder, Self& self) {
      coder(self.agent, self.options, self.next_sequence, self.acknowledged, self.dead_count);
    }
  };
  struct Deadline {
    uint64_t deadline_ns;
    uint32_t box;
    uint64_t sequence;
    auto operator<=>(const Deadline&) const = default;
  };
  // An agent as sender, and as owner of a state.
  struct Party {
    uint32_t agent = 0;
    bool has_state = false;
    StoredBytes state;
    std::deque<uint32_t> window;  // slots of keys, oldest first
  };

  uint32_t box_find(uint32_t agent) const {
    return agent < box_of_.size() ? box_of_[agent] : index_none;
  }
  uint32_t party_find(uint32_t agent) const {
    return agent < party_of_.size() ? party_of_[agent] : index_none;
  }
  uint32_t party_add(uint32_t agent);
  static Entry* find(Box& box, uint64_t sequence);
  static const Entry* find(const Box& box, uint64_t sequence);
  void remember(uint32_t sender, uint32_t to, std::vector<uint8_t> key, const Digest& body,
                uint64_t sequence, Position position);
  void bury(uint32_t index, Entry& entry, Outcome reason);
  void remove(uint32_t index, Entry& entry);
  void wake(uint32_t index);
  static Entry* candidate(Box& box, uint8_t lane, uint64_t durable_count, uint64_t now_ns);
  static Entry* next(Box& box, uint64_t durable_count, uint64_t now_ns);
  void hand_out(uint32_t index, Entry& entry, DurableTaken& out);
  uint64_t enter(uint32_t index, uint32_t sender, StoredBytes payload, Position position,
                 const DurableTerms& terms);
  void watch(uint32_t index, const Entry& entry);
  void unwatch(uint32_t index, const Entry& entry);
  bool has_terms() const;
  void encode_terms(SnapshotWriter& out) const;
  void decode_terms(SnapshotReader& in);
  static void put_terms(const Box& box, ByteWriter& writer);
  void decode_box(SnapshotReader& in, FieldReader& fields, uint32_t agent_count);
  void decode_party(SnapshotReader& in, FieldReader& fields, uint32_t agent_count);
  void put_box(const Box& box, ByteWriter& writer) const;
  void put_party(const Party& party, ByteWriter& writer) const;

  // Deques: growing copies nothing.
  std::deque<Box> boxes_;
  std::deque<Party> parties_;
  std::vector<uint32_t> box_of_, party_of_;  // by agent, index_none
  std::deque<DurableKeyed> keyed_;           // slots
  HashMap keyed_of_;
  std::deque<uint32_t> ready_;    // boxes that may have something to hand out
  std::set<Deadline> deadlines_;  // of what waits and is not handed out
  uint64_t owned_bytes_ = 0;      // payloads, states and keys
  uint64_t entry_count_ = 0, dead_count_ = 0;
  mutable ChunkedHash box_hash_, party_hash_;
};

}  // namespace hanse
