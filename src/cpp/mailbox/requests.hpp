// Requests that wait for an answer: each ends exactly once, and takes those along that were asked
// for its sake.
//
// Numbers are one-shot and can't be guessed: the low 24 bits say where the request lies, the rest
// is SipHash-2-4 (Aumasson and Bernstein, 2012) of a counter under an injected key. One thread at a
// time.
#pragma once

#include <cstddef>
#include <vector>

#include "base/ids.hpp"

namespace hanse {

enum class RequestEnd : uint8_t {
  waiting = 0,
  reply = 1,
  error = 2,          // its handler failed
  cancelled = 3,      // by who asked, by the request above it, or the kernel closed
  expired = 4,        // its deadline passed
  undeliverable = 5,  // the message became a dead letter, or its receiver was revoked
};

struct RequestOptions {
  uint32_t count_max = 1u << 20;       // that wait at once; at most 2^24
  uint64_t key_low = 0, key_high = 0;  // of the numbers
};

// opened = waiting + replies + errors + cancelled + expired + undeliverable, always.
struct RequestCounters {
  uint64_t opened = 0, waiting = 0;
  uint64_t replies = 0, errors = 0, cancelled = 0, expired = 0, undeliverable = 0;
};

struct EndedRequest {
  uint64_t number = 0;
  AgentId to = id_none;
  RequestEnd end = RequestEnd::waiting;
};

// SipHash-2-4 of one little-endian word.
uint64_t siphash(uint64_t key_low, uint64_t key_high, uint64_t word);

class RequestTable {
 public:
  // Throws out_of_range (count_max).
  explicit RequestTable(const RequestOptions& options);

  // A new number, or 0: count_max of them wait. `parent` is the request whose handler asks; one
  // that does not wait any more is none. deadline_ns: Clock time; 0: none.
  uint64_t open(AgentId to, uint64_t deadline_ns, uint64_t parent);
  bool waiting(uint64_t number) const { return find(number) != index_none; }
  // Where it lies, for a side table of the caller's: < count_max. Of any number.
  static uint32_t place_of(uint64_t number) { return uint32_t(number & place_mask); }
  AgentId receiver(uint64_t number) const;  // id_none: it does not wait

  // Ends one alone; those below it go on. False: it did not wait any more.
  bool end(uint64_t number, RequestEnd how);
  // Ends it and everything below it as `how`, and says so from the top down. Returns how many.
  size_t end_tree(uint64_t number, RequestEnd how, std::vector<EndedRequest>& ended_out);
  // Ends those whose deadline is not after now_ns, each with all below it: at most `count_max`
  // trees, the earliest first.
  size_t expire(uint64_t now_ns, size_t count_max, std::vector<EndedRequest>& ended_out);
  uint64_t next_deadline_ns();  // 0: none
  // Every number that waits, in no order; for rare sweeps.
  std::vector<EndedRequest> all() const;

  RequestCounters counters() const { return counters_; }
  uint64_t memory_bytes() const;

 private:
  static constexpr uint64_t place_mask = (1u << 24) - 1;
  struct Slot {
    uint64_t number = 0;  // 0: free
    AgentId to = id_none;
    uint32_t parent = index_none, child = index_none;  // its first child
    uint32_t before = index_none, after = index_none;  // its siblings; free slots: the next one
  };
  struct Deadline {
    uint64_t ns;
    uint64_t number;
    bool operator>(const Deadline& other) const {
      return ns != other.ns ? ns > other.ns : number > other.number;
    }
  };

  uint32_t find(uint64_t number) const {
    const uint32_t place = place_of(number);
    return number != 0 && place < slots_.size() && slots_[place].number == number ? place
                                                                                  : index_none;
  }
  uint64_t number_for(uint32_t place);
  void add_deadline(uint64_t ns, uint64_t number);
  void leave(uint32_t place, RequestEnd how);

  RequestOptions options_;
  std::vector<Slot> slots_;
  uint32_t free_ = index_none;
  uint64_t drawn_ = 0;
  std::vector<Deadline> deadlines_;  // a heap, the earliest first; may hold some that have ended
  RequestCounters counters_;
};

}  // namespace hanse
