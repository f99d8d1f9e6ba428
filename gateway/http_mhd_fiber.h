/* A stack of its own for a request, switched to and from on the connection's thread.
 *
 * Fibers come from a pool, with the most recently used stack first. A fiber never leaves the thread
 * that started it until it has finished. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct http_fiber;
struct http_fiber_pool;

/* At most max_kept idle stacks are kept. A guard page lies below each. */
struct http_fiber_pool *http_fiber_pool_new(size_t stack_bytes, size_t max_kept);
void http_fiber_pool_free(struct http_fiber_pool *p); /* every fiber must have been put back */
struct http_fiber *http_fiber_get(struct http_fiber_pool *p); /* NULL: no memory for a stack */
void http_fiber_put(struct http_fiber_pool *p,
                    struct http_fiber *f); /* finished or never started */

void http_fiber_start(struct http_fiber *f, void (*run)(void *), void *arg);
void http_fiber_resume(struct http_fiber *f); /* returns when it yields or finishes */
void http_fiber_yield(struct http_fiber *f);  /* from inside */
