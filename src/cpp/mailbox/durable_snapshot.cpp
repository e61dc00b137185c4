// Durable boxes in a snapshot: what is queued and dead, states, and the keys that are remembered.
// What was handed out is nobody's knowledge after a restart, so it isn't in there.
#include <algorithm>

#include "mailbox/durable.hpp"

namespace hanse {

void DurableTable::encode(SnapshotWriter& out) const {
  out.table(boxes_.size(), [&](size_t at, FieldWriter& fields) {
    const Box& box = boxes_[at];
    fields(box, box.queued);
    for (const Entry& entry : box.entries)
      if (!entry.gone) fields(entry);
    fields(uint32_t(box.dead.size()));
    for (const DurableDead& dead : box.dead) fields(dead);
  });
  out.table(parties_.size(), [&](size_t at, FieldWriter& fields) {
    const Party& party = parties_[at];
    fields(party.agent, party.has_state, party.state, uint32_t(party.window.size()));
    for (const uint32_t slot : party.window) fields(keyed_[slot]);
  });
  if (has_terms()) encode_terms(out);
}

// --- lanes and deadlines, which few messages have: behind everything else, in hash and snapshot

namespace {

struct Termed {
  uint32_t agent = 0;
  uint64_t sequence = 0;
  bool dead = false;
  DurableTerms terms;

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.agent, self.sequence, self.dead, self.terms.lane, self.terms.deadline_ns);
  }
};

// visit(Termed) for each message of a box that has any, those that wait first.
template <class Box, class Visit>
void each_termed(const Box& box, Visit&& visit) {
  for (const auto& entry : box.entries)
    if (!entry.gone && entry.terms.any())
      visit(Termed{box.agent, entry.sequence, false, entry.terms});
  for (const DurableDead& dead : box.dead)
    if (dead.lane != 0) visit(Termed{box.agent, dead.sequence, true, {dead.lane, 0}});
}

}  // namespace

bool DurableTable::has_terms() const {
  size_t count = 0;
  for (const Box& box : boxes_) each_termed(box, [&](const Termed&) { ++count; });
  return count != 0;
}

void DurableTable::put_terms(const Box& box, ByteWriter& writer) {
  uint32_t count = 0;
  each_termed(box, [&](const Termed&) { ++count; });
  if (count == 0) return;
  writer.put(count);
  FieldWriter fields(writer);
  each_termed(box, [&](const Termed& one) { fields(one); });
}

void DurableTable::encode_terms(SnapshotWriter& out) const {
  std::vector<Termed> all;
  for (const Box& box : boxes_) each_termed(box, [&](const Termed& one) { all.push_back(one); });
  out.table(all.size(), [&](size_t at, FieldWriter& fields) { fields(all[at]); });
}

void DurableTable::decode_terms(SnapshotReader& in) {
  in.table([&](size_t, FieldReader& fields) {
    Termed one;
    fields(one);
    in.require(declared(one.agent), "terms.agent");
    in.require(one.terms.lane < durable_lane_count && one.terms.any(), "terms.lane");
    const uint32_t index = box_find(one.agent);
    Box& box = boxes_[index];
    if (one.dead) {
      const auto found = std::ranges::find(box.dead, one.sequence, &DurableDead::sequence);
      in.require(found != box.dead.end() && found->lane == 0, "terms.sequence");
      found->lane = one.terms.lane;
      return;
    }
    Entry* entry = find(box, one.sequence);
    in.require(entry != nullptr && !entry->terms.any(), "terms.sequence");
    entry->terms = one.terms;
    --box.lanes[0].queued;
    ++box.lanes[one.terms.lane].queued;
    watch(index, *entry);
    wake(index);
  });
}

void DurableTable::decode(SnapshotReader& in, uint32_t agent_count) {
  in.table([&](size_t, FieldReader& fields) { decode_box(in, fields, agent_count); });
  in.table([&](size_t, FieldReader& fields) { decode_party(in, fields, agent_count); });
  if (in.version() >= 2) decode_terms(in);
  in.expect_end();
}

void DurableTable::decode_box(SnapshotReader& in, FieldReader& fields, uint32_t agent_count) {
  const auto index = uint32_t(boxes_.size());
  Box& box = boxes_.emplace_back();
  uint32_t dead_count = 0;
  fields(box, box.queued);
  in.require(box.agent < agent_count && !declared(box.agent), "box.agent");
  in.require(box.queued <= in.remaining(), "box.queued");
  for (uint32_t i = 0; i < box.queued; ++i) {
    Entry& entry = box.entries.emplace_back();
    fields(entry);
    in.require(entry.sequence < box.next_sequence &&
                   (i == 0 || box.entries[i - 1].sequence < entry.sequence),
               "message.sequence");
    box.payload_bytes += entry.payload.size;
    owned_bytes_ += entry.payload.bytes.size();
  }
  fields(dead_count);
  in.require(dead_count <= durable_dead_per_box_max, "box.dead");
  for (uint32_t i = 0; i < dead_count; ++i) {
    fields(box.dead.emplace_back());
    owned_bytes_ += box.dead.back().payload.bytes.size();
  }
  box.lanes[0].queued = box.queued;
  entry_count_ += box.queued;
  dead_count_ += dead_count;
  if (box.agent >= box_of_.size()) box_of_.resize(box.agent + size_t(1), index_none);
  box_of_[box.agent] = index;
  box_hash_.mark(index);
  wake(index);
}

void DurableTable::decode_party(SnapshotReader& in, FieldReader& fields, uint32_t agent_count) {
  uint32_t agent = 0, window = 0;
  fields(agent);
  in.require(agent < agent_count && party_find(agent) == index_none, "party.agent");
  Party& party = parties_[party_add(agent)];
  fields(party.has_state, party.state, window);
  in.require(window <= durable_keys_per_sender_max, "party.window");
  owned_bytes_ += party.state.bytes.size();
  for (uint32_t i = 0; i < window; ++i) {
    const auto slot = uint32_t(keyed_.size());
    DurableKeyed& keyed = keyed_.emplace_back();
    fields(keyed);
    in.require(keyed.sender == agent, "key.sender");
    owned_bytes_ += keyed.key.size();
    keyed_of_.insert(hash_bytes(keyed.key, agent), slot);
    party.window.push_back(slot);
  }
}

}  // namespace hanse
