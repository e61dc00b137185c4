#include "c/hanse_record.h"

#include "c/handle.hpp"

using namespace hanse;
using namespace hanse::c;

namespace {

static_assert(int(hanse_transfer_ok) == int(TransferOutcome::ok));
static_assert(int(hanse_transfer_too_many_keys) + 1 == transfer_outcome_count);
static_assert(int(hanse_transfer_kind_void) == int(TransferKind::voided));
static_assert(int(hanse_transfer_flag_fee) == transfer_flag::fee);
static_assert(int(hanse_releaser_arbiter) == releaser::arbiter);
static_assert(int(hanse_settlement_voided) == int(Settlement::voided));

Transfer transfer_of(Kernel& kernel, const hanse_transfer& from) {
  expect_zero(from.zero, "transfers.zero");
  if (from.kind > hanse_transfer_kind_void)
    throw Error(ErrorCode::out_of_range, "transfers.kind", from.kind, hanse_transfer_kind_void);
  if (from.flags > transfer_flag::all)
    throw Error(ErrorCode::out_of_range, "transfers.flags", from.flags, transfer_flag::all);
  for (const uint8_t by : {from.post_by, from.void_by})
    if (by > releaser::all)
      throw Error(ErrorCode::out_of_range, "transfers.post_by, void_by", by, releaser::all);
  Transfer transfer;
  transfer.kind = TransferKind(from.kind);
  transfer.flags = from.flags;
  transfer.post_by = from.post_by;
  transfer.void_by = from.void_by;
  const bool resolves = from.kind >= hanse_transfer_kind_post;
  transfer.unit =
      resolves && from.unit == nullptr ? UnitId(0) : kernel.unit(text_or(from.unit, "usd_micro"));
  transfer.debit = from.debit;
  transfer.credit = from.credit;
  transfer.amount = from.amount;
  transfer.key = {from.key_high, from.key_low};
  transfer.pending = from.pending;
  transfer.expires_ns = from.expires_ns;
  transfer.arbiter = from.arbiter;
  transfer.user_data_64 = from.user_data_64;
  transfer.user_data_32 = from.user_data_32;
  transfer.code = from.code;
  return transfer;
}

void copy_digest(const Digest& digest, uint8_t* out) {
  std::memcpy(out, digest.data(), digest.size());
}

Digest digest_at(const uint8_t* bytes, const char* field) {
  Digest digest;
  std::memcpy(digest.data(), &required(bytes, field), digest.size());
  return digest;
}

void copy_proof(const std::vector<Digest>& proof, uint8_t* out, uint32_t* count_out) {
  required(out, "proof_out");
  HANSE_ASSERT(proof.size() <= HANSE_PROOF_COUNT_MAX);
  for (size_t i = 0; i < proof.size(); ++i) copy_digest(proof[i], out + i * HANSE_DIGEST_SIZE);
  required(count_out, "proof_count_out") = uint32_t(proof.size());
}

std::vector<Digest> proof_of(const uint8_t* bytes, uint32_t count) {
  if (count > HANSE_PROOF_COUNT_MAX)
    throw Error(ErrorCode::out_of_range, "proof_count", count, HANSE_PROOF_COUNT_MAX);
  required_array(bytes, count, "proof");
  std::vector<Digest> proof;
  for (uint32_t i = 0; i < count; ++i)
    proof.push_back(digest_at(bytes + i * HANSE_DIGEST_SIZE, "proof"));
  return proof;
}

}  // namespace

extern "C" {

hanse_status hanse_transfer_many(hanse_kernel* kernel, hanse_id actor,
                                 const hanse_transfer* transfers, uint32_t count, int32_t atomic,
                                 hanse_moved* moved_out, uint64_t* position_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    const auto out = required_array(moved_out, count, "moved_out");
    const StructArray<const hanse_transfer> given(transfers, count, "transfers");
    std::vector<Transfer> wanted;
    for (uint32_t i = 0; i < count; ++i) wanted.push_back(transfer_of(in, given[i]));
    std::vector<Moved> moved(count);
    const Position position =
        in.transfer(actor_of(in, actor), wanted, flag_of(uint32_t(atomic), "atomic"), moved);
    for (uint32_t i = 0; i < count; ++i)
      out[i] = {int32_t(moved[i].outcome), 0, moved[i].amount, moved[i].hold};
    if (position_out != nullptr) *position_out = position;
    return 0;
  });
}

hanse_status hanse_settle(hanse_kernel* kernel, hanse_id actor, hanse_hold hold, int32_t settlement,
                          uint64_t amount, const uint8_t* evidence, uint64_t* position_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    if (settlement < hanse_settlement_unknown || settlement > hanse_settlement_voided)
      throw Error(ErrorCode::out_of_range, "settlement",
                  std::to_string(settlement) + " is no hanse_settlement");
    const Digest digest = evidence == nullptr ? Digest{} : digest_at(evidence, "evidence");
    const Position position =
        in.settle(actor_of(in, actor), hold, Settlement(settlement), amount, digest);
    if (position_out != nullptr) *position_out = position;
    return 0;
  });
}

hanse_status hanse_journal_leaf(hanse_kernel* kernel, uint64_t position, uint8_t* leaf_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    required(leaf_out, "leaf_out");
    copy_digest(in.journal().leaf(position), leaf_out);
    return 0;
  });
}

hanse_status hanse_journal_inclusion(hanse_kernel* kernel, uint64_t position, uint64_t count,
                                     uint8_t* proof_out, uint32_t* proof_count_out,
                                     uint8_t* root_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    required(root_out, "root_out");
    copy_proof(in.journal().prove(position, count), proof_out, proof_count_out);
    copy_digest(in.journal().root_at(count), root_out);
    return 0;
  });
}

hanse_status hanse_journal_consistency(hanse_kernel* kernel, uint64_t old_count, uint64_t count,
                                       uint8_t* proof_out, uint32_t* proof_count_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    copy_proof(in.journal().prove_consistency(old_count, count), proof_out, proof_count_out);
    return 0;
  });
}

hanse_status hanse_verify_inclusion(const uint8_t* leaf, uint64_t position, uint64_t count,
                                    const uint8_t* proof, uint32_t proof_count,
                                    const uint8_t* root) {
  return guard([&]() -> hanse_status {
    const std::vector<Digest> path = proof_of(proof, proof_count);
    const bool holds =
        verify_inclusion(digest_at(leaf, "leaf"), position, count, path, digest_at(root, "root"));
    return holds ? hanse_outcome_ok : hanse_outcome_invalid;
  });
}

hanse_status hanse_verify_consistency(uint64_t old_count, const uint8_t* old_root, uint64_t count,
                                      const uint8_t* root, const uint8_t* proof,
                                      uint32_t proof_count) {
  return guard([&]() -> hanse_status {
    const std::vector<Digest> path = proof_of(proof, proof_count);
    const bool holds = verify_consistency(old_count, digest_at(old_root, "old_root"), count,
                                          digest_at(root, "root"), path);
    return holds ? hanse_outcome_ok : hanse_outcome_invalid;
  });
}

hanse_status hanse_counters_read(hanse_kernel* kernel, hanse_counters* counters_out) {
  return guard([&] {
    Kernel& in = open_kernel(kernel);
    check_size(counters_out, "counters_out");
    const JournalStatus journal = in.journal().status();
    const MemoryReport memory = in.memory();
    hanse_counters out{};
    out.poisoned = !journal.poisoned.empty();
    out.record_count = journal.count;
    out.durable_count = journal.durable_count;
    out.journal_size_bytes = journal.size_bytes;
    out.segment_count = journal.segment_count;
    out.flush_count = journal.flush_count;
    out.torn_bytes_cut = journal.torn_bytes_cut;
    out.agents = memory.agents;
    out.capabilities = memory.capabilities;
    out.ledger = memory.ledger;
    out.tasks = memory.tasks;
    out.journal = memory.journal;
    out.mailboxes = memory.mailboxes;
    out.latents = memory.latents;
    out.latent_pages = memory.latent_pages;
    write_struct(out, *counters_out);
    return 0;
  });
}

}  // extern "C"
