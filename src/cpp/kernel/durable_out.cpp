// What leaves durable boxes: handed out, late, or dead and sent again.
#include "kernel/inner.hpp"

namespace hanse {

namespace {

Bulk bulk_of(const StoredBytes& stored) {
  return {stored.size, stored.extent, stored.bytes, nullptr};
}

}  // namespace

static void put_delivery(const AgentTable& agents, const DurableTaken& taken, Delivery& delivery,
                         Bulk& payload) {
  delivery.durable = true;
  delivery.worker = agents.id_at(taken.to);
  delivery.requester = agents.id_at(taken.sender);
  delivery.attempt = taken.attempt;
  delivery.sequence = taken.sequence;
  delivery.lane = taken.terms.lane;
  delivery.deadline_ns = taken.terms.deadline_ns;
  payload = bulk_of(taken.payload);
}

void Kernel::Inner::take_durable(size_t count_max, std::vector<Delivery>& deliveries,
                                 std::vector<Bulk>& payloads) {
  if (options.read_only || deliveries.size() >= count_max) return;
  const uint64_t now_ns = clock->now_ns();
  expire_all_durable(now_ns);
  if (!durable.ready()) return;
  std::vector<DurableTaken> taken;
  durable.take(
      journal->durable_count(), now_ns, count_max - deliveries.size(),
      [this](uint32_t agent) { return flow->mailboxes.paused(agents.id_at(agent)); }, taken);
  for (const DurableTaken& one : taken)
    put_delivery(agents, one, deliveries.emplace_back(), payloads.emplace_back());
}

bool Kernel::Inner::take_durable_of(uint32_t agent, Delivery& delivery_out, Bulk& payload_out) {
  DurableTaken taken;
  if (options.read_only) return false;
  const uint64_t now_ns = clock->now_ns();
  expire_all_durable(now_ns);
  if (!durable.take_from(agent, journal->durable_count(), now_ns, taken)) return false;
  put_delivery(agents, taken, delivery_out, payload_out);
  return true;
}

// Those that wait past their deadline, one record of them.
uint32_t Kernel::Inner::expire_durable(uint64_t now_ns) {
  if (durable.earliest_deadline_ns() > now_ns) return 0;
  std::vector<DurableTable::Named> named;
  durable.due(now_ns, expiries_per_command_max, named);
  DurableReturnedRecord record;
  for (const DurableTable::Named& one : named) record.dead.push_back({one.agent, one.sequence});
  commit(0, record);
  return uint32_t(named.size());
}

// Before anything is handed out: what is late must not hold up what is behind it.
void Kernel::Inner::expire_all_durable(uint64_t now_ns) {
  while (broken.empty() && expire_durable(now_ns) != 0) {
  }
}

DurableSent Kernel::resend_durable(AgentId actor, AgentId agent, uint64_t sequence) {
  Inner& in = *inner_;
  DurableSent sent;
  {
    std::lock_guard lock(in.writer);
    in.begin();
    const uint32_t me = in.acting(actor);
    const uint32_t index = in.within(me, agent);
    if (!in.durable.declared(index))
      throw Error(ErrorCode::out_of_range, "agent", "its box is not durable", agent);
    const DurableDead* letter = in.durable.dead_letter(index, sequence);
    if (letter == nullptr) return {Outcome::unknown};
    if (!in.agents.live(index)) return {Outcome::revoked};
    in.durable_draft.clear();
    sent.outcome = in.durable.check_send(index, letter->payload.size, in.durable_draft);
    if (sent.outcome != Outcome::ok) return sent;
    DurableResentRecord record{index, sequence};
    sent.position = in.commit(me, record);
    sent.sequence = in.durable_sequences.front();
  }
  in.wait(sent.position);
  return sent;
}

}  // namespace hanse
