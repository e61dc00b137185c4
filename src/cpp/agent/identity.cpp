#include "agent/identity.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace hanse {

namespace {

constexpr std::string_view domain = "hanse/identity/1";

void put_statement(ByteWriter& writer, const Digest& identity, uint32_t index,
                   const IdentityEntry& entry) {
  writer.put_raw({reinterpret_cast<const uint8_t*>(domain.data()), domain.size()});
  writer.put_digest(identity);
  writer.put(index);
  writer.put(entry.step);
  writer.put_digest(entry.previous);
  writer.put_digest(entry.signer);
  writer.put_digest(entry.key);
  writer.put_text(entry.text);
}

}  // namespace

std::vector<uint8_t> identity_statement(const Digest& identity, uint32_t index,
                                        const IdentityEntry& entry) {
  ByteWriter writer;
  put_statement(writer, identity, index, entry);
  return {writer.bytes().begin(), writer.bytes().end()};
}

Digest identity_entry_hash(const Digest& identity, uint32_t index, const IdentityEntry& entry) {
  ByteWriter writer;
  put_statement(writer, identity, index, entry);
  writer.put_raw(entry.signature);
  return sha256(writer.bytes());
}

const IdentityHistory* IdentityTable::find(uint32_t agent) const {
  const auto found = of_.find(agent);
  return found == of_.end() ? nullptr : &found->second;
}

void IdentityTable::check(uint32_t agent, const Digest& identity, const IdentityEntry& entry,
                          bool above) const {
  static const IdentityHistory fresh;
  const IdentityHistory* known = find(agent);
  const IdentityHistory& history = known ? *known : fresh;
  const auto index = uint32_t(history.entries.size());
  if (index >= identity_entries_max)
    throw Error(ErrorCode::quota_exceeded, "history", index + 1, identity_entries_max);
  if (entry.text.size() > identity_text_size_max)
    throw Error(ErrorCode::too_large, "text", entry.text.size(), identity_text_size_max);
  if (entry.step > IdentityStep::embodiment)
    throw Error(ErrorCode::out_of_range, "step", uint64_t(entry.step), 3);
  const Digest& head = known ? history.head : identity;
  if (entry.previous != head)
    throw Error(ErrorCode::broken_lineage, "previous",
                "entry " + std::to_string(index) + " follows " + hex(entry.previous) +
                    ", where the head is " + hex(head));
  const bool unsigned_revocation =
      entry.step == IdentityStep::key_revoked && above && entry.signature.empty();
  if (unsigned_revocation && !history.key_revoked) return;
  const auto retired = std::find(history.retired.begin(), history.retired.end(), entry.signer);
  if (retired != history.retired.end())
    throw Error(ErrorCode::key_retired, "signer",
                "was in force in epoch " + std::to_string(retired - history.retired.begin()) +
                    " and is retired since");
  if (history.key_revoked)
    throw Error(ErrorCode::key_retired, "signer",
                "the key was revoked in epoch " + std::to_string(history.epoch()));
  const bool in_force =
      history.key ? entry.signer == *history.key : sha256(entry.signer) == identity;
  if (!in_force) throw Error(ErrorCode::bad_signature, "signer", "is not the key in force");
  if (entry.signature.size() != signature_size)
    throw Error(ErrorCode::bad_signature, "signature", entry.signature.size(), signature_size);
  const bool reused =
      std::find(history.retired.begin(), history.retired.end(), entry.key) != history.retired.end();
  if (entry.step == IdentityStep::rotated && (entry.key == entry.signer || reused))
    throw Error(ErrorCode::key_retired, "key", "the new key was in force before");
}

void IdentityTable::apply(uint32_t agent, const Digest& identity, IdentityEntry entry) {
  const auto [at, added] = of_.try_emplace(agent);
  IdentityHistory& history = at->second;
  if (added) {
    order_.push_back(agent);
    history.identity = identity;
  }
  const auto index = uint32_t(history.entries.size());
  history.head = identity_entry_hash(identity, index, entry);
  if (!entry.signature.empty()) history.key = entry.signer;
  if (entry.step == IdentityStep::rotated) {
    history.retired.push_back(entry.signer);
    history.key = entry.key;
  }
  if (entry.step == IdentityStep::key_revoked) {
    if (history.key) history.retired.push_back(*history.key);
    history.key.reset();
    history.key_revoked = true;
  }
  history.entries.push_back(std::move(entry));
}

Digest IdentityTable::state_hash() const {
  Sha256 all;
  std::vector<uint32_t> agents = order_;
  std::sort(agents.begin(), agents.end());
  for (const uint32_t agent : agents) {
    const IdentityHistory& history = of_.at(agent);
    ByteWriter writer;
    writer.put(agent);
    writer.put_digest(history.head);
    writer.put(uint32_t(history.entries.size()));
    all.update(writer.bytes());
  }
  return all.finish();
}

uint64_t IdentityTable::memory_bytes() const {
  uint64_t bytes = order_.capacity() * sizeof(uint32_t);
  for (const auto& [agent, history] : of_) {
    bytes += sizeof(IdentityHistory) + 64 + history.retired.capacity() * sizeof(Digest);
    bytes += history.entries.capacity() * (sizeof(IdentityEntry) + signature_size);
  }
  return bytes;
}

}  // namespace hanse
