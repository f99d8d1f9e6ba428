#include "tests/check/history.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "common/base/digest.h"
#include "tests/check/memory.h"

struct page {
    int64_t invoke, done;
    char *prefix, *after, *until;
    struct history_listed *listed;
    size_t n;
    uint32_t client;
};
struct history {
    struct history_op *ops;
    size_t count, room;
    struct page *pages;
    size_t page_count, page_room;
    char **names;
    size_t key_count, key_room;
    uint32_t *table; /* open addressing by name; 0: free, else key + 1 */
    size_t table_size;
};

static char *copy_text(const char *text)
{
    if (!text)
        return NULL;
    size_t n = strlen(text) + 1;
    return memcpy(check_alloc(n), text, n);
}

struct history *history_new(void)
{
    struct history *h = check_alloc(sizeof *h);
    h->table_size = 256;
    h->table = check_alloc(h->table_size * sizeof *h->table);
    return h;
}

void history_free(struct history *h)
{
    for (size_t i = 0; i < h->page_count; i++) {
        free(h->pages[i].prefix);
        free(h->pages[i].after);
        free(h->pages[i].until);
        free(h->pages[i].listed);
    }
    for (size_t i = 0; i < h->key_count; i++)
        free(h->names[i]);
    free(h->pages);
    free(h->names);
    free(h->table);
    free(h->ops);
    free(h);
}

/* ---- keys ---- */

static uint32_t *slot_of(const struct history *h, const char *name)
{
    size_t i = xxh64(name, strlen(name), 0) & (h->table_size - 1);
    while (h->table[i] && strcmp(h->names[h->table[i] - 1], name) != 0)
        i = (i + 1) & (h->table_size - 1);
    return &h->table[i];
}

uint32_t history_key(struct history *h, const char *name)
{
    uint32_t *slot = slot_of(h, name);
    if (*slot)
        return *slot - 1;
    assert(h->key_count < HISTORY_KEYS_MAX && strlen(name) <= HISTORY_NAME_MAX);
    h->names = check_grow(h->names, h->key_count, &h->key_room, sizeof *h->names);
    h->names[h->key_count++] = copy_text(name);
    *slot = (uint32_t)h->key_count;
    if (h->key_count * 2 > h->table_size) {
        free(h->table);
        h->table_size *= 2;
        h->table = check_alloc(h->table_size * sizeof *h->table);
        for (size_t i = 0; i < h->key_count; i++)
            *slot_of(h, h->names[i]) = (uint32_t)i + 1;
    }
    return (uint32_t)h->key_count - 1;
}

const char *history_name(const struct history *h, uint32_t key)
{
    return h->names[key];
}

size_t history_keys(const struct history *h)
{
    return h->key_count;
}

size_t history_size(const struct history *h)
{
    return h->count + h->page_count;
}

/* ---- operations ---- */

size_t history_begin(struct history *h, const struct history_op *op)
{
    assert(h->count < HISTORY_OPS_MAX && op->key < h->key_count);
    h->ops = check_grow(h->ops, h->count, &h->room, sizeof *h->ops);
    struct history_op *to = &h->ops[h->count];
    *to = *op;
    to->outcome = HISTORY_OPEN;
    to->done = HISTORY_NEVER;
    return h->count++;
}

void history_end(struct history *h, size_t number, int64_t done, enum history_outcome outcome,
                 uint64_t value)
{
    struct history_op *op = &h->ops[number];
    assert(op->outcome == HISTORY_OPEN && !op->dropped && done >= op->invoke);
    if (outcome == HISTORY_OPEN)
        return;
    op->outcome = (uint8_t)outcome;
    op->done = done;
    if (op->kind == HISTORY_GET || (op->kind == HISTORY_PUT && op->value == HISTORY_ANYTHING))
        op->value = value;
}

void history_drop(struct history *h, size_t number)
{
    h->ops[number].dropped = true;
}

void history_add(struct history *h, const struct history_op *op)
{
    size_t number = history_begin(h, op);
    history_end(h, number, op->done, (enum history_outcome)op->outcome, op->value);
}

/* ---- listings ---- */

void history_list(struct history *h, uint32_t client, int64_t invoke, int64_t done,
                  const char *prefix, const char *after, const char *until,
                  const struct history_listed *listed, size_t n)
{
    assert(h->page_count < HISTORY_OPS_MAX);
    h->pages = check_grow(h->pages, h->page_count, &h->page_room, sizeof *h->pages);
    struct page *p = &h->pages[h->page_count++];
    *p = (struct page){.invoke = invoke,
                       .done = done,
                       .prefix = copy_text(prefix),
                       .after = copy_text(after ? after : ""),
                       .until = copy_text(until),
                       .listed = check_alloc(n * sizeof *listed + 1),
                       .n = n,
                       .client = client};
    if (n)
        memcpy(p->listed, listed, n * sizeof *listed);
}

/* Whether the page says something about the key, and what. */
static bool page_covers(const struct page *p, const char *name, uint32_t key, uint64_t *value)
{
    *value = HISTORY_NOTHING;
    for (size_t i = 0; i < p->n; i++)
        if (p->listed[i].key == key) {
            *value = p->listed[i].value;
            return true;
        }
    return strncmp(name, p->prefix, strlen(p->prefix)) == 0 && strcmp(name, p->after) > 0 &&
           (!p->until || strcmp(name, p->until) <= 0);
}

static int by_invoke(const void *a, const void *b)
{
    const struct history_op *x = a, *y = b;
    if (x->invoke != y->invoke)
        return x->invoke < y->invoke ? -1 : 1;
    return (x->done > y->done) - (x->done < y->done);
}

struct history_op *history_of_key(const struct history *h, uint32_t key, size_t *n)
{
    struct history_op *out = NULL;
    size_t room = 0;
    *n = 0;
    for (size_t i = 0; i < h->count; i++) {
        const struct history_op *op = &h->ops[i];
        if (op->key != key || op->dropped ||
            (op->kind == HISTORY_GET && op->outcome == HISTORY_OPEN))
            continue;
        out = check_grow(out, *n, &room, sizeof *out);
        out[(*n)++] = *op;
    }
    for (size_t i = 0; i < h->page_count; i++) {
        const struct page *p = &h->pages[i];
        uint64_t value;
        if (!page_covers(p, h->names[key], key, &value))
            continue;
        out = check_grow(out, *n, &room, sizeof *out);
        out[(*n)++] = (struct history_op){.invoke = p->invoke,
                                          .done = p->done,
                                          .value = value,
                                          .client = p->client,
                                          .key = key,
                                          .kind = HISTORY_GET,
                                          .outcome = HISTORY_DONE,
                                          .listed = true};
    }
    if (*n)
        qsort(out, *n, sizeof *out, by_invoke);
    return out;
}
