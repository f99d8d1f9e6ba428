/* The tail: changes of the index that kv does not have yet, in a hash table; and the bytes of the
 * index's keys and values.
 *
 * Key of a shard (29 bytes, behind the 's' of its rows): pool u32, xxh64(chunk id) u64, chunk id 16,
 * index u8; big-endian, so that a placement group is a range. Value (little-endian): format u8 = 1,
 * the shard as in a record's header, extent u32, offset u64, sequence u64. */
#include <assert.h>
#include <string.h>
#include "chunkserver/store_internal.h"
#include "common/base/cursor.h"
#include "common/base/digest.h"

enum { SLOTS_MIN = 1024, VALUE_FORMAT = 1 };

void index_key(uint32_t pool, const struct shard_id *id, uint8_t out[INDEX_KEY])
{
    uint8_t chunk[CHUNK_ID_BYTES];
    struct writer w;
    chunk_id_encode(&id->chunk, chunk);
    writer_init(&w, out, INDEX_KEY);
    write_u32_be(&w, pool);
    write_u64_be(&w, xxh64(chunk, sizeof(chunk), 0));
    write_bytes(&w, chunk, sizeof(chunk));
    write_u8(&w, id->index);
}

size_t index_encode_value(const struct index_entry *entry, uint8_t out[INDEX_VALUE])
{
    struct writer w;
    writer_init(&w, out, INDEX_VALUE);
    write_u8(&w, VALUE_FORMAT);
    stored_shard_write(&w, &entry->shard);
    write_u32(&w, entry->place.extent);
    write_u64(&w, entry->place.offset);
    write_u64(&w, entry->sequence);
    assert(!w.failed);
    return writer_used(&w);
}

bool index_decode_value(const struct kv_slice *value, const uint8_t *key, struct index_entry *out)
{
    struct reader r;
    uint8_t named[INDEX_KEY];
    reader_init(&r, value->data, value->length);
    if (read_u8(&r) != VALUE_FORMAT)
        return false;
    stored_shard_read(&r, &out->shard);
    out->place.extent = read_u32(&r);
    out->place.offset = read_u64(&r);
    out->sequence = read_u64(&r);
    if (!reader_finished(&r) || !stored_shard_valid(&out->shard))
        return false;
    index_key(out->shard.pool, &out->shard.id, named);
    return memcmp(named, key, INDEX_KEY) == 0;
}

static size_t slot_of(const struct tail *t, const uint8_t key[INDEX_KEY])
{
    return (size_t)xxh64(key, INDEX_KEY, 0) & (t->slot_count - 1);
}

struct tail_entry *tail_find(const struct tail *t, const uint8_t key[INDEX_KEY])
{
    if (t->count == 0)
        return NULL;
    struct tail_entry *e = t->slots[slot_of(t, key)];
    while (e && memcmp(e->key, key, INDEX_KEY) != 0)
        e = e->next;
    return e;
}

static void grow(struct tail *t)
{
    struct tail old = *t;
    t->slot_count = old.slot_count ? 4 * old.slot_count : SLOTS_MIN;
    t->slots = sys_alloc(t->slot_count * sizeof(*t->slots));
    for (size_t i = 0; i < old.slot_count; i++) {
        for (struct tail_entry *e = old.slots[i], *next; e; e = next) {
            next = e->next;
            size_t to = slot_of(t, e->key);
            e->next = t->slots[to];
            t->slots[to] = e;
        }
    }
    sys_free(old.slots);
}

struct tail_entry *tail_add(struct tail *t, const uint8_t key[INDEX_KEY])
{
    if (t->count >= t->slot_count)
        grow(t);
    struct tail_entry *e = sys_alloc(sizeof(*e));
    memcpy(e->key, key, INDEX_KEY);
    size_t to = slot_of(t, key);
    e->next = t->slots[to];
    t->slots[to] = e;
    t->count++;
    return e;
}

void tail_clear(struct tail *t)
{
    for (size_t i = 0; i < t->slot_count; i++) {
        for (struct tail_entry *e = t->slots[i], *next; e; e = next) {
            next = e->next;
            sys_free(e);
        }
    }
    sys_free(t->slots);
    *t = (struct tail){0};
}
