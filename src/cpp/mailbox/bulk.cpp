// Many messages in one call, and the form of the table that is made for them.
#include "mailbox/bulk.hpp"

#include <algorithm>

#include "mailbox/state.hpp"

namespace hanse {

namespace {

// What a row needs is fetched so many rows before: at a million agents it is in no cache.
constexpr size_t mark_ahead = 24, box_ahead = 8, row_ahead = 24;
// Where many agents share the caches, a batch is large with a sixteenth of the rows.
constexpr uint32_t small_batch_divisor = 16;

void write_row(uint8_t* out, const uint8_t* bytes, uint32_t size) {
  if (size == message_inline_bytes) {
    std::memcpy(out, bytes, message_inline_bytes);
    return;
  }
  // Chunks are reused across tenants, and whole rows are handed out: nothing old may stay.
  std::memset(out, 0, message_inline_bytes);
  if (size != 0) std::memcpy(out, bytes, size);
}

}  // namespace

void MailboxTable::send_many(AgentId sender, std::span<const AgentId> to,
                             MatrixView<const uint8_t> payloads, std::span<const uint32_t> sizes,
                             std::span<Outcome> outcomes_out) {
  std::fill(outcomes_out.begin(), outcomes_out.end(), Outcome::ok);
  MessageHeader header;
  header.sender = sender;
  send_many(header, to, payloads, sizes, outcomes_out);
}

void MailboxTable::send_many(const MessageHeader& header, std::span<const AgentId> to,
                             MatrixView<const uint8_t> payloads, std::span<const uint32_t> sizes,
                             std::span<Outcome> outcomes_in_out) {
  const size_t count = to.size();
  if (payloads.rows != count)
    throw Error(ErrorCode::dimension_mismatch, "payloads", payloads.rows, count);
  if (outcomes_in_out.size() != count)
    throw Error(ErrorCode::dimension_mismatch, "outcomes", outcomes_in_out.size(), count);
  if (!sizes.empty() && sizes.size() != count)
    throw Error(ErrorCode::dimension_mismatch, "sizes", sizes.size(), count);
  for (const uint32_t size : sizes)
    if (size > payloads.columns)
      throw Error(ErrorCode::out_of_range, "sizes", size, payloads.columns);

  state_->send_rows({header, to, payloads, sizes}, outcomes_in_out);
}

void MailboxTable::send_arrived(const ArrivedRows& arrived, std::span<Outcome> outcomes_out) {
  const MessageHeader header;
  const MatrixView<const uint8_t> payloads{arrived.payloads, arrived.to.size(),
                                           message_inline_bytes};
  state_->send_rows({header, arrived.to, payloads, arrived.sizes, arrived.senders, arrived.stride},
                    outcomes_out);
}

void MailboxTable::State::send_rows(const BulkRows& rows, std::span<Outcome> outcomes_in_out) {
  State& state = *this;
  const size_t count = rows.count();
  if (count == 0) return;
  if (!state.owner.caller()) {
    for (size_t i = 0; i < count; ++i)
      if (outcomes_in_out[i] == Outcome::ok) outcomes_in_out[i] = state.send_row(rows, i);
    return;
  }
  // What another thread sent earlier must not be overtaken.
  if (state.ring.pending()) state.empty_ring();
  if (state.boxes.size() < state.agent_count.load(std::memory_order_acquire)) state.grow();
  if (state.log_wanted(rows))
    state.send_rows_logged(rows, outcomes_in_out);
  else
    state.send_rows_linked(rows, outcomes_in_out);
}

Outcome MailboxTable::State::send_row(const BulkRows& rows, size_t i) {
  MessageHeader header = rows.header;
  header.to = rows.to[i];
  header.sender = rows.sender(i);
  const uint32_t size = rows.size(i);
  if (size > options.payload_size_bytes_max) return refuse(Outcome::too_large);
  if (!exists(header.to)) return refuse(Outcome::unknown);
  const Bytes payload{rows.bytes(i), size};
  return owner.caller() ? send_owned(header, payload.data(), size) : send_foreign(header, payload);
}

void MailboxTable::State::send_rows_linked(const BulkRows& rows, std::span<Outcome> outcomes) {
  const size_t count = rows.count();
  for (size_t i = 0; i < count; ++i) {
    if (i + box_ahead < count && index_of(rows.to[i + box_ahead]) < boxes.size())
      __builtin_prefetch(&boxes[index_of(rows.to[i + box_ahead])], 1);
    if (outcomes[i] == Outcome::ok) outcomes[i] = send_row(rows, i);
  }
}

// --- which form

bool MailboxTable::State::log_wanted(const BulkRows& rows) {
  const size_t size_max = std::min(message_inline_bytes, options.payload_size_bytes_max);
  if (options.form == MailboxForm::linked || !Bulk::holds(rows.header, 0) ||
      rows.payloads.columns > size_max)
    return false;
  if (options.form == MailboxForm::log) {
    take_up_log();
    return true;
  }
  const uint32_t divisor = boxes.size() >= options.log_population_min ? small_batch_divisor : 1;
  if (rows.count() >= std::max(1u, options.log_batch_min / divisor)) {
    bulk.earn(rows.count());
    if (bulk.credit > 0) take_up_log();
  } else if (bulk.in_log) {
    bulk.pay(rows.count());
    if (bulk.credit <= 0 && bulk.log.empty()) put_down_log();
  }
  return bulk.in_log;
}

void MailboxTable::State::take_up_log() {
  if (bulk.in_log) return;
  EpochLog& log = bulk.log;
  log.resize(uint32_t(boxes.size()), options.box_capacity_messages);
  log.reset();
  for (uint32_t i = 0; i < boxes.size(); ++i) {
    log.next_sequence(i) = boxes[i].next_sequence;
    if (!boxes[i].plain_and_empty()) log.set_odd(i, true);
  }
  bulk.in_log = true;
  put_limits.fill(0);  // Every message of its own is put carefully.
  bulk.form.store(MailboxForm::log, std::memory_order_relaxed);
  bulk.switches.fetch_add(1, std::memory_order_relaxed);
}

// The log is empty, or about to be spilled.
void MailboxTable::State::put_down_log() {
  for (uint32_t i = 0; i < bulk.log.receiver_count(); ++i)
    if (!bulk.log.odd(i)) boxes[i].next_sequence = bulk.log.next_sequence(i);
  bulk.in_log = false;
  put_limits = table_limits;
  bulk.form.store(MailboxForm::linked, std::memory_order_relaxed);
  bulk.switches.fetch_add(1, std::memory_order_relaxed);
}

// All rows enter the boxes, each receiver's in order, and the form is linked.
void MailboxTable::State::spill_log() {
  EpochLog& log = bulk.log;
  bulk.pay(log.count());
  put_down_log();
  MessageHeader header;
  while (!log.empty()) {
    const std::span<const uint32_t> keys = log.keys();
    for (const uint32_t key : keys) {
      const EpochLog::Row row = log.row(key);
      header.to = make_id(row.receiver, 1);
      header.sender = row.sender;
      header.deadline_ns = row.deadline_ns;
      Box& target = boxes[row.receiver];
      prepare(target);
      const uint32_t number = slab.take();
      fill(slab[number], header, Bytes{row.bytes, row.size}, false);
      slab[number].sequence = uint32_t(target.next_sequence++);
      link(target, target, 0, row.receiver, number);
      log.take(row.receiver);
    }
    log.advance(keys.size());
  }
  bulk.spills.fetch_add(1, std::memory_order_relaxed);
}

// The box of this receiver is about to be looked at or changed.
void MailboxTable::State::leave_log(uint32_t index) {
  EpochLog& log = bulk.log;
  if (!bulk.in_log || log.odd(index)) return;
  if (log.count_of(index) != 0) {
    spill_log();
    return;
  }
  boxes[index].next_sequence = log.next_sequence(index);
  log.set_odd(index, true);
}

uint64_t MailboxTable::next_sequence(AgentId agent, uint8_t lane) {
  State& state = *state_;
  state.require(agent);
  state.own();
  Box& box = state.box(index_of(agent));
  state.leave_log(index_of(agent));
  if (lane == 0) return box.next_sequence;
  return box.extra == 0 ? 0 : state.extra(box).lanes[lane - 1].next_sequence;
}

void MailboxTable::set_next_sequence(AgentId agent, uint8_t lane, uint64_t sequence) {
  State& state = *state_;
  state.require(agent);
  state.own();
  Box& box = state.box(index_of(agent));
  HANSE_ASSERT(queued(agent, lane) == 0);
  state.leave_log(index_of(agent));
  if (lane == 0 || box.extra != 0 || sequence != 0) state.queue(box, lane).next_sequence = sequence;
}

// --- entering

void MailboxTable::State::send_rows_logged(const BulkRows& rows, std::span<Outcome> outcomes) {
  EpochLog& log = bulk.log;
  EpochLog::Append append;
  append.sender = rows.sender(0);
  append.deadline_ns = rows.header.deadline_ns;
  append.sent_ns = options.trace_interval != 0 ? clock->now_ns() : 0;
  log.begin(append);
  const size_t count = rows.count();
  uint64_t room = room_in_log(), accepted = 0;
  size_t rest = count;
  for (size_t i = 0; i < count; ++i) {
    if (i + mark_ahead < count && index_of(rows.to[i + mark_ahead]) < log.receiver_count())
      log.prefetch_append(index_of(rows.to[i + mark_ahead]));
    if (outcomes[i] != Outcome::ok) continue;

    const AgentId to = rows.to[i];
    const uint32_t size = rows.size(i);
    if (rows.sender(i) != append.sender) {
      append.sender = rows.sender(i);
      log.begin(append);
    }
    const bool known = generation_of(to) == 1 && index_of(to) < log.receiver_count();
    uint8_t* row = known && room != 0 ? log.append(append, index_of(to), size) : nullptr;
    if (!row && known && room != 0 && heal(index_of(to)))
      row = log.append(append, index_of(to), size);
    if (row) [[likely]] {
      write_row(row, rows.bytes(i), size);
      ++accepted;
      --room;
      continue;
    }
    const bool full = known && !log.odd(index_of(to));
    outcomes[i] = full ? refuse(Outcome::full) : send_row(rows, i);
    room = room_in_log();
    if (bulk.in_log) continue;
    rest = i + 1;  // What it met had the log spilled.
    break;
  }
  entered_here[0].add(accepted);
  if (log.memory_bytes() != bulk.bytes) count_memory();
  bulk.bytes = log.memory_bytes();
  for (size_t i = rest; i < count; ++i)
    if (outcomes[i] == Outcome::ok) outcomes[i] = send_row(rows, i);
}

uint64_t MailboxTable::State::room_in_log() const {
  const uint64_t waiting_count = waiting();
  return options.message_count_max - std::min<uint64_t>(waiting_count, options.message_count_max);
}

// True: the box was not plain or not empty when its receiver became odd, but is now.
bool MailboxTable::State::heal(uint32_t index) {
  if (!bulk.log.odd(index) || !boxes[index].plain_and_empty()) return false;
  bulk.log.next_sequence(index) = boxes[index].next_sequence;
  bulk.log.set_odd(index, false);
  return true;
}

// A message of its own while the log is in use. False: it goes to the box.
bool MailboxTable::State::log_single(const MessageHeader& header, const Content& content,
                                     Outcome& outcome_out) {
  EpochLog& log = bulk.log;
  bulk.pay(1);
  if (log.empty() && bulk.credit <= 0 && options.form != MailboxForm::log) {
    put_down_log();
    return false;
  }
  if (header.lane != 0) return false;
  const uint32_t index = index_of(header.to);
  if (generation_of(header.to) != 1 || content.buffer || !Bulk::holds(header, content.size) ||
      log.count_of(index) == 0) {
    leave_log(index);
    return false;
  }
  EpochLog::Append append;
  append.sender = header.sender;
  append.deadline_ns = header.deadline_ns;
  append.sent_ns = options.trace_interval != 0 ? clock->now_ns() : 0;
  log.begin(append);
  const auto size = uint32_t(content.size);
  uint8_t* row = room_in_log() != 0 ? log.append(append, index, size) : nullptr;
  outcome_out = row ? Outcome::ok : Outcome::full;
  if (row) write_row(row, content.data, size);
  return true;
}

// --- leaving

// All receivers of the epoch at hand are.
bool MailboxTable::State::log_wanted(const WantedBoxes& wanted) {
  EpochLog& log = bulk.log;
  uint32_t last = index_none;
  for (const uint32_t key : log.keys()) {
    const uint32_t receiver = log.receiver_of(key);
    if (receiver == last) continue;
    last = receiver;
    if (!wanted.wants(wanted.context, make_id(receiver, 1))) return false;
  }
  return true;
}

size_t MailboxTable::State::drain_log(MessageBatch::State& batch, size_t count_max, uint64_t now_ns,
                                      const WantedBoxes* only) {
  EpochLog& log = bulk.log;
  const size_t wanted = std::min<size_t>(count_max, log.count());
  if (wanted == 0) return 0;
  const bool alone = batch.empty();
  if (alone)
    batch.store.begin(bulk.arenas, wanted);
  else
    batch.reserve(wanted);

  size_t count = 0;
  uint64_t gone = 0;
  bool asked = true;  // about the epoch at hand, by the caller
  while (count < wanted && !log.empty()) {
    std::span<const uint32_t> keys = log.keys();
    if (log.last_key() < 0) {
      if (only && !asked && !log_wanted(*only)) break;
      observe_epoch(now_ns);
    }
    keys = keys.first(std::min(keys.size(), wanted - count));
    if (alone && same_for_all(batch.store, now_ns)) {
      take_rows_alike(keys, batch.store);
      count += keys.size();
    } else {
      const size_t before = count;
      int64_t last = log.last_key();
      for (const uint32_t key : keys) {
        HANSE_ASSERT(key > last);
        last = key;
        count += take_row(key, batch, alone, now_ns);
      }
      gone += keys.size() - (count - before);
    }
    log.advance(keys.size());
    asked = false;
  }
  taken[0].add(count);
  this->ended[0].add(gone);
  expired.add(gone);
  bulk.epochs.store(log.epochs(), std::memory_order_relaxed);
  return count;
}

// One row of each chunk stands for all of it.
void MailboxTable::State::observe_epoch(uint64_t now_ns) {
  if (options.trace_interval == 0) return;
  for (const LogChunk* chunk : bulk.log.epoch())
    add_age(now_ns > chunk->sent_ns ? now_ns - chunk->sent_ns : 0, 1);
}

// Every row of the epoch at hand lives and agrees with the batch in sender, size and deadline.
bool MailboxTable::State::same_for_all(const ColumnStore& store, uint64_t now_ns) const {
  if (options.digest) return false;
  const LogChunk& first = *bulk.log.epoch().front();
  const MessageColumns& columns = store.columns;
  const uint64_t deadline_ns = first.deadline_ns == UINT64_MAX ? 0 : first.deadline_ns;
  if (!store.empty() &&
      (columns.senders || columns.sizes || columns.deadlines || columns.sender != first.sender ||
       columns.size != first.size || columns.deadline_ns != deadline_ns))
    return false;
  for (const LogChunk* chunk : bulk.log.epoch())
    if (chunk->mixed || chunk->sender != first.sender || chunk->size != first.size ||
        chunk->deadline_ns != first.deadline_ns || chunk->deadline_ns <= now_ns)
      return false;
  return true;
}

void MailboxTable::State::take_rows_alike(std::span<const uint32_t> keys, ColumnStore& store) {
  EpochLog& log = bulk.log;
  BatchArena& arena = store.arena();
  MessageColumns& columns = store.columns;
  const EpochLog::Row first = log.row(keys[0]);
  columns.sender = first.sender;
  columns.size = first.size;
  columns.deadline_ns = first.deadline_ns;

  const size_t start = columns.count, count = keys.size();
  int64_t last = log.last_key();
  for (size_t i = 0; i < count; ++i) {
    if (i + row_ahead < count) __builtin_prefetch(log.bytes_of(keys[i + row_ahead]));
    const uint32_t key = keys[i], receiver = log.receiver_of(key);
    HANSE_ASSERT(key > last);
    last = key;
    std::memcpy(arena.rows[start + i].bytes, log.bytes_of(key), message_inline_bytes);
    arena.to[start + i] = make_id(receiver, 1);
    arena.sequences[start + i] = log.take(receiver);
  }
  columns.count = start + count;
}

bool MailboxTable::State::take_row(uint32_t key, MessageBatch::State& batch, bool alone,
                                   uint64_t now_ns) {
  const EpochLog::Row row = bulk.log.row(key);
  const uint64_t sequence = bulk.log.take(row.receiver);
  if (row.deadline_ns != 0 && row.deadline_ns <= now_ns) return false;
  if (options.digest) {
    MessageHeader header;
    header.to = make_id(row.receiver, 1);
    header.sender = row.sender;
    add_to_digest(header, {row.bytes, row.size}, sequence);
  }
  if (alone)
    batch.store.add(row, sequence);
  else
    batch.add(row, sequence);
  return true;
}

}  // namespace hanse
