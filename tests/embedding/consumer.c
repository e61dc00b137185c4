/* hanse in a C program. `begin DIR` does the work, says which task waits and never ends by itself;
 * `resume DIR TASK` goes on after the kill; `bench OPERATION COUNT`
 * times one. The other languages' programs in this folder do the same. */
#define _POSIX_C_SOURCE 200809L

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hanse.h"

enum { agent_count = 1000, dim = 8 };

static void must(int holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "%s does not hold; last error %d: %s\n", what, (int)hanse_error_code(),
          hanse_error_text());
  exit(1);
}
#define MUST(holds) must((holds) != 0, #holds)

static void fill(float* vector, int number) {
  for (int i = 0; i < dim; ++i) vector[i] = (float)sin(number + 1 + 10.0 * i);
}

static void publish(hanse_kernel* kernel, const hanse_id* agents) {
  static float vectors[agent_count][dim];
  static int64_t prices[agent_count];
  for (int i = 0; i < agent_count; ++i) {
    fill(vectors[i], i);
    prices[i] = 1;
  }
  hanse_offers offers = {.size_bytes = sizeof offers, .count = agent_count, .dim = dim};
  offers.agents = agents;
  offers.vectors = &vectors[0][0];
  offers.prices = prices;
  MUST(hanse_publish(kernel, HANSE_ID_NONE, &offers, NULL) == 0);
}

static void match(hanse_kernel* kernel, const hanse_id* agents, const float* query) {
  hanse_match_request request = {.size_bytes = sizeof request, .k = 3, .queries = query};
  request.query_count = 1;
  request.dim = dim;
  hanse_found found[3];
  int32_t count = 0;
  MUST(hanse_match(kernel, HANSE_ID_NONE, &request, found, &count) == 0);
  MUST(count == 3 && found[0].agent == agents[5] && found[0].score >= found[1].score);
}

static void talk(hanse_kernel* kernel, const hanse_id* agents) {
  char buffer[64];
  hanse_delivery delivery = {.size_bytes = sizeof delivery};
  MUST(hanse_send(kernel, agents[0], agents[1], "hello", 5) == 0);
  MUST(hanse_receive(kernel, agents[1], &delivery, buffer, sizeof buffer) == 0);
  MUST(delivery.sender == agents[0] && delivery.payload_size == 5 &&
       memcmp(buffer, "hello", 5) == 0);
}

static void begin(const char* directory) {
  hanse_kernel* kernel = NULL;
  hanse_id agents[agent_count];
  float query[dim];
  fill(query, 5);
  MUST(hanse_open(directory, NULL, &kernel) == 0);
  hanse_agents members = {.size_bytes = sizeof members};
  MUST(hanse_agents_add(kernel, HANSE_ID_NONE, &members, agent_count, agents) == 0);
  publish(kernel, agents);
  match(kernel, agents, query);
  talk(kernel, agents);
  MUST(hanse_fund(kernel, HANSE_ID_NONE, agents[0], 1000, NULL, NULL) == 0);
  hanse_dispatch_request request = {.size_bytes = sizeof request, .dim = dim, .query = query};
  request.payload = "what to do";
  request.payload_size = 10;
  request.budget = 100;
  request.key = "key-1";
  request.key_size = 5;
  hanse_receipt receipt = {.size_bytes = sizeof receipt};
  MUST(hanse_dispatch(kernel, agents[0], &request, &receipt) == 0);
  MUST(receipt.agent == agents[5] && receipt.held == 100);
  printf("task %llu\n", (unsigned long long)receipt.task);
  fflush(stdout);
  for (;;) pause();
}

static void resume(const char* directory, hanse_id task) {
  hanse_kernel* kernel = NULL;
  MUST(hanse_open(directory, NULL, &kernel) == 0);
  hanse_task state = {.size_bytes = sizeof state};
  MUST(hanse_task_state(kernel, HANSE_ID_NONE, task, &state) == 0);
  MUST(state.state == hanse_task_dispatched && state.budget == 100);
  char buffer[64];
  hanse_delivery delivery = {.size_bytes = sizeof delivery};
  MUST(hanse_receive(kernel, state.worker, &delivery, buffer, sizeof buffer) == 0);
  MUST(delivery.task == task && delivery.payload_size == 10);
  uint64_t available = 0;
  MUST(hanse_balance(kernel, HANSE_ID_NONE, state.requester, NULL, &available) == 0);
  MUST(available == 900);
  MUST(hanse_close(kernel) == 0);
  hanse_verification found = {.size_bytes = sizeof found};
  MUST(hanse_verify(directory, &found) == 0);
  MUST(found.balanced == 1 && found.record_count > 4);
  printf("ok\n");
}

static double now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* `count` times one operation; each is what a caller of this language would write. */
static void bench(const char* operation, int count) {
  hanse_kernel* kernel = NULL;
  hanse_id agents[agent_count];
  char buffer[64] = {0};
  float query[dim];
  fill(query, 5);
  hanse_delivery delivery = {.size_bytes = sizeof delivery};
  hanse_receipt receipt = {.size_bytes = sizeof receipt};
  hanse_agents members = {.size_bytes = sizeof members};
  hanse_offers offers = {.size_bytes = sizeof offers, .count = 1, .dim = dim, .vectors = query};
  hanse_dispatch_request request = {.size_bytes = sizeof request, .payload = buffer, .budget = 1};
  request.payload_size = sizeof buffer;
  MUST(hanse_open(NULL, NULL, &kernel) == 0);
  MUST(hanse_agents_add(kernel, HANSE_ID_NONE, &members, agent_count, agents) == 0);
  MUST(hanse_fund(kernel, HANSE_ID_NONE, agents[0], 1000, NULL, NULL) == 0);
  publish(kernel, agents);
  offers.agents = &agents[5];
  request.to = agents[1];
  const double begun = now_ns();
  for (int i = 0; i < count; ++i) {
    if (strcmp(operation, "open") == 0) {
      hanse_kernel* other = NULL;
      MUST(hanse_open(NULL, NULL, &other) == 0);
      MUST(hanse_close(other) == 0);
    } else if (strcmp(operation, "publish") == 0) {
      MUST(hanse_publish(kernel, HANSE_ID_NONE, &offers, NULL) == 0);
    } else if (strcmp(operation, "match") == 0) {
      match(kernel, agents, query);
    } else if (strcmp(operation, "talk") == 0) {
      MUST(hanse_send(kernel, agents[0], agents[1], buffer, sizeof buffer) == 0);
      MUST(hanse_receive(kernel, agents[1], &delivery, buffer, sizeof buffer) == 0);
    } else {
      MUST(strcmp(operation, "dispatch") == 0);
      MUST(hanse_dispatch(kernel, agents[0], &request, &receipt) == 0);
      MUST(hanse_receive(kernel, agents[1], &delivery, buffer, sizeof buffer) == 0);
      MUST(hanse_void(kernel, agents[0], receipt.task, NULL) == 0);
    }
  }
  printf("%.1f\n", (now_ns() - begun) / count);
  MUST(hanse_close(kernel) == 0);
}

int main(int count, char** words) {
  if (count == 3 && strcmp(words[1], "begin") == 0)
    begin(words[2]);
  else if (count == 4 && strcmp(words[1], "resume") == 0)
    resume(words[2], strtoull(words[3], NULL, 10));
  else if (count == 4 && strcmp(words[1], "bench") == 0)
    bench(words[2], atoi(words[3]));
  else
    MUST(!"a command");
  return 0;
}
