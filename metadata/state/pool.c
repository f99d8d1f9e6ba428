/* Pools and their PG tables: the first table, pushes of new holders, and the ends of moves
 * (hazards 2, 17, 20). Pushes and ends are compare-and-set on the since_epoch of the slot's newest
 * holder: what was planned on an older map falls away by itself. */
#include "metadata/state/state_internal.h"

static bool name_taken(struct apply *a, const char *name, uint32_t *last, size_t *count)
{
    struct key prefix;
    struct kv_slice key, value;
    struct txn_scan scan;
    bool taken = false;
    *last = 0;
    *count = 0;
    key_begin2(&prefix, 'm', MAP_POOL);
    txn_scan_begin(&scan, a->txn, &prefix, NULL);
    while (txn_scan_next(&scan, &key, &value)) {
        PoolInfo *pool;
        if (!txn_unpack(a->txn, &pool_info__descriptor, value, &pool))
            break;
        taken = taken || strcmp(pool->name, name) == 0;
        *last = pool->id;
        ++*count;
    }
    txn_scan_end(&scan);
    return taken;
}

enum err apply_create_pool(struct apply *a, const CreatePool *c)
{
    PoolInfo info = POOL_INFO__INIT;
    struct cluster_pool pool = {.id = 1};
    uint32_t last;
    size_t count;
    size_t name_n = strlen(c->name);
    if (name_n > CLUSTER_NAME_MAX || c->k > POOL_K_MAX || c->m > POOL_M_MAX ||
        c->failure_domain >= FAILURE_DOMAIN_COUNT)
        return ERR_INVALID;
    memcpy(pool.name, c->name, name_n);
    pool.k = (uint8_t)c->k;
    pool.m = (uint8_t)c->m;
    pool.cell_bytes = c->cell;
    pool.domain = (enum failure_domain)c->failure_domain;
    if (!cluster_pool_valid(&pool))
        return ERR_INVALID;
    if (name_taken(a, c->name, &last, &count))
        return ERR_EXISTS;
    if (count >= CLUSTER_POOLS_MAX)
        return ERR_TOO_BIG;
    info.id = last + 1;
    info.name = c->name;
    info.k = c->k;
    info.m = c->m;
    info.cell = c->cell;
    info.failure_domain = c->failure_domain;
    map_put_pool(a, &info);
    a->result->index = info.id;
    return OK;
}

/* Every row k+m different disks that may be used. */
static enum err table_check(struct apply *a, const AssignPool *c, unsigned width)
{
    size_t pgs = (size_t)1 << c->pg_bits;
    if (c->n_disks != pgs * width)
        return ERR_INVALID;
    for (size_t pg = 0; pg < pgs; pg++)
        for (size_t i = 0; i < width; i++) {
            const uint32_t *row = c->disks + pg * width;
            if (!cluster_map_disk_holds(a->state->map, row[i]))
                return ERR_NOT_FOUND;
            for (size_t j = 0; j < i; j++)
                if (row[i] == row[j])
                    return ERR_INVALID;
        }
    return OK;
}

enum err apply_assign_pool(struct apply *a, const AssignPool *c)
{
    PoolInfo *info;
    if (c->pg_bits > STATE_PG_BITS_MAX)
        return ERR_INVALID;
    if (!map_get_pool(a, c->pool, &info))
        return ERR_NOT_FOUND;
    if (info->assigned)
        return ERR_EXISTS;
    if (c->epoch != a->state->map->epoch)
        return ERR_MISMATCH;
    unsigned width = info->k + info->m;
    enum err e = table_check(a, c, width);
    if (e != OK)
        return e;
    info->assigned = true;
    info->pg_bits = c->pg_bits;
    map_put_pool(a, info);
    const struct cluster_pool *pool = cluster_map_pool(a->state->map, c->pool);
    for (uint32_t pg = 0; pg < pool_pg_count(pool); pg++) {
        for (unsigned i = 0; i < width; i++)
            *pool_slot(pool, pg, i) =
                (struct pg_slot){.count = 1,
                                 .whole_since = a->time,
                                 .holders = {{.disk = c->disks[(size_t)pg * width + i],
                                              .since_epoch = map_next_epoch(a)}}};
        map_put_pg(a, pool, pg);
    }
    return OK;
}

/* One push; false when it no longer fits: another newest holder, a disk that is gone or is already
 * the newest of another slot of this PG. */
static bool push(struct apply *a, const struct cluster_pool *pool, const HolderPush *p)
{
    struct pg_slot *slot = pool_slot(pool, p->pg, p->slot);
    if (slot == NULL || slot_since(slot) != p->since_epoch || p->disk == 0 ||
        !cluster_map_disk_holds(a->state->map, p->disk))
        return false;
    for (unsigned i = 0; i < pool_width(pool); i++)
        if (i != p->slot && slot_newest(pool_slot(pool, p->pg, i)) == p->disk)
            return false;
    return slot_push(a->state->map, slot, p->disk, map_next_epoch(a)) == OK;
}

enum err apply_push_holders(struct apply *a, const PushHolders *c)
{
    const struct cluster_pool *pool = cluster_map_pool(a->state->map, c->pool);
    size_t done = 0;
    if (pool == NULL)
        return ERR_NOT_FOUND;
    if (c->n_pushes > STATE_CHUNKS_MAX)
        return ERR_TOO_BIG;
    for (size_t i = 0; i < c->n_pushes; i++) {
        if (!push(a, pool, c->pushes[i]))
            continue;
        map_put_pg(a, pool, c->pushes[i]->pg);
        done++;
    }
    return done > 0 || c->n_pushes == 0 ? OK : ERR_MISMATCH;
}

/* Whether some chunk of the group still needs this slot's shard on the newest holder: it was committed since
 * that one has compared, with a shard on an older one, which may be the only one (hazard 2). */
static bool shard_is_ordered(struct apply *a, const struct cluster_pool *pool, uint32_t pg,
                             uint32_t slot)
{
    struct txn_scan scan;
    struct key prefix;
    struct kv_slice row, value;
    unsigned rows = 0;
    bool ordered = false;
    key_begin(&prefix, 'r');
    key_u32(&prefix, pool->id);
    key_u32(&prefix, pg);
    txn_scan_begin(&scan, a->txn, &prefix, NULL);
    while (!ordered && txn_scan_next(&scan, &row, &value)) {
        struct chunk_id chunk;
        struct chunk_row c;
        chunk_id_decode((const uint8_t *)row.data + row.length - CHUNK_ID_BYTES, &chunk);
        ordered = rows++ == STATE_ROWS_MAX ||
                  (chunk_get(a, pool->id, &chunk, &c) && (c.missing >> slot & 1));
    }
    txn_scan_end(&scan);
    return ordered;
}

enum err apply_finish_holder(struct apply *a, const FinishHolder *c)
{
    const struct cluster_pool *pool = cluster_map_pool(a->state->map, c->pool);
    struct pg_slot *slot = pool != NULL ? pool_slot(pool, c->pg, c->slot) : NULL;
    if (slot == NULL)
        return ERR_NOT_FOUND;
    if (slot->count == 1 && slot_newest(slot) == c->disk && slot_since(slot) == c->since_epoch)
        return OK;
    if (slot_newest(slot) == c->disk && slot_since(slot) == c->since_epoch &&
        shard_is_ordered(a, pool, c->pg, c->slot))
        return ERR_BUSY; /* its repair comes first */
    enum err e = slot_finish(slot, c->disk, c->since_epoch);
    if (e == OK) {
        slot->whole_since = a->time;
        map_put_pg(a, pool, c->pg);
    }
    return e;
}
