// What a table knows of each agent: half a cache line, and a side table for the few that want more.
#pragma once

#include <memory>

#include "base/hash_map.hpp"
#include "mailbox/mailbox.hpp"

namespace hanse {

struct LaneQueue {
  uint32_t head, tail;  // slots, valid while count > 0
  uint32_t count;
  // Of the box; unused in the lanes of BoxExtra.
  uint16_t flags;
  Outcome reason;  // why it was closed
  uint8_t unused;
  uint64_t next_sequence;  // the oldest one queued has next_sequence - count - removed
};

// All zero is a box that nobody has used. The base is lane 0.
struct alignas(32) Box : LaneQueue {
  // It stands in the drain's ready ring, in that of native handlers. In both where it changed hands
  // while it waited: whoever meets it and may not handle it passes it over.
  static constexpr uint16_t ready = 1;
  static constexpr uint16_t native_ready = 256;
  static constexpr uint16_t paused = 2;
  static constexpr uint16_t closed = 4;
  static constexpr uint16_t native = 8;    // has a native handler
  static constexpr uint16_t urgent = 16;   // a lane above 0 has messages
  static constexpr uint16_t ruled = 32;    // has a policy or a capacity of its own
  static constexpr uint16_t removed = 64;  // messages were taken out from between others
  static constexpr uint16_t owed = 128;    // refused somebody who waits for credit
  static constexpr uint16_t parked = 512;  // a drain that did not want it left it aside
  // Its messages don't simply leave from the front of one queue.
  static constexpr uint16_t careful = urgent | ruled | removed | owed;

  uint32_t extra;  // number of its BoxExtra, 0: none
  uint32_t group;  // number of its group

  bool plain_and_empty() const { return count == 0 && (flags & ~(ready | native_ready)) == 0; }
  bool has_messages() const { return count != 0 || (flags & urgent) != 0; }
};
static_assert(sizeof(Box) == 32);

struct BoxExtra {
  LaneQueue lanes[lane_count - 1] = {};
  // Taken out from between others and not yet passed: the gaps that the sequence may show.
  uint32_t removed[lane_count] = {};
  uint32_t passed[lane_count] = {};  // how often a more urgent lane went first
  BoxOptions options;
  NativeHandler native = nullptr;
  void* native_context = nullptr;
  std::unique_ptr<HashMap> keys;  // slots by lane and key, while the policy is to coalesce
};

}  // namespace hanse
