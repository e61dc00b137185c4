/* hanse_latent.h: latents are put, viewed, read, shared and refused, as a stranger uses them.
 *
 * With HANSE_CUDA_PLUGIN the device pointers are that device's: the emulated one, where its memory
 * is the host's. Returns 0 and says "ok", or 1 and says which line did not hold.
 */
#define _POSIX_C_SOURCE 200809L

#include "hanse_latent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { layers = 2, heads = 2, dim = 4, tokens = 20, plane = tokens * heads * dim };

static int failures = 0;
static hanse_kernel* kernel = NULL;
static hanse_id agents[2];
static float kv[2 * layers * plane], back[2 * layers * plane];

static void expect(int holds, const char* what, int line) {
  if (holds) return;
  ++failures;
  fprintf(stderr, "line %d: %s does not hold; last error %d: %s\n", line, what,
          (int)hanse_error_code(), hanse_error_text());
}
#define EXPECT(holds) expect((holds) != 0, #holds, __LINE__)
#define OK(call) expect((call) == 0, #call, __LINE__)
#define ERROR(call, wanted) expect((call) == -(hanse_error_##wanted), #call, __LINE__)

static hanse_latent_spec spec(void) {
  hanse_latent_spec out = {.size_bytes = sizeof out, .layers = layers, .kv_heads = heads};
  out.head_dim = dim;
  out.model = "m";
  return out;
}

static hanse_latent_data data(float* values) {
  hanse_latent_data out = {.size_bytes = sizeof out, .data = values, .data_size = sizeof kv};
  return out;
}

static hanse_latent put(uint32_t whole, const uint32_t* ids) {
  const hanse_latent_spec of = spec();
  const hanse_latent_data from = data(kv);
  hanse_latent_terms terms = {.size_bytes = sizeof terms, .whole = whole, .tokens = ids};
  hanse_latent latent = 0;
  OK(hanse_latent_put(kernel, agents[0], &of, tokens, &from, &terms, &latent));
  return latent;
}

static void read_back(void) {
  const hanse_latent latent = put(0, NULL);
  const hanse_latent_spec want = spec();
  const hanse_latent_data to = data(back);
  hanse_latent_info info = {.size_bytes = sizeof info};
  OK(hanse_latent_describe(kernel, agents[0], latent, &info));
  EXPECT(info.tokens == tokens && info.data_size == sizeof kv && info.owner == agents[0]);
  OK(hanse_latent_read(kernel, agents[0], latent, &want, &to));
  EXPECT(memcmp(kv, back, sizeof kv) == 0);
  OK(hanse_latent_release(kernel, latent));
  ERROR(hanse_latent_release(kernel, latent), unknown_latent);
  ERROR(hanse_latent_read(kernel, agents[0], latent, NULL, &to), unknown_latent);
}

static void view(void) {
  const hanse_latent whole = put(1, NULL), paged = put(0, NULL);
  hanse_latent_view *one = NULL, *two = NULL;
  uint32_t count = 0;
  hanse_latent_piece piece = {.size_bytes = sizeof piece};
  OK(hanse_latent_view_create(kernel, agents[0], whole, &one, &count));
  EXPECT(count == 1);
  OK(hanse_latent_release(kernel, whole)); /* the view keeps what it shows */
  OK(hanse_latent_view_piece(one, 0, &piece));
  EXPECT(piece.token_count == tokens && memcmp(piece.data, kv, sizeof(float) * plane) == 0);
  EXPECT(memcmp((const char*)piece.data + 3 * piece.plane_stride, kv + 3 * plane,
                sizeof(float) * plane) == 0);
  OK(hanse_latent_view_create(kernel, agents[0], paged, &two, &count));
  EXPECT(count == 2);
  OK(hanse_latent_view_piece(two, 1, &piece));
  EXPECT(piece.token_count == tokens - 16);
  EXPECT(memcmp((const char*)piece.data + piece.token_stride + piece.head_stride,
                kv + (17 * heads + 1) * dim, sizeof(float) * dim) == 0);
  ERROR(hanse_latent_view_piece(two, 2, &piece), out_of_range);
  ERROR(hanse_latent_view_piece(NULL, 0, &piece), empty);
  piece.size_bytes = 8;
  ERROR(hanse_latent_view_piece(two, 0, &piece), out_of_range);
  ERROR(hanse_latent_view_create(kernel, agents[0], 77, &one, &count), unknown_latent);
  EXPECT(one == NULL);
  OK(hanse_latent_view_destroy(two));
  OK(hanse_latent_view_destroy(NULL));
  OK(hanse_latent_release(kernel, paged));
}

static void derive(void) {
  uint32_t ids[tokens], matched = 0;
  for (uint32_t i = 0; i < tokens; ++i) ids[i] = i;
  const hanse_latent first = put(0, ids);
  const hanse_latent_spec of = spec();
  hanse_latent_data from = data(kv);
  from.data_size /= 2;
  hanse_latent longer = 0, second = 0, part = 0, found = 0;
  hanse_latent_info info = {.size_bytes = sizeof info};
  OK(hanse_latent_append(kernel, agents[0], first, tokens / 2, &from, NULL, 1, &longer));
  OK(hanse_latent_describe(kernel, agents[0], longer, &info));
  EXPECT(info.tokens == tokens + tokens / 2);
  OK(hanse_latent_fork(kernel, agents[0], first, &second));
  OK(hanse_latent_release(kernel, first));
  OK(hanse_latent_slice(kernel, agents[0], second, 2, 5, &part));
  OK(hanse_latent_describe(kernel, agents[0], part, &info));
  EXPECT(info.tokens == 5 && info.position_base == 2);
  ERROR(hanse_latent_slice(kernel, agents[0], second, 2, tokens, &part), out_of_range);
  OK(hanse_latent_prefix(kernel, agents[0], &of, ids, tokens, &found, &matched));
  EXPECT(found != 0 && matched == 16);
  ids[0] = 99;
  OK(hanse_latent_prefix(kernel, agents[0], &of, ids, tokens, &found, &matched));
  EXPECT(found == 0 && matched == 0);
  OK(hanse_latent_grant(kernel, second, agents[1], 0));
  OK(hanse_latent_revoke(kernel, second, agents[1]));
  EXPECT(hanse_latent_revoke(kernel, second, agents[1]) == hanse_outcome_unknown);
}

static void refuse(void) {
  hanse_latent latent = 7;
  hanse_latent_spec of = spec();
  hanse_latent_data from = data(kv);
  ERROR(hanse_latent_put(NULL, agents[0], &of, tokens, &from, NULL, &latent), closed);
  ERROR(hanse_latent_put(kernel, agents[0], NULL, tokens, &from, NULL, &latent), empty);
  EXPECT(latent == 0);
  ERROR(hanse_latent_put(kernel, agents[0], &of, tokens, NULL, NULL, &latent), empty);
  ERROR(hanse_latent_put(kernel, agents[0], &of, tokens, &from, NULL, NULL), empty);
  ERROR(hanse_latent_put(kernel, agents[0], &of, tokens + 1, &from, NULL, &latent),
        dimension_mismatch);
  ERROR(hanse_latent_put(kernel, 4711, &of, tokens, &from, NULL, &latent), unknown_agent);
  from.size_bytes = 4;
  ERROR(hanse_latent_put(kernel, agents[0], &of, tokens, &from, NULL, &latent), out_of_range);
  from = data(NULL);
  ERROR(hanse_latent_put(kernel, agents[0], &of, tokens, &from, NULL, &latent), empty);
  from = data(kv);
  from.place = 2;
  ERROR(hanse_latent_put(kernel, agents[0], &of, tokens, &from, NULL, &latent), out_of_range);
  from = data(kv);
  from.stream = &from;
  ERROR(hanse_latent_put(kernel, agents[0], &of, tokens, &from, NULL, &latent), out_of_range);
  from = data(kv);
  of.dtype = 9;
  ERROR(hanse_latent_put(kernel, agents[0], &of, tokens, &from, NULL, &latent), out_of_range);
  of = spec();
  of.model = NULL;
  ERROR(hanse_latent_put(kernel, agents[0], &of, tokens, &from, NULL, &latent), empty);
  of = spec();
  hanse_latent_terms terms = {.size_bytes = sizeof terms, .whole = 2};
  ERROR(hanse_latent_put(kernel, agents[0], &of, tokens, &from, &terms, &latent), out_of_range);
  latent = put(0, NULL);
  of.head_dim = 8;
  const hanse_latent_data to = data(back);
  ERROR(hanse_latent_read(kernel, agents[0], latent, &of, &to), latent_incompatible);
  hanse_latent_info info = {.size_bytes = 8};
  ERROR(hanse_latent_describe(kernel, agents[0], latent, &info), out_of_range);
}

/* No plug-in: a typed error, and nothing was put. */
static void ask_for_a_device(void) {
  const hanse_latent_spec of = spec();
  hanse_latent_data there = data(kv);
  there.place = hanse_place_cuda;
  hanse_latent latent = 7;
  ERROR(hanse_latent_put(kernel, agents[0], &of, tokens, &there, NULL, &latent), no_device);
  EXPECT(latent == 0 && strlen(hanse_error_text()) > 10);
  latent = put(0, NULL);
  ERROR(hanse_latent_read(kernel, agents[0], latent, NULL, &there), no_device);
}

static void fork_away(void) {
  const hanse_latent latent = put(0, NULL);
  const pid_t child = fork();
  if (child == 0) {
    const hanse_latent_spec of = spec();
    const hanse_latent_data from = data(kv);
    hanse_latent other = 0;
    hanse_latent_view* seen = NULL;
    uint32_t count = 0;
    failures = 0;
    ERROR(hanse_latent_put(kernel, agents[0], &of, tokens, &from, NULL, &other), forked);
    ERROR(hanse_latent_read(kernel, agents[0], latent, NULL, &from), forked);
    ERROR(hanse_latent_view_create(kernel, agents[0], latent, &seen, &count), forked);
    ERROR(hanse_latent_release(kernel, latent), forked);
    _exit(failures);
  }
  int status = 1;
  EXPECT(waitpid(child, &status, 0) == child && status == 0);
  OK(hanse_latent_release(kernel, latent));
}

int main(void) {
  hanse_agents members = {.size_bytes = sizeof members};
  for (int i = 0; i < 2 * layers * plane; ++i) kv[i] = (float)i / 8;
  setenv("HANSE_CUDA_PLUGIN", "/nowhere/libhanse_cuda.so", 1);
  OK(hanse_open(NULL, NULL, &kernel));
  OK(hanse_agents_add(kernel, HANSE_ID_NONE, &members, 2, agents));
  read_back();
  view();
  derive();
  refuse();
  ask_for_a_device();
  fork_away();
  OK(hanse_close(kernel));
  puts(failures == 0 ? "ok" : "failed");
  return failures == 0 ? 0 : 1;
}
