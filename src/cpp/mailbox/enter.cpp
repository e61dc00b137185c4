// How a message gets into a box.
#include <algorithm>

#include "base/random.hpp"
#include "mailbox/state.hpp"

namespace hanse {

namespace {

bool answers(MessageKind kind) {
  return kind == MessageKind::reply || kind == MessageKind::failure ||
         kind == MessageKind::cancellation;
}

uint64_t key_hash(uint64_t key, uint8_t lane) {
  return mix64((key + lane) * 0x9e3779b97f4a7c15 + lane);
}

}  // namespace

Outcome MailboxTable::send(const MessageHeader& header, Bytes payload) {
  State& state = *state_;
  const uint32_t index = index_of(header.to);
  if (!owner_.caller() || state.ring.pending() || index >= state.boxes.size() ||
      generation_of(header.to) == 0 || header.lane >= lane_count ||
      payload.size() > state.options.payload_size_bytes_max) [[unlikely]]
    return send_carefully(header, payload);
  return state.put(state.boxes[index], header, payload.data(), payload.size());
}

Outcome MailboxTable::send_carefully(const MessageHeader& header, Bytes payload) {
  State& state = *state_;
  if (header.lane >= lane_count)
    throw Error(ErrorCode::out_of_range, "lane", header.lane, lane_count - 1);
  if (payload.size() > state.options.payload_size_bytes_max)
    return state.refuse(Outcome::too_large);
  if (!state.exists(header.to)) return state.refuse(Outcome::unknown);
  if (!owner_.caller()) return state.send_foreign(header, payload);

  // What another thread sent earlier must not be overtaken.
  if (state.ring.pending()) state.empty_ring();
  state.grow();
  return state.send_owned(header, payload.data(), payload.size());
}

Outcome MailboxTable::State::put_carefully(const MessageHeader& header, const uint8_t* payload,
                                           size_t size, bool sampled) {
  return enter_here(header, Bytes{payload, size}, sampled);
}

Outcome MailboxTable::State::enter_here(const MessageHeader& header, const Content& content,
                                        bool sampled) {
  const Outcome outcome = enter(header, content, sampled, false);
  return outcome == Outcome::ok || outcome == Outcome::dropped ? outcome : refuse(outcome);
}

Outcome MailboxTable::State::enter(const MessageHeader& header, Content content, bool sampled,
                                   bool from_ring) {
  if (sampled) until_sample = options.trace_interval;
  const uint32_t index = index_of(header.to);
  Box& target = box(index);
  if (target.flags & Box::closed) return target.reason;
  Outcome logged = Outcome::ok;
  if (bulk.in_log && log_single(header, content, logged)) {
    if (logged == Outcome::ok) (from_ring ? entered_by_ring : entered_here)[0].add(1);
    return logged;
  }
  LaneQueue& into = queue(target, header.lane);
  uint32_t replaced = index_none;
  const Outcome outcome = admit(target, into, header, replaced);
  if (outcome == Outcome::full) {
    if (!from_ring) owe(target, index);
    return Outcome::full;
  }

  // Whatever may fail comes first.
  prepare(target);
  if (content.size > message_inline_bytes && !content.buffer) {
    Payload copy = Payload::lent(*account, content.size);
    if (!copy) {
      if (!from_ring) owe(target, index);
      return Outcome::full;
    }
    std::memcpy(copy.writable(), content.data, content.size);
    content = Content(copy.detach());
  }

  if (outcome == Outcome::dropped) {
    if (extras[target.extra]->options.policy == BoxPolicy::drop_newest) {
      drop_newest(header, content, from_ring);
      return Outcome::dropped;
    }
    drop_oldest(target, index, header.lane);
  }
  if (replaced != index_none) {
    replace(replaced, header, content, sampled);
  } else {
    const uint32_t number = slab.take();
    fill(slab[number], header, content, sampled);
    slab[number].sequence = uint32_t(into.next_sequence++);
    link(target, into, header.lane, index, number);
  }
  (from_ring ? entered_by_ring : entered_here)[header.lane].add(1);
  return Outcome::ok;
}

// Room for one more slot, extension and key.
void MailboxTable::State::prepare(Box& box) {
  if (slab.needs_block()) grow_slab();
  if (extensions.needs_block()) {
    extensions.grow();
    count_memory();
  }
  if (!(box.flags & Box::ruled)) return;
  HashMap* keys = extras[box.extra]->keys.get();
  if (keys) keys->reserve(keys->count() + 1);
}

// ok: there is room, or a message to replace. dropped: the box's policy drops one. full.
Outcome MailboxTable::State::admit(const Box& box, const LaneQueue& into,
                                   const MessageHeader& header, uint32_t& replaced_out) const {
  const bool work = !answers(header.kind);
  const BoxExtra* rules = work && (box.flags & Box::ruled) ? extras[box.extra].get() : nullptr;
  if (rules && rules->keys && header.key != 0) {
    replaced_out = rules->keys->find(key_hash(header.key, header.lane), [&](uint32_t number) {
      return slab[number].lane == header.lane && rare(slab[number]).key == header.key;
    });
    if (replaced_out != index_none) return Outcome::ok;
  }
  const bool box_full = into.count >= capacity(box, header.kind);
  const bool table_full = waiting() >= table_limits[size_t(header.kind) & 7];
  if (!box_full && !table_full) return Outcome::ok;
  if (!rules) return Outcome::full;
  if (rules->options.policy == BoxPolicy::drop_newest) return Outcome::dropped;
  if (rules->options.policy == BoxPolicy::drop_oldest && has_droppable(into))
    return Outcome::dropped;
  return Outcome::full;
}

uint32_t MailboxTable::State::capacity(const Box& box, MessageKind kind) const {
  const size_t row = size_t(kind) & 7;
  if (!(box.flags & Box::ruled)) return box_limits[row];
  const uint32_t own = extras[box.extra]->options.capacity_messages;
  if (own == 0) return box_limits[row];
  return answers(kind) ? own + std::max(1u, own / 8) : own;
}

// Answers are never dropped. There are at most as many as have reserved room before the first
// message that may go, or else the lane holds nothing else.
bool MailboxTable::State::has_droppable(const LaneQueue& from) const {
  uint32_t number = from.head;
  for (uint32_t i = 0; i < from.count; ++i, number = links[number])
    if (!answers(slab[number].kind)) return true;
  return false;
}

void MailboxTable::State::drop_newest(const MessageHeader& header, const Content& content,
                                      bool from_ring) {
  if (from_ring) {
    bury(header, Outcome::dropped, content);
    lost.add(1);
  } else {
    bury_unqueued(header, Outcome::dropped, content);
  }
  if (content.buffer) Payload::drop(content.buffer);
}

void MailboxTable::State::drop_oldest(Box& box, uint32_t index, uint8_t lane) {
  uint32_t before = index_none, number = queue(box, lane).head;
  while (answers(slab[number].kind)) before = std::exchange(number, links[number]);
  unlink_between(box, index, lane, before, number);
  end_dead(number, index, Outcome::dropped);
}

// Everything but the sequence.
void MailboxTable::State::fill(Slot& slot, const MessageHeader& header, const Content& content,
                               bool sampled) {
  slot.to_generation = generation_of(header.to);
  slot.kind = header.kind;
  slot.lane = header.lane;
  slot.flags = 0;
  slot.sender = header.sender;
  slot.request = header.request;
  if (content.buffer) {
    slot.flags |= Slot::buffered;
    slot.size = 0;
    std::memcpy(slot.payload, &content.buffer, sizeof content.buffer);
  } else {
    slot.size = uint8_t(content.size);
    copy_inline(slot.payload, content.data, content.size);
  }
  if (!sampled && (header.deadline_ns | header.key | header.trace | header.latent) == 0) return;
  slot.flags |= Slot::extended;
  slot.extension = extensions.take();
  Extension& extension = extensions[slot.extension];
  extension.rare = {header.deadline_ns, header.key, header.trace, header.latent};
  extension.sent_ns = 0;
  if (!sampled) return;
  slot.flags |= Slot::sampled;
  extension.sent_ns = clock->now_ns();
  ++sampled_count;
  if (header.trace == 0) extension.rare.trace = mix64(options.seed + sampled_count) | 1;
}

void MailboxTable::State::link(Box& box, LaneQueue& into, uint8_t lane, uint32_t index,
                               uint32_t number) {
  if (into.count++ == 0)
    into.head = number;
  else
    links[into.tail] = number;
  into.tail = number;
  if (lane != 0 && !(box.flags & Box::urgent)) {
    box.flags |= Box::urgent;
    for (uint32_t& passed : extras[box.extra]->passed) passed = 0;
  }
  make_ready(box, index);
  if (!(box.flags & Box::ruled) || answers(slab[number].kind)) return;
  HashMap* keys = extras[box.extra]->keys.get();
  const uint64_t key = rare(slab[number]).key;
  if (!keys || key == 0) return;
  keys->insert(key_hash(key, lane), number);
  slab[number].flags |= Slot::keyed;
}

// The new message takes the place, the sequence number and the entry in the key index.
void MailboxTable::State::replace(uint32_t number, const MessageHeader& header,
                                  const Content& content, bool sampled) {
  Slot& slot = slab[number];
  const uint32_t index = index_of(header.to);
  bury(header_of(slot, index), Outcome::coalesced,
       slot.flags & Slot::buffered ? Content(slot.buffer()) : Content(slot.bytes()));
  ended[slot.lane].add(1);
  buried.add(1);
  release_held(slot, false);
  fill(slot, header, content, sampled);
  slot.flags |= Slot::keyed;
}

void MailboxTable::State::forget_key(Box& box, uint32_t number) {
  const Slot& slot = slab[number];
  extras[box.extra]->keys->erase(key_hash(rare(slot).key, slot.lane), number);
}

// Somebody was refused and may wait to be told that there is room again.
void MailboxTable::State::owe(Box& box, uint32_t index) {
  if (!(box.flags & Box::ruled) || (box.flags & Box::owed)) return;
  if (extras[box.extra]->options.policy != BoxPolicy::credit) return;
  box.flags |= Box::owed;
  // A box that is not full itself waits for the table: nothing that leaves it will tell.
  if (queued(box) < capacity(box, MessageKind::data) / 2 + 1) starved.push_back(index);
}

void MailboxTable::State::credit_starved() {
  if (starved.empty() || slab.used() > options.message_count_max / 2 ||
      account->bytes() > account->bytes_max() / 2)
    return;
  for (const uint32_t index : starved) {
    Box& waited = boxes[index];
    if (!(waited.flags & Box::owed)) continue;
    waited.flags &= uint16_t(~Box::owed);
    credited.push_back(make_id(index, 1));
  }
  starved.clear();
}

// A message that was accepted into the ring but finds no room in its box can't be refused any more.
void MailboxTable::State::empty_ring() {
  ring.empty([this](const InboundRing::Cell& cell) {
    PayloadBuffer* buffer = cell.buffered ? cell.buffer() : nullptr;
    const Content content = buffer ? Content(buffer) : Content(Bytes{cell.payload, cell.size});
    const Outcome outcome = enter(cell.header, content, --until_sample == 0, true);
    if (outcome == Outcome::ok || outcome == Outcome::dropped) return;
    bury(cell.header, outcome, content);
    lost.add(1);
    if (buffer) Payload::drop(buffer);
  });
}

}  // namespace hanse
