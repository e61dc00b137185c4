#include "kernel/records.hpp"

#include "kernel/codec.hpp"

namespace hanse {

const char* record_type_name(RecordType type) {
  switch (type) {
    case RecordType::genesis:
      return "genesis";
    case RecordType::agents_added:
      return "agents_added";
    case RecordType::agent_revoked:
      return "agent_revoked";
    case RecordType::space_created:
      return "space_created";
    case RecordType::published:
      return "published";
    case RecordType::withdrawn:
      return "withdrawn";
    case RecordType::policy_loaded:
      return "policy_loaded";
    case RecordType::funded:
      return "funded";
    case RecordType::rates_set:
      return "rates_set";
    case RecordType::transferred:
      return "transferred";
    case RecordType::dispatched:
      return "dispatched";
    case RecordType::refused:
      return "refused";
    case RecordType::completed:
      return "completed";
    case RecordType::judged:
      return "judged";
    case RecordType::escalated:
      return "escalated";
    case RecordType::expired:
      return "expired";
    case RecordType::redelivered:
      return "redelivered";
    case RecordType::refusals_counted:
      return "refusals_counted";
    case RecordType::durable_declared:
      return "durable_declared";
    case RecordType::durable_committed:
      return "durable_committed";
    case RecordType::durable_returned:
      return "durable_returned";
    case RecordType::durable_on_terms:
      return "durable_on_terms";
    case RecordType::durable_resent:
      return "durable_resent";
    case RecordType::moved:
      return "moved";
    case RecordType::account_opened:
      return "account_opened";
    case RecordType::budget_set:
      return "budget_set";
    case RecordType::settled:
      return "settled";
#define HANSE_X(name, Record) \
  case RecordType::name:      \
    return #name;
      HANSE_POPULATION_RECORDS(HANSE_X)
      HANSE_POLICY_RECORDS(HANSE_X)
#undef HANSE_X
  }
  return "unknown";
}

Envelope decode_envelope(ByteReader& reader) {
  Envelope envelope;
  envelope.type = reader.get<RecordType>();
  envelope.version = reader.get<uint16_t>();
  envelope.length = reader.get<uint32_t>();
  envelope.tenant = reader.get<AgentId>();
  envelope.actor = reader.get<AgentId>();
  envelope.time_ns = reader.get<uint64_t>();
  if (envelope.version != 1)
    throw Error(ErrorCode::log_version, "record version", envelope.version, 1);
  if (envelope.length != reader.remaining())
    throw Error(ErrorCode::corrupt, "record length",
                std::to_string(envelope.length) + " where the body has " +
                    std::to_string(reader.remaining()));
  return envelope;
}

}  // namespace hanse
