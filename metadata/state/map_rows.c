/* The cluster map, kept twice: as m rows, which are the state, and as the struct that placement
 * computes on, rebuilt from the rows at open. Both are changed here and nowhere else.
 *
 * A command that changes the map makes one new epoch, whatever it changes; the row of that epoch
 * names the records that changed, (kind u8, a u32, b u32) each, and stays for MAP_DELTAS_KEPT
 * epochs: from these rows a reader that is a little behind gets its delta. */
#include <assert.h>
#include "common/base/cursor.h"
#include "common/client/map_cache.h"
#include "metadata/state/state_internal.h"

void key_map(struct key *k, enum map_kind kind, uint32_t a, uint32_t b)
{
    key_begin2(k, 'm', (char)kind);
    key_u32(k, a);
    if (kind == MAP_PG)
        key_u32(k, b);
}

uint64_t map_next_epoch(struct apply *a)
{
    return a->state->map->epoch + 1;
}

static void changed(struct apply *a, enum map_kind kind, uint32_t x, uint32_t y)
{
    if (a->change_count == a->change_room) {
        size_t room = a->change_room < 16 ? 16 : 2 * a->change_room;
        struct map_change *more = arena_alloc(a->arena, room * sizeof *more);
        if (a->change_count > 0)
            memcpy(more, a->changes, a->change_count * sizeof *more);
        a->changes = more;
        a->change_room = room;
    }
    a->changes[a->change_count++] = (struct map_change){.kind = (uint8_t)kind, .a = x, .b = y};
}

bool map_get_disk(struct apply *a, uint32_t id, DiskInfo **disk)
{
    struct key key;
    key_map(&key, MAP_DISK, id, 0);
    return txn_get_message(a->txn, &key, &disk_info__descriptor, disk) && !(*disk)->removed;
}

bool map_get_pool(struct apply *a, uint32_t id, PoolInfo **pool)
{
    struct key key;
    key_map(&key, MAP_POOL, id, 0);
    return txn_get_message(a->txn, &key, &pool_info__descriptor, pool);
}

/* Takes records into the struct the way every reader of the map does. */
static enum err mirror(struct state *s, DiskInfo *disk, PoolInfo *pool)
{
    MapInfo delta = MAP_INFO__INIT;
    delta.n_disks = disk != NULL;
    delta.disks = &disk;
    delta.n_pools = pool != NULL;
    delta.pools = &pool;
    return map_apply_delta(s->map, &delta);
}

void map_put_disk(struct apply *a, DiskInfo *disk)
{
    struct key key;
    disk->changed = map_next_epoch(a);
    key_map(&key, MAP_DISK, disk->id, 0);
    txn_put_message(a->txn, &key, &disk->base);
    enum err e = mirror(a->state, disk, NULL);
    assert(e == OK); /* its values were checked */
    changed(a, MAP_DISK, disk->id, 0);
}

void map_put_pool(struct apply *a, PoolInfo *pool)
{
    struct key key;
    pool->changed = map_next_epoch(a);
    key_map(&key, MAP_POOL, pool->id, 0);
    txn_put_message(a->txn, &key, &pool->base);
    enum err e = mirror(a->state, NULL, pool);
    assert(e == OK);
    changed(a, MAP_POOL, pool->id, 0);
}

void map_put_pg(struct apply *a, const struct cluster_pool *pool, uint32_t pg)
{
    struct key key;
    PgInfo info = PG_INFO__INIT;
    unsigned width = pool_width(pool);
    info.pool = pool->id;
    info.pg = pg;
    info.changed = map_next_epoch(a);
    info.n_slots = width;
    info.slots = arena_alloc(a->arena, width * sizeof *info.slots);
    for (unsigned i = 0; i < width; i++) {
        const struct pg_slot *from = pool_slot(pool, pg, i);
        Slot *slot = arena_alloc(a->arena, sizeof *slot);
        slot__init(slot);
        slot->n_holders = from->count;
        slot->holders = arena_alloc(a->arena, from->count * sizeof *slot->holders);
        for (unsigned h = 0; h < from->count; h++) {
            slot->holders[h] = arena_alloc(a->arena, sizeof **slot->holders);
            holder__init(slot->holders[h]);
            slot->holders[h]->disk = from->holders[h].disk;
            slot->holders[h]->since_epoch = from->holders[h].since_epoch;
        }
        info.slots[i] = slot;
    }
    key_map(&key, MAP_PG, pool->id, pg);
    txn_put_message(a->txn, &key, &info.base);
    changed(a, MAP_PG, pool->id, pg);
}

void map_finish(struct apply *a)
{
    struct writer w;
    struct key key;
    if (a->change_count == 0)
        return;
    a->epoch = ++a->state->map->epoch;
    size_t n = a->change_count * 9;
    uint8_t *bytes = arena_alloc(a->arena, n);
    writer_init(&w, bytes, n);
    for (size_t i = 0; i < a->change_count; i++) {
        write_u8(&w, a->changes[i].kind);
        write_u32(&w, a->changes[i].a);
        write_u32(&w, a->changes[i].b);
    }
    assert(!w.failed && writer_used(&w) == n);
    key_begin2(&key, 'm', 'c');
    key_u64(&key, a->epoch);
    txn_put(a->txn, &key, bytes, n);
    if (a->epoch > MAP_DELTAS_KEPT) {
        key_begin2(&key, 'm', 'c');
        key_u64(&key, a->epoch - MAP_DELTAS_KEPT);
        txn_remove(a->txn, &key);
    }
}

/* ---- at open ---- */

static enum err load_row(struct state *s, struct txn *txn, enum map_kind kind,
                         struct kv_slice value)
{
    DiskInfo *disk;
    PoolInfo *pool;
    PgInfo *pg;
    switch (kind) {
    case MAP_DISK:
        if (!txn_unpack(txn, &disk_info__descriptor, value, &disk))
            return txn->error;
        return mirror(s, disk, NULL);
    case MAP_POOL:
        if (!txn_unpack(txn, &pool_info__descriptor, value, &pool))
            return txn->error;
        return mirror(s, NULL, pool);
    case MAP_PG:
        if (!txn_unpack(txn, &pg_info__descriptor, value, &pg))
            return txn->error;
        return map_apply_pg(s->map, pg);
    }
    return ERR_CORRUPT;
}

enum err map_load(struct state *s)
{
    static const enum map_kind kinds[] = {MAP_DISK, MAP_POOL, MAP_PG};
    enum err e = OK;
    for (size_t i = 0; e == OK && i < sizeof kinds / sizeof kinds[0]; i++) {
        struct arena arena;
        struct txn txn;
        struct txn_scan scan;
        struct key prefix;
        struct kv_slice key, value;
        arena_init(&arena);
        txn_init(&txn, s->kv, &arena, 0);
        key_begin2(&prefix, 'm', (char)kinds[i]);
        txn_scan_begin(&scan, &txn, &prefix, NULL);
        while (e == OK && txn_scan_next(&scan, &key, &value))
            e = load_row(s, &txn, kinds[i], value);
        txn_scan_end(&scan);
        e = e == OK ? txn.error : e == ERR_FORMAT || e == ERR_INVALID ? ERR_CORRUPT : e;
        txn_release(&txn);
        arena_release(&arena);
    }
    return e;
}
