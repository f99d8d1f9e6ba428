/* The cluster map as it travels, into the struct that placement computes on. Whatever comes in is
 * checked here, before any of it counts: readers of the struct trust its bounds. */
#include "common/client/map_cache.h"
#include <string.h>
#include "common/base/text.h"

static enum err apply_disk(struct cluster_map *map, const DiskInfo *in)
{
    if (in->removed) {
        enum err e = cluster_map_remove_disk(map, in->id);
        return e == ERR_NOT_FOUND ? OK : e;
    }
    struct cluster_disk disk = {
        .id = in->id,
        .weight = in->weight,
        .admin = (enum disk_admin)in->admin_state,
        .up = in->up,
        .suspect = in->suspect,
        .incarnation = in->incarnation,
    };
    if (in->admin_state >= DISK_ADMIN_COUNT || in->uuid.len != UUID_BYTES)
        return ERR_FORMAT;
    memcpy(disk.uuid.bytes, in->uuid.data, UUID_BYTES);
    if (!text_copy(disk.zone, sizeof disk.zone, in->zone) ||
        !text_copy(disk.rack, sizeof disk.rack, in->rack) ||
        !text_copy(disk.host, sizeof disk.host, in->host) ||
        !text_copy(disk.address, sizeof disk.address, in->address))
        return ERR_FORMAT;
    return cluster_map_put_disk(map, &disk);
}

static enum err apply_pool(struct cluster_map *map, const PoolInfo *in)
{
    /* A pool without a PG table has no pg_bits yet, and nothing can be placed in it. */
    if (!in->assigned)
        return OK;
    if (in->k > POOL_K_MAX || in->m > POOL_M_MAX || in->pg_bits > POOL_PG_BITS_MAX ||
        in->failure_domain >= FAILURE_DOMAIN_COUNT)
        return ERR_FORMAT;
    struct cluster_pool pool = {
        .id = in->id,
        .k = (uint8_t)in->k,
        .m = (uint8_t)in->m,
        .pg_bits = (uint8_t)in->pg_bits,
        .cell_bytes = in->cell,
        .domain = (enum failure_domain)in->failure_domain,
    };
    if (!text_copy(pool.name, sizeof pool.name, in->name))
        return ERR_FORMAT;
    return cluster_map_put_pool(map, &pool);
}

enum err map_apply_pg(struct cluster_map *map, const PgInfo *in)
{
    const struct cluster_pool *pool = cluster_map_pool(map, in->pool);
    if (!pool || in->pg >= pool_pg_count(pool) || in->n_slots != pool_width(pool))
        return ERR_FORMAT;
    for (unsigned i = 0; i < in->n_slots; i++) {
        const Slot *from = in->slots[i];
        struct pg_slot slot = {0};
        if (from->n_holders > SLOT_HOLDERS_MAX)
            return ERR_FORMAT;
        slot.count = (uint8_t)from->n_holders;
        for (unsigned h = 0; h < from->n_holders; h++)
            slot.holders[h] = (struct slot_holder){.disk = from->holders[h]->disk,
                                                   .since_epoch = from->holders[h]->since_epoch};
        *pool_slot(pool, in->pg, i) = slot;
    }
    return OK;
}

enum err map_apply_delta(struct cluster_map *map, const MapInfo *delta)
{
    enum err e = OK;
    if (delta->since == 0)
        cluster_map_clear(map);
    for (size_t i = 0; e == OK && i < delta->n_disks; i++)
        e = apply_disk(map, delta->disks[i]);
    for (size_t i = 0; e == OK && i < delta->n_pools; i++)
        e = apply_pool(map, delta->pools[i]);
    for (size_t i = 0; e == OK && i < delta->n_pgs; i++)
        e = map_apply_pg(map, delta->pgs[i]);
    if (e == OK && delta->epoch > map->epoch)
        map->epoch = delta->epoch;
    return e;
}
