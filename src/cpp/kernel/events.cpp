// Reading the journal back as events, and verifying a directory off-line.
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

KernelVerification verify_directory(const std::string& directory,
                                    const std::function<void(uint64_t, uint64_t)>& progress) {
  KernelVerification verification;
  const std::unique_ptr<Disk> disk = open_real_disk(directory, true);
  verification.journal = verify_journal(*disk, progress);
  KernelOptions options;
  options.directory = directory;
  options.read_only = true;
  const std::unique_ptr<Kernel> kernel = Kernel::open(options);
  verification.state = kernel->state_hash();
  verification.balanced = true;
  for (UnitId unit = 0; unit < kernel->unit_count(); ++unit) {
    const Ledger::Totals totals = kernel->totals(unit);
    verification.balanced &= totals.debits_posted == totals.credits_posted &&
                             totals.debits_pending == totals.credits_pending;
  }
  return verification;
}

uint16_t Kernel::unit_count() const {
  std::lock_guard lock(inner_->writer);
  return inner_->ledger.unit_count();
}

}  // namespace hanse
