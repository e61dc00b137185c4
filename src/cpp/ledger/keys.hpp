// What the keys of transfers and of chains were used for.
//
// Keys without a time stay for good. Keys with a time lie in slots of an hour by that time; a slot
// is dropped whole when all of it is behind the horizon, so that memory follows the rate of
// transfers and not the age of the journal. Whoever looks up refuses what is behind the horizon
// first: what was dropped is never taken for new.
#pragma once

#include <map>
#include <vector>

#include "base/chunked_hash.hpp"
#include "base/hash_map.hpp"
#include "base/snapshot.hpp"
#include "ledger/transfer.hpp"

namespace hanse {

// Entry: has `key` and `owner`, and encode(ByteWriter&).
template <class Entry>
class KeyTable {
 public:
  static constexpr uint64_t slot_ns = key_horizon_ns / 24;

  const Entry* find(const TransferKey& key, uint32_t owner) const {
    const Part* part = part_find(key);
    if (part == nullptr) return nullptr;
    const uint32_t index = part->of.find(hash(key, owner), [&](uint32_t at) {
      return part->entries[at].key == key && part->entries[at].owner == owner;
    });
    return index == index_none ? nullptr : &part->entries[index];
  }

  // The caller knows that it is not there.
  void insert(Entry entry) {
    Part& part = entry.key.timed() ? timed_[entry.key.time_ns() / slot_ns] : untimed_;
    const auto index = uint32_t(part.entries.size());
    part.of.insert(hash(entry.key, entry.owner), index);
    part.entries.push_back(std::move(entry));
    part.chunks.mark(index);
    ++count_;
  }

  // Takes back what was inserted last among the entries of its slot.
  void erase_last(const TransferKey& key, uint32_t owner) {
    Part& part = key.timed() ? timed_[key.time_ns() / slot_ns] : untimed_;
    HANSE_ASSERT(!part.entries.empty() && part.entries.back().key == key);
    part.entries.pop_back();
    part.of.erase(hash(key, owner), uint32_t(part.entries.size()));
    part.chunks.mark(uint32_t(part.entries.size()));
    --count_;
    if (key.timed() && part.entries.empty()) timed_.erase(key.time_ns() / slot_ns);
  }

  void prune(uint64_t now_ns) {
    while (!timed_.empty() && (timed_.begin()->first + 1) * slot_ns + key_horizon_ns <= now_ns) {
      count_ -= timed_.begin()->second.entries.size();
      timed_.erase(timed_.begin());
    }
  }

  uint64_t count() const { return count_; }
  uint64_t untimed_count() const { return untimed_.entries.size(); }
  bool timed_empty() const { return timed_.empty(); }

  Digest untimed_hash() const { return untimed_.digest(); }
  void timed_hash(Sha256& all) const {
    for (const auto& [slot, part] : timed_) {
      ByteWriter writer;
      writer.put(slot);
      all.update(writer.bytes());
      all.update(part.digest());
    }
  }

  // In the order of their slots, and within one in that of the journal.
  void encode(SnapshotWriter& out) const {
    out.put(count_);
    const auto put = [&](const Part& part) {
      for (const Entry& entry : part.entries) out.put(entry);
    };
    put(untimed_);
    for (const auto& [slot, part] : timed_) put(part);
  }
  void decode(SnapshotReader& in) {
    in.table([&](size_t, FieldReader& fields) {
      Entry entry;
      fields(entry);
      in.require(find(entry.key, entry.owner) == nullptr, "key");
      insert(std::move(entry));
    });
  }

  uint64_t memory_bytes() const {
    uint64_t bytes = untimed_.memory_bytes();
    for (const auto& [slot, part] : timed_) bytes += part.memory_bytes() + sizeof part + 48;
    return bytes;
  }

 private:
  struct Part {
    std::vector<Entry> entries;  // in the order of the journal
    HashMap of;
    mutable ChunkedHash chunks;

    Digest digest() const {
      return chunks.digest(uint32_t(entries.size()), [&](uint32_t index, ByteWriter& writer) {
        entries[index].encode(writer);
      });
    }
    uint64_t memory_bytes() const { return entries.capacity() * sizeof(Entry) + of.memory_bytes(); }
  };

  static uint64_t hash(const TransferKey& key, uint32_t owner) {
    const uint64_t low = mix64(key.low ^ mix64(owner));
    return key.high == 0 ? low : mix64(low ^ key.high);
  }
  const Part* part_find(const TransferKey& key) const {
    if (!key.timed()) return &untimed_;
    const auto found = timed_.find(key.time_ns() / slot_ns);
    return found == timed_.end() ? nullptr : &found->second;
  }

  Part untimed_;
  std::map<uint64_t, Part> timed_;  // by slot
  uint64_t count_ = 0;
};

struct UsedKey {
  TransferKey key;
  uint32_t owner = 0;
  Transfer transfer;
  Moved moved;  // a poisoned key: the outcome that failed
  void encode(ByteWriter& writer) const;

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.key, self.owner, self.transfer, self.moved);
  }
};

struct UsedChain {
  TransferKey key;
  uint32_t owner = 0;
  TransferOutcome outcome = TransferOutcome::ok;  // a poisoned key: of the transfer that failed
  Digest body{};
  HoldId first_hold = 0;  // the others follow it
  std::vector<uint64_t> amounts;
  void encode(ByteWriter& writer) const;

  template <class Coder, class Self>
  static void each_field(Coder& coder, Self& self) {
    coder(self.key, self.owner, self.outcome, self.body, self.first_hold, self.amounts);
  }
};

void encode_transfer(const Transfer& transfer, ByteWriter& writer);
Digest chain_body(std::span<const Transfer> transfers);

}  // namespace hanse
