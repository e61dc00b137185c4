// Durable boxes in a snapshot: what is queued and dead, states, and the keys that are remembered.
// What was handed out is nobody's knowledge after a restart, so it isn't in there.
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
}

void DurableTable::decode(SnapshotReader& in, uint32_t agent_count) {
  in.table([&](size_t, FieldReader& fields) { decode_box(in, fields, agent_count); });
  in.table([&](size_t, FieldReader& fields) { decode_party(in, fields, agent_count); });
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
