/* Blocks in a list, newest first; small requests share a block, large ones get their own.
 *
 *  A1  Only the newest shared block has room: what is left in older ones is given up.
 *  A2  Bytes are zeroed when they are given out, so a kept block needs no cleaning. */
#include "common/base/arena.h"
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include "common/base/alloc.h"
#include "common/base/text.h"

enum { ARENA_ALIGN = 16, ARENA_BLOCK_MIN = 4096, ARENA_BLOCK_MAX = 65536 };

struct arena_block {
    struct arena_block *next;
    size_t capacity, used;
    size_t pad; /* keeps bytes on a multiple of ARENA_ALIGN */
    uint8_t bytes[];
};

void arena_init(struct arena *a)
{
    a->blocks = NULL;
    a->used_bytes = 0;
}

static void free_blocks(struct arena_block *b)
{
    while (b) {
        struct arena_block *next = b->next;
        sys_free(b);
        b = next;
    }
}

void arena_release(struct arena *a)
{
    free_blocks(a->blocks);
    arena_init(a);
}

void arena_clear(struct arena *a)
{
    /* The largest shared block is kept, so that a reused arena soon needs no allocation. */
    struct arena_block *keep = NULL;
    for (struct arena_block *b = a->blocks; b; b = b->next)
        if (b->capacity <= ARENA_BLOCK_MAX && (!keep || b->capacity > keep->capacity))
            keep = b;
    for (struct arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        if (b != keep)
            sys_free(b);
    }
    if (keep) {
        keep->next = NULL;
        keep->used = 0;
    }
    a->blocks = keep;
    a->used_bytes = 0;
}

static struct arena_block *block_new(size_t capacity)
{
    struct arena_block *b = sys_alloc_aligned(sizeof *b + capacity, ARENA_ALIGN);
    b->next = NULL;
    b->capacity = capacity;
    b->used = 0;
    b->pad = 0;
    return b;
}

static void *arena_take(struct arena *a, size_t size)
{
    static_assert(sizeof(struct arena_block) % ARENA_ALIGN == 0, "blocks begin aligned");
    assert(size <= SIZE_MAX / 2);
    size_t rounded = (size + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (rounded == 0)
        rounded = ARENA_ALIGN; /* an address of its own */
    a->used_bytes += size;
    struct arena_block *top = a->blocks;
    if (top && top->capacity - top->used >= rounded) {
        void *out = top->bytes + top->used;
        top->used += rounded;
        return out;
    }
    if (rounded > ARENA_BLOCK_MAX / 4) {
        /* Behind the top, whose room stays in use. */
        struct arena_block *own = block_new(rounded);
        own->used = rounded;
        own->next = top ? top->next : NULL;
        if (top)
            top->next = own;
        else
            a->blocks = own;
        return own->bytes;
    }
    size_t capacity = top ? top->capacity * 2 : ARENA_BLOCK_MIN;
    if (capacity > ARENA_BLOCK_MAX)
        capacity = ARENA_BLOCK_MAX;
    while (capacity < rounded)
        capacity *= 2;
    struct arena_block *fresh = block_new(capacity);
    fresh->used = rounded;
    fresh->next = top;
    a->blocks = fresh;
    return fresh->bytes;
}

void *arena_alloc(struct arena *a, size_t size)
{
    return memset(arena_take(a, size), 0, size);
}

void *arena_copy(struct arena *a, const void *data, size_t n)
{
    void *out = arena_take(a, n);
    if (n)
        memcpy(out, data, n);
    return out;
}

char *arena_string(struct arena *a, const char *text)
{
    return arena_copy(a, text, strlen(text) + 1);
}

char *arena_vformat(struct arena *a, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    assert(n >= 0); /* formats are constants of ours */
    char *out = arena_take(a, (size_t)n + 1);
    vsnprintf(out, (size_t)n + 1, format, again);
    va_end(again);
    return out;
}

char *arena_format(struct arena *a, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *out = arena_vformat(a, format, args);
    va_end(args);
    return out;
}

char *arena_hex(struct arena *a, const void *data, size_t n)
{
    char *out = arena_take(a, 2 * n + 1);
    hex_encode(data, n, out);
    return out;
}
