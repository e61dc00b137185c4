/* hanse_library.h: the host's own log and memory, as a stranger uses them.
 *
 * Returns 0 and says "ok", or 1 and says which line did not hold.
 */
#define _POSIX_C_SOURCE 200809L

#include "hanse_library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

static void expect(int holds, const char* what, int line) {
  if (holds) return;
  ++failures;
  fprintf(stderr, "line %d: %s does not hold; last error %d: %s\n", line, what,
          (int)hanse_error_code(), hanse_error_text());
}
#define EXPECT(holds) expect((holds) != 0, #holds, __LINE__)
#define OK(call) expect((call) == 0, #call, __LINE__)
#define ERROR(call, wanted) expect((call) == -(hanse_error_##wanted), #call, __LINE__)

/* --- memory: every block is counted, and none is given back to the wrong hand */

typedef struct counted {
  long taken, given;
  int refuse; /* 1: there is no memory */
} counted;

static void* take(void* context, size_t size, size_t alignment) {
  counted* counts = context;
  void* memory = NULL;
  if (counts->refuse || posix_memalign(&memory, alignment, size) != 0) return NULL;
  __atomic_add_fetch(&counts->taken, 1, __ATOMIC_RELAXED);
  return memory;
}

static void give(void* context, void* memory, size_t alignment) {
  counted* counts = context;
  (void)alignment;
  __atomic_add_fetch(&counts->given, 1, __ATOMIC_RELAXED);
  free(memory);
}

/* --- log */

typedef struct told {
  int count, level;
  char text[256];
} told;

static void tell(void* context, int32_t level, const char* text) {
  told* last = context;
  ++last->count;
  last->level = level;
  snprintf(last->text, sizeof last->text, "%s", text);
  hanse_open("", NULL, NULL); /* refused, and not told again */
}

static void allocate(counted* counts) {
  hanse_allocator own = {.size_bytes = sizeof own, .allocate = take, .release = give};
  own.context = counts;
  ERROR(hanse_allocator_set(NULL), empty);
  own.size_bytes = 4;
  ERROR(hanse_allocator_set(&own), out_of_range);
  own.size_bytes = sizeof own;
  own.release = NULL;
  ERROR(hanse_allocator_set(&own), empty);
  own.release = give;
  own.zero = 1;
  ERROR(hanse_allocator_set(&own), out_of_range);
  own.zero = 0;
  OK(hanse_allocator_set(&own));
  ERROR(hanse_allocator_set(&own), illegal_transition);
}

static void log_calls(counted* counts) {
  told last = {0, -1, ""};
  hanse_kernel* kernel = NULL;
  hanse_id id = 0;
  ERROR(hanse_log_set(tell, &last, 4), out_of_range);
  ERROR(hanse_log_set(tell, &last, -1), out_of_range);
  OK(hanse_log_set(tell, &last, hanse_log_info));
  OK(hanse_open(NULL, NULL, &kernel));
  EXPECT(last.count == 1 && last.level == hanse_log_info && strstr(last.text, "opened") != NULL);
  ERROR(hanse_agent_find(kernel, HANSE_ID_NONE, NULL, HANSE_ID_NONE, &id), empty);
  EXPECT(last.count == 1);
  OK(hanse_log_set(tell, &last, hanse_log_debug));
  ERROR(hanse_agent_find(kernel, HANSE_ID_NONE, NULL, HANSE_ID_NONE, &id), empty);
  EXPECT(last.count == 2 && last.level == hanse_log_debug && strstr(last.text, "name") != NULL);

  hanse_agents members = {.size_bytes = sizeof members};
  static hanse_id many[5000];
  const long before = counts->taken;
  OK(hanse_agents_add(kernel, HANSE_ID_NONE, &members, 5000, many));
  EXPECT(counts->taken > before);
  counts->refuse = 1;
  ERROR(hanse_agents_add(kernel, HANSE_ID_NONE, &members, 5000, many), quota_exceeded);
  counts->refuse = 0;
  OK(hanse_agents_add(kernel, HANSE_ID_NONE, &members, 1, many));

  OK(hanse_log_set(NULL, NULL, hanse_log_debug));
  const int count = last.count;
  OK(hanse_close(kernel));
  EXPECT(last.count == count);
}

int main(void) {
  counted counts = {0, 0, 0};
  OK(hanse_panic_set(NULL, NULL));
  allocate(&counts);
  log_calls(&counts);
  EXPECT(counts.given > 100 && counts.given <= counts.taken);
  puts(failures == 0 ? "ok" : "failed");
  return failures == 0 ? 0 : 1;
}
