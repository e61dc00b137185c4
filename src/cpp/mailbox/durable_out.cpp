// Which messages of durable boxes go out, and when.
#include <algorithm>

#include "base/error.hpp"
#include "base/seeded_bug.hpp"
#include "mailbox/durable.hpp"

namespace hanse {

namespace {

constexpr size_t turn_messages = 64;
constexpr uint32_t ageing_messages = 16;

}  // namespace

void DurableTable::wake(uint32_t index) {
  Box& box = boxes_[index];
  if (box.ready || box.in_flight >= box.options.in_flight_max) return;
  if (std::ranges::none_of(box.lanes, [&box](const Box::Lane& lane) {
        return lane.queued != 0 && (!lane.returned.empty() || lane.next_out < box.next_sequence);
      }))
    return;
  box.ready = true;
  ready_.push_back(index);
}

// The next of a lane that may go out; what came back goes before what never went.
DurableTable::Entry* DurableTable::candidate(Box& box, uint8_t number, uint64_t durable_count,
                                             uint64_t now_ns) {
  Box::Lane& lane = box.lanes[number];
  if (lane.queued == 0) return nullptr;
  Entry* entry = nullptr;
  if (!lane.returned.empty()) {
    entry = find(box, HANSE_SEEDED_BUG(44) ? *lane.returned.rbegin() : *lane.returned.begin());
    HANSE_ASSERT(entry != nullptr);
  } else {
    auto at = std::ranges::lower_bound(box.entries, lane.next_out, {}, &Entry::sequence);
    while (at != box.entries.end() && (at->gone || at->terms.lane != number)) ++at;
    // What was passed over is never looked at again.
    lane.next_out = at == box.entries.end() ? box.next_sequence : at->sequence;
    if (at != box.entries.end()) entry = &*at;
  }
  if (entry == nullptr || (entry->position >= durable_count && !HANSE_SEEDED_BUG(48)))
    return nullptr;
  const uint64_t deadline_ns = entry->terms.deadline_ns;
  return deadline_ns == 0 || now_ns < deadline_ns ? entry : nullptr;
}

// The most urgent lane's, but a lane that was passed too often comes first.
DurableTable::Entry* DurableTable::next(Box& box, uint64_t durable_count, uint64_t now_ns) {
  if (box.in_flight >= box.options.in_flight_max + HANSE_SEEDED_BUG(47)) return nullptr;
  std::array<Entry*, durable_lane_count> candidates;
  uint8_t chosen = 0;
  for (uint8_t lane = 0; lane < durable_lane_count; ++lane) {
    candidates[lane] = candidate(box, lane, durable_count, now_ns);
    if (candidates[lane] != nullptr) chosen = lane;
  }
  for (uint8_t lane = 0; lane < chosen; ++lane)
    if (candidates[lane] != nullptr && box.lanes[lane].passed >= ageing_messages) {
      chosen = lane;
      break;
    }
  for (uint8_t lane = 0; lane < chosen; ++lane)
    if (candidates[lane] != nullptr) ++box.lanes[lane].passed;
  box.lanes[chosen].passed = 0;
  return candidates[chosen];
}

void DurableTable::hand_out(uint32_t index, Entry& entry, DurableTaken& out) {
  Box& box = boxes_[index];
  out = {box.agent, entry.sender, entry.attempt, entry.sequence, entry.terms, entry.payload};
  entry.handed = true;
  ++box.in_flight;
  Box::Lane& lane = box.lanes[entry.terms.lane];
  lane.returned.erase(entry.sequence);
  lane.next_out = std::max(lane.next_out, entry.sequence + 1);
  unwatch(index, entry);
}

void DurableTable::take(uint64_t durable_count, uint64_t now_ns, size_t count_max,
                        const std::function<bool(uint32_t agent)>& skip,
                        std::vector<DurableTaken>& out) {
  size_t taken = 0;
  // A round without progress ends it: the boxes that are left wait for the disk or for their agent.
  for (size_t before = SIZE_MAX; taken != before && taken < count_max && !ready_.empty();) {
    before = taken;
    for (size_t turns = ready_.size(); turns > 0 && taken < count_max; --turns) {
      const uint32_t index = ready_.front();
      Box& box = boxes_[index];
      ready_.pop_front();
      box.ready = false;
      if (!skip(box.agent)) {
        for (size_t quantum = turn_messages; quantum > 0 && taken < count_max; --quantum) {
          Entry* entry = next(box, durable_count, now_ns);
          if (entry == nullptr) break;
          hand_out(index, *entry, out.emplace_back());
          ++taken;
        }
      }
      wake(index);
    }
  }
}

bool DurableTable::take_from(uint32_t agent, uint64_t durable_count, uint64_t now_ns,
                             DurableTaken& out) {
  const uint32_t index = box_find(agent);
  if (index == index_none) return false;
  Entry* entry = next(boxes_[index], durable_count, now_ns);
  if (entry == nullptr) return false;
  hand_out(index, *entry, out);
  return true;
}

}  // namespace hanse
