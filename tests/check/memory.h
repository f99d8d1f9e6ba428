/* The checkers' memory: the C library's, zeroed, so that it belongs to no simulated process. */
#pragma once
#include <assert.h>
#include <stdlib.h>
#include <string.h>

static inline void *check_alloc(size_t n)
{
    void *p = calloc(1, n);
    assert(p);
    return p;
}

/* Room for one of `size` bytes behind the n that there are; *room counts elements. */
static inline void *check_grow(void *array, size_t n, size_t *room, size_t size)
{
    if (n < *room)
        return array;
    size_t more = *room ? 2 * *room : 64;
    array = realloc(array, more * size);
    assert(array);
    memset((char *)array + *room * size, 0, (more - *room) * size);
    *room = more;
    return array;
}
