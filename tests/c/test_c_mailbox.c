/* hanse_mailbox.h as a C program uses it: options, batches, loans, handlers, requests, topics,
 * bounds, durable boxes. Returns 0 and says "ok", or 1 and says which line did not hold.
 */
#define _XOPEN_SOURCE 700

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hanse_mailbox.h"

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

static hanse_kernel* kernel;
static hanse_id root, a, b, c;

static void open_world(const char* directory) {
  OK(hanse_open(directory, NULL, &kernel));
  OK(hanse_root(kernel, &root));
  const char* const names[] = {"a", "b", "c"};
  hanse_agents agents = {.size_bytes = sizeof agents, .names = names};
  hanse_id ids[3] = {0};
  OK(hanse_agents_add(kernel, root, &agents, 3, ids));
  a = ids[0], b = ids[1], c = ids[2];
}

static void send_with_options_and_drain(void) {
  hanse_message_options options = {.size_bytes = sizeof options, .lane = 3, .trace = 77};
  hanse_batch* batch = NULL;
  uint32_t count = 0;
  hanse_message message = {.size_bytes = sizeof message};
  OK(hanse_batch_create(&batch));
  OK(hanse_drain(kernel, batch, 16, &count)); /* this thread owns the boxes now */
  EXPECT(count == 0);
  OK(hanse_send_with(kernel, a, b, "later", 5, NULL));
  OK(hanse_send_with(kernel, a, b, "urgent", 6, &options));
  OK(hanse_drain(kernel, batch, 16, &count));
  EXPECT(count == 2);
  OK(hanse_batch_message(batch, 0, &message));
  EXPECT(message.lane == 3 && message.trace == 77 && message.sender == a && message.to == b);
  EXPECT(message.payload_size == 6 && memcmp(message.payload, "urgent", 6) == 0);
  ERROR(hanse_batch_message(batch, 2, &message), out_of_range);
  message.size_bytes = 8;
  ERROR(hanse_batch_message(batch, 0, &message), out_of_range);
  options.lane = 4;
  ERROR(hanse_send_with(kernel, a, b, "x", 1, &options), out_of_range);
  options.size_bytes = 1;
  ERROR(hanse_send_with(kernel, a, b, "x", 1, &options), out_of_range);
  ERROR(hanse_drain(kernel, NULL, 1, &count), empty);

  const hanse_id to[] = {b, 12345, c};
  const uint32_t sizes[] = {1, 2, 3};
  int32_t outcomes[3] = {0};
  OK(hanse_send_many(kernel, a, to, 3, "aaabbbccc", 3, sizes, outcomes));
  EXPECT(outcomes[0] == hanse_outcome_ok && outcomes[1] == hanse_outcome_unknown);
  OK(hanse_drain(kernel, batch, 16, &count));
  EXPECT(count == 2);
  const uint32_t wrong[] = {1, 4, 1};
  ERROR(hanse_send_many(kernel, a, to, 3, "aaabbbccc", 3, wrong, outcomes), out_of_range);
  ERROR(hanse_send_many(kernel, a, NULL, 3, "aaabbbccc", 3, NULL, outcomes), empty);
  OK(hanse_batch_destroy(batch));
  OK(hanse_batch_destroy(NULL));
}

static void loan_and_send(void) {
  hanse_loan* loan = NULL;
  void* data = NULL;
  char buffer[200];
  hanse_delivery delivery = {.size_bytes = sizeof delivery};
  OK(hanse_loan_create(kernel, 200, &loan, &data));
  memset(data, 'l', 200);
  OUTCOME(hanse_loan_send(kernel, a, 12345, loan, NULL), unknown);
  OK(hanse_loan_send(kernel, a, b, loan, NULL));
  OK(hanse_receive(kernel, b, &delivery, buffer, sizeof buffer));
  EXPECT(delivery.payload_size == 200 && buffer[199] == 'l');
  OK(hanse_loan_create(kernel, 100, &loan, &data));
  OK(hanse_loan_destroy(loan));
  OK(hanse_loan_destroy(NULL));
  ERROR(hanse_loan_create(kernel, 1, NULL, &data), empty);
  ERROR(hanse_loan_create(kernel, (size_t)1 << 40, &loan, &data), payload_too_large);
}

static void count_and_pass_on(void* context, hanse_kernel* in, const hanse_message* message) {
  int* left = context;
  uint32_t handled = 0;
  ERROR(hanse_run(in, 1, &handled), illegal_transition);
  if (message->kind == hanse_message_kind_request) {
    OK(hanse_answer(in, message->request, message->payload, message->payload_size));
    return;
  }
  if (--*left > 0) OK(hanse_send(in, message->to, message->sender, "ball", 4));
}

static void handle_natively(void) {
  int left = 10;
  uint32_t handled = 0;
  OK(hanse_on(kernel, a, count_and_pass_on, &left));
  OK(hanse_on(kernel, b, count_and_pass_on, &left));
  OK(hanse_send(kernel, a, b, "ball", 4));
  OK(hanse_run(kernel, 100, &handled));
  EXPECT(handled == 10 && left == 0);
  ERROR(hanse_on(kernel, 12345, count_and_pass_on, &left), unknown_agent);

  uint64_t request = 0;
  char buffer[8];
  hanse_reply reply = {.size_bytes = sizeof reply};
  OK(hanse_ask(kernel, c, b, "echo", 4, NULL, &request));
  OK(hanse_reply_fetch(kernel, request, &reply, buffer, sizeof buffer));
  EXPECT(reply.end == hanse_request_waiting);
  OK(hanse_run(kernel, 100, NULL));
  OUTCOME(hanse_reply_fetch(kernel, request, &reply, buffer, 2), too_large);
  OK(hanse_reply_fetch(kernel, request, &reply, buffer, sizeof buffer));
  EXPECT(reply.end == hanse_request_reply && memcmp(buffer, "echo", 4) == 0);
  OUTCOME(hanse_reply_fetch(kernel, request, &reply, buffer, sizeof buffer), unknown);
  OUTCOME(hanse_answer(kernel, request, NULL, 0), unknown);
  OK(hanse_on(kernel, a, NULL, NULL));
  OK(hanse_on(kernel, b, NULL, NULL));
}

static void end_requests_once(void) {
  uint64_t parent = 0, child = 0, late = 0;
  char buffer[8];
  hanse_reply reply = {.size_bytes = sizeof reply};
  hanse_delivery delivery = {.size_bytes = sizeof delivery};
  hanse_message_options options = {.size_bytes = sizeof options};
  OK(hanse_ask(kernel, a, b, "top", 3, NULL, &parent));
  options.parent = parent;
  OK(hanse_ask(kernel, b, c, "below", 5, &options, &child));
  OK(hanse_cancel(kernel, parent));
  OUTCOME(hanse_cancel(kernel, parent), unknown);
  OK(hanse_reply_fetch(kernel, child, &reply, buffer, sizeof buffer));
  EXPECT(reply.end == hanse_request_cancelled);
  OK(hanse_reply_fetch(kernel, parent, &reply, buffer, sizeof buffer));
  EXPECT(reply.end == hanse_request_cancelled);
  OK(hanse_receive(kernel, c, &delivery, buffer, sizeof buffer));
  EXPECT(delivery.to == HANSE_ID_NONE);

  options.parent = 0;
  options.deadline_ns = 1;
  OK(hanse_ask(kernel, a, b, "late", 4, &options, &late));
  OK(hanse_reply_fetch(kernel, late, &reply, buffer, sizeof buffer));
  EXPECT(reply.end == hanse_request_expired);
  OK(hanse_ask(kernel, a, b, "fails", 5, NULL, &late));
  OK(hanse_receive(kernel, b, &delivery, buffer, sizeof buffer));
  EXPECT(delivery.kind == hanse_message_kind_request && delivery.request == late);
  OK(hanse_answer_error(kernel, late));
  OK(hanse_reply_fetch(kernel, late, &reply, buffer, sizeof buffer));
  EXPECT(reply.end == hanse_request_error);
  OUTCOME(hanse_ask(kernel, a, 12345, "x", 1, NULL, &late), unknown);
  ERROR(hanse_ask(kernel, a, b, "x", 1, NULL, NULL), empty);
}

static void remember_end(void* context, hanse_kernel* in, uint64_t request,
                         const hanse_reply* reply, const void* payload) {
  int* ends = context;
  EXPECT(in == kernel && request != 0);
  if (reply->end == hanse_request_reply)
    EXPECT(reply->payload_size == 4 && memcmp(payload, "ball", 4) == 0);
  ++ends[reply->end];
}

static void ask_and_be_told(void) {
  int left = 0, ends[6] = {0};
  uint64_t request = 0;
  hanse_message_options late = {.size_bytes = sizeof late, .deadline_ns = 1};
  OK(hanse_on(kernel, b, count_and_pass_on, &left));
  OK(hanse_ask_then(kernel, a, b, "ball", 4, NULL, remember_end, ends, &request));
  OK(hanse_run(kernel, 100, NULL));
  EXPECT(ends[hanse_request_reply] == 1);
  OK(hanse_on(kernel, b, NULL, NULL));
  OK(hanse_ask_then(kernel, a, b, "late", 4, &late, remember_end, ends, &request));
  OK(hanse_ask_then(kernel, a, b, "gone", 4, NULL, remember_end, ends, &request));
  OK(hanse_cancel(kernel, request));
  OK(hanse_run(kernel, 100, NULL));
  EXPECT(ends[hanse_request_expired] == 1 && ends[hanse_request_cancelled] == 1);

  const char* const names[] = {"soon gone"};
  hanse_agents agents = {.size_bytes = sizeof agents, .names = names};
  hanse_id gone = 0;
  OK(hanse_agents_add(kernel, root, &agents, 1, &gone));
  OK(hanse_ask_then(kernel, a, gone, "x", 1, NULL, remember_end, ends, &request));
  OK(hanse_agent_revoke(kernel, root, gone, NULL));
  OK(hanse_run(kernel, 100, NULL));
  OK(hanse_run(kernel, 100, NULL));
  EXPECT(ends[hanse_request_undeliverable] == 1 && ends[hanse_request_reply] == 1);
  ERROR(hanse_ask_then(kernel, a, b, "x", 1, NULL, NULL, ends, &request), empty);
}

typedef struct pair {
  hanse_kernel* kernel;
  hanse_id here, there;
  int left;
} pair;

static void return_ball(void* context, hanse_kernel* in, const hanse_message* message) {
  (void)context;
  hanse_send(in, message->to, message->sender, message->payload, message->payload_size);
}

static void answer_ball(void* context, hanse_kernel* in, const hanse_message* message) {
  (void)context;
  if (message->kind == hanse_message_kind_request)
    OK(hanse_answer(in, message->request, message->payload, message->payload_size));
}

static void count_ball(void* context, hanse_kernel* in, const hanse_message* message) {
  pair* both = context;
  if (--both->left > 0) OK(hanse_send(in, message->to, both->there, "ball", 4));
}

static void* run_shard(void* context) {
  const pair* both = context;
  return hanse_shard_run(both->kernel, 1) == 0 ? context : NULL;
}

static void ask_another_shard(const pair* both) {
  uint64_t request = 0, accepted = 0;
  char buffer[8];
  hanse_reply reply = {.size_bytes = sizeof reply};
  OK(hanse_on(both->kernel, both->there, answer_ball, NULL));
  OK(hanse_ask(both->kernel, both->here, both->there, "why", 3, NULL, &request));
  OK(hanse_reply_fetch(both->kernel, request, &reply, buffer, sizeof buffer));
  EXPECT(reply.end == hanse_request_waiting);
  OK(hanse_shard_turn(both->kernel, 1, NULL));
  OK(hanse_reply_fetch(both->kernel, request, &reply, buffer, sizeof buffer));
  EXPECT(reply.end == hanse_request_reply && reply.payload_size == 3);
  EXPECT(memcmp(buffer, "why", 3) == 0);
  OK(hanse_subscribe(both->kernel, both->there, 5));
  OK(hanse_publish_topic(both->kernel, both->here, 5, "all", 3, NULL, &accepted));
  EXPECT(accepted == 1);
  OK(hanse_ask(both->kernel, both->here, both->there, "no", 2, NULL, &request));
  OK(hanse_cancel(both->kernel, request));
  uint32_t handled = 0;
  OK(hanse_shard_turn(both->kernel, 1, &handled));
  EXPECT(handled == 1);
}

static void play_between_shards(void) {
  hanse_kernel_options options = {.size_bytes = sizeof options, .shards = 2};
  pair both = {.left = 1000};
  OK(hanse_open(NULL, &options, &both.kernel));
  hanse_id groups[2] = {0};
  const char* const names[] = {"near", "far"};
  hanse_agents agents = {.size_bytes = sizeof agents, .names = names};
  agents.kind = hanse_agent_kind_group;
  OK(hanse_agents_add(both.kernel, HANSE_ID_NONE, &agents, 2, groups));
  agents = (hanse_agents){.size_bytes = sizeof agents, .parent = groups[0]};
  OK(hanse_agents_add(both.kernel, HANSE_ID_NONE, &agents, 1, &both.here));
  agents.parent = groups[1];
  OK(hanse_agents_add(both.kernel, HANSE_ID_NONE, &agents, 1, &both.there));
  OK(hanse_shard_place(both.kernel, HANSE_ID_NONE, groups[1], 1));
  uint32_t shard = 0, handled = 0;
  OK(hanse_shard_of(both.kernel, both.there, &shard));
  EXPECT(shard == 1);
  OK(hanse_on(both.kernel, both.here, count_ball, &both));
  OK(hanse_on(both.kernel, both.there, return_ball, &both));
  OK(hanse_send(both.kernel, both.here, both.there, "ball", 4));
  OK(hanse_shard_turn(both.kernel, 1, &handled));
  EXPECT(handled == 1);
  ERROR(hanse_shard_turn(both.kernel, 0, NULL), out_of_range);
  ERROR(hanse_shard_place(both.kernel, HANSE_ID_NONE, groups[1], 2), out_of_range);

  pthread_t thread;
  EXPECT(pthread_create(&thread, NULL, run_shard, &both) == 0);
  while (both.left > 0) OK(hanse_run(both.kernel, 64, NULL));
  OK(hanse_shards_stop(both.kernel));
  void* result = NULL;
  pthread_join(thread, &result);
  EXPECT(result == &both);
  hanse_mailbox_counters all = {.size_bytes = sizeof all}, far = {.size_bytes = sizeof far};
  OK(hanse_mailbox_count(both.kernel, &all));
  OK(hanse_shard_count(both.kernel, 1, &far));
  ask_another_shard(&both);
  EXPECT(all.accepted == 2000 && all.handled == 2000 && all.queued == 0);
  EXPECT(far.accepted == 1000 && far.handled == 1000);
  ERROR(hanse_shard_count(both.kernel, 2, &far), out_of_range);
  OK(hanse_close(both.kernel));
}

static void publish_and_bound(void) {
  uint64_t accepted = 0;
  char buffer[8];
  hanse_delivery delivery = {.size_bytes = sizeof delivery};
  OK(hanse_subscribe(kernel, b, 7));
  OK(hanse_subscribe_prefix(kernel, c, (uint64_t)1 << 63, 1));
  OK(hanse_publish_topic(kernel, a, 7, "seven", 5, NULL, &accepted));
  EXPECT(accepted == 1);
  OK(hanse_publish_topic(kernel, a, UINT64_MAX, "high", 4, NULL, &accepted));
  EXPECT(accepted == 1);
  OK(hanse_receive(kernel, c, &delivery, buffer, sizeof buffer));
  EXPECT(delivery.payload_size == 4);
  OK(hanse_unsubscribe(kernel, b, 7));
  OUTCOME(hanse_unsubscribe(kernel, b, 7), unknown);
  OK(hanse_unsubscribe_prefix(kernel, c, (uint64_t)1 << 63, 1));
  ERROR(hanse_subscribe_prefix(kernel, c, 0, 65), out_of_range);
  OK(hanse_receive(kernel, b, &delivery, buffer, sizeof buffer));
  EXPECT(delivery.payload_size == 5);
  OK(hanse_group_join(kernel, b, 11, 1));
  OK(hanse_group_join(kernel, c, 11, 1));
  for (int i = 0; i < 2; ++i) {
    OK(hanse_publish_topic(kernel, a, 11, "turn", 4, NULL, &accepted));
    EXPECT(accepted == 1);
    OK(hanse_receive(kernel, i == 0 ? b : c, &delivery, buffer, sizeof buffer));
    EXPECT(delivery.payload_size == 4);
  }
  OK(hanse_group_leave(kernel, b, 11, 1));
  OUTCOME(hanse_group_leave(kernel, b, 11, 1), unknown);
  OK(hanse_group_leave(kernel, c, 11, 1));
  ERROR(hanse_group_join(kernel, 12345, 11, 1), unknown_agent);
  ERROR(hanse_subscribe(kernel, 12345, 7), unknown_agent);

  hanse_box_options box = {.size_bytes = sizeof box, .capacity_messages = 1};
  OK(hanse_box_set(kernel, c, &box));
  OK(hanse_send(kernel, a, c, "1", 1));
  OUTCOME(hanse_send(kernel, a, c, "2", 1), full);
  box.policy = hanse_box_drop_oldest;
  OK(hanse_box_set(kernel, c, &box));
  OK(hanse_send(kernel, a, c, "3", 1));
  box.policy = 9;
  ERROR(hanse_box_set(kernel, c, &box), out_of_range);

  hanse_dead_letter letters[2] = {{.size_bytes = sizeof letters[0]},
                                  {.size_bytes = sizeof letters[0]}};
  uint32_t count = 0;
  OK(hanse_dead_letters(kernel, letters, 2, &count));
  EXPECT(count >= 1);
  const hanse_dead_letter* last = &letters[count - 1];
  EXPECT(last->to == c && last->payload[0] == '1' && last->reason == hanse_outcome_dropped);
  OUTCOME(hanse_dead_letter_resend(kernel, 1u << 30), unknown);
  OK(hanse_dead_letter_resend(kernel, last->number));
  hanse_mailbox_counters counters = {.size_bytes = sizeof counters};
  OK(hanse_mailbox_count(kernel, &counters));
  EXPECT(counters.accepted == counters.handled + counters.expired + counters.cancelled +
                                  counters.dead + counters.queued);
  EXPECT(counters.published == 4 && counters.resent == 1 && counters.lane_entered[3] == 1);
  counters.size_bytes = 0;
  ERROR(hanse_mailbox_count(kernel, &counters), out_of_range);
}

static hanse_durable_message durable_message(hanse_id to, const char* text, const char* key) {
  hanse_durable_message message = {.size_bytes = sizeof message, .to = to};
  message.payload = text;
  message.payload_size = strlen(text);
  message.key = key;
  message.key_size = key == NULL ? 0 : strlen(key);
  return message;
}

static void keep_durably(void) {
  const hanse_id boxes[] = {b, c};
  hanse_durable_options options = {.size_bytes = sizeof options, .capacity_messages = 3};
  uint64_t position = 0, again = 0;
  OK(hanse_durable_declare(kernel, root, boxes, 2, &options, &position));
  EXPECT(position != HANSE_POSITION_NONE);
  options.attempts_max = 65536;
  ERROR(hanse_durable_declare(kernel, root, boxes, 2, &options, NULL), out_of_range);
  ERROR(hanse_durable_declare(kernel, a, boxes, 2, NULL, NULL), not_permitted);

  hanse_durable_message first = durable_message(b, "work", "k");
  OK(hanse_send_durable(kernel, a, &first, &position));
  OUTCOME(hanse_send_durable(kernel, a, &first, &again), replayed);
  EXPECT(again == position);
  first.payload_size = 3;
  OUTCOME(hanse_send_durable(kernel, a, &first, NULL), conflict);
  hanse_durable_message many[] = {durable_message(b, "2", NULL), durable_message(a, "no", NULL),
                                  durable_message(b, "3", NULL), durable_message(b, "4", NULL)};
  int32_t outcomes[4];
  OK(hanse_send_durable_many(kernel, a, many, 4, outcomes));
  EXPECT(outcomes[0] == hanse_outcome_ok && outcomes[1] == hanse_outcome_invalid);
  EXPECT(outcomes[2] == hanse_outcome_ok && outcomes[3] == hanse_outcome_full);
  many[1].lane = HANSE_LANE_COUNT;
  ERROR(hanse_send_durable_many(kernel, a, many, 4, outcomes), out_of_range);
  ERROR(hanse_send_durable_many(kernel, a, NULL, 1, outcomes), empty);
}

static void commit_and_give_back(void) {
  char buffer[16];
  int32_t outcomes[2];
  uint64_t position = 0;
  hanse_delivery delivery = {.size_bytes = sizeof delivery};
  OK(hanse_receive(kernel, b, &delivery, buffer, sizeof buffer));
  EXPECT(delivery.durable == 1 && delivery.attempt == 1 && delivery.sequence == 0);
  EXPECT(delivery.kind == hanse_message_kind_data && memcmp(buffer, "work", 4) == 0);
  const uint64_t done[] = {0};
  hanse_durable_message answers[] = {durable_message(c, "answer", NULL),
                                     durable_message(a, "nobody", NULL)};
  hanse_commit_request commit = {.size_bytes = sizeof commit, .acknowledge_count = 1};
  commit.acknowledge = done;
  commit.send = answers;
  commit.send_count = 2;
  commit.state_given = 1;
  commit.state = "one";
  commit.state_size = 3;
  OUTCOME(hanse_commit(kernel, b, &commit, outcomes, NULL), invalid);
  EXPECT(outcomes[0] == hanse_outcome_aborted && outcomes[1] == hanse_outcome_invalid);
  commit.send_count = 1;
  OK(hanse_commit(kernel, b, &commit, outcomes, &position));
  ERROR(hanse_commit(kernel, b, &commit, outcomes, NULL), already_resolved);
  size_t size = 0;
  OUTCOME(hanse_durable_state(kernel, root, b, buffer, 2, &size), too_large);
  OK(hanse_durable_state(kernel, root, b, buffer, sizeof buffer, &size));
  EXPECT(size == 3 && memcmp(buffer, "one", 3) == 0);
  OK(hanse_receive(kernel, b, &delivery, buffer, sizeof buffer));
  OK(hanse_give_back(kernel, b, &delivery.sequence, 1, NULL));
  const uint64_t unknown[] = {99};
  ERROR(hanse_give_back(kernel, b, unknown, 1, NULL), out_of_range);
}

static void resend_what_was_late(void) {
  hanse_durable_message late = durable_message(c, "late", NULL);
  late.lane = 3;
  late.deadline_ns = 1;
  char buffer[16];
  hanse_delivery delivery = {.size_bytes = sizeof delivery};
  OK(hanse_receive(kernel, c, &delivery, buffer, sizeof buffer));
  OK(hanse_send_durable(kernel, a, &late, NULL));
  OK(hanse_receive(kernel, c, &delivery, buffer, sizeof buffer));
  EXPECT(delivery.to == HANSE_ID_NONE || delivery.durable == 0);
  hanse_dead_letter letters[2] = {{.size_bytes = sizeof *letters}, {.size_bytes = sizeof *letters}};
  uint32_t count = 0;
  OK(hanse_durable_dead_letters(kernel, root, c, letters, 2, &count));
  EXPECT(count == 1 && letters[0].reason == hanse_outcome_expired);
  EXPECT(letters[0].payload_size == 4 && memcmp(letters[0].payload, "late", 4) == 0);
  OK(hanse_durable_dead_letter_resend(kernel, root, c, letters[0].number, NULL));
  OUTCOME(hanse_durable_dead_letter_resend(kernel, root, c, letters[0].number, NULL), unknown);
  OK(hanse_receive(kernel, c, &delivery, buffer, sizeof buffer));
  EXPECT(delivery.durable == 1 && delivery.lane == 3 && memcmp(buffer, "late", 4) == 0);
}

static void reopen_and_count(const char* directory) {
  OK(hanse_close(kernel));
  OK(hanse_open(directory, NULL, &kernel));
  hanse_batch* batch = NULL;
  hanse_message message = {.size_bytes = sizeof message};
  uint32_t count = 0;
  OK(hanse_batch_create(&batch));
  OK(hanse_drain(kernel, batch, 16, &count));
  EXPECT(count == 4);
  OK(hanse_batch_message(batch, 0, &message));
  EXPECT(message.durable == 1 && message.sequence == 1 && message.attempt == 3);
  OK(hanse_batch_destroy(batch));
  hanse_durable_box box = {.size_bytes = sizeof box};
  OK(hanse_durable_count(kernel, root, b, &box));
  EXPECT(box.accepted == 3 && box.acknowledged == 1 && box.queued == 2 && box.in_flight == 2);
  ERROR(hanse_durable_count(kernel, root, a, &box), out_of_range);
  ERROR(hanse_durable_count(kernel, root, 12345, &box), unknown_agent);
}

static int remove_entry(const char* path, const struct stat* info, int kind, struct FTW* place) {
  (void)info, (void)kind, (void)place;
  return remove(path);
}

int main(void) {
  char directory[] = "/tmp/hanse_c_mailbox_XXXXXX";
  if (mkdtemp(directory) == NULL) {
    perror("mkdtemp");
    return 1;
  }
  open_world(directory);
  if (kernel != NULL) {
    send_with_options_and_drain();
    loan_and_send();
    handle_natively();
    end_requests_once();
    ask_and_be_told();
    play_between_shards();
    publish_and_bound();
    keep_durably();
    commit_and_give_back();
    resend_what_was_late();
    reopen_and_count(directory);
    OK(hanse_close(kernel));
  }
  nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
  puts(failures == 0 ? "ok" : "failed");
  return failures == 0 ? 0 : 1;
}
