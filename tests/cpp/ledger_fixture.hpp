// Transfers in few words, for the tests of the ledger alone.
#pragma once

#include <gtest/gtest.h>

#include "ledger/ledger.hpp"

namespace hanse {

constexpr uint32_t ada = 1, bob = 2, eve = 3;
constexpr UnitId usd = 0;

inline AgentId agent_id(uint32_t agent) {
  return agent == index_none ? make_id(99, 1) : make_id(agent, 1);
}

inline Transfer single(uint32_t debit, uint32_t credit, uint64_t amount, uint64_t key = 0) {
  Transfer transfer;
  transfer.debit = agent_id(debit);
  transfer.credit = agent_id(credit);
  transfer.amount = amount;
  transfer.key.low = key;
  return transfer;
}

inline Transfer pending(uint32_t debit, uint32_t credit, uint64_t amount, uint64_t key = 0) {
  Transfer transfer = single(debit, credit, amount, key);
  transfer.kind = TransferKind::pending;
  return transfer;
}

inline Transfer resolve(TransferKind kind, HoldId hold, uint64_t amount = 0, uint64_t key = 0) {
  Transfer transfer;
  transfer.kind = kind;
  transfer.pending = hold;
  transfer.amount = amount;
  transfer.key.low = key;
  return transfer;
}

inline Transfer linked(Transfer transfer, uint64_t chain_key = 0) {
  transfer.flags |= transfer_flag::linked;
  transfer.chain.low = chain_key;
  return transfer;
}

inline uint32_t agent_index_of(AgentId agent) {
  return agent == id_none || index_of(agent) == 99 ? index_none : index_of(agent);
}

class LedgerTest : public testing::Test {
 protected:
  void fund(uint32_t agent, uint64_t amount, UnitId unit = usd) {
    ASSERT_EQ(ledger.check_fund(agent, amount, unit), TransferOutcome::ok);
    ledger.apply_fund(agent, amount, unit);
  }
  std::vector<Moved> apply_all(const std::vector<Transfer>& transfers, bool atomic = false) {
    std::vector<uint32_t> debits, credits;
    for (const Transfer& transfer : transfers) {
      debits.push_back(agent_index_of(transfer.debit));
      credits.push_back(agent_index_of(transfer.credit));
    }
    std::vector<Moved> moved(transfers.size());
    Ledger::Marks marks;
    ledger.execute({transfers, debits, credits, now_ns, atomic, {}}, moved, marks);
    return moved;
  }
  std::vector<TransferOutcome> outcomes_of(const std::vector<Transfer>& transfers,
                                           bool atomic = false) {
    std::vector<TransferOutcome> outcomes;
    for (const Moved& moved : apply_all(transfers, atomic)) outcomes.push_back(moved.outcome);
    return outcomes;
  }
  Moved apply(const Transfer& transfer) { return apply_all({transfer})[0]; }
  TransferOutcome check(const Transfer& transfer) const {
    const uint32_t debit = agent_index_of(transfer.debit), credit = agent_index_of(transfer.credit);
    return ledger.check_transfer({{&transfer, 1}, {&debit, 1}, {&credit, 1}, now_ns, false, {}}, 0)
        .outcome;
  }
  AccountInfo account(uint32_t agent, AccountPurpose purpose = AccountPurpose::balance) const {
    return ledger.account(ledger.account_find(agent, usd, purpose));
  }
  void expect_refused(const Transfer& transfer, TransferOutcome outcome) {
    const Digest before = ledger.state_hash();
    EXPECT_EQ(apply(transfer).outcome, outcome);
    EXPECT_EQ(ledger.state_hash(), before) << "a refusal without a key changes nothing";
  }

  Ledger ledger;
  uint64_t now_ns = 1;
};

}  // namespace hanse
