/* Payload memory: reference-counted buffers, aligned to 4 KiB, from a pool bounded in bytes.
 *
 * Payload never lives in a request's arena: a hung disk may hold a page long after the request has
 * answered. Whoever stores a pointer to a buffer takes a reference; the last one out gives it back.
 * All calls from any thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"

enum { BUF_SMALL = 64 * 1024, BUF_LARGE = 256 * 1024, BUF_ALIGN = 4096 };

struct buf_pool;
struct buf {
    uint8_t *data;   /* 4 KiB-aligned; what it holds after buf_get is undefined */
    size_t capacity; /* BUF_SMALL or BUF_LARGE */
    /* private */
    struct buf_pool *pool;
    struct buf *next;
    _Atomic uint32_t references;
};

struct buf_pool_stats {
    size_t budget_bytes, used_bytes, peak_bytes; /* used: given out now; peak: since the start */
    uint64_t gets, refusals;                     /* refusals: ERR_BUSY */
};

/* Memory is taken from the system as it is first needed and kept. budget_bytes >= BUF_LARGE. */
struct buf_pool *buf_pool_new(size_t budget_bytes);
/* Asserts that every buffer is back. */
void buf_pool_free(struct buf_pool *pool);
struct buf_pool_stats buf_pool_stats(struct buf_pool *pool);

/* One buffer of at least size bytes (at most BUF_LARGE) with one reference. ERR_BUSY when the budget
 * is spent; never waits. */
enum err buf_get(struct buf_pool *pool, size_t size, struct buf **out) MUST_USE;
struct buf *buf_ref(struct buf *b);
void buf_unref(struct buf *b); /* NULL is allowed */
