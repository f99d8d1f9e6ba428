/* The cluster map, kept twice: as m rows, which are the state, and as the struct that placement
 * computes on, rebuilt from the rows at open. Both are changed here and nowhere else.
 *
 * A command that changes the map makes one new epoch, whatever it changes; the row of that epoch
 * names the records that changed, (kind u8, a u32, b u32) each, and stays for MAP_DELTAS_KEPT
 * epochs: from these rows a reader that is a little behind gets its delta. */
#include <assert.h>
#include "common/base/cursor.h"
#include "common/base/text.h"
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

/* ---- rows into the struct; what is in them was checked when it came in ---- */

static enum err mirror_disk(struct cluster_map *map, const DiskInfo *in)
{
    struct cluster_disk disk = {.id = in->id,
                                .weight = in->weight,
                                .admin = (enum disk_admin)in->admin_state,
                                .up = in->up,
                                .suspect = in->suspect,
                                .incarnation = in->incarnation};
    if (in->removed) {
        enum err e = cluster_map_remove_disk(map, in->id);
        return e == ERR_NOT_FOUND ? OK : e;
    }
    if (in->uuid.len != UUID_BYTES || !text_copy(disk.zone, sizeof disk.zone, in->zone) ||
        !text_copy(disk.rack, sizeof disk.rack, in->rack) ||
        !text_copy(disk.host, sizeof disk.host, in->host) ||
        !text_copy(disk.address, sizeof disk.address, in->address))
        return ERR_CORRUPT;
    memcpy(disk.uuid.bytes, in->uuid.data, UUID_BYTES);
    return cluster_map_put_disk(map, &disk);
}

/* A pool without its table is not in the struct: nothing can be placed in it. */
static enum err mirror_pool(struct cluster_map *map, const PoolInfo *in)
{
    struct cluster_pool pool = {.id = in->id,
                                .k = (uint8_t)in->k,
                                .m = (uint8_t)in->m,
                                .pg_bits = (uint8_t)in->pg_bits,
                                .cell_bytes = in->cell,
                                .domain = (enum failure_domain)in->failure_domain};
    if (!in->assigned)
        return OK;
    if (!text_copy(pool.name, sizeof pool.name, in->name))
        return ERR_CORRUPT;
    return cluster_map_put_pool(map, &pool);
}

static enum err mirror_pg(struct cluster_map *map, const PgInfo *in)
{
    const struct cluster_pool *pool = cluster_map_pool(map, in->pool);
    if (pool == NULL || in->pg >= pool_pg_count(pool) || in->n_slots != pool_width(pool))
        return ERR_CORRUPT;
    for (unsigned i = 0; i < in->n_slots; i++) {
        struct pg_slot *slot = pool_slot(pool, in->pg, i);
        if (in->slots[i]->n_holders > SLOT_HOLDERS_MAX)
            return ERR_CORRUPT;
        *slot = (struct pg_slot){.count = (uint8_t)in->slots[i]->n_holders,
                                 .whole_since = in->slots[i]->whole_since};
        for (unsigned h = 0; h < slot->count; h++)
            slot->holders[h] =
                (struct slot_holder){.disk = in->slots[i]->holders[h]->disk,
                                     .since_epoch = in->slots[i]->holders[h]->since_epoch};
    }
    return OK;
}

void map_put_disk(struct apply *a, DiskInfo *disk)
{
    struct key key;
    disk->changed = map_next_epoch(a);
    key_map(&key, MAP_DISK, disk->id, 0);
    txn_put_message(a->txn, &key, &disk->base);
    enum err e = mirror_disk(a->state->map, disk);
    assert(e == OK); /* its values were checked */
    changed(a, MAP_DISK, disk->id, 0);
}

void map_put_pool(struct apply *a, PoolInfo *pool)
{
    struct key key;
    pool->changed = map_next_epoch(a);
    key_map(&key, MAP_POOL, pool->id, 0);
    txn_put_message(a->txn, &key, &pool->base);
    enum err e = mirror_pool(a->state->map, pool);
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
        slot->whole_since = from->whole_since;
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
        return mirror_disk(s->map, disk);
    case MAP_POOL:
        if (!txn_unpack(txn, &pool_info__descriptor, value, &pool))
            return txn->error;
        return mirror_pool(s->map, pool);
    case MAP_PG:
        if (!txn_unpack(txn, &pg_info__descriptor, value, &pg))
            return txn->error;
        return mirror_pg(s->map, pg);
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
        e = e == OK ? txn.error : e == ERR_INVALID ? ERR_CORRUPT : e;
        txn_release(&txn);
        arena_release(&arena);
    }
    return e;
}
