/* hanse_record.h: transfers, settlement, proofs and counters, as a stranger uses them.
 *
 * Returns 0 and says "ok", or 1 and says which line did not hold.
 */
#include <stdio.h>
#include <string.h>

#include "hanse_record.h"

static int failures = 0;
static hanse_kernel* kernel = NULL;
static hanse_id agents[3];

static void expect(int holds, const char* what, int line) {
  if (holds) return;
  ++failures;
  fprintf(stderr, "line %d: %s does not hold; last error %d: %s\n", line, what,
          (int)hanse_error_code(), hanse_error_text());
}
#define EXPECT(holds) expect((holds) != 0, #holds, __LINE__)
#define OK(call) expect((call) == 0, #call, __LINE__)
#define ERROR(call, wanted) expect((call) == -(hanse_error_##wanted), #call, __LINE__)

static uint64_t balance(hanse_id agent) {
  uint64_t available = 0;
  OK(hanse_balance(kernel, HANSE_ID_NONE, agent, NULL, &available));
  return available;
}

static hanse_transfer transfer(uint8_t kind, uint64_t amount) {
  hanse_transfer out = {.size_bytes = sizeof out, .kind = kind};
  out.debit = agents[0];
  out.credit = agents[1];
  out.amount = amount;
  return out;
}

static void move(void) {
  hanse_moved moved[2];
  hanse_transfer both[2];
  both[0] = transfer(hanse_transfer_kind_single, 30);
  both[1] = transfer(hanse_transfer_kind_single, 1000);
  OK(hanse_transfer_many(kernel, HANSE_ID_NONE, both, 2, 0, moved, NULL));
  EXPECT(moved[0].outcome == hanse_transfer_ok && moved[0].amount == 30);
  EXPECT(moved[1].outcome == hanse_transfer_exceeds_credits);
  EXPECT(balance(agents[0]) == 70 && balance(agents[1]) == 30);
  OK(hanse_transfer_many(kernel, HANSE_ID_NONE, both, 2, 1, moved, NULL));
  EXPECT(moved[0].outcome == hanse_transfer_aborted);
  EXPECT(balance(agents[0]) == 70);

  both[0].key_low = 7;
  OK(hanse_transfer_many(kernel, HANSE_ID_NONE, both, 1, 0, moved, NULL));
  OK(hanse_transfer_many(kernel, HANSE_ID_NONE, both, 1, 0, moved, NULL));
  EXPECT(moved[0].outcome == hanse_transfer_exists && balance(agents[0]) == 40);
  both[0].amount = 31;
  OK(hanse_transfer_many(kernel, HANSE_ID_NONE, both, 1, 0, moved, NULL));
  EXPECT(moved[0].outcome == hanse_transfer_exists_with_different_amount);
}

static void refuse(void) {
  hanse_moved moved;
  hanse_transfer wrong = transfer(4, 1);
  ERROR(hanse_transfer_many(kernel, HANSE_ID_NONE, &wrong, 1, 0, &moved, NULL), out_of_range);
  wrong = transfer(hanse_transfer_kind_single, 1);
  wrong.flags = 64;
  ERROR(hanse_transfer_many(kernel, HANSE_ID_NONE, &wrong, 1, 0, &moved, NULL), out_of_range);
  wrong.flags = 0;
  wrong.zero = 1;
  ERROR(hanse_transfer_many(kernel, HANSE_ID_NONE, &wrong, 1, 0, &moved, NULL), out_of_range);
  wrong.zero = 0;
  wrong.size_bytes = 8;
  ERROR(hanse_transfer_many(kernel, HANSE_ID_NONE, &wrong, 1, 0, &moved, NULL), out_of_range);
  ERROR(hanse_transfer_many(kernel, HANSE_ID_NONE, NULL, 1, 0, &moved, NULL), empty);
  ERROR(hanse_settle(kernel, HANSE_ID_NONE, 12345, hanse_settlement_posted, 0, NULL, NULL),
        unknown_transfer);
  ERROR(hanse_settle(kernel, HANSE_ID_NONE, 1, 3, 0, NULL, NULL), out_of_range);
}

static void hold_and_settle(void) {
  hanse_moved moved;
  hanse_transfer held = transfer(hanse_transfer_kind_pending, 25);
  OK(hanse_transfer_many(kernel, HANSE_ID_NONE, &held, 1, 0, &moved, NULL));
  EXPECT(moved.outcome == hanse_transfer_ok && moved.hold != 0 && balance(agents[0]) == 15);
  OK(hanse_settle(kernel, HANSE_ID_NONE, moved.hold, hanse_settlement_unknown, 0, NULL, NULL));
  hanse_transfer post = {.size_bytes = sizeof post, .kind = hanse_transfer_kind_post};
  post.pending = moved.hold;
  hanse_moved posted;
  OK(hanse_transfer_many(kernel, HANSE_ID_NONE, &post, 1, 0, &posted, NULL));
  EXPECT(posted.outcome == hanse_transfer_settlement_unknown);
  OK(hanse_settle(kernel, HANSE_ID_NONE, moved.hold, hanse_settlement_posted, 0, NULL, NULL));
  EXPECT(balance(agents[0]) == 15 && balance(agents[1]) == 85);
}

static void prove(void) {
  uint8_t leaf[32], proof[HANSE_PROOF_COUNT_MAX * 32], root[32], old_root[32];
  uint64_t count = 0;
  uint32_t proof_count = 0;
  OK(hanse_journal_count(kernel, &count, NULL));
  EXPECT(count > 3);
  OK(hanse_journal_leaf(kernel, 2, leaf));
  OK(hanse_journal_inclusion(kernel, 2, count, proof, &proof_count, root));
  OK(hanse_verify_inclusion(leaf, 2, count, proof, proof_count, root));
  leaf[5] ^= 1;
  EXPECT(hanse_verify_inclusion(leaf, 2, count, proof, proof_count, root) == hanse_outcome_invalid);
  OK(hanse_journal_inclusion(kernel, 0, 3, proof, &proof_count, old_root));
  OK(hanse_journal_consistency(kernel, 3, count, proof, &proof_count));
  OK(hanse_verify_consistency(3, old_root, count, root, proof, proof_count));
  old_root[0] ^= 1;
  EXPECT(hanse_verify_consistency(3, old_root, count, root, proof, proof_count) ==
         hanse_outcome_invalid);
  ERROR(hanse_journal_leaf(kernel, count, leaf), unknown_event);
  ERROR(hanse_verify_inclusion(leaf, 0, 1, proof, HANSE_PROOF_COUNT_MAX + 1, root), out_of_range);
  ERROR(hanse_verify_inclusion(NULL, 0, 1, proof, 0, root), empty);
}

static void count(void) {
  hanse_counters counters = {.size_bytes = sizeof counters};
  OK(hanse_counters_read(kernel, &counters));
  EXPECT(counters.record_count > 3 && counters.poisoned == 0 && counters.ledger > 0);
  counters.size_bytes = 4;
  ERROR(hanse_counters_read(kernel, &counters), out_of_range);
}

int main(void) {
  hanse_agents members = {.size_bytes = sizeof members};
  OK(hanse_open(NULL, NULL, &kernel));
  OK(hanse_agents_add(kernel, HANSE_ID_NONE, &members, 3, agents));
  OK(hanse_fund(kernel, HANSE_ID_NONE, agents[0], 100, NULL, NULL));
  move();
  refuse();
  hold_and_settle();
  prove();
  count();
  OK(hanse_close(kernel));
  puts(failures == 0 ? "ok" : "failed");
  return failures == 0 ? 0 : 1;
}
