/* The first user of hanse.h: C11, nothing but the installed header and library.
 *
 * Returns 0 and says "ok", or 1 and says which line did not hold.
 */
#define _XOPEN_SOURCE 700

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hanse.h"

static int failures = 0;

static void expect(int holds, const char* what, int line) {
  if (holds) return;
  ++failures;
  fprintf(stderr, "line %d: %s does not hold; last error %d: %s\n", line, what,
          (int)hanse_error_code(), hanse_error_text());
}

static void expect_status(hanse_status status, hanse_status wanted, const char* what, int line) {
  if (status == wanted) return;
  ++failures;
  fprintf(stderr, "line %d: %s returned %d instead of %d: %s\n", line, what, (int)status,
          (int)wanted, status < 0 ? hanse_error_text() : "");
}

#define EXPECT(holds) expect((holds) != 0, #holds, __LINE__)
#define OK(call) expect_status((call), 0, #call, __LINE__)
#define OUTCOME(call, wanted) expect_status((call), hanse_outcome_##wanted, #call, __LINE__)
#define ERROR(call, wanted) expect_status((call), -(hanse_error_##wanted), #call, __LINE__)

typedef struct world {
  hanse_kernel* kernel;
  hanse_id root, team, buyer;
  hanse_id workers[3];
} world;

static uint64_t balance(const world* in, hanse_id agent) {
  uint64_t available = 0;
  OK(hanse_balance(in->kernel, HANSE_ID_NONE, agent, NULL, &available));
  return available;
}

static hanse_dispatch_request request_for(const float* query, uint64_t budget) {
  hanse_dispatch_request request = {.size_bytes = sizeof request};
  request.query = query;
  request.dim = 2;
  request.task_class = "summarise";
  request.payload = "what to do";
  request.payload_size = strlen("what to do");
  request.budget = budget;
  return request;
}

static void add_agents(world* in) {
  const char* const team_name[] = {"team"};
  hanse_agents team = {.size_bytes = sizeof team, .kind = hanse_agent_kind_group};
  team.names = team_name;
  OK(hanse_root(in->kernel, &in->root));
  OK(hanse_agents_add(in->kernel, HANSE_ID_NONE, &team, 1, &in->team));

  const char* const names[] = {"buyer", "north", "east", "rest"};
  hanse_id ids[4] = {0};
  hanse_agents members = {.size_bytes = sizeof members, .parent = in->team, .names = names};
  OK(hanse_agents_add(in->kernel, in->root, &members, 4, ids));
  in->buyer = ids[0];
  memcpy(in->workers, ids + 1, sizeof in->workers);

  hanse_id found = 0;
  OK(hanse_agent_find(in->kernel, HANSE_ID_NONE, "east", in->team, &found));
  EXPECT(found == in->workers[1]);
  OUTCOME(hanse_agent_find(in->kernel, HANSE_ID_NONE, "nobody", HANSE_ID_NONE, &found), unknown);
  EXPECT(found == HANSE_ID_NONE);
  ERROR(hanse_agents_add(in->kernel, HANSE_ID_NONE, &members, 4, ids), name_taken);
}

static void fund_and_publish(world* in) {
  uint64_t position = 0;
  OK(hanse_fund(in->kernel, HANSE_ID_NONE, in->buyer, 10000, NULL, &position));
  EXPECT(position > 0);
  EXPECT(balance(in, in->buyer) == 10000);
  ERROR(hanse_fund(in->kernel, in->buyer, in->buyer, 1, NULL, NULL), not_permitted);

  const float vectors[] = {0, 1, 1, 0, -1, 0};
  const int64_t prices[] = {100, 200, 300};
  const uint8_t tiers[] = {0, 0, 1};
  uint32_t versions[3] = {0};
  hanse_offers offers = {.size_bytes = sizeof offers, .count = 3, .dim = 2};
  offers.agents = in->workers;
  offers.vectors = vectors;
  offers.prices = prices;
  offers.tiers = tiers;
  OK(hanse_publish(in->kernel, HANSE_ID_NONE, &offers, versions));
  EXPECT(versions[0] == 1 && versions[1] == 1 && versions[2] == 1);

  const float zeros[6] = {0};
  offers.vectors = zeros;
  ERROR(hanse_publish(in->kernel, HANSE_ID_NONE, &offers, versions), bad_vector);
  offers.vectors = NULL;
  ERROR(hanse_publish(in->kernel, HANSE_ID_NONE, &offers, versions), empty);
}

static void match(world* in) {
  const float queries[] = {0.1f, 1, 1, 0.1f};
  hanse_found found[4];
  int32_t counts[2] = {0};
  hanse_match_request request = {.size_bytes = sizeof request, .k = 2};
  request.queries = queries;
  request.query_count = 2;
  request.dim = 2;
  OK(hanse_match(in->kernel, in->buyer, &request, found, counts));
  EXPECT(counts[0] == 2 && counts[1] == 2);
  EXPECT(found[0].agent == in->workers[0] && found[1].agent == in->workers[1]);
  EXPECT(found[2].agent == in->workers[1] && found[2].version == 1);
  EXPECT(found[0].score > found[1].score);

  hanse_feasible cheap = {.size_bytes = sizeof cheap, .price_limited = 1, .price_max = 100};
  request.feasible = &cheap;
  OK(hanse_match(in->kernel, in->buyer, &request, found, counts));
  EXPECT(counts[0] == 1 && found[0].agent == in->workers[0]);
  EXPECT(found[1].agent == HANSE_ID_NONE);

  request.space = "elsewhere";
  ERROR(hanse_match(in->kernel, in->buyer, &request, found, counts), unknown_space);
  request.space = NULL;
  request.dim = 3;
  ERROR(hanse_match(in->kernel, in->buyer, &request, found, counts), dimension_mismatch);
}

static void send_and_receive(world* in) {
  char buffer[64];
  hanse_delivery delivery = {.size_bytes = sizeof delivery};
  OK(hanse_receive(in->kernel, in->buyer, &delivery, buffer, sizeof buffer));
  EXPECT(delivery.to == HANSE_ID_NONE);

  OK(hanse_send(in->kernel, in->workers[0], in->buyer, "hello", 5));
  OK(hanse_send(in->kernel, in->workers[0], in->buyer, "again", 5));
  OUTCOME(hanse_receive(in->kernel, in->buyer, &delivery, buffer, 4), too_large);
  EXPECT(delivery.payload_size == 5 && delivery.to == in->buyer);
  OK(hanse_receive(in->kernel, in->buyer, &delivery, buffer, 5));
  EXPECT(memcmp(buffer, "hello", 5) == 0 && delivery.sender == in->workers[0]);
  EXPECT(delivery.kind == hanse_message_kind_data && delivery.task == HANSE_ID_NONE);
  OUTCOME(hanse_next_delivery(in->kernel, &delivery, NULL, 0), too_large);
  OK(hanse_next_delivery(in->kernel, &delivery, buffer, sizeof buffer));
  EXPECT(memcmp(buffer, "again", 5) == 0 && delivery.sequence == 1);
  OK(hanse_next_delivery(in->kernel, &delivery, buffer, sizeof buffer));
  EXPECT(delivery.to == HANSE_ID_NONE);

  OUTCOME(hanse_send(in->kernel, in->buyer, 12345, "x", 1), unknown);
  ERROR(hanse_send(in->kernel, in->buyer, in->buyer, NULL, 1), empty);
}

/* One task all the way; its worker's fee is 100. */
static void dispatch_and_accept(world* in) {
  const float north[] = {0, 1};
  hanse_dispatch_request request = request_for(north, 1000);
  request.key = "order-17";
  request.key_size = strlen("order-17");
  hanse_receipt receipt = {.size_bytes = sizeof receipt}, again = receipt;
  OK(hanse_dispatch(in->kernel, in->buyer, &request, &receipt));
  EXPECT(receipt.outcome == hanse_outcome_ok && receipt.agent == in->workers[0]);
  EXPECT(receipt.price == 100 && receipt.held == 1000 && receipt.version == 1);
  EXPECT(receipt.durability == hanse_durability_each);
  EXPECT(balance(in, in->buyer) == 9000);
  OUTCOME(hanse_dispatch(in->kernel, in->buyer, &request, &again), replayed);
  EXPECT(again.task == receipt.task && again.position == receipt.position);
  EXPECT(balance(in, in->buyer) == 9000);

  char buffer[64];
  hanse_delivery delivery = {.size_bytes = sizeof delivery};
  OK(hanse_receive(in->kernel, in->workers[0], &delivery, buffer, sizeof buffer));
  EXPECT(delivery.kind == hanse_message_kind_task && delivery.task == receipt.task);
  EXPECT(delivery.sender == in->buyer && delivery.attempt == 1);
  EXPECT(delivery.payload_size == 10 && memcmp(buffer, "what to do", 10) == 0);
  EXPECT(strcmp(delivery.task_class, "summarise") == 0);

  hanse_completion done = {.size_bytes = sizeof done, .task = receipt.task, .output = 7};
  memset(done.artifact, 0xa1, sizeof done.artifact);
  done.total_given = 1;
  done.total_tokens = 8;
  ERROR(hanse_complete(in->kernel, in->workers[0], &done, NULL), usage_inconsistent);
  done.total_tokens = 7;
  ERROR(hanse_complete(in->kernel, in->workers[1], &done, NULL), not_permitted);
  OK(hanse_complete(in->kernel, in->workers[0], &done, NULL));
  OK(hanse_accept(in->kernel, in->buyer, receipt.task, in->workers[1], NULL));
  ERROR(hanse_reject(in->kernel, in->buyer, receipt.task, HANSE_ID_NONE, NULL), already_resolved);
  EXPECT(balance(in, in->buyer) == 9900);
  EXPECT(balance(in, in->workers[0]) == 100);

  hanse_task task = {.size_bytes = sizeof task};
  OK(hanse_task_state(in->kernel, in->buyer, receipt.task, &task));
  EXPECT(task.state == hanse_task_accepted && task.worker == in->workers[0]);
  EXPECT(task.verifier == in->workers[1] && task.spent == 100);
  EXPECT(memcmp(task.artifact, done.artifact, sizeof task.artifact) == 0);
}

/* A rejected task goes to the large tier, and is then withdrawn. */
static void escalate_and_void(world* in) {
  const float east[] = {1, 0};
  hanse_dispatch_request request = request_for(east, 500);
  hanse_receipt receipt = {.size_bytes = sizeof receipt};
  OK(hanse_dispatch(in->kernel, in->buyer, &request, &receipt));
  EXPECT(receipt.agent == in->workers[1]);
  hanse_completion done = {.size_bytes = sizeof done, .task = receipt.task};
  memset(done.artifact, 0xb2, sizeof done.artifact);
  OK(hanse_complete(in->kernel, in->workers[1], &done, NULL));
  OK(hanse_reject(in->kernel, in->buyer, receipt.task, HANSE_ID_NONE, NULL));

  hanse_feasible large = {.size_bytes = sizeof large, .tier_limited = 1, .tier_min = 1};
  large.tier_max = 1;
  request.feasible = &large;
  hanse_receipt next = {.size_bytes = sizeof next};
  OK(hanse_escalate(in->kernel, in->buyer, receipt.task, &request, &next));
  EXPECT(next.task == receipt.task && next.agent == in->workers[2] && next.attempt == 2);
  OK(hanse_void(in->kernel, in->buyer, receipt.task, NULL));
  EXPECT(balance(in, in->buyer) == 9900);
}

static void dispatch_many(world* in) {
  const float north[] = {0, 1}, east[] = {1, 0};
  hanse_dispatch_request requests[3];
  hanse_receipt receipts[3];
  memset(receipts, 0, sizeof receipts);
  requests[0] = request_for(north, 400);
  requests[1] = request_for(east, 400);
  requests[2] = request_for(NULL, 20000);
  requests[2].to = in->workers[2];
  for (int i = 0; i < 3; ++i) receipts[i].size_bytes = sizeof receipts[i];
  OK(hanse_dispatch_many(in->kernel, in->buyer, requests, 3, 1, receipts));
  EXPECT(receipts[0].outcome == hanse_outcome_aborted);
  EXPECT(balance(in, in->buyer) == 9900);
  OK(hanse_dispatch_many(in->kernel, in->buyer, requests, 3, 0, receipts));
  EXPECT(receipts[0].outcome == hanse_outcome_ok && receipts[1].outcome == hanse_outcome_ok);
  EXPECT(receipts[2].outcome == hanse_outcome_insufficient_funds);
  EXPECT(receipts[2].task == HANSE_ID_NONE && receipts[2].reason[0] != 0);
  EXPECT(balance(in, in->buyer) == 9100);
  receipts[1].size_bytes = 8;
  ERROR(hanse_dispatch_many(in->kernel, in->buyer, requests, 2, 0, receipts), bad_array);
  OK(hanse_dispatch_many(in->kernel, in->buyer, NULL, 0, 0, NULL));
}

static void refuse_what_is_wrong(world* in) {
  hanse_id id = 0;
  uint64_t number = 0;
  hanse_receipt receipt = {.size_bytes = sizeof receipt};
  const float north[] = {0, 1};
  hanse_dispatch_request request = request_for(north, 20000);
  hanse_kernel* none = NULL;

  ERROR(hanse_root(NULL, &id), closed);
  EXPECT(hanse_error_code() == hanse_error_closed);
  EXPECT(strstr(hanse_error_text(), "kernel") != NULL);
  ERROR(hanse_root(in->kernel, NULL), empty);
  ERROR(hanse_open("", NULL, &none), empty);
  ERROR(hanse_open("/dev/null/no", NULL, &none), unusable_directory);
  EXPECT(none == NULL);
  ERROR(hanse_balance(in->kernel, HANSE_ID_NONE, 987654321, NULL, &number), unknown_agent);
  ERROR(hanse_balance(in->kernel, HANSE_ID_NONE, in->buyer, "pearls", &number), unknown_account);

  OUTCOME(hanse_dispatch(in->kernel, in->buyer, &request, &receipt), insufficient_funds);
  EXPECT(receipt.task == HANSE_ID_NONE && receipt.reason[0] != 0);
  request.budget = 50; /* Nobody works for that. */
  OUTCOME(hanse_dispatch(in->kernel, in->buyer, &request, &receipt), no_match);
  request.size_bytes = 4;
  ERROR(hanse_dispatch(in->kernel, in->buyer, &request, &receipt), out_of_range);
  request.size_bytes = sizeof request;
  receipt.size_bytes = 0;
  ERROR(hanse_dispatch(in->kernel, in->buyer, &request, &receipt), out_of_range);

  ERROR(hanse_load_policy(in->kernel, HANSE_ID_NONE, "permit(all);", &number), policy_compile);
  EXPECT(strstr(hanse_error_text(), "line 1, column 8") != NULL);
  ERROR(hanse_load_policy(in->kernel, HANSE_ID_NONE, "", NULL), policy_lockout);
}

/* A caller of a later release gives more bytes; what it doesn't use there is ignored. */
static void accept_larger_structs(world* in) {
  struct {
    hanse_kernel_options known;
    uint64_t later;
  } options = {.known = {.size_bytes = sizeof options}};
  hanse_kernel* memory = NULL;
  OK(hanse_open(NULL, &options.known, &memory));
  OK(hanse_close(memory));
  options.later = 1;
  ERROR(hanse_open(NULL, &options.known, &memory), out_of_range);

  struct {
    hanse_receipt known;
    uint64_t later;
  } receipts[2] = {{.known = {.size_bytes = sizeof receipts[0]}, .later = 77},
                   {.known = {.size_bytes = sizeof receipts[0]}, .later = 78}};
  const float north[] = {0, 1};
  hanse_dispatch_request requests[2] = {request_for(north, 50), request_for(north, 50)};
  OK(hanse_dispatch_many(in->kernel, in->buyer, requests, 2, 0, &receipts[0].known));
  EXPECT(receipts[0].known.outcome == hanse_outcome_no_match && receipts[0].later == 77);
  EXPECT(receipts[1].known.outcome == hanse_outcome_no_match && receipts[1].later == 78);
}

static void deny_and_revoke(world* in) {
  uint64_t epoch = 0;
  hanse_receipt receipt = {.size_bytes = sizeof receipt};
  const float north[] = {0, 1};
  hanse_dispatch_request request = request_for(north, 400);
  OK(hanse_load_policy(in->kernel, HANSE_ID_NONE,
                       "permit(principal, action, resource);"
                       "forbid(principal, action == Action::\"dispatch\", resource)"
                       " when { context.budget > 300 };",
                       &epoch));
  EXPECT(epoch > 0);
  OUTCOME(hanse_dispatch(in->kernel, in->buyer, &request, &receipt), denied);
  EXPECT(receipt.epoch == epoch && receipt.position != HANSE_POSITION_NONE);
  request.budget = 300;
  OK(hanse_dispatch(in->kernel, in->buyer, &request, &receipt));
  EXPECT(receipt.agent == in->workers[0]);

  OK(hanse_agent_revoke(in->kernel, HANSE_ID_NONE, in->workers[0], NULL));
  OUTCOME(hanse_send(in->kernel, in->buyer, in->workers[0], "x", 1), revoked);
}

static void close_reopen_verify(world* in, const char* directory) {
  uint64_t count = 0, durable = 0, reopened = 0;
  uint8_t root[HANSE_DIGEST_SIZE], hash[HANSE_DIGEST_SIZE], again[HANSE_DIGEST_SIZE];
  const uint64_t available = balance(in, in->buyer);
  hanse_kernel* second = NULL;
  ERROR(hanse_open(directory, NULL, &second), locked);
  OK(hanse_flush(in->kernel));
  OK(hanse_journal_count(in->kernel, &count, &durable));
  EXPECT(count > 10 && durable == count);
  OK(hanse_journal_root(in->kernel, root));
  OK(hanse_state_hash(in->kernel, hash));
  OK(hanse_close(in->kernel));

  hanse_verification found = {.size_bytes = sizeof found};
  OK(hanse_verify(directory, &found));
  EXPECT(found.record_count == count && found.balanced == 1 && found.torn_bytes == 0);
  EXPECT(memcmp(found.root, root, sizeof root) == 0);
  EXPECT(memcmp(found.state_hash, hash, sizeof hash) == 0);

  hanse_kernel_options options = {.size_bytes = sizeof options, .read_only = 1};
  OK(hanse_open(directory, &options, &in->kernel));
  OK(hanse_state_hash(in->kernel, again));
  EXPECT(memcmp(again, hash, sizeof hash) == 0);
  ERROR(hanse_fund(in->kernel, HANSE_ID_NONE, in->buyer, 1, NULL, NULL), read_only);
  OK(hanse_close(in->kernel));

  OK(hanse_open(directory, NULL, &in->kernel));
  OK(hanse_journal_count(in->kernel, &reopened, NULL));
  EXPECT(reopened >= count);
  EXPECT(balance(in, in->buyer) == available);
  char buffer[64];
  hanse_delivery delivery = {.size_bytes = sizeof delivery};
  OK(hanse_receive(in->kernel, in->workers[1], &delivery, buffer, sizeof buffer));
  EXPECT(delivery.kind == hanse_message_kind_task && delivery.attempt == 2);
  OK(hanse_close(in->kernel));
  OK(hanse_close(NULL));
}

static void names_are_as_in_the_tables(void) {
  EXPECT(strcmp(hanse_version(), HANSE_VERSION) == 0);
  EXPECT(strcmp(hanse_error_name(hanse_error_insufficient_funds), "InsufficientFunds") == 0);
  EXPECT(hanse_error_name(1) == NULL);
  EXPECT(strcmp(hanse_outcome_name(hanse_outcome_no_match), "no_match") == 0);
  EXPECT(hanse_outcome_name(99) == NULL);
  EXPECT(hanse_error_code() == 0 && strcmp(hanse_error_text(), "") == 0);
}

static int remove_entry(const char* path, const struct stat* info, int kind, struct FTW* place) {
  (void)info, (void)kind, (void)place;
  return remove(path);
}

int main(void) {
  char directory[] = "/tmp/hanse_c_abi_XXXXXX";
  world in = {.kernel = NULL};
  names_are_as_in_the_tables();
  if (mkdtemp(directory) == NULL) {
    perror("mkdtemp");
    return 1;
  }
  OK(hanse_open(directory, NULL, &in.kernel));
  if (in.kernel != NULL) {
    add_agents(&in);
    fund_and_publish(&in);
    match(&in);
    send_and_receive(&in);
    dispatch_and_accept(&in);
    escalate_and_void(&in);
    dispatch_many(&in);
    refuse_what_is_wrong(&in);
    accept_larger_structs(&in);
    deny_and_revoke(&in);
    close_reopen_verify(&in, directory);
  }
  nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
  puts(failures == 0 ? "ok" : "failed");
  return failures == 0 ? 0 : 1;
}
