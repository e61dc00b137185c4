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
  within("payload_size_bytes_max", options.payload_size_bytes_max, 0, (1u << 29) - 1);
  within("payload_bytes_max", options.payload_bytes_max, 0, UINT64_MAX / 4);
  within("ring_count_max", options.ring_count_max, 1, 1u << 24);
  within("group_quantum_messages", options.group_quantum_messages, 1, 1u << 30);
  within("ageing_messages", options.ageing_messages, 1, 1u << 30);
  return options;
}

uint32_t with_reserve(uint32_t limit) { return limit + std::max(1u, limit / 8); }

// By kind.
std::array<uint32_t, 8> limits(uint32_t limit) {
  std::array<uint32_t, 8> all;
  all.fill(limit);
  for (const MessageKind kind :
       {MessageKind::reply, MessageKind::failure, MessageKind::cancellation})
    all[size_t(kind)] = with_reserve(limit);
  return all;
}

// One more than may ever be queued, so that a box can take the new message before it lets the
// oldest go.
uint32_t slot_count(const MailboxOptions& options) {
  return with_reserve(options.message_count_max) + 1;
}

}  // namespace

MailboxTable::State::State(const MailboxOptions& wanted, ThreadOwner& table_owner)
    : options(checked(wanted)),
      owner(table_owner),
      box_limits(limits(options.box_capacity_messages)),
      table_limits(limits(options.message_count_max)),
      put_limits(table_limits),
      until_sample(options.trace_interval),
      slab(slot_count(options)),
      links(slot_count(options)),
      ready(options.group_quantum_messages),
      native_ready(options.group_quantum_messages),
      extensions(slot_count(options)),
      extras(1),
      account(new PayloadAccount(options.payload_bytes_max)),
      ring(options.ring_count_max),
      letters(options.letters ? options.letters
                              : std::make_shared<DeadLetters>(options.payload_bytes_max / 8)),
      undelivered_count_max(options.undelivered_count_max),
      topics(options.topic_count_max, options.subscription_count_max),
      consumer_groups(options.subscription_count_max),
      clock(options.clock ? options.clock : std::make_shared<SystemClock>()) {
  count_memory();
}

MailboxTable::State::~State() {
  ring.empty([](const InboundRing::Cell& cell) {
    if (cell.buffered) Payload::drop(cell.buffer());
  });
  const auto free_all = [this](const LaneQueue& queue) {
    uint32_t number = queue.head;
    for (uint32_t i = 0; i < queue.count; ++i, number = links[number])
      if (slab[number].flags & Slot::buffered) Payload::drop(slab[number].buffer());
  };
  for (uint32_t i = 0; i < boxes.size(); ++i) free_all(boxes[i]);
  for (const auto& more : extras)
    if (more) std::for_each(std::begin(more->lanes), std::end(more->lanes), free_all);
  account->release();
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

Outcome MailboxTable::State::send_foreign(const MessageHeader& header, const Content& content) {
  if (content.buffer || content.size <= message_inline_bytes)
    return ring.push(header, content.bytes(), content.buffer) ? Outcome::ok : refuse(Outcome::full);

  Payload copy = Payload::lent(*account, content.size);
  if (!copy) return refuse(Outcome::full);
  std::memcpy(copy.writable(), content.data, content.size);
  if (!ring.push(header, content.bytes(), copy.buffer())) return refuse(Outcome::full);
  copy.detach();
  return Outcome::ok;
}

void MailboxTable::State::note_undelivered(const MessageHeader& header, Outcome reason) {
  if (header.kind != MessageKind::request || undelivered_count_max == 0) return;
  const std::lock_guard lock(undelivered_mutex);
  if (undelivered.size() == undelivered_count_max) undelivered.pop_front();
  undelivered.push_back({header.to, header.sender, header.request, reason});
  undelivered_any.store(true, std::memory_order_release);
}

void MailboxTable::State::bury(const MessageHeader& header, Outcome reason,
                               const Content& content) {
  dead_by_reason[size_t(reason) % outcome_count_max].fetch_add(1, std::memory_order_relaxed);
  letters->keep(header, reason, content.bytes(), content.buffer);
  note_undelivered(header, reason);
}

void MailboxTable::State::bury_unqueued(const MessageHeader& header, Outcome reason,
                                        const Content& content) {
  unqueued.fetch_add(1, std::memory_order_acq_rel);
  bury(header, reason, content);
}

void MailboxTable::State::own() {
  if (owner.caller()) return;
  if (!owner.claim())
    throw Error(ErrorCode::wrong_thread, "mailbox", "another thread drains these mailboxes");
  grow();
  settle();
}

void MailboxTable::State::require_owner() const {
  if (!owner.none() && !owner.caller())
    throw Error(ErrorCode::wrong_thread, "mailbox", "another thread drains these mailboxes");
}

void MailboxTable::State::require_not_running() const {
  if (owner.caller() && running)
    throw Error(ErrorCode::illegal_transition, "mailbox", "a native handler of it is running");
}

void MailboxTable::State::grow() {
  const size_t count = agent_count.load(std::memory_order_acquire);
  if (count <= boxes.size()) return;
  boxes.grow(count);
  if (bulk.in_log) bulk.log.resize(uint32_t(count), options.box_capacity_messages);
  count_memory();
}

void MailboxTable::State::grow_slab() {
  slab.grow();
  links.commit(slab.committed());
  count_memory();
}

void MailboxTable::State::count_memory() {
  table_bytes.store(boxes.memory_bytes() + slab.memory_bytes() + links.memory_bytes() +
                        extensions.memory_bytes() + ready.memory_bytes() +
                        native_ready.memory_bytes() + extras.size() * sizeof(BoxExtra) +
                        group_keys.size() * 16 + ring.memory_bytes() + bulk.log.memory_bytes(),
                    std::memory_order_relaxed);
}

BoxExtra& MailboxTable::State::extra(Box& box) {
  if (box.extra == 0) {
    extras.push_back(std::make_unique<BoxExtra>());
    box.extra = uint32_t(extras.size() - 1);
    count_memory();
  }
  return *extras[box.extra];
}

void MailboxTable::State::close_wanted() {
  std::vector<std::pair<uint32_t, Outcome>> wanted;
  {
    const std::lock_guard lock(closes_mutex);
    wanted.swap(closes);
    if (std::exchange(unpark_wanted, false)) unpark();
    closes_pending.store(false, std::memory_order_relaxed);
  }
  for (const auto& [index, reason] : wanted) close(index, reason);
}

}  // namespace hanse
