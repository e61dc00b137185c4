/* hanse_policy.h: rules are loaded, asked and refused, as a stranger uses them.
 *
 * Returns 0 and says "ok", or 1 and says which line did not hold.
 */
#define _POSIX_C_SOURCE 200809L

#include "hanse_policy.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures = 0;
static hanse_kernel* kernel = NULL;
static hanse_id agents[2];

static void expect(int holds, const char* what, int line) {
  if (holds) return;
  ++failures;
  fprintf(stderr, "line %d: %s does not hold; last error %d: %s\n", line, what,
          (int)hanse_error_code(), hanse_error_text());
}
#define EXPECT(holds) expect((holds) != 0, #holds, __LINE__)
#define OK(call) expect((call) == 0, #call, __LINE__)
#define ERROR(call, wanted) expect((call) == -(hanse_error_##wanted), #call, __LINE__)

static const char* rules =
    "@id(\"all\") permit(principal, action, resource);\n"
    "@id(\"no talk\") forbid(principal, action == Action::\"send\", resource);\n";

static hanse_question question(const char* action) {
  hanse_question out = {.size_bytes = sizeof out, .action = action};
  out.principal = agents[0];
  out.resource = agents[1];
  return out;
}

static void load_and_ask(void) {
  uint64_t before = 0, epoch = 0, now = 0;
  OK(hanse_policy_epoch(kernel, &before));
  OK(hanse_load_policy(kernel, HANSE_ID_NONE, rules, &epoch));
  OK(hanse_policy_epoch(kernel, &now));
  EXPECT(epoch == now && epoch > before);

  hanse_decision decision = {.size_bytes = sizeof decision};
  hanse_question send = question("send"), dispatch = question("dispatch");
  EXPECT(hanse_check_policy(kernel, HANSE_ID_NONE, &send, &decision) == hanse_outcome_denied);
  EXPECT(decision.allowed == 0 && decision.failed == 0 && decision.epoch == epoch);
  EXPECT(strcmp(decision.reason, "no talk") == 0);
  EXPECT(hanse_send(kernel, agents[0], agents[1], "x", 1) == hanse_outcome_denied);
  OK(hanse_check_policy(kernel, HANSE_ID_NONE, &dispatch, &decision));
  EXPECT(decision.allowed == 1 && strcmp(decision.reason, "all") == 0);
}

static void refuse(void) {
  uint64_t before = 0, after = 0;
  hanse_decision decision = {.size_bytes = sizeof decision};
  hanse_question asked = question("send");
  OK(hanse_policy_epoch(kernel, &before));
  ERROR(hanse_load_policy(kernel, HANSE_ID_NONE, "permit(principal", NULL), policy_compile);
  EXPECT(strlen(hanse_error_text()) > 20);
  ERROR(hanse_load_policy(kernel, HANSE_ID_NONE, NULL, NULL), empty);
  ERROR(hanse_load_policy(NULL, HANSE_ID_NONE, rules, NULL), closed);
  OK(hanse_policy_epoch(kernel, &after));
  EXPECT(before == after);
  ERROR(hanse_policy_epoch(kernel, NULL), empty);

  ERROR(hanse_check_policy(kernel, HANSE_ID_NONE, NULL, &decision), empty);
  ERROR(hanse_check_policy(kernel, HANSE_ID_NONE, &asked, NULL), empty);
  asked.size_bytes -= 1;
  ERROR(hanse_check_policy(kernel, HANSE_ID_NONE, &asked, &decision), out_of_range);
  asked = question("send");
  asked.zero = 1;
  ERROR(hanse_check_policy(kernel, HANSE_ID_NONE, &asked, &decision), out_of_range);
  asked = question("wave");
  ERROR(hanse_check_policy(kernel, HANSE_ID_NONE, &asked, &decision), out_of_range);
  asked = question(NULL);
  ERROR(hanse_check_policy(kernel, HANSE_ID_NONE, &asked, &decision), empty);
  asked = question("send");
  asked.principal = 12345;
  ERROR(hanse_check_policy(kernel, HANSE_ID_NONE, &asked, &decision), unknown_agent);
  decision.size_bytes = 8;
  asked = question("send");
  ERROR(hanse_check_policy(kernel, HANSE_ID_NONE, &asked, &decision), out_of_range);
}

static void fork_away(void) {
  const pid_t child = fork();
  if (child == 0) {
    uint64_t epoch = 0;
    hanse_question asked = question("send");
    hanse_decision decision = {.size_bytes = sizeof decision};
    failures = 0;
    ERROR(hanse_policy_epoch(kernel, &epoch), forked);
    ERROR(hanse_load_policy(kernel, HANSE_ID_NONE, rules, NULL), forked);
    ERROR(hanse_check_policy(kernel, HANSE_ID_NONE, &asked, &decision), forked);
    OK(hanse_close(kernel));
    _exit(failures);
  }
  int status = 1;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
}

int main(void) {
  hanse_agents members = {.size_bytes = sizeof members};
  OK(hanse_open(NULL, NULL, &kernel));
  OK(hanse_agents_add(kernel, HANSE_ID_NONE, &members, 2, agents));
  load_and_ask();
  refuse();
  fork_away();
  OK(hanse_close(kernel));
  puts(failures == 0 ? "ok" : "failed");
  return failures == 0 ? 0 : 1;
}
