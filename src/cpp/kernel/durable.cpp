// Durable boxes: sending, the outbox, what goes out again, and what a reader may know of them.
#include <algorithm>

#include "base/seeded_bug.hpp"
#include "kernel/inner.hpp"

namespace hanse {

namespace {

// A record holds this much of payloads and keys before another one is begun; far below what a
// record may be.
constexpr size_t pending_size_max = 256 << 10;
constexpr size_t commit_size_max = 768 << 10;
constexpr size_t line_size = 64;  // of a line without its payload and key, rounded up
constexpr size_t named_per_record = 32'768;

StoredBytes stored_of(Bulk& bulk) {
  StoredBytes stored;
  stored.size = bulk.size;
  stored.extent = bulk.extent;
  if (!bulk.in_extent()) stored.bytes = std::move(bulk.bytes);
  return stored;
}

// Same key, other body is a conflict: everything that the sender asked for is in here.
Digest body_of(AgentId to, const Bulk& payload) {
  ByteWriter body;
  body.put(to);
  body.put(payload.size);
  if (payload.in_extent())
    body.put_digest(payload.extent);
  else
    body.put_raw(payload.bytes);
  return sha256(body.bytes());
}

}  // namespace

// --- apply

void Kernel::Inner::apply(const Envelope&, Position, DurableDeclaredRecord& record) {
  for (const uint32_t agent : record.agents) {
    HANSE_ASSERT(agent < agents.count());
    durable.apply_declare(agent, record.options);
  }
}

void Kernel::Inner::apply(const Envelope&, Position position, DurableCommittedRecord& record) {
  apply_committed(position, record, {});
}

void Kernel::Inner::apply(const Envelope&, Position position, DurableOnTermsRecord& record) {
  apply_committed(position, record.committed, record.terms);
  for (const DurableTermsLine& line : record.terms) rearm(line.deadline_ns);
}

void Kernel::Inner::apply(const Envelope&, Position position, DurableResentRecord& record) {
  durable_sequences.assign(1, durable.apply_resend(record.agent, record.sequence, position));
}

void Kernel::Inner::apply_committed(Position position, DurableCommittedRecord& record,
                                    std::span<const DurableTermsLine> terms) {
  HANSE_ASSERT(record.agent < agents.count());
  durable_sequences.clear();
  for (const uint64_t sequence : record.acknowledged)
    durable.apply_acknowledge(record.agent, sequence);
  for (uint32_t i = 0; i < record.sent.size(); ++i) {
    DurableLine& line = record.sent[i];
    DurableTerms on;
    if (!terms.empty() && terms.front().line == i) {
      on = {terms.front().lane, terms.front().deadline_ns};
      HANSE_ASSERT(on.lane < durable_lane_count);
      terms = terms.subspan(1);
    }
    Digest body{};
    HANSE_ASSERT(line.body.size() == (line.key.empty() ? 0 : body.size()));
    std::copy(line.body.begin(), line.body.end(), body.begin());
    durable_sequences.push_back(durable.apply_send(record.agent, line.to, std::move(line.key), body,
                                                   stored_of(line.payload), position, on));
  }
  HANSE_ASSERT(terms.empty());
  if (record.has_state != 0) durable.apply_state(record.agent, stored_of(record.state));
}

void Kernel::Inner::apply(const Envelope&, Position position, DurableReturnedRecord& record) {
  for (const DurableNamed& named : record.again)
    durable.apply_return(named.agent, named.sequence, position);
  for (const DurableNamed& named : record.dead)
    durable.apply_dead(named.agent, named.sequence, record.reason);
}

// --- sending

// What needs no mutex: sizes, extents, digests.
void Kernel::Inner::prepare_durable(std::span<const DurableMessage> messages,
                                    std::vector<DurablePrepared>& prepared_out) {
  if (messages.size() > durable_batch_max)
    throw Error(ErrorCode::too_large, "messages", messages.size(), durable_batch_max);
  prepared_out.resize(messages.size());
  for (size_t i = 0; i < messages.size(); ++i) {
    DurablePrepared& prepared = prepared_out[i];
    if (messages[i].terms.lane >= durable_lane_count)
      throw Error(ErrorCode::out_of_range, "lane", messages[i].terms.lane, durable_lane_count - 1);
    if (messages[i].payload.size() > payload_size_max || messages[i].key.size() > key_size_max) {
      prepared.outcome = Outcome::too_large;
      continue;
    }
    prepared.payload = make_bulk(messages[i].payload);
    if (!messages[i].key.empty()) prepared.body = body_of(messages[i].to, prepared.payload);
  }
}

// The same key again: what became of the first one, or a conflict.
bool Kernel::Inner::durable_key_used(uint32_t sender, size_t at, const DurableMessage& message,
                                     const Digest& body, DurablePending& pending,
                                     DurableSent& sent_out) const {
  if (message.key.empty()) return false;
  if (const DurableKeyed* keyed = durable.keyed(sender, message.key)) {
    sent_out = {keyed->body == body || HANSE_SEEDED_BUG(45) ? Outcome::replayed : Outcome::conflict,
                keyed->sequence, keyed->position};
    return true;
  }
  const std::vector<DurableLine>& lines = pending.record.sent;
  const uint32_t line = durable_draft.keys.find(hash_bytes(message.key), [&](uint32_t i) {
    return std::ranges::equal(lines[i].key, message.key);
  });
  if (line == index_none) return false;
  const bool same = std::ranges::equal(lines[line].body, body);
  sent_out.outcome = same ? Outcome::replayed : Outcome::conflict;
  pending.rows.push_back({at, line});
  return true;
}

Outcome Kernel::Inner::check_durable(uint32_t sender, const DurableMessage& message,
                                     DurablePending& pending) {
  if (!agents.contains(message.to)) return Outcome::unknown;
  const uint32_t to = index_of(message.to);
  if (!agents.live(to)) return Outcome::revoked;
  const uint32_t group = to == 0 ? 0 : agents.parent(to);
  if (group != pending.group) {
    pending.group = group;
    pending.allowed = send_allowed(sender == 0 ? 0 : agents.parent(sender), group);
  }
  if (!pending.allowed) return Outcome::denied;
  const Outcome room = durable.check_send(to, message.payload.size(), durable_draft);
  return room == Outcome::ok ? label_flow(sender, to) : room;
}

// One more line of the record, or the reason why not.
void Kernel::Inner::add_durable(uint32_t sender, size_t at, const DurableMessage& message,
                                DurablePrepared& prepared, DurablePending& pending,
                                DurableSent& sent_out) {
  sent_out = {prepared.outcome};
  if (sent_out.outcome != Outcome::ok ||
      durable_key_used(sender, at, message, prepared.body, pending, sent_out))
    return;
  sent_out.outcome = check_durable(sender, message, pending);
  if (sent_out.outcome != Outcome::ok) return;
  const size_t line = pending.record.sent.size();
  pending.rows.push_back({at, line});
  DurableLine& added = pending.record.sent.emplace_back();
  added.to = index_of(message.to);
  if (!message.key.empty()) {
    added.key.assign(message.key.begin(), message.key.end());
    added.body.assign(prepared.body.begin(), prepared.body.end());
    durable_draft.keys.insert(hash_bytes(message.key), uint32_t(line));
  }
  added.payload = std::move(prepared.payload);
  if (message.terms.any())
    pending.terms.push_back({uint32_t(line), message.terms.lane, message.terms.deadline_ns});
  durable.draft_send(added.to, message.payload.size(), durable_draft);
  pending.size_bytes +=
      line_size + message.key.size() + (added.payload.in_extent() ? 0 : message.payload.size());
}

Position Kernel::Inner::commit_pending(uint32_t agent, DurablePending& pending,
                                       std::span<DurableSent> sent_out) {
  pending.record.agent = agent;
  Position position;
  if (pending.terms.empty()) {
    position = commit(agent, pending.record);
  } else {
    DurableOnTermsRecord record{std::move(pending.record), std::move(pending.terms)};
    position = commit(agent, record);
  }
  for (const DurablePending::Row& row : pending.rows) {
    sent_out[row.message].sequence = durable_sequences[row.line];
    sent_out[row.message].position = position;
  }
  return position;
}

void Kernel::Inner::send_durable_all(AgentId sender, std::span<const DurableMessage> messages,
                                     std::span<DurableSent> sent_out, bool single) {
  check_open();
  std::vector<DurablePrepared> prepared;
  prepare_durable(messages, prepared);
  {
    std::lock_guard lock(writer);
    begin();
    const uint32_t me = agents.index_checked(sender);
    uint64_t size = 0;
    for (const DurableMessage& message : messages) size += message.payload.size() + 256;
    check_memory(size, "mailboxes");
    DurablePending pending;
    const auto commit_lines = [&] {
      if (!pending.record.sent.empty()) {
        try {
          commit_pending(me, pending, sent_out);
        } catch (const Error& error) {
          // What was sent before stands; there is no room on the disk for these.
          if (single || error.code() != ErrorCode::storage_full) throw;
          for (const DurablePending::Row& row : pending.rows)
            sent_out[row.message] = {Outcome::full};
        }
      }
      pending.record = {};
      pending.terms.clear();
      pending.rows.clear();
      pending.size_bytes = 0;
      durable_draft.clear();
    };
    durable_draft.clear();
    const bool live = agents.live(me);
    for (size_t i = 0; i < messages.size(); ++i) {
      if (live)
        add_durable(me, i, messages[i], prepared[i], pending, sent_out[i]);
      else
        sent_out[i] = {Outcome::revoked};
      if (pending.size_bytes >= pending_size_max) commit_lines();
    }
    commit_lines();
  }
  // A stored result waits too: its record may still be on the way to the disk.
  Position last = position_none;
  for (const DurableSent& sent : sent_out)
    if (sent.position != position_none && (last == position_none || sent.position > last))
      last = sent.position;
  if (last != position_none) wait(last);
}

DurableSent Kernel::send_durable(AgentId sender, const DurableMessage& message) {
  DurableSent sent;
  inner_->send_durable_all(sender, {&message, 1}, {&sent, 1}, true);
  return sent;
}

void Kernel::send_durable_many(AgentId sender, std::span<const DurableMessage> messages,
                               std::span<DurableSent> sent_out) {
  if (sent_out.size() != messages.size())
    throw Error(ErrorCode::bad_array, "sent_out", sent_out.size(), messages.size());
  inner_->send_durable_all(sender, messages, sent_out, false);
}

// --- the outbox

Position Kernel::commit_durable(AgentId agent, const DurableCommit& commit,
                                std::span<DurableSent> sent_out, bool wait) {
  Inner& in = *inner_;
  in.check_open();
  if (sent_out.size() != commit.send.size())
    throw Error(ErrorCode::bad_array, "sent_out", sent_out.size(), commit.send.size());
  if (commit.acknowledge.size() > durable_batch_max)
    throw Error(ErrorCode::too_large, "acknowledge", commit.acknowledge.size(), durable_batch_max);
  if (commit.state && commit.state->size() > agent_state_size_max)
    throw Error(ErrorCode::too_large, "state", commit.state->size(), agent_state_size_max);
  if (commit.acknowledge.empty() && commit.send.empty() && !commit.state)
    throw Error(ErrorCode::empty, "commit", "acknowledges, sends and stores nothing");
  std::vector<Inner::DurablePrepared> prepared;
  in.prepare_durable(commit.send, prepared);
  Inner::DurablePending pending;
  if (commit.state) {
    pending.record.has_state = 1;
    pending.record.state = in.make_bulk(*commit.state);
  }
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(agent);
    in.durable.check_queued(me, commit.acknowledge);
    pending.record.acknowledged.assign(commit.acknowledge.begin(), commit.acknowledge.end());
    in.durable_draft.clear();
    bool refused = false;
    for (size_t i = 0; i < commit.send.size(); ++i) {
      in.add_durable(me, i, commit.send[i], prepared[i], pending, sent_out[i]);
      refused |= sent_out[i].outcome != Outcome::ok && sent_out[i].outcome != Outcome::replayed;
    }
    if (refused) {
      for (DurableSent& sent : sent_out)
        if (sent.outcome == Outcome::ok || sent.outcome == Outcome::replayed)
          sent = {Outcome::aborted};
      return position_none;
    }
    if (pending.size_bytes > commit_size_max)
      throw Error(ErrorCode::too_large, "send", pending.size_bytes, commit_size_max);
    in.check_memory(pending.size_bytes + commit.send.size() * 256, "mailboxes");
    if (commit.acknowledge.empty() && pending.record.sent.empty() && !commit.state) {
      // Nothing but what was sent before: it waits for that.
      position = 0;
      for (const DurableSent& sent : sent_out) position = std::max(position, sent.position);
    } else {
      position = in.commit_pending(me, pending, sent_out);
    }
  }
  if (wait) in.wait(position);
  return position;
}

Position Kernel::return_durable(AgentId agent, std::span<const uint64_t> sequences, bool wait) {
  Inner& in = *inner_;
  in.check_open();
  if (sequences.size() > durable_batch_max)
    throw Error(ErrorCode::too_large, "sequences", sequences.size(), durable_batch_max);
  if (sequences.empty()) return position_none;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(agent);
    in.durable.check_queued(me, sequences);
    DurableReturnedRecord record;
    const uint64_t now_ns = in.clock->now_ns();
    for (const uint64_t sequence : sequences)
      (in.durable.attempts_used(me, sequence) || in.durable.late(me, sequence, now_ns)
           ? record.dead
           : record.again)
          .push_back({me, sequence});
    position = in.commit(me, record);
  }
  if (wait) in.wait(position);
  return position;
}

// What was not acknowledged goes out again; what may have been handed out counts an attempt.
void Kernel::Inner::redeliver_durable() {
  std::lock_guard lock(writer);
  std::vector<DurableTable::Named> named;
  durable.unacknowledged(named);
  for (size_t at = 0; at < named.size(); at += named_per_record) {
    DurableReturnedRecord record;
    const size_t end = std::min(named.size(), at + named_per_record);
    for (size_t i = at; i < end; ++i)
      (durable.attempts_used(named[i].agent, named[i].sequence) ? record.dead : record.again)
          .push_back({named[i].agent, named[i].sequence});
    commit(0, record);
  }
}

// --- boxes

Position Kernel::declare_durable(AgentId actor, std::span<const AgentId> agents,
                                 const DurableOptions& options) {
  Inner& in = *inner_;
  DurableTable::check_options(options);
  if (agents.size() > 65'536) throw Error(ErrorCode::too_large, "agents", agents.size(), 65'536);
  if (agents.empty()) return position_none;
  Position position;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    DurableDeclaredRecord record;
    record.options = options;
    for (const AgentId agent : agents) record.agents.push_back(in.within(me, agent));
    in.check_memory(agents.size() * 512, "mailboxes");
    position = in.commit(me, record);
  }
  in.wait(position);
  return position;
}

bool Kernel::is_durable(AgentId agent) const {
  std::lock_guard lock(inner_->writer);
  inner_->check_open();
  return inner_->durable.declared(inner_->agents.index_checked(agent));
}

// What a box holds is for its agent and those above it.
static uint32_t box_checked(const Kernel::Inner& in, AgentId actor, AgentId agent) {
  in.check_open();
  const uint32_t index = in.within(in.agents.index_checked(actor), agent);
  if (!in.durable.declared(index))
    throw Error(ErrorCode::out_of_range, "agent", "its box is not durable", agent);
  return index;
}

DurableBoxInfo Kernel::durable_box(AgentId actor, AgentId agent) const {
  std::lock_guard lock(inner_->writer);
  return inner_->durable.info(box_checked(*inner_, actor, agent));
}

std::vector<DurableDead> Kernel::durable_dead_letters(AgentId actor, AgentId agent) const {
  std::vector<DurableDead> letters;
  {
    std::lock_guard lock(inner_->writer);
    const std::deque<DurableDead>& dead = inner_->durable.dead(box_checked(*inner_, actor, agent));
    letters.assign(dead.begin(), dead.end());
  }
  for (DurableDead& letter : letters)
    if (letter.payload.in_extent())
      letter.payload.bytes = inner_->journal->get_extent(letter.payload.extent);
  return letters;
}

std::vector<uint8_t> Kernel::durable_state(AgentId actor, AgentId agent) const {
  StoredBytes state;
  {
    std::lock_guard lock(inner_->writer);
    inner_->check_open();
    const uint32_t index = inner_->within(inner_->agents.index_checked(actor), agent);
    if (const StoredBytes* found = inner_->durable.state(index)) state = *found;
  }
  return state.in_extent() ? inner_->journal->get_extent(state.extent) : std::move(state.bytes);
}

}  // namespace hanse
