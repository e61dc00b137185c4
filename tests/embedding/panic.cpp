// A handler that breaks its word and throws: the library lets nothing out, tells the host's panic
// handler, and goes on. Says "ok".
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "hanse.h"

namespace {

int panics = 0, errors = 0;
char told[256];

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s does not hold; last error: %s\n", what, hanse_error_text());
  std::exit(1);
}

}  // namespace

int main() {
  hanse_kernel* kernel = nullptr;
  hanse_id agents[2];
  hanse_agents members{};
  members.size_bytes = sizeof(members);
  must(hanse_log_set([](void*, int32_t level, const char*) { errors += level == hanse_log_error; },
                     nullptr, hanse_log_error) == 0,
       "the log");
  must(hanse_panic_set(
           [](void* context, const char* text) {
             ++*static_cast<int*>(context);
             std::snprintf(told, sizeof told, "%s", text);
             hanse_panic_set(nullptr, nullptr);  // what it calls is not told again
           },
           &panics) == 0,
       "the panic handler");
  must(hanse_open(nullptr, nullptr, &kernel) == 0, "open");
  must(hanse_agents_add(kernel, HANSE_ID_NONE, &members, 2, agents) == 0, "agents");
  must(hanse_on(
           kernel, agents[1], [](void*, hanse_kernel*, const hanse_message*) { throw 42; },
           nullptr) == 0,
       "a handler");
  must(hanse_send(kernel, agents[0], agents[1], "x", 1) == 0, "a message");
  must(hanse_run(kernel, 8, nullptr) == -hanse_error_invariant, "an error, not an exception");
  must(panics == 1 && errors == 1 && std::strlen(told) > 10, "one panic");
  uint64_t count = 0;
  must(hanse_journal_count(kernel, &count, nullptr) == 0 && count > 0, "the kernel goes on");
  must(hanse_close(kernel) == 0, "close");
  std::puts("ok");
}
