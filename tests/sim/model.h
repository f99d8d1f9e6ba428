/* What objects contain. Contents follow from seeds; an ETag stands for one of them, and so does its
 * value in the history (tests/check/history.h): the XXH64 of the ETag's text. Memory outside of every
 * simulated process, so that it outlives a client's crash. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MODEL_ETAG = 48, MODEL_PART = 5 << 20 };

/* A new seed, from the world's random numbers; large ones are more than 5 MiB, for two parts. */
uint64_t model_seed(uint64_t random, bool large);
size_t model_size(uint64_t seed);
bool model_large(uint64_t seed);
/* The content; sys_alloc'd, never NULL. */
uint8_t *model_bytes(uint64_t seed);

/* An ETag without its quotes, NUL-terminated. */
uint64_t model_value(const char *etag);

/* What was ever sent to be written. */
struct model;
struct model *model_new(void);
/* Notes this content under its ETag (and its MD5's, when `parts`: it was uploaded in two); returns the
 * value, and the ETag. */
uint64_t model_add(struct model *m, uint64_t seed, const uint8_t *bytes, bool parts,
                   char etag[MODEL_ETAG]);
/* The seed of what has this ETag; 0: nobody ever wrote that. */
uint64_t model_find(const struct model *m, uint64_t value);
/* Whether [offset, offset + n) of the seed's content is this. */
bool model_is(uint64_t seed, size_t offset, const void *data, size_t n);
