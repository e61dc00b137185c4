/* What a host gives the library: where to log, what to run when an invariant fails, where memory
 * comes from. Of the process, not of a kernel. The conventions of hanse.h hold. Any thread; in the
 * child of a fork what was set before still holds.
 *
 * Handlers run on the thread that called the library, inside of that call, with no lock of the
 * library held that they could need; what they call in the library is not logged. They must return,
 * not jump out, and may be replaced at any time: one that is running on another thread still ends.
 */
#ifndef HANSE_LIBRARY_H
#define HANSE_LIBRARY_H

#include "hanse.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hanse_log_level {
  hanse_log_error = 0,   /* an invariant failed, a kernel accepts nothing any more */
  hanse_log_warning = 1, /* what was cut or passed over when a directory was opened */
  hanse_log_info = 2,    /* a kernel was opened or closed */
  hanse_log_debug = 3    /* every call that returned an error, with its text */
} hanse_log_level;

/* text: one line, valid until the handler returns. */
typedef void (*hanse_log_handler)(void* context, int32_t level, const char* text);

/* level: the most that is told, a hanse_log_level. handler: NULL, as at first: nothing is. */
HANSE_API hanse_status hanse_log_set(hanse_log_handler handler, void* context, int32_t level);

/* Runs when an invariant of the library does not hold: before the call returns
 * hanse_error_invariant, once for each such call. A host that would rather end than go on ends
 * here. text: which invariant, and where. handler: NULL, as at first: nothing runs. */
typedef void (*hanse_panic_handler)(void* context, const char* text);
HANSE_API hanse_status hanse_panic_set(hanse_panic_handler handler, void* context);

typedef struct hanse_allocator {
  uint32_t size_bytes;
  uint32_t zero;
  /* `size` bytes, at least 1, at a multiple of `alignment`, a power of two of at least 16; NULL:
   * there are none, and the call returns hanse_error_quota_exceeded. Any thread, at once. */
  void* (*allocate)(void* context, size_t size, size_t alignment);
  void (*release)(void* context, void* memory, size_t alignment);
  void* context;
} hanse_allocator;

/* Where objects of the library come from, for good: to be called before the first hanse_open, and
 * once (else hanse_error_illegal_transition). What is mapped (pages of latents, payloads, vectors
 * in blocks) comes from the system and is in hanse_counters. */
HANSE_API hanse_status hanse_allocator_set(const hanse_allocator* allocator);

#ifdef __cplusplus
}
#endif

#endif
