// Reading the journal back as events.
#include "kernel/inner.hpp"

namespace hanse {

EventInfo Kernel::event(AgentId actor, Position position) {
  Inner& in = *inner_;
  in.check_open();
  const std::vector<uint8_t> record = in.journal->read(position);
  ByteReader reader(record);
  const Envelope envelope = decode_envelope(reader);
  {
    std::lock_guard lock(in.writer);
    const uint32_t me = in.agents.index_checked(actor);
    if (!in.same_view(me, index_of(envelope.tenant)) || (me != 0 && index_of(envelope.tenant) == 0))
      throw Error(ErrorCode::unknown_event, "position", "", 0, position);
  }
  EventInfo event;
  event.position = position;
  event.time_ns = envelope.time_ns;
  event.type = record_type_name(envelope.type);
  event.tenant = envelope.tenant;
  event.fields.emplace_back("actor", std::to_string(envelope.actor));
  visit_record(envelope, reader, [&](auto&& body) { body.fields(codec::Describe{event.fields}); });
  return event;
}

EventInfo describe_record(Bytes record) {
  ByteReader reader(record);
  const Envelope envelope = decode_envelope(reader);
  EventInfo event;
  event.time_ns = envelope.time_ns;
  event.type = record_type_name(envelope.type);
  event.tenant = envelope.tenant;
  event.fields.emplace_back("actor", std::to_string(envelope.actor));
  visit_record(envelope, reader, [&](auto&& body) { body.fields(codec::Describe{event.fields}); });
  return event;
}

uint16_t Kernel::unit_count() const {
  std::lock_guard lock(inner_->writer);
  return inner_->ledger.unit_count();
}

}  // namespace hanse
