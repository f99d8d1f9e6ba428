/* Memory. Declared here, below everything, so that pure code can allocate; defined by the floor
 * (common/sys/posix or common/sys/sim), which is how the simulator knows whose block is whose.
 *
 * Allocation does not fail: when memory is out the process ends, which the product survives.
 * Sizes that a peer chooses are capped by the caller before they come here. */
#pragma once
#include <stddef.h>

/* Zeroed, aligned for any scalar. size 0 gives a block of its own. Free with sys_free. */
void *sys_alloc(size_t size) __attribute__((malloc, returns_nonnull));
/* Not zeroed. align: a power of two >= 16. Free with sys_free. */
void *sys_alloc_aligned(size_t size, size_t align) __attribute__((malloc, returns_nonnull));
/* Like sys_alloc, keeps the old bytes; the added ones are not zeroed. block may be NULL. */
void *sys_realloc(void *block, size_t size) __attribute__((returns_nonnull));
void sys_free(void *block); /* NULL is allowed */
