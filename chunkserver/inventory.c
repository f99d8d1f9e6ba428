/* What a disk holds, in the order of the index: the tails merged with kv. */
#include <stdlib.h>
#include <string.h>
#include "chunkserver/store_internal.h"
#include "common/base/cursor.h"

enum { ROW = 1 + INDEX_KEY };

struct change {
    uint8_t key[INDEX_KEY];
    bool deleted;
    struct stored_shard shard;
};

struct changes {
    struct change *v;
    size_t count, capacity;
};

static int by_key(const void *a, const void *b)
{
    return memcmp(((const struct change *)a)->key, ((const struct change *)b)->key, INDEX_KEY);
}

/* The changes of a tail within [from, to]; those that `over` hides are left out. */
static void collect(struct changes *c, const struct tail *t, const struct tail *over,
                    const uint8_t *from, const uint8_t *to)
{
    for (size_t i = 0; i < t->slot_count; i++) {
        for (const struct tail_entry *e = t->slots[i]; e; e = e->next) {
            if (memcmp(e->key, from, INDEX_KEY) < 0 || memcmp(e->key, to, INDEX_KEY) > 0 ||
                (over && tail_find(over, e->key)))
                continue;
            if (c->count == c->capacity) {
                c->capacity = c->capacity ? 2 * c->capacity : 64;
                c->v = sys_realloc(c->v, c->capacity * sizeof(*c->v));
            }
            struct change *v = &c->v[c->count++];
            memcpy(v->key, e->key, INDEX_KEY);
            v->deleted = e->deleted;
            v->shard = e->entry.shard;
        }
    }
}

static bool row_within(const struct kv_slice *key, const uint8_t *to)
{
    return key->length == ROW && *(const uint8_t *)key->data == 's' &&
           memcmp((const uint8_t *)key->data + 1, to, INDEX_KEY) <= 0;
}

static enum err merge(struct kv_iterator *i, const struct changes *c, const uint8_t *to,
                      struct stored_shard *out, size_t max, size_t *n)
{
    size_t at = 0;
    while (*n < max) {
        struct kv_slice key = {0};
        bool row = kv_iterator_valid(i);
        if (row) {
            key = kv_iterator_key(i);
            row = row_within(&key, to);
        }
        if (!row && at == c->count)
            break;
        int order = !row ? 1
                    : at == c->count
                        ? -1
                        : memcmp((const uint8_t *)key.data + 1, c->v[at].key, INDEX_KEY);
        if (order < 0) {
            struct index_entry entry;
            struct kv_slice value = kv_iterator_value(i);
            if (!index_decode_value(&value, (const uint8_t *)key.data + 1, &entry))
                return ERR_CORRUPT;
            out[(*n)++] = entry.shard;
        } else {
            if (!c->v[at].deleted)
                out[(*n)++] = c->v[at].shard;
            at++;
        }
        if (order <= 0)
            kv_iterator_next(i);
    }
    return index_error(kv_iterator_error(i));
}

enum err shard_store_list(struct shard_store *s, uint32_t pool, uint64_t hash_first,
                          uint64_t hash_last, const struct shard_id *after,
                          struct stored_shard *out, size_t max, size_t *n)
{
    uint8_t from[ROW] = {'s'}, to[INDEX_KEY];
    struct writer w;
    struct changes changes = {0};
    *n = 0;
    writer_init(&w, from + 1, INDEX_KEY);
    write_u32_be(&w, pool);
    write_u64_be(&w, hash_first);
    memset(to, 0xff, sizeof(to));
    writer_init(&w, to, sizeof(to));
    write_u32_be(&w, pool);
    write_u64_be(&w, hash_last);
    if (after) {
        index_key(pool, after, from + 1);
        /* The key behind it: an index is at most 254, so this never carries. */
        if (from[ROW - 1] == UINT8_MAX)
            return ERR_INVALID;
        from[ROW - 1]++;
    }
    enum err e = index_enter(s);
    if (e)
        return e;
    sys_mutex_lock(&s->lock);
    collect(&changes, &s->tail, NULL, from + 1, to);
    collect(&changes, &s->flushing, &s->tail, from + 1, to);
    sys_mutex_unlock(&s->lock);
    if (changes.count)
        qsort(changes.v, changes.count, sizeof(*changes.v), by_key);
    struct kv_iterator *i = kv_iterator_new(s->index, NULL);
    kv_iterator_seek(i, (struct kv_slice){from, ROW});
    e = merge(i, &changes, to, out, max, n);
    kv_iterator_free(i);
    sys_free(changes.v);
    return index_leave(s, e);
}

enum err shard_store_stat(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                          struct stored_shard *shard)
{
    struct index_entry entry;
    enum err e = index_lookup(s, pool, id, &entry);
    if (!e)
        *shard = entry.shard;
    return e;
}

enum err index_each(struct shard_store *s, enum err (*visit)(void *arg, const struct index_entry *),
                    void *arg)
{
    struct kv_iterator *i = kv_iterator_new(s->index, NULL);
    enum err e = OK;
    for (kv_iterator_seek(i, (struct kv_slice){"s", 1}); !e && kv_iterator_valid(i);) {
        struct index_entry entry;
        struct kv_slice key = kv_iterator_key(i), value = kv_iterator_value(i);
        if (key.length == 0 || *(const uint8_t *)key.data != 's')
            break;
        if (key.length != ROW || !index_decode_value(&value, (const uint8_t *)key.data + 1, &entry))
            e = ERR_CORRUPT;
        else
            e = visit(arg, &entry);
        if (!e)
            kv_iterator_next(i);
    }
    if (!e)
        e = index_error(kv_iterator_error(i));
    kv_iterator_free(i);
    return e;
}
