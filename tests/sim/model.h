/* What keys may hold, as their one client knows it. Outside of every simulated process, so that it
 * outlives a gateway's crash.
 *
 * A key holds `value`, the last that is certain. A write that was never answered, or with an outcome
 * that is not known, stays pending: it may take effect at any later moment, once. Values are seeds:
 * size and bytes follow from them, and none is used twice; 0 is "nothing". */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MODEL_PENDING_MAX = 24 };

struct model_key {
    uint64_t value;
    uint64_t pending[MODEL_PENDING_MAX];
    uint32_t count;
};

/* A write begins. False: too much is open on this key, leave it alone. */
bool model_begin(struct model_key *k, uint64_t value);
void model_done(struct model_key *k, uint64_t value);    /* acknowledged */
void model_refused(struct model_key *k, uint64_t value); /* certainly not done, nor ever */
/* A read has returned this value. False: it may not be there. */
bool model_saw(struct model_key *k, uint64_t value);
/* Candidate i: the certain value, then those that are pending. False behind the last. */
bool model_candidate(const struct model_key *k, uint32_t i, uint64_t *value);

/* A new value, from the world's random numbers; large ones are more than 5 MiB. */
uint64_t model_value(uint64_t random, bool large);
size_t model_size(uint64_t value);
/* The bytes of a value; sys_alloc'd, never NULL. */
uint8_t *model_bytes(uint64_t value);
/* Whether [offset, offset + n) of the value is this. */
bool model_is(uint64_t value, size_t offset, const void *data, size_t n);
