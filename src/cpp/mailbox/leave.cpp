// How a message gets out of a box.
#include <algorithm>

#include "base/hash_map.hpp"
#include "mailbox/state.hpp"

namespace hanse {

// The most urgent lane that has messages, but a lane that was passed too often comes first. Counted
// in messages and not in time, so that a run can be repeated.
uint8_t MailboxTable::State::next_lane(Box& box) {
  if (!(box.flags & Box::urgent)) return 0;
  BoxExtra& more = *extras[box.extra];
  const auto waiting = [&](int lane) {
    return (lane == 0 ? box.count : more.lanes[lane - 1].count) != 0;
  };
  int chosen = lane_count - 1;
  while (!waiting(chosen)) --chosen;
  for (int lane = 0; lane < chosen; ++lane)
    if (waiting(lane) && more.passed[lane] >= options.ageing_messages) {
      chosen = lane;
      break;
    }
  for (int lane = 0; lane < chosen; ++lane)
    if (waiting(lane)) ++more.passed[lane];
  more.passed[chosen] = 0;
  return uint8_t(chosen);
}

MailboxTable::State::Taken MailboxTable::State::unlink_carefully(Box& box, uint32_t index,
                                                                 uint8_t lane) {
  LaneQueue& from = queue(box, lane);
  const uint32_t number = from.head;
  uint64_t sequence = from.next_sequence - from.count;
  if (box.flags & Box::removed) {
    uint32_t& removed = extras[box.extra]->removed[lane];
    sequence -= removed;
    const uint32_t gap = slab[number].sequence - uint32_t(sequence);
    HANSE_ASSERT(gap <= removed);
    removed -= gap;
    sequence += gap;
  }
  HANSE_ASSERT(slab[number].sequence == uint32_t(sequence));
  if (--from.count != 0) from.head = links[number];
  if (slab[number].flags & Slot::keyed) forget_key(box, number);
  after_unlink(box, index, lane);
  return {number, sequence};
}

// `before` is the message in front of it; index_none: it is the first.
void MailboxTable::State::unlink_between(Box& box, uint32_t index, uint8_t lane, uint32_t before,
                                         uint32_t number) {
  if (before == index_none) {
    unlink_carefully(box, index, lane);
    return;
  }
  ++extra(box).removed[lane];
  box.flags |= Box::removed;
  LaneQueue& from = queue(box, lane);
  if (from.tail == number)
    from.tail = before;
  else
    links[before] = links[number];
  --from.count;
  if (slab[number].flags & Slot::keyed) forget_key(box, number);
  after_unlink(box, index, lane);
}

// What the flags of the box say of its lanes, gaps and credit is made true again.
void MailboxTable::State::after_unlink(Box& box, uint32_t index, uint8_t lane) {
  if (box.extra == 0) return;
  BoxExtra& more = *extras[box.extra];
  if (queue(box, lane).count == 0) {
    more.passed[lane] = 0;
    more.removed[lane] = 0;  // A gap at the end: the next message to enter is the next in order.
    const auto& lanes = more.lanes;
    if (std::all_of(std::begin(lanes), std::end(lanes), [](auto& lane) { return lane.count == 0; }))
      box.flags &= uint16_t(~Box::urgent);
  }
  if ((box.flags & Box::removed) &&
      std::all_of(std::begin(more.removed), std::end(more.removed), [](auto n) { return n == 0; }))
    box.flags &= uint16_t(~Box::removed);
  if ((box.flags & Box::owed) && queued(box) * uint64_t(2) < capacity(box, MessageKind::data)) {
    box.flags &= uint16_t(~Box::owed);
    credited.push_back(make_id(index, 1));
  }
}

void MailboxTable::State::release_held(Slot& slot, bool buffer_moved) {
  if ((slot.flags & Slot::buffered) && !buffer_moved) Payload::drop(slot.buffer());
  if (slot.flags & Slot::extended) extensions.put_back(slot.extension);
  slot.flags = 0;
}

MessageHeader MailboxTable::State::header_of(const Slot& slot, uint32_t index) const {
  const MessageRare& more = rare(slot);
  return {make_id(index, slot.to_generation),
          slot.sender,
          slot.kind,
          slot.lane,
          slot.request,
          more.deadline_ns,
          more.key,
          more.trace,
          more.latent};
}

bool MailboxTable::State::take(Box& box, uint32_t index, MessageBatch::State& batch,
                               uint64_t now_ns) {
  const Taken next = unlink_next(box, index);
  const Slot& slot = slab[next.number];
  if (!alive(slot, now_ns)) {
    expire(next.number, index);
    return false;
  }
  batch.add(slot, index, next.sequence, rare(slot));
  handled(slot, index, next.sequence, now_ns);
  free_slot(next.number, true);
  return true;
}

void MailboxTable::State::expire(uint32_t number, uint32_t index) {
  note_undelivered(header_of(slab[number], index), Outcome::expired);
  ended[slab[number].lane].add(1);
  expired.add(1);
  free_slot(number);
}

// Its letter shares the buffer.
void MailboxTable::State::end_dead(uint32_t number, uint32_t index, Outcome reason) {
  const Slot& slot = slab[number];
  const Content content =
      slot.flags & Slot::buffered ? Content(slot.buffer()) : Content(slot.bytes());
  bury(header_of(slot, index), reason, content);
  ended[slot.lane].add(1);
  buried.add(1);
  free_slot(number);
}

void MailboxTable::State::close(uint32_t index, Outcome reason) {
  Box& closed = box(index);
  leave_log(index);
  closed.flags |= Box::closed;
  closed.reason = reason;
  while (closed.has_messages()) {
    const Taken next = unlink_next(closed, index);
    end_dead(next.number, index, reason);
  }
  if (closed.flags & Box::owed) {
    // Whoever waits for room is to learn that there will be none.
    closed.flags &= uint16_t(~Box::owed);
    credited.push_back(make_id(index, 1));
  }
}

// Out of the ring, so that a drain that wants others does not meet it again and again.
void MailboxTable::State::park(Box& box, uint32_t index) {
  box.flags |= Box::parked;
  parked.push_back(index);
}

void MailboxTable::State::unpark() {
  for (const uint32_t index : parked) {
    Box& box = boxes[index];
    box.flags &= uint16_t(~Box::parked);
    if (box.has_messages()) make_ready(box, index);
  }
  parked.clear();
}

// Two steps, since the slot's number is in the box: the box early, its oldest slot later.
void MailboxTable::State::prefetch_crowd(const ReadyBoxes& of) const {
  constexpr uint32_t box_ahead = 16, slot_ahead = 8;
  const uint32_t far = of.peek(box_ahead), near = of.peek(slot_ahead);
  if (far != index_none) __builtin_prefetch(&boxes[far], 1);
  if (near != index_none && boxes[near].count != 0) slab.prefetch(boxes[near].head);
}

uint32_t MailboxTable::State::queued(const Box& box) const {
  uint32_t count = box.count;
  if (box.flags & Box::urgent)
    for (const LaneQueue& lane : extras[box.extra]->lanes) count += lane.count;
  return count;
}

bool MailboxTable::cancel(AgentId to, uint64_t request) {
  State& state = *state_;
  state.require(to);
  state.own();
  state.settle();
  const uint32_t index = index_of(to);
  Box& box = state.box(index);
  for (uint8_t lane = 0; lane < lane_count; ++lane) {
    if (lane != 0 && !(box.flags & Box::urgent)) break;
    const LaneQueue& queue = state.queue(box, lane);
    uint32_t before = index_none, number = queue.head;
    for (uint32_t i = 0; i < queue.count; ++i, before = number, number = state.links[number]) {
      const Slot& slot = state.slab[number];
      if (slot.kind != MessageKind::request || slot.request != request) continue;
      state.unlink_between(box, index, lane, before, number);
      state.ended[lane].add(1);
      state.cancelled.add(1);
      state.free_slot(number);
      return true;
    }
  }
  return false;
}

}  // namespace hanse
