// Who an agent stays when its key, model or body changes: a history of signed, hash-linked entries
// that starts at the hash of its genesis key.
//
// The identifier is SHA-256 of the genesis key. Entry i is signed by the key that was in force
// before it and names the head that it follows: the identifier itself, then the hash of entry i-1.
// After the key event logs of KERI (Smith, 2019), without pre-rotation. Signatures (Ed25519) are
// made and checked by the face; the table holds order, links and which key is in force.
//
// Record plane: one thread at a time; `check` is const, `apply` follows from a record.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/bytes.hpp"
#include "base/hash.hpp"
#include "base/hash_map.hpp"
#include "base/ids.hpp"
#include "base/snapshot.hpp"

namespace hanse {

enum class IdentityStep : uint8_t {
  rotated = 0,      // `key` is in force from here on
  key_revoked = 1,  // no key is, for good
  model = 2,        // `text`: what it runs on now
  embodiment = 3,   // `text`: where or as what
};

constexpr uint32_t identity_text_size_max = 1024;
constexpr uint32_t identity_entries_max = 4096;  // of one agent
constexpr size_t signature_size = 64;

struct IdentityEntry {
  IdentityStep step = IdentityStep::rotated;
  Digest previous{};               // the head that it follows
  Digest signer{};                 // public key
  Digest key{};                    // rotated: the new public key; else zeros
  std::string text;                // model, embodiment
  std::vector<uint8_t> signature;  // of `identity_statement`; empty: revoked by who is above
  Position position = position_none;

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.step, self.previous, self.signer, self.key, self.text, self.signature,
          self.position);
  }
};

// What is signed: "hanse/identity/1", the identifier, u32 index, u8 step, previous, signer, key,
// u32 size of the text, the text.
std::vector<uint8_t> identity_statement(const Digest& identity, uint32_t index,
                                        const IdentityEntry& entry);
// SHA-256 of the statement and the signature: the next entry's `previous`.
Digest identity_entry_hash(const Digest& identity, uint32_t index, const IdentityEntry& entry);

struct IdentityHistory {
  Digest identity{};
  Digest head{};              // the identifier while there is no entry
  std::optional<Digest> key;  // in force, once a signed entry has shown it; none: revoked or unseen
  bool key_revoked = false;
  std::vector<Digest> retired;  // keys, the genesis key first: index = epoch
  std::vector<IdentityEntry> entries;
  uint32_t epoch() const { return uint32_t(retired.size()); }
};

class IdentityTable {
 public:
  bool empty() const { return order_.empty(); }
  // nullptr: it has no entries.
  const IdentityHistory* find(uint32_t agent) const;

  // `above`: the actor is above the agent, so that it may revoke the key without a signature.
  // Throws key_retired (the signer's epoch), bad_signature (size, or the signer is not known),
  // broken_lineage (the index at which `previous` is not the head), too_large, quota_exceeded.
  void check(uint32_t agent, const Digest& identity, const IdentityEntry& entry, bool above) const;
  void apply(uint32_t agent, const Digest& identity, IdentityEntry entry);

  Digest state_hash() const;
  uint64_t memory_bytes() const;
  static constexpr uint16_t snapshot_version = 1;
  void encode(SnapshotWriter& out) const;
  void decode(SnapshotReader& in);

 private:
  std::unordered_map<uint32_t, IdentityHistory> of_;
  std::vector<uint32_t> order_;  // agents, as they first changed
};

}  // namespace hanse
