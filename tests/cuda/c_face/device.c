/* Device pointers through hanse_latent.h, on the device that HANSE_CUDA_PLUGIN names: put from it,
 * read to it, and a device that is lost meanwhile. Says "ok". */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hanse.h"

enum { layers = 2, heads = 2, dim = 4, tokens = 20, count = 2 * layers * tokens * heads * dim };

/* The beginning of the plug-in's table; see base/device.hpp. */
typedef struct table {
  uint32_t abi_version, size_bytes;
  const char* (*error_name)(int32_t code);
  int32_t (*device_count)(int32_t* count_out);
  int32_t (*device_text)(int32_t device, char* text_out, uint32_t size);
  int32_t (*allocate)(uint64_t size_bytes, void** device_memory_out);
  int32_t (*release)(void* device_memory);
  int32_t (*copy_to_device)(void* device_to, const void* from, uint64_t size_bytes, void* stream);
  int32_t (*copy_from_device)(void* to, const void* device_from, uint64_t size_bytes, void* stream);
  int32_t (*synchronize)(void* stream);
  int32_t (*stream_create)(void** stream_out);
} table;

static void must(int holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "%s does not hold; last error %d: %s\n", what, (int)hanse_error_code(),
          hanse_error_text());
  exit(1);
}
#define MUST(holds) must((holds) != 0, #holds)

int main(void) {
  void* library = dlopen(getenv("HANSE_CUDA_PLUGIN"), RTLD_NOW);
  MUST(library != NULL);
  const table* (*get)(void);
  void (*fail_after)(int64_t);
  *(void**)&get = dlsym(library, "hanse_device_table");
  *(void**)&fail_after = dlsym(library, "hanse_emulated_fail_after");
  const table* device = get();
  static float kv[count], back[count];
  for (int i = 0; i < count; ++i) kv[i] = (float)i / 4;
  void *there = NULL, *out = NULL, *stream = NULL;
  MUST(device->allocate(sizeof kv, &there) == 0 && device->allocate(sizeof kv, &out) == 0);
  MUST(device->stream_create(&stream) == 0);
  /* Only queued: the put must come after it, on the same stream. */
  MUST(device->copy_to_device(there, kv, sizeof kv, stream) == 0);

  hanse_kernel* kernel = NULL;
  MUST(hanse_open(NULL, NULL, &kernel) == 0);
  hanse_latent_spec spec = {.size_bytes = sizeof spec, .layers = layers, .kv_heads = heads};
  spec.head_dim = dim;
  spec.model = "m";
  hanse_latent_data data = {.size_bytes = sizeof data, .place = hanse_place_cuda, .data = there};
  data.data_size = sizeof kv;
  data.stream = stream;
  hanse_latent latent = 0, other = 0;
  MUST(hanse_latent_put(kernel, HANSE_ID_NONE, &spec, tokens, &data, NULL, &latent) == 0);
  hanse_latent_data host = {.size_bytes = sizeof host, .data = back, .data_size = sizeof back};
  MUST(hanse_latent_read(kernel, HANSE_ID_NONE, latent, NULL, &host) == 0);
  MUST(memcmp(kv, back, sizeof kv) == 0);
  data.data = out;
  MUST(hanse_latent_read(kernel, HANSE_ID_NONE, latent, NULL, &data) == 0);
  memset(back, 0, sizeof back);
  MUST(device->copy_from_device(back, out, sizeof back, NULL) == 0);
  MUST(memcmp(kv, back, sizeof kv) == 0);

  fail_after(0);
  MUST(hanse_latent_put(kernel, HANSE_ID_NONE, &spec, tokens, &data, NULL, &other) ==
       -hanse_error_device_failed);
  MUST(other == 0 && strstr(hanse_error_text(), "cudaErrorLaunchFailure") != NULL);
  MUST(hanse_latent_read(kernel, HANSE_ID_NONE, latent, NULL, &data) == -hanse_error_device_failed);
  fail_after(-1);
  MUST(hanse_latent_read(kernel, HANSE_ID_NONE, latent, NULL, &host) == 0);
  MUST(hanse_latent_release(kernel, latent) == 0);
  MUST(hanse_close(kernel) == 0);
  puts("ok");
  return 0;
}
