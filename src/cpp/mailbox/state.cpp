#include "mailbox/state.hpp"

#include <algorithm>

namespace hanse {

namespace {

const MailboxOptions& checked(const MailboxOptions& options) {
  const auto within = [](const char* field, uint64_t value, uint64_t least, uint64_t most) {
    if (value < least) throw Error(ErrorCode::out_of_range, field, "0 where at least 1 is needed");
    if (value > most) throw Error(ErrorCode::out_of_range, field, value, most);
  };
  within("box_capacity_messages", options.box_capacity_messages, 1, 1u << 30);
  within("message_count_max", options.message_count_max, 1, 1u << 30);
  within("payload_size_bytes_max", options.payload_size_bytes_max, 0, slot_payload_size_max);
  within("ring_count_max", options.ring_count_max, 1, 1u << 24);
  return options;
}

}  // namespace

MailboxTable::State::State(const MailboxOptions& wanted)
    : options(checked(wanted)),
      reserved_messages(std::max(1u, options.box_capacity_messages / 8)),
      reserved_message_count(std::max(1u, options.message_count_max / 8)),
      ring(options.ring_count_max) {
  table_bytes = ring.memory_bytes();
}

MailboxTable::State::~State() {
  ring.empty([](const InboundRing::Cell& cell) {
    if (cell.size > message_inline_bytes) delete[] large_payload(cell.payload);
  });
  for (Box& box : boxes)
    for (; box.count != 0; --box.count, box.head = slab[box.head].next)
      if (slab[box.head].large()) delete[] large_payload(slab[box.head].payload);
}

void MailboxTable::State::require(AgentId agent) const {
  if (!exists(agent)) throw Error(ErrorCode::unknown_agent, "agent", "it has no mailbox", agent);
}

Outcome MailboxTable::State::refuse(Outcome outcome) {
  auto& counter = outcome == Outcome::full        ? refused_full
                  : outcome == Outcome::unknown   ? refused_unknown
                  : outcome == Outcome::too_large ? refused_too_large
                                                  : refused_other;
  counter.fetch_add(1, std::memory_order_relaxed);
  return outcome;
}

Outcome MailboxTable::State::send_foreign(const MessageHeader& header, Bytes payload) {
  const auto size = uint32_t(payload.size());
  if (size <= message_inline_bytes)
    return ring.push(header, size, payload.data(), size) ? Outcome::ok : refuse(Outcome::full);

  uint8_t* buffer = copy_large(payload);
  if (!buffer) return refuse(Outcome::full);
  if (ring.push(header, size, &buffer, sizeof buffer)) return Outcome::ok;
  delete[] buffer;
  payload_bytes.fetch_sub(size, std::memory_order_relaxed);
  return refuse(Outcome::full);
}

uint8_t* MailboxTable::State::copy_large(Bytes payload) {
  const uint64_t before = payload_bytes.fetch_add(payload.size(), std::memory_order_relaxed);
  uint8_t* buffer = before + payload.size() <= options.payload_bytes_max
                        ? new (std::nothrow) uint8_t[payload.size()]
                        : nullptr;
  if (buffer)
    std::memcpy(buffer, payload.data(), payload.size());
  else
    payload_bytes.fetch_sub(payload.size(), std::memory_order_relaxed);
  return buffer;
}

void MailboxTable::State::bury(const MessageHeader& header, Outcome reason, Bytes payload) {
  const Bytes kept = payload.first(std::min<size_t>(payload.size(), message_inline_bytes));
  DeadLetter letter;
  letter.header = header;
  letter.reason = reason;
  letter.size = payload.size();
  letter.payload.assign(kept.begin(), kept.end());
  letter.cut = kept.size() < payload.size();
  const std::lock_guard lock(letters_mutex);
  if (letters.size() < letter_count_max) {
    letters.push_back(std::move(letter));
  } else {
    letters[letters_oldest] = std::move(letter);
    letters_oldest = (letters_oldest + 1) % letter_count_max;
  }
}

void MailboxTable::State::own() {
  std::thread::id owned_by;
  if (owned_by_me()) return;
  if (!owner.compare_exchange_strong(owned_by, std::this_thread::get_id()))
    throw Error(ErrorCode::wrong_thread, "mailbox", "another thread drains these mailboxes");
  grow();
  settle();
}

void MailboxTable::State::require_owner() const {
  if (owner.load(std::memory_order_acquire) != std::thread::id() && !owned_by_me())
    throw Error(ErrorCode::wrong_thread, "mailbox", "another thread drains these mailboxes");
}

void MailboxTable::State::grow() {
  const size_t count = agent_count.load(std::memory_order_acquire);
  if (count > boxes.size()) {
    const uint64_t before = boxes.capacity() * sizeof(Box) + ready.capacity() * sizeof(uint32_t);
    boxes.resize(count);
    if (ready.capacity() < count) ready.grow(std::bit_ceil(count));
    if (bulk.in_log) bulk.log.resize(uint32_t(count), options.box_capacity_messages);
    table_bytes += boxes.capacity() * sizeof(Box) + ready.capacity() * sizeof(uint32_t) - before;
  }
}

void MailboxTable::State::settle() {
  if (ring.pending()) empty_ring();
  if (!closes_pending.load(std::memory_order_acquire)) return;
  std::vector<std::pair<uint32_t, Outcome>> wanted;
  {
    const std::lock_guard lock(closes_mutex);
    wanted.swap(closes);
    closes_pending.store(false, std::memory_order_relaxed);
  }
  for (const auto& [index, reason] : wanted) close(index, reason);
}

// A message that was accepted into the ring but finds no room in its box can't be refused any more.
void MailboxTable::State::empty_ring() {
  ring.empty([this](const InboundRing::Cell& cell) {
    Box& target = box(index_of(cell.header.to));
    Outcome outcome = Outcome::ok;
    if (!bulk.in_log || !log_single(cell.header, cell.payload, cell.size, outcome))
      outcome = room(target, cell.header.kind);
    else if (outcome == Outcome::ok)
      return;
    if (outcome == Outcome::ok) {
      if (slab.needs_block()) grow_slab();
      enqueue(target, cell.header, cell.payload, cell.size);
      return;
    }
    const bool large = cell.size > message_inline_bytes;
    const uint8_t* payload = large ? large_payload(cell.payload) : cell.payload;
    bury(cell.header, outcome, {payload, cell.size});
    buried.add(1);
    if (large) {
      delete[] payload;
      payload_bytes.fetch_sub(cell.size, std::memory_order_relaxed);
    }
  });
}

Outcome MailboxTable::State::room(const Box& box, MessageKind kind) const {
  const bool reserved = kind == MessageKind::reply || kind == MessageKind::failure;
  if (box.flags & Box::closed) [[unlikely]]
    return box.reason;
  if (box.count >= options.box_capacity_messages + (reserved ? reserved_messages : 0) ||
      waiting() >= options.message_count_max + (reserved ? reserved_message_count : 0))
    return Outcome::full;
  return Outcome::ok;
}

Outcome MailboxTable::State::send_owned(const MessageHeader& header, const uint8_t* payload,
                                        uint32_t size) {
  Box& target = box(index_of(header.to));
  Outcome outcome = Outcome::ok;
  if (bulk.in_log && log_single(header, payload, size, outcome)) [[unlikely]] {
    if (outcome != Outcome::ok) return refuse(outcome);
    sent.add(1);
    return outcome;
  }
  outcome = room(target, header.kind);
  if (outcome != Outcome::ok) return refuse(outcome);
  if (slab.needs_block()) [[unlikely]]
    grow_slab();

  if (size > message_inline_bytes) [[unlikely]] {
    uint8_t* buffer = copy_large({payload, size});
    if (!buffer) return refuse(Outcome::full);
    uint8_t address[sizeof buffer];
    std::memcpy(address, &buffer, sizeof buffer);
    enqueue(target, header, address, size);
  } else {
    enqueue(target, header, payload, size);
  }
  sent.add(1);
  return Outcome::ok;
}

// Cannot fail. `stored` is the payload, or the address of its buffer.
void MailboxTable::State::enqueue(Box& box, const MessageHeader& header, const uint8_t* stored,
                                  uint32_t size) {
  const uint32_t number = slab.take();
  Slot& slot = slab[number];
  slot.size_and_kind = size << 3 | uint32_t(header.kind);
  slot.sequence = uint32_t(box.next_sequence++);
  slot.to_generation = generation_of(header.to);
  slot.sender = header.sender;
  slot.request = header.request;
  slot.deadline_ns = header.deadline_ns;
  if (size == message_inline_bytes) {
    std::memcpy(slot.payload, stored, message_inline_bytes);
  } else {
    // Slots are reused across tenants, and whole rows are handed out: nothing old may stay.
    std::memset(slot.payload, 0, message_inline_bytes);
    const size_t stored_size = size < message_inline_bytes ? size : sizeof(uint8_t*);
    if (stored_size != 0) std::memcpy(slot.payload, stored, stored_size);
  }

  if (box.count++ == 0) {
    box.head = box.tail = number;
    make_ready(box, index_of(header.to));
  } else {
    slab[box.tail].next = number;
    box.tail = number;
  }
}

void MailboxTable::State::make_ready(Box& box, uint32_t index) {
  if (box.flags & (Box::ready | Box::paused)) return;
  box.flags |= Box::ready;
  ready.push(index);
}

// Two steps, since the slot's number is in the box: the box early, its oldest slot later.
void MailboxTable::State::prefetch_turns() const {
  constexpr size_t box_ahead = 16, slot_ahead = 8;
  if (ready.count() > box_ahead) __builtin_prefetch(&boxes[ready.peek(box_ahead)], 1);
  if (ready.count() <= slot_ahead) return;
  const Box& box = boxes[ready.peek(slot_ahead)];
  if (box.count == 0) return;
  const auto* slot = reinterpret_cast<const uint8_t*>(&slab[box.head]);
  __builtin_prefetch(slot);
  __builtin_prefetch(slot + 64);
}

bool MailboxTable::State::take(Box& box, uint32_t index, MessageBatch::State& batch,
                               uint64_t now_ns) {
  const Slot& slot = slab[box.head];
  const uint64_t sequence = box.next_sequence - box.count;
  HANSE_ASSERT(slot.sequence == uint32_t(sequence));  // FIFO and gap-free, checked at each message.
  const bool alive = slot.deadline_ns == 0 || now_ns < slot.deadline_ns;
  if (alive) {
    batch.add(slot, index, sequence);
    if (slot.large()) payload_bytes.fetch_sub(slot.size(), std::memory_order_relaxed);
    taken.add(1);
  } else {
    release_large(slot);
    expired.add(1);
  }
  unlink(box);
  return alive;
}

void MailboxTable::State::unlink(Box& box) {
  const uint32_t number = box.head;
  if (--box.count != 0) box.head = slab[number].next;
  slab.put_back(number);
}

void MailboxTable::State::release_large(const Slot& slot) {
  if (!slot.large()) return;
  delete[] large_payload(slot.payload);
  payload_bytes.fetch_sub(slot.size(), std::memory_order_relaxed);
}

void MailboxTable::State::close(uint32_t index, Outcome reason) {
  Box& closed = box(index);
  leave_log(index);
  closed.flags |= Box::closed;
  closed.reason = reason;
  while (closed.count != 0) {
    const Slot& slot = slab[closed.head];
    const uint8_t* payload = slot.large() ? large_payload(slot.payload) : slot.payload;
    MessageHeader header;
    header.to = make_id(index, slot.to_generation);
    header.sender = slot.sender;
    header.kind = slot.kind();
    header.request = slot.request;
    header.deadline_ns = slot.deadline_ns;
    bury(header, reason, {payload, slot.size()});
    release_large(slot);
    buried.add(1);
    unlink(closed);
  }
}

void MailboxTable::State::grow_slab() {
  const uint64_t before = slab.memory_bytes();
  slab.grow();
  table_bytes += slab.memory_bytes() - before;
}

}  // namespace hanse
