/* Memory that is freed in one place: a request's, an apply batch's, a decoded message's. */
#pragma once
#include <stddef.h>
#include <stdarg.h>

struct arena_block;
struct arena {
    struct arena_block *blocks;
    size_t used_bytes; /* asked for in all since init or clear */
};

void arena_init(struct arena *a);
void arena_release(struct arena *a);
/* Frees what was given out, keeps one block for the next use. */
void arena_clear(struct arena *a);
/* Zeroed, aligned to 16. Never fails (see alloc.h). */
void *arena_alloc(struct arena *a, size_t size) __attribute__((malloc, returns_nonnull));
void *arena_copy(struct arena *a, const void *data, size_t n) __attribute__((returns_nonnull));
char *arena_string(struct arena *a, const char *text) __attribute__((returns_nonnull));
char *arena_format(struct arena *a, const char *format, ...)
    __attribute__((returns_nonnull, format(printf, 2, 3)));
/* The bytes as lower-case hex. */
char *arena_hex(struct arena *a, const void *data, size_t n) __attribute__((returns_nonnull));
char *arena_vformat(struct arena *a, const char *format, va_list args)
    __attribute__((returns_nonnull));
