#include "metadata/state/txn.h"
#include <assert.h>
#include <string.h>
#include "common/base/alloc.h"
#include "common/base/digest.h"
#include "common/proto/message.h"

enum { VALUE_MAX = 8 << 20 };

void txn_init(struct txn *t, struct kv *kv, struct arena *arena, uint64_t hash)
{
    *t = (struct txn){.kv = kv, .arena = arena, .hash = hash};
}

void txn_release(struct txn *t)
{
    if (t->iterator != NULL)
        kv_iterator_free(t->iterator);
    sys_free(t->entries);
    *t = (struct txn){0};
}

enum err txn_write(struct txn *t, const struct key *key, const void *value, size_t n)
{
    if (t->error != OK)
        return t->error;
    struct kv_batch *batch = kv_batch_new();
    for (size_t i = 0; i < t->count; i++) {
        if (t->entries[i].removed)
            kv_batch_delete(batch, t->entries[i].key);
        else
            kv_batch_put(batch, t->entries[i].key, t->entries[i].value);
    }
    kv_batch_put(batch, key_slice(key), (struct kv_slice){.data = value, .length = n});
    enum err e = kv_write(t->kv, batch, true);
    kv_batch_free(batch);
    return e;
}

static int compare(struct kv_slice a, struct kv_slice b)
{
    size_t n = a.length < b.length ? a.length : b.length;
    int c = memcmp(a.data, b.data, n);
    return c != 0 ? c : a.length < b.length ? -1 : a.length > b.length;
}

/* The first entry whose key is not below key. */
static size_t position(const struct txn *t, struct kv_slice key)
{
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare(t->entries[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool found_at(const struct txn *t, size_t at, struct kv_slice key)
{
    return at < t->count && compare(t->entries[at].key, key) == 0;
}

bool txn_get(struct txn *t, const struct key *key, struct kv_slice *value)
{
    struct kv_slice k = key_slice(key);
    size_t at = position(t, k);
    assert(!key->overflow);
    if (t->error != OK)
        return false;
    if (found_at(t, at, k)) {
        *value = t->entries[at].value;
        return !t->entries[at].removed;
    }
    void *stored;
    size_t length;
    enum err e = kv_get(t->kv, NULL, k, &stored, &length);
    if (e == OK) {
        value->data = arena_copy(t->arena, stored, length);
        value->length = length;
        sys_free(stored);
    } else if (e != ERR_NOT_FOUND) {
        t->error = e;
    }
    return e == OK;
}

static void set(struct txn *t, const struct key *key, const void *value, size_t n, bool removed)
{
    struct kv_slice k = key_slice(key);
    size_t at = position(t, k);
    assert(!key->overflow && n <= VALUE_MAX);
    if (!found_at(t, at, k)) {
        if (t->count == t->room) {
            t->room = t->room < 64 ? 64 : 2 * t->room;
            t->entries = sys_realloc(t->entries, t->room * sizeof *t->entries);
        }
        memmove(t->entries + at + 1, t->entries + at, (t->count - at) * sizeof *t->entries);
        t->count++;
        t->entries[at].key.data = arena_copy(t->arena, k.data, k.length);
        t->entries[at].key.length = k.length;
    }
    t->entries[at].removed = removed;
    t->entries[at].value.data = n > 0 ? arena_copy(t->arena, value, n) : "";
    t->entries[at].value.length = n;
    t->hash = xxh64(k.data, k.length, t->hash);
    t->hash = xxh64(t->entries[at].value.data, n, t->hash ^ (removed ? 2 : 1));
    t->rows++;
}

void txn_put(struct txn *t, const struct key *key, const void *value, size_t n)
{
    set(t, key, value, n, false);
}

void txn_remove(struct txn *t, const struct key *key)
{
    set(t, key, NULL, 0, true);
}

bool txn_unpack(struct txn *t, const ProtobufCMessageDescriptor *type, struct kv_slice bytes,
                void *out)
{
    ProtobufCMessage *message = NULL;
    if (message_unpack(type, t->arena, bytes.data, bytes.length, &message) != OK) {
        t->error = ERR_CORRUPT;
        return false;
    }
    memcpy(out, &message, sizeof message);
    return true;
}

bool txn_get_message(struct txn *t, const struct key *key, const ProtobufCMessageDescriptor *type,
                     void *out)
{
    struct kv_slice value;
    return txn_get(t, key, &value) && txn_unpack(t, type, value, out);
}

void txn_put_message(struct txn *t, const struct key *key, const ProtobufCMessage *m)
{
    uint8_t *bytes = NULL;
    size_t n = 0;
    enum err e = message_pack(m, t->arena, VALUE_MAX, &bytes, &n);
    assert(e == OK); /* commands are at most 1 MiB, and what they add up to is checked */
    txn_put(t, key, bytes, n);
}

void txn_scan_begin(struct txn_scan *s, struct txn *t, const struct key *prefix,
                    const struct key *from)
{
    assert(!t->scanning && !prefix->overflow && (from == NULL || !from->overflow));
    s->txn = t;
    s->prefix = *prefix;
    s->next = from != NULL ? *from : *prefix;
    s->sought = false;
    t->scanning = true;
    if (t->iterator == NULL && t->error == OK)
        t->iterator = kv_iterator_new(t->kv, NULL);
}

void txn_scan_end(struct txn_scan *s)
{
    s->txn->scanning = false;
}

/* The store's next row, or none: past everything already given. */
static bool stored_next(struct txn_scan *s, struct kv_slice *key)
{
    struct kv_iterator *i = s->txn->iterator;
    if (!s->sought)
        kv_iterator_seek(i, key_slice(&s->next));
    s->sought = true;
    while (kv_iterator_valid(i) && compare(kv_iterator_key(i), key_slice(&s->next)) < 0)
        kv_iterator_next(i);
    if (!kv_iterator_valid(i)) {
        enum err e = kv_iterator_error(i);
        s->txn->error = e != OK ? e : s->txn->error;
        return false;
    }
    *key = kv_iterator_key(i);
    return slice_begins(*key, &s->prefix);
}

bool txn_scan_next(struct txn_scan *s, struct kv_slice *key, struct kv_slice *value)
{
    struct txn *t = s->txn;
    while (t->error == OK) {
        struct kv_slice stored;
        bool in_store = stored_next(s, &stored);
        size_t at = position(t, key_slice(&s->next));
        bool in_overlay = at < t->count && slice_begins(t->entries[at].key, &s->prefix);
        if (t->error != OK || (!in_store && !in_overlay))
            return false;
        int order = !in_store ? -1 : !in_overlay ? 1 : compare(t->entries[at].key, stored);
        struct kv_slice found = order <= 0 ? t->entries[at].key : stored;
        bool removed = order <= 0 && t->entries[at].removed;
        if (!removed) {
            struct kv_slice v = order <= 0 ? t->entries[at].value : kv_iterator_value(t->iterator);
            key->data = arena_copy(t->arena, found.data, found.length);
            key->length = found.length;
            value->data = v.length > 0 ? arena_copy(t->arena, v.data, v.length) : "";
            value->length = v.length;
        }
        s->next.length = 0;
        key_raw(&s->next, found.data, found.length);
        key_u8(&s->next, 0); /* the least key behind it */
        assert(!s->next.overflow);
        if (!removed)
            return true;
    }
    return false;
}

bool txn_first(struct txn *t, const struct key *prefix, struct kv_slice *key,
               struct kv_slice *value)
{
    struct txn_scan scan;
    txn_scan_begin(&scan, t, prefix, NULL);
    bool found = txn_scan_next(&scan, key, value);
    txn_scan_end(&scan);
    return found;
}
