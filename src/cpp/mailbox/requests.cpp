#include "mailbox/requests.hpp"

#include <algorithm>
#include <bit>

#include "base/error.hpp"

namespace hanse {

uint64_t siphash(uint64_t key_low, uint64_t key_high, uint64_t word) {
  uint64_t a = key_low ^ 0x736f6d6570736575, b = key_high ^ 0x646f72616e646f6d;
  uint64_t c = key_low ^ 0x6c7967656e657261, d = key_high ^ 0x7465646279746573;
  const auto rounds = [&](int count) {
    for (int i = 0; i < count; ++i) {
      a += b, b = std::rotl(b, 13) ^ a, a = std::rotl(a, 32);
      c += d, d = std::rotl(d, 16) ^ c;
      a += d, d = std::rotl(d, 21) ^ a;
      c += b, b = std::rotl(b, 17) ^ c, c = std::rotl(c, 32);
    }
  };
  const auto absorb = [&](uint64_t block) {
    d ^= block;
    rounds(2);
    a ^= block;
  };
  absorb(word);
  absorb(uint64_t(sizeof word) << 56);
  c ^= 0xff;
  rounds(4);
  return a ^ b ^ c ^ d;
}

RequestTable::RequestTable(const RequestOptions& options) : options_(options) {
  if (options.count_max == 0)
    throw Error(ErrorCode::out_of_range, "count_max", "0 where at least 1 is needed");
  if (options.count_max > place_mask)
    throw Error(ErrorCode::out_of_range, "count_max", options.count_max, place_mask);
}

uint64_t RequestTable::number_for(uint32_t place) {
  uint64_t number = 0;
  // No number has a zero above its place, so none is 0 and none is small.
  while ((number & ~place_mask) == 0)
    number = (siphash(options_.key_low, options_.key_high, drawn_++) & ~place_mask) | place;
  return number;
}

uint64_t RequestTable::open(AgentId to, uint64_t deadline_ns, uint64_t parent) {
  uint32_t place = free_;
  if (place != index_none) {
    free_ = slots_[place].after;
  } else {
    if (slots_.size() >= options_.count_max) return 0;
    place = uint32_t(slots_.size());
    slots_.emplace_back();
  }
  Slot& slot = slots_[place];
  slot = {};
  slot.number = number_for(place);
  slot.to = to;
  const uint32_t above = find(parent);
  if (above != index_none) {
    slot.parent = above;
    slot.after = slots_[above].child;
    if (slot.after != index_none) slots_[slot.after].before = place;
    slots_[above].child = place;
  }
  ++counters_.opened;
  ++counters_.waiting;
  if (deadline_ns != 0) add_deadline(deadline_ns, slot.number);
  return slot.number;
}

// Those that ended early stay in the heap until they come up, or until they are the most of it.
void RequestTable::add_deadline(uint64_t ns, uint64_t number) {
  if (deadlines_.size() >= 2 * counters_.waiting + 64) {
    std::erase_if(deadlines_, [this](const Deadline& d) { return find(d.number) == index_none; });
    std::make_heap(deadlines_.begin(), deadlines_.end(), std::greater<>());
  }
  deadlines_.push_back({ns, number});
  std::push_heap(deadlines_.begin(), deadlines_.end(), std::greater<>());
}

AgentId RequestTable::receiver(uint64_t number) const {
  const uint32_t place = find(number);
  return place == index_none ? id_none : slots_[place].to;
}

// Unlinks a slot; its children stand alone from then on.
void RequestTable::leave(uint32_t place, RequestEnd how) {
  Slot& slot = slots_[place];
  if (slot.before != index_none)
    slots_[slot.before].after = slot.after;
  else if (slot.parent != index_none)
    slots_[slot.parent].child = slot.after;
  if (slot.after != index_none) slots_[slot.after].before = slot.before;
  for (uint32_t child = slot.child; child != index_none;) {
    Slot& below = slots_[child];
    child = below.after;
    below.parent = below.before = below.after = index_none;
  }
  slot = {};
  slot.after = free_;
  free_ = place;
  --counters_.waiting;
  switch (how) {
    case RequestEnd::waiting:
      HANSE_ASSERT(!"an end that is none");
    case RequestEnd::reply:
      ++counters_.replies;
      break;
    case RequestEnd::error:
      ++counters_.errors;
      break;
    case RequestEnd::cancelled:
      ++counters_.cancelled;
      break;
    case RequestEnd::expired:
      ++counters_.expired;
      break;
    case RequestEnd::undeliverable:
      ++counters_.undeliverable;
      break;
  }
}

bool RequestTable::end(uint64_t number, RequestEnd how) {
  const uint32_t place = find(number);
  if (place == index_none) return false;
  leave(place, how);
  return true;
}

// Breadth first, with the output as the queue: no recursion over what callers built.
size_t RequestTable::end_tree(uint64_t number, RequestEnd how,
                              std::vector<EndedRequest>& ended_out) {
  const uint32_t top = find(number);
  if (top == index_none) return 0;
  const size_t start = ended_out.size();
  ended_out.push_back({number, slots_[top].to, how});
  for (size_t next = start; next < ended_out.size(); ++next) {
    const uint32_t place = find(ended_out[next].number);
    for (uint32_t child = slots_[place].child; child != index_none; child = slots_[child].after)
      ended_out.push_back({slots_[child].number, slots_[child].to, how});
    leave(place, how);
  }
  return ended_out.size() - start;
}

size_t RequestTable::expire(uint64_t now_ns, size_t count_max,
                            std::vector<EndedRequest>& ended_out) {
  size_t ended = 0, trees = 0;
  while (trees < count_max && next_deadline_ns() != 0 && deadlines_.front().ns <= now_ns) {
    ended += end_tree(deadlines_.front().number, RequestEnd::expired, ended_out);
    ++trees;
  }
  return ended;
}

uint64_t RequestTable::next_deadline_ns() {
  while (!deadlines_.empty() && find(deadlines_.front().number) == index_none) {
    std::pop_heap(deadlines_.begin(), deadlines_.end(), std::greater<>());
    deadlines_.pop_back();
  }
  return deadlines_.empty() ? 0 : deadlines_.front().ns;
}

std::vector<EndedRequest> RequestTable::all() const {
  std::vector<EndedRequest> waiting;
  for (const Slot& slot : slots_)
    if (slot.number != 0) waiting.push_back({slot.number, slot.to, RequestEnd::waiting});
  return waiting;
}

uint64_t RequestTable::memory_bytes() const {
  return slots_.capacity() * sizeof(Slot) + deadlines_.capacity() * sizeof(Deadline);
}

}  // namespace hanse
