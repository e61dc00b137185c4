#include "ledger/keys.hpp"

namespace hanse {

namespace {

// Set in the first byte when more fields follow: what was hashed before they came keeps its hash.
constexpr uint8_t extended = 0x80;

bool is_plain(const Transfer& transfer) {
  return transfer.flags == 0 && transfer.post_by == 0 && transfer.void_by == 0 &&
         transfer.code == 0 && transfer.key.high == 0 && transfer.user_data_32 == 0 &&
         transfer.user_data_64 == 0 && transfer.user_data_128[0] == 0 &&
         transfer.user_data_128[1] == 0 && transfer.arbiter == id_none;
}

}  // namespace

void encode_transfer(const Transfer& transfer, ByteWriter& writer) {
  const bool plain = is_plain(transfer);
  writer.put(uint8_t(uint8_t(transfer.kind) | (plain ? 0 : extended)));
  writer.put(transfer.debit);
  writer.put(transfer.credit);
  writer.put(transfer.amount);
  writer.put(transfer.unit);
  writer.put(transfer.key.low);
  writer.put(transfer.key_owner);
  writer.put(transfer.pending);
  writer.put(transfer.expires_ns);
  if (plain) return;
  writer.put(transfer.flags);
  writer.put(transfer.post_by);
  writer.put(transfer.void_by);
  writer.put(transfer.code);
  writer.put(transfer.key.high);
  writer.put(transfer.user_data_32);
  writer.put(transfer.user_data_64);
  writer.put(transfer.user_data_128[0]);
  writer.put(transfer.user_data_128[1]);
  writer.put(transfer.arbiter);
}

void UsedKey::encode(ByteWriter& writer) const {
  encode_transfer(transfer, writer);
  // What a transfer moved is what it asked for, but where it balances.
  const bool balances = moved.amount != transfer.amount && moved.amount != 0;
  writer.put(uint8_t(uint8_t(moved.outcome) | (balances ? extended : 0)));
  writer.put(moved.hold);
  if (balances) writer.put(moved.amount);
}

void UsedChain::encode(ByteWriter& writer) const {
  writer.put(key.high);
  writer.put(key.low);
  writer.put(owner);
  writer.put(outcome);
  writer.put_digest(body);
  writer.put(first_hold);
  writer.put(uint32_t(amounts.size()));
  for (const uint64_t amount : amounts) writer.put(amount);
}

Digest chain_body(std::span<const Transfer> transfers) {
  ByteWriter writer;
  for (const Transfer& transfer : transfers) encode_transfer(transfer, writer);
  return sha256(writer.bytes());
}

}  // namespace hanse
