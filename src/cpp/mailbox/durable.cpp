#include "mailbox/durable.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/seeded_bug.hpp"

namespace hanse {

namespace {

void put_stored(ByteWriter& writer, const StoredBytes& stored) {
  writer.put(stored.size);
  if (stored.in_extent())
    writer.put_digest(stored.extent);
  else
    writer.put_raw(stored.bytes);
}

uint32_t grown(std::vector<uint32_t>& map, uint32_t agent) {
  if (agent >= map.size()) map.resize(agent + size_t(1), index_none);
  return map[agent];
}

}  // namespace

void DurableDraft::clear() {
  for (const uint32_t box : touched_) rooms_[box] = {};
  touched_.clear();
  if (keys.count() != 0) keys = {};
}

void DurableDraft::add(uint32_t box, uint64_t size) {
  if (box >= rooms_.size()) rooms_.resize(box + size_t(1));
  Room& room = rooms_[box];
  if (room.messages == 0) touched_.push_back(box);
  ++room.messages;
  room.bytes += size;
}

// --- checks

void DurableTable::check_options(const DurableOptions& options) {
  const auto check = [](const char* field, uint64_t value, uint64_t limit) {
    if (value == 0 || value > limit) throw Error(ErrorCode::out_of_range, field, value, limit);
  };
  check("capacity_messages", options.capacity_messages, durable_capacity_max);
  check("in_flight_max", options.in_flight_max, durable_in_flight_max);
  check("payload_bytes_max", options.payload_bytes_max, uint64_t(1) << 40);
  check("attempts_max", options.attempts_max, UINT16_MAX);
}

const DurableKeyed* DurableTable::keyed(uint32_t sender, Bytes key) const {
  const uint32_t found = keyed_of_.find(hash_bytes(key, sender), [&](uint32_t at) {
    return keyed_[at].sender == sender && std::ranges::equal(keyed_[at].key, key);
  });
  return found == index_none ? nullptr : &keyed_[found];
}

Outcome DurableTable::check_send(uint32_t to, uint64_t size, const DurableDraft& draft) const {
  const uint32_t index = box_find(to);
  if (index == index_none) return Outcome::invalid;
  const Box& box = boxes_[index];
  if (size > box.options.payload_bytes_max) return Outcome::too_large;
  const uint64_t queued = uint64_t(box.queued) + draft.messages(index);
  const uint64_t bytes = box.payload_bytes + draft.bytes(index);
  if (queued >= box.options.capacity_messages + HANSE_SEEDED_BUG(57) ||
      bytes + size > box.options.payload_bytes_max)
    return Outcome::full;
  return Outcome::ok;
}

void DurableTable::draft_send(uint32_t to, uint64_t size, DurableDraft& draft) const {
  draft.add(box_find(to), size);
}

void DurableTable::check_queued(uint32_t agent, std::span<const uint64_t> sequences) const {
  if (sequences.empty()) return;
  const uint32_t index = box_find(agent);
  const uint64_t sent = index == index_none ? 0 : boxes_[index].next_sequence;
  std::vector<uint64_t> sorted(sequences.begin(), sequences.end());
  std::ranges::sort(sorted);
  for (size_t i = 0; i < sorted.size(); ++i) {
    const uint64_t sequence = sorted[i];
    if (sequence >= sent)
      throw Error(ErrorCode::out_of_range, "sequence",
                  std::to_string(sequence) + " where the durable box has had " +
                      std::to_string(sent) + " messages",
                  make_id(agent, 1));
    if ((i != 0 && sorted[i - 1] == sequence) || find(boxes_[index], sequence) == nullptr)
      throw Error(ErrorCode::already_resolved, "message",
                  std::to_string(sequence) + " is acknowledged or dead already", make_id(agent, 1));
  }
}

bool DurableTable::attempts_used(uint32_t agent, uint64_t sequence) const {
  const Box& box = boxes_[box_find(agent)];
  return find(box, sequence)->attempt >= box.options.attempts_max + HANSE_SEEDED_BUG(46);
}

bool DurableTable::late(uint32_t agent, uint64_t sequence, uint64_t now_ns) const {
  const uint64_t deadline_ns = find(boxes_[box_find(agent)], sequence)->terms.deadline_ns;
  return deadline_ns != 0 && deadline_ns <= now_ns;
}

const DurableDead* DurableTable::dead_letter(uint32_t agent, uint64_t sequence) const {
  const std::deque<DurableDead>& dead = boxes_[box_find(agent)].dead;
  const auto found = std::ranges::find(dead, sequence, &DurableDead::sequence);
  return found == dead.end() ? nullptr : &*found;
}

const DurableTable::Entry* DurableTable::find(const Box& box, uint64_t sequence) {
  const auto found = std::ranges::lower_bound(box.entries, sequence, {}, &Entry::sequence);
  if (found == box.entries.end() || found->sequence != sequence || found->gone) return nullptr;
  return &*found;
}

DurableTable::Entry* DurableTable::find(Box& box, uint64_t sequence) {
  return const_cast<Entry*>(find(static_cast<const Box&>(box), sequence));
}

// --- changes

void DurableTable::apply_declare(uint32_t agent, const DurableOptions& options) {
  uint32_t index = grown(box_of_, agent);
  if (index == index_none) {
    index = box_of_[agent] = uint32_t(boxes_.size());
    boxes_.emplace_back().agent = agent;
  }
  boxes_[index].options = options;
  box_hash_.mark(index);
  wake(index);
}

uint32_t DurableTable::party_add(uint32_t agent) {
  uint32_t index = grown(party_of_, agent);
  if (index == index_none) {
    index = party_of_[agent] = uint32_t(parties_.size());
    parties_.emplace_back().agent = agent;
  }
  party_hash_.mark(index);
  return index;
}

void DurableTable::remember(uint32_t sender, uint32_t to, std::vector<uint8_t> key,
                            const Digest& body, uint64_t sequence, Position position) {
  Party& party = parties_[party_add(sender)];
  uint32_t slot;
  if (party.window.size() >= durable_keys_per_sender_max) {
    slot = party.window.front();
    party.window.pop_front();
    keyed_of_.erase(hash_bytes(keyed_[slot].key, sender), slot);
    owned_bytes_ -= keyed_[slot].key.size();
  } else {
    slot = uint32_t(keyed_.size());
    keyed_.emplace_back();
  }
  owned_bytes_ += key.size();
  keyed_of_.insert(hash_bytes(key, sender), slot);
  keyed_[slot] = {sender, to, std::move(key), body, sequence, position};
  party.window.push_back(slot);
}

uint64_t DurableTable::apply_send(uint32_t sender, uint32_t to, std::vector<uint8_t> key,
                                  const Digest& body, StoredBytes payload, Position position,
                                  const DurableTerms& terms) {
  const uint32_t index = box_find(to);
  HANSE_ASSERT(index != index_none);
  const uint64_t sequence = enter(index, sender, std::move(payload), position, terms);
  if (!key.empty()) remember(sender, to, std::move(key), body, sequence, position);
  return sequence;
}

uint64_t DurableTable::enter(uint32_t index, uint32_t sender, StoredBytes payload,
                             Position position, const DurableTerms& terms) {
  Box& box = boxes_[index];
  const uint64_t sequence = box.next_sequence++;
  box.payload_bytes += payload.size;
  owned_bytes_ += payload.bytes.size();
  ++box.queued;
  ++entry_count_;
  ++box.lanes[terms.lane].queued;
  box.entries.push_back({sequence, position, sender, 1, false, false, std::move(payload), terms});
  watch(index, box.entries.back());
  box_hash_.mark(index);
  wake(index);
  return sequence;
}

uint64_t DurableTable::apply_resend(uint32_t agent, uint64_t sequence, Position position) {
  const uint32_t index = box_find(agent);
  HANSE_ASSERT(index != index_none);
  std::deque<DurableDead>& dead = boxes_[index].dead;
  const auto found = std::ranges::find(dead, sequence, &DurableDead::sequence);
  HANSE_ASSERT(found != dead.end());
  DurableDead letter = std::move(*found);
  dead.erase(found);
  --dead_count_;
  owned_bytes_ -= letter.payload.bytes.size();
  return enter(index, letter.sender, std::move(letter.payload), position, {letter.lane, 0});
}

void DurableTable::watch(uint32_t index, const Entry& entry) {
  if (entry.terms.deadline_ns != 0)
    deadlines_.insert({entry.terms.deadline_ns, index, entry.sequence});
}

void DurableTable::unwatch(uint32_t index, const Entry& entry) {
  if (entry.terms.deadline_ns != 0)
    deadlines_.erase({entry.terms.deadline_ns, index, entry.sequence});
}

// The entry is queued no more; its payload may have been moved from.
void DurableTable::remove(uint32_t index, Entry& entry) {
  Box& box = boxes_[index];
  box.payload_bytes -= entry.payload.size;
  owned_bytes_ -= entry.payload.bytes.size();
  --box.queued;
  if (entry.handed) --box.in_flight;
  box.lanes[entry.terms.lane].returned.erase(entry.sequence);
  --box.lanes[entry.terms.lane].queued;
  unwatch(index, entry);
  entry.payload = {};
  entry.gone = true;
  ++box.gone;
  while (!box.entries.empty() && box.entries.front().gone) {
    box.entries.pop_front();
    --box.gone;
    --entry_count_;
  }
  // One message that nobody acknowledges must not keep the places of all behind it.
  if (box.gone > box.queued + 64) {
    entry_count_ -= std::erase_if(box.entries, [](const Entry& at) { return at.gone; });
    box.gone = 0;
  }
  box_hash_.mark(index);
  wake(index);
}

void DurableTable::apply_acknowledge(uint32_t agent, uint64_t sequence) {
  const uint32_t index = box_find(agent);
  HANSE_ASSERT(index != index_none);
  Entry* entry = find(boxes_[index], sequence);
  HANSE_ASSERT(entry != nullptr);
  boxes_[index].acknowledged += HANSE_SEEDED_BUG(58) ? 2 : 1;
  remove(index, *entry);
}

void DurableTable::apply_return(uint32_t agent, uint64_t sequence, Position position) {
  const uint32_t index = box_find(agent);
  HANSE_ASSERT(index != index_none);
  Box& box = boxes_[index];
  Entry* entry = find(box, sequence);
  HANSE_ASSERT(entry != nullptr);
  if (entry->attempt != UINT16_MAX) ++entry->attempt;
  entry->position = position;
  if (entry->handed) {
    entry->handed = false;
    --box.in_flight;
    box.lanes[entry->terms.lane].returned.insert(sequence);
    watch(index, *entry);
  }
  box_hash_.mark(index);
  wake(index);
}

void DurableTable::bury(uint32_t index, Entry& entry, Outcome reason) {
  Box& box = boxes_[index];
  ++box.dead_count;
  if (box.dead.size() >= durable_dead_per_box_max) {
    owned_bytes_ -= box.dead.front().payload.bytes.size();
    box.dead.pop_front();
    --dead_count_;
  }
  ++dead_count_;
  owned_bytes_ += entry.payload.bytes.size();
  box.dead.push_back(
      {entry.sender, entry.attempt, reason, entry.sequence, entry.payload, entry.terms.lane});
  remove(index, entry);
}

void DurableTable::apply_dead(uint32_t agent, uint64_t sequence, Outcome reason) {
  const uint32_t index = box_find(agent);
  HANSE_ASSERT(index != index_none);
  Entry* entry = find(boxes_[index], sequence);
  HANSE_ASSERT(entry != nullptr);
  bury(index, *entry, reason);
}

void DurableTable::apply_close(const std::function<bool(uint32_t agent)>& closed, Outcome reason) {
  for (uint32_t index = 0; index < boxes_.size(); ++index) {
    Box& box = boxes_[index];
    if (box.queued == 0 || !closed(box.agent)) continue;
    entry_count_ -= std::erase_if(box.entries, [](const Entry& at) { return at.gone; });
    box.gone = 0;
    while (!box.entries.empty()) bury(index, box.entries.front(), reason);
  }
}

void DurableTable::apply_state(uint32_t agent, StoredBytes state) {
  Party& party = parties_[party_add(agent)];
  owned_bytes_ += state.bytes.size();
  owned_bytes_ -= party.state.bytes.size();
  party.state = std::move(state);
  party.has_state = true;
}

void DurableTable::unacknowledged(std::vector<Named>& out) const {
  out.clear();
  for (uint32_t agent = 0; agent < box_of_.size(); ++agent) {
    if (box_of_[agent] == index_none) continue;
    const Box& box = boxes_[box_of_[agent]];
    std::array<uint32_t, durable_lane_count> counts{};
    for (const Entry& entry : box.entries) {
      if (entry.gone || counts[entry.terms.lane] == box.options.in_flight_max) continue;
      out.push_back({agent, entry.sequence});
      ++counts[entry.terms.lane];
    }
  }
}

void DurableTable::due(uint64_t now_ns, size_t count_max, std::vector<Named>& out) const {
  for (const Deadline& at : deadlines_) {
    if (at.deadline_ns > now_ns || out.size() >= count_max) return;
    out.push_back({boxes_[at.box].agent, at.sequence});
  }
}

void DurableTable::untake(uint32_t agent, uint64_t sequence) {
  const uint32_t index = box_find(agent);
  if (index == index_none) return;
  Box& box = boxes_[index];
  Entry* const entry = find(box, sequence);
  if (entry == nullptr || entry->gone || !entry->handed) return;
  box.lanes[entry->terms.lane].returned.insert(sequence);
  entry->handed = false;
  --box.in_flight;
  watch(index, *entry);
  wake(index);
}

// --- what is

DurableBoxInfo DurableTable::info(uint32_t agent) const {
  const Box& box = boxes_[box_find(agent)];
  return {box.options, box.next_sequence, box.acknowledged, box.dead_count,
          box.queued,  box.in_flight,     box.payload_bytes};
}

const std::deque<DurableDead>& DurableTable::dead(uint32_t agent) const {
  return boxes_[box_find(agent)].dead;
}

const StoredBytes* DurableTable::state(uint32_t agent) const {
  const uint32_t index = party_find(agent);
  return index == index_none || !parties_[index].has_state ? nullptr : &parties_[index].state;
}

void DurableTable::put_box(const Box& box, ByteWriter& writer) const {
  writer.put(box.agent);
  writer.put(box.options.capacity_messages), writer.put(box.options.in_flight_max);
  writer.put(box.options.payload_bytes_max), writer.put(box.options.attempts_max);
  writer.put(box.next_sequence), writer.put(box.acknowledged), writer.put(box.dead_count);
  writer.put(box.queued);
  for (const Entry& entry : box.entries) {
    if (entry.gone) continue;
    writer.put(entry.sequence), writer.put(entry.position), writer.put(entry.sender);
    writer.put(entry.attempt);
    put_stored(writer, entry.payload);
  }
  writer.put(uint32_t(box.dead.size()));
  for (const DurableDead& dead : box.dead) {
    writer.put(dead.sequence), writer.put(dead.sender), writer.put(dead.attempt);
    writer.put(dead.reason);
    put_stored(writer, dead.payload);
  }
  put_terms(box, writer);
}

void DurableTable::put_party(const Party& party, ByteWriter& writer) const {
  writer.put(party.agent);
  writer.put(uint8_t(party.has_state));
  put_stored(writer, party.state);
  writer.put(uint32_t(party.window.size()));
  for (const uint32_t slot : party.window) {
    const DurableKeyed& keyed = keyed_[slot];
    writer.put(keyed.to);
    writer.put_bytes(keyed.key);
    writer.put_digest(keyed.body);
    writer.put(keyed.sequence), writer.put(keyed.position);
  }
}

Digest DurableTable::state_hash() const {
  Sha256 all;
  all.update(box_hash_.digest(uint32_t(boxes_.size()), [&](uint32_t at, ByteWriter& writer) {
    put_box(boxes_[at], writer);
  }));
  all.update(party_hash_.digest(uint32_t(parties_.size()), [&](uint32_t at, ByteWriter& writer) {
    put_party(parties_[at], writer);
  }));
  return all.finish();
}

uint64_t DurableTable::memory_bytes() const {
  return entry_count_ * sizeof(Entry) + dead_count_ * sizeof(DurableDead) + owned_bytes_ +
         boxes_.size() * sizeof(Box) + parties_.size() * sizeof(Party) +
         (box_of_.capacity() + party_of_.capacity()) * sizeof(uint32_t) +
         keyed_.size() * (sizeof(DurableKeyed) + sizeof(uint32_t)) + keyed_of_.memory_bytes();
}

}  // namespace hanse
