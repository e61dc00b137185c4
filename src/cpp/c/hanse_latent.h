/* Latents: KV caches and hidden states that are handed over by handle, viewed where they lie or
 * copied, on the host or on a CUDA device. The conventions of hanse.h hold. Any thread; in the
 * child of a fork hanse_error_forked.
 *
 * A device pointer is memory of the device plug-in's current device. Copies are queued on `stream`,
 * and the call returns when they are done. Errors no_device (no plug-in, driver or device) and
 * device_failed, whose text names CUDA's code; latents are as they were then.
 */
#ifndef HANSE_LATENT_H
#define HANSE_LATENT_H

#include "hanse.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef uint64_t hanse_latent; /* a handle; 0: none */

typedef enum hanse_latent_dtype {
  hanse_latent_float32 = 0,
  hanse_latent_float16 = 1,
  hanse_latent_bfloat16 = 2,
  hanse_latent_int8 = 3,
  hanse_latent_int4 = 4 /* two codes a byte */
} hanse_latent_dtype;

typedef enum hanse_latent_kind {
  hanse_latent_kv = 0,    /* keys and values: two planes a layer */
  hanse_latent_hidden = 1 /* one plane a layer */
} hanse_latent_kind;

typedef enum hanse_latent_order {
  hanse_latent_nhd = 0, /* a plane is [tokens][heads][dim] */
  hanse_latent_hnd = 1  /* a plane is [heads][tokens][dim] */
} hanse_latent_order;

typedef enum hanse_rope_pairing {
  hanse_rope_neox = 0, /* elements i and i + d/2 turn together */
  hanse_rope_gptj = 1  /* 2i and 2i + 1 */
} hanse_rope_pairing;

/* What makes two latents interchangeable. */
typedef struct hanse_latent_spec {
  uint32_t size_bytes;
  uint32_t layers, kv_heads, head_dim;
  int32_t dtype;        /* hanse_latent_dtype */
  int32_t kind;         /* hanse_latent_kind */
  int32_t order;        /* hanse_latent_order */
  int32_t rope_pairing; /* hanse_rope_pairing */
  uint32_t rotary_dim;  /* elements of a head that RoPE turns; 0: all */
  uint32_t position_max;
  uint64_t rope_base_micro; /* in millionths; 0: not said, and then nothing is shifted */
  const char* model;        /* "org/model@revision" */
  const char* tokenizer;    /* its hash; NULL: not said */
  const char* rope_scaling; /* as the model says it; NULL: none */
} hanse_latent_spec;

typedef enum hanse_place { hanse_place_host = 0, hanse_place_cuda = 1 } hanse_place;

/* A caller's planes, one behind the other, each in the order of the spec: what is put, or where it
 * is read to. */
typedef struct hanse_latent_data {
  uint32_t size_bytes;
  int32_t place; /* hanse_place */
  void* data;    /* read only where a latent is put */
  uint64_t data_size;
  void* stream; /* of hanse_place_cuda, a cudaStream_t; NULL: the default stream */
} hanse_latent_data;

typedef struct hanse_latent_terms {
  uint32_t size_bytes;
  uint32_t position_base;
  const uint32_t* tokens; /* [token_count], what it stands for; NULL: (owner, step) names it */
  uint64_t step;
  uint64_t lease_ns; /* UNIX; 0: no end */
  uint64_t label;    /* secrecy bits; what is made from it has them, too */
  uint64_t price;    /* per million tokens read */
  const char* gloss; /* for people, at most 4 KiB; NULL: none */
  uint32_t whole;    /* 1: one block instead of pages, so that a view has one piece */
  uint32_t zero;
} hanse_latent_terms;

/* Copied in. terms: NULL for none. On 0 the owner has *latent_out until hanse_latent_release. */
HANSE_API hanse_status hanse_latent_put(hanse_kernel* kernel, hanse_id owner,
                                        const hanse_latent_spec* spec, uint32_t token_count,
                                        const hanse_latent_data* from,
                                        const hanse_latent_terms* terms, hanse_latent* latent_out);
/* A new latent: the old one, which stays as it was, and then more tokens. */
HANSE_API hanse_status hanse_latent_append(hanse_kernel* kernel, hanse_id owner,
                                           hanse_latent latent, uint32_t token_count,
                                           const hanse_latent_data* from, const uint32_t* tokens,
                                           uint64_t step, hanse_latent* latent_out);
/* A second handle on the same pages. */
HANSE_API hanse_status hanse_latent_fork(hanse_kernel* kernel, hanse_id owner, hanse_latent latent,
                                         hanse_latent* latent_out);
/* `count` tokens from `first` on, sharing the pages. */
HANSE_API hanse_status hanse_latent_slice(hanse_kernel* kernel, hanse_id owner, hanse_latent latent,
                                          uint32_t first, uint32_t count, hanse_latent* latent_out);
/* Error unknown_latent: released already. */
HANSE_API hanse_status hanse_latent_release(hanse_kernel* kernel, hanse_latent latent);

/* Lets a reader of another tenant read it, if clearance has all bits of its label. */
HANSE_API hanse_status hanse_latent_grant(hanse_kernel* kernel, hanse_latent latent,
                                          hanse_id reader, uint64_t clearance);
/* At once, also for what was made from it. hanse_outcome_unknown: there was no grant. */
HANSE_API hanse_status hanse_latent_revoke(hanse_kernel* kernel, hanse_latent latent,
                                           hanse_id reader);

typedef struct hanse_latent_info {
  uint32_t size_bytes;
  uint32_t tokens, position_base;
  uint32_t zero;
  hanse_id owner;
  uint64_t data_size; /* bytes, that hanse_latent_read needs */
  uint64_t lease_ns, label, price, step;
  uint8_t fingerprint[HANSE_DIGEST_SIZE]; /* of its spec */
} hanse_latent_info;

/* Error unknown_latent: there is none, or not for this reader; lease_expired, revoked. Here and
 * below. */
HANSE_API hanse_status hanse_latent_describe(hanse_kernel* kernel, hanse_id reader,
                                             hanse_latent latent, hanse_latent_info* info_out);
/* want: what the reader can use, latent_incompatible otherwise, naming the field; NULL: anything.
 * to->data_size: that of hanse_latent_describe. */
HANSE_API hanse_status hanse_latent_read(hanse_kernel* kernel, hanse_id reader, hanse_latent latent,
                                         const hanse_latent_spec* want,
                                         const hanse_latent_data* to);
/* The longest stored prefix of `tokens` that the reader may have: a new handle in *latent_out and
 * how many tokens it covers, or 0 and 0. */
HANSE_API hanse_status hanse_latent_prefix(hanse_kernel* kernel, hanse_id reader,
                                           const hanse_latent_spec* spec, const uint32_t* tokens,
                                           uint32_t token_count, hanse_latent* latent_out,
                                           uint32_t* matched_out);

/* Pages where they lie, without a copy: valid until the view is destroyed, whatever happens to the
 * latent. A view belongs to no thread and is to be destroyed before its kernel is closed; the child
 * of a fork must not touch the parent's. */
typedef struct hanse_latent_view hanse_latent_view;

typedef struct hanse_latent_piece {
  uint32_t size_bytes;
  uint32_t token_count;
  const void* data;                                 /* of the first token in plane 0 */
  uint64_t plane_stride, token_stride, head_stride; /* bytes; the elements of a head lie together */
} hanse_latent_piece;

/* piece_count_out: of runs of tokens, in order. */
HANSE_API hanse_status hanse_latent_view_create(hanse_kernel* kernel, hanse_id reader,
                                                hanse_latent latent, hanse_latent_view** view_out,
                                                uint32_t* piece_count_out);
HANSE_API hanse_status hanse_latent_view_piece(const hanse_latent_view* view, uint32_t index,
                                               hanse_latent_piece* piece_out);
/* NULL is fine. */
HANSE_API hanse_status hanse_latent_view_destroy(hanse_latent_view* view);

#ifdef __cplusplus
}
#endif

#endif
