// Turns the fields of a record into bytes, back, and into text.
#pragma once

#include <string>
#include <utility>

#include "kernel/agent_records.hpp"
#include "kernel/durable_records.hpp"
#include "kernel/policy_records.hpp"
#include "kernel/records.hpp"
#include "kernel/task_records.hpp"

namespace hanse {

namespace codec {

template <class T>
concept Scalar = std::is_arithmetic_v<T> || std::is_enum_v<T>;
template <class T>
concept Fields = requires(T value) { value.fields([](const char*, auto&) {}); };

struct Encode {
  ByteWriter& writer;

  template <Scalar T>
  void operator()(const char*, T& value) {
    writer.put(value);
  }
  void operator()(const char*, std::string& text) { writer.put_text(text); }
  void operator()(const char*, Digest& digest) { writer.put_digest(digest); }
  void operator()(const char*, std::vector<uint8_t>& bytes) { writer.put_bytes(bytes); }
  void operator()(const char*, Bulk& bulk) {
    writer.put(bulk.size);
    if (bulk.in_extent())
      writer.put_digest(bulk.extent);
    else
      writer.put_raw(bulk.bytes);
  }
  template <class T>
  void operator()(const char*, std::vector<T>& values) {
    writer.put(uint32_t(values.size()));
    for (T& value : values) {
      if constexpr (Scalar<T>)
        writer.put(value);
      else
        value.fields(*this);
    }
  }
};

struct Decode {
  ByteReader& reader;

  template <Scalar T>
  void operator()(const char*, T& value) {
    value = reader.get<T>();
  }
  void operator()(const char*, std::string& text) { text = reader.get_text(); }
  void operator()(const char*, Digest& digest) { digest = reader.get_digest(); }
  void operator()(const char*, std::vector<uint8_t>& bytes) {
    const Bytes view = reader.get_bytes();
    bytes.assign(view.begin(), view.end());
  }
  void operator()(const char*, Bulk& bulk) {
    bulk.size = reader.get<uint32_t>();
    if (bulk.in_extent()) {
      bulk.extent = reader.get_digest();
    } else {
      const Bytes view = reader.get_raw(bulk.size);
      bulk.bytes.assign(view.begin(), view.end());
    }
  }
  template <class T>
  void operator()(const char*, std::vector<T>& values) {
    values.resize(reader.get_count(1));
    for (T& value : values) {
      if constexpr (Scalar<T>)
        value = reader.get<T>();
      else
        value.fields(*this);
    }
  }
};

// Field names and values as people read them.
struct Describe {
  std::vector<std::pair<std::string, std::string>>& out;

  template <Scalar T>
  void operator()(const char* name, T& value) {
    if constexpr (std::is_enum_v<T>)
      out.emplace_back(name, std::to_string(uint64_t(value)));
    else
      out.emplace_back(name, std::to_string(value));
  }
  void operator()(const char* name, std::string& text) { out.emplace_back(name, text); }
  void operator()(const char* name, Digest& digest) { out.emplace_back(name, hex(digest)); }
  void operator()(const char* name, std::vector<uint8_t>& bytes) {
    out.emplace_back(name, hex(bytes));
  }
  void operator()(const char* name, Bulk& bulk) {
    out.emplace_back(name, std::to_string(bulk.size) + " bytes" +
                               (bulk.in_extent() ? " in extent " + hex(bulk.extent) : ""));
  }
  template <class T>
  void operator()(const char* name, std::vector<T>& values) {
    out.emplace_back(std::string(name), std::to_string(values.size()));
    for (size_t i = 0; i < values.size(); ++i) {
      if constexpr (Scalar<T>) {
        out.emplace_back(std::string(name) + "[" + std::to_string(i) + "]",
                         std::to_string(values[i]));
      } else {
        std::vector<std::pair<std::string, std::string>> inner;
        values[i].fields(Describe{inner});
        for (auto& [key, text] : inner)
          out.emplace_back(std::string(name) + "[" + std::to_string(i) + "]." + key, text);
      }
    }
  }
};

}  // namespace codec

// The writer holds the whole record afterwards: envelope and body.
template <class Record>
void encode_record(const Record& record, Envelope envelope, ByteWriter& writer) {
  ByteWriter& w = writer;
  w.clear();
  w.put(Record::type), w.put(envelope.version);
  w.put(uint32_t(0));  // the length, known when the body is written
  w.put(envelope.tenant), w.put(envelope.actor), w.put(envelope.time_ns);
  // `fields` serves reading and writing; encoding doesn't change the record.
  const_cast<Record&>(record).fields(codec::Encode{w});
  w.patch(4, uint32_t(w.size() - envelope_size));
}

// Throws corrupt for a malformed envelope or a length that is not the body's, log_version for a
// version that this build does not know.
Envelope decode_envelope(ByteReader& reader);

template <class Record>
Record decode_body(ByteReader& reader) {
  Record record;
  record.fields(codec::Decode{reader});
  reader.expect_end();
  return record;
}

// Calls visit(record) with the body decoded as its type; an unknown type is log_version.
template <class Visit>
void visit_record(const Envelope& envelope, ByteReader& reader, Visit&& visit) {
  switch (envelope.type) {
    case RecordType::genesis:
      return visit(decode_body<GenesisRecord>(reader));
    case RecordType::agents_added:
      return visit(decode_body<AgentsAddedRecord>(reader));
    case RecordType::agent_revoked:
      return visit(decode_body<AgentRevokedRecord>(reader));
    case RecordType::space_created:
      return visit(decode_body<SpaceCreatedRecord>(reader));
    case RecordType::published:
      return visit(decode_body<PublishedRecord>(reader));
    case RecordType::withdrawn:
      return visit(decode_body<WithdrawnRecord>(reader));
    case RecordType::policy_loaded:
      return visit(decode_body<PolicyLoadedRecord>(reader));
    case RecordType::funded:
      return visit(decode_body<FundedRecord>(reader));
    case RecordType::rates_set:
      return visit(decode_body<RatesSetRecord>(reader));
    case RecordType::transferred:
      return visit(decode_body<TransferredRecord>(reader));
    case RecordType::dispatched:
      return visit(decode_body<DispatchedRecord>(reader));
    case RecordType::refused:
      return visit(decode_body<RefusedRecord>(reader));
    case RecordType::completed:
      return visit(decode_body<CompletedRecord>(reader));
    case RecordType::judged:
      return visit(decode_body<JudgedRecord>(reader));
    case RecordType::escalated:
      return visit(decode_body<EscalatedRecord>(reader));
    case RecordType::expired:
      return visit(decode_body<ExpiredRecord>(reader));
    case RecordType::redelivered:
      return visit(decode_body<RedeliveredRecord>(reader));
    case RecordType::refusals_counted:
      return visit(decode_body<RefusalsCountedRecord>(reader));
    case RecordType::durable_declared:
      return visit(decode_body<DurableDeclaredRecord>(reader));
    case RecordType::durable_committed:
      return visit(decode_body<DurableCommittedRecord>(reader));
    case RecordType::durable_returned:
      return visit(decode_body<DurableReturnedRecord>(reader));
    case RecordType::durable_on_terms:
      return visit(decode_body<DurableOnTermsRecord>(reader));
    case RecordType::durable_resent:
      return visit(decode_body<DurableResentRecord>(reader));
    case RecordType::moved:
      return visit(decode_body<MovedRecord>(reader));
    case RecordType::account_opened:
      return visit(decode_body<AccountOpenedRecord>(reader));
    case RecordType::budget_set:
      return visit(decode_body<BudgetSetRecord>(reader));
    case RecordType::settled:
      return visit(decode_body<SettledRecord>(reader));
#define HANSE_X(name, Record) \
  case RecordType::name:      \
    return visit(decode_body<Record>(reader));
      HANSE_POPULATION_RECORDS(HANSE_X)
      HANSE_POLICY_RECORDS(HANSE_X)
#undef HANSE_X
  }
  throw Error(ErrorCode::log_version, "record type",
              std::to_string(uint16_t(envelope.type)) + " is not known to this version");
}

}  // namespace hanse
