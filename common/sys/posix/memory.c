/* common/base/alloc.h on malloc. */
#define _GNU_SOURCE
#include <stdlib.h>
#include "common/sys/sys.h"

static void *or_exit(void *block)
{
    if (!block)
        sys_exit(1, "out of memory");
    return block;
}

void *sys_alloc(size_t size)
{
    return or_exit(calloc(1, size ? size : 1));
}

void *sys_alloc_aligned(size_t size, size_t align)
{
    void *block = NULL;
    if (posix_memalign(&block, align, size ? size : 1))
        block = NULL;
    return or_exit(block);
}

void *sys_realloc(void *block, size_t size)
{
    return or_exit(realloc(block, size ? size : 1));
}

void sys_free(void *block)
{
    free(block);
}
