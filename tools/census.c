#include "tools/census.h"
#include <string.h>

static bool answers(const struct cluster_map *map, disk_id id)
{
    const struct cluster_disk *d = cluster_map_disk(map, id);
    return d && d->up && d->admin != DISK_FAILED;
}

enum slot_condition slot_condition(const struct cluster_map *map, const struct pg_slot *slot)
{
    if (slot->count == 0)
        return SLOT_EMPTY;
    for (unsigned i = 0; i < slot->count; i++)
        if (!answers(map, slot->holders[i].disk))
            return SLOT_MISSING;
    return slot->count == 1 ? SLOT_WHOLE : SLOT_MOVING;
}

static enum pg_condition condition(const struct cluster_pool *pool, const unsigned count[4])
{
    if (count[SLOT_EMPTY])
        return PG_IS_UNASSIGNED;
    if (count[SLOT_MISSING] > pool->m)
        return PG_IS_UNAVAILABLE;
    return count[SLOT_MISSING] ? PG_IS_DEGRADED : count[SLOT_MOVING] ? PG_MOVES : PG_WHOLE;
}

enum pg_condition pg_condition(const struct cluster_map *map, const struct cluster_pool *pool,
                               uint32_t pg)
{
    unsigned count[4] = {0};
    for (unsigned i = 0; i < pool_width(pool); i++)
        count[slot_condition(map, pool_slot(pool, pg, i))]++;
    return condition(pool, count);
}

const char *slot_condition_name(enum slot_condition c)
{
    static const char *const names[] = {"whole", "moving", "missing", "empty"};
    return names[c];
}

const char *pg_condition_name(enum pg_condition c)
{
    static const char *const names[] = {"whole", "moving", "degraded", "unavailable", "unassigned"};
    return names[c];
}

static void count_slot(const struct cluster_map *map, const struct pg_slot *slot,
                       struct census *out)
{
    const struct cluster_disk *newest = cluster_map_disk(map, slot_newest(slot));
    enum slot_condition c = slot_condition(map, slot);
    out->slot_count++;
    out->slots_moving += slot->count > 1;
    out->slots_missing += c == SLOT_MISSING;
    if (slot->count > 0 && (!newest || newest->admin != DISK_IN))
        out->slots_waiting++;
    else
        out->slots_down += slot->count == 1 && !newest->up;
}

void census_take(const struct cluster_map *map, struct census *out)
{
    memset(out, 0, sizeof *out);
    for (size_t p = 0; p < map->pool_count; p++) {
        const struct cluster_pool *pool = &map->pools[p];
        for (uint32_t pg = 0; pg < pool_pg_count(pool); pg++) {
            out->pg_count++;
            out->pgs[pg_condition(map, pool, pg)]++;
            for (unsigned i = 0; i < pool_width(pool); i++)
                count_slot(map, pool_slot(pool, pg, i), out);
        }
    }
}

uint64_t census_lost_without(const struct cluster_map *map, disk_id disk)
{
    uint64_t lost = 0;
    for (size_t p = 0; p < map->pool_count; p++) {
        const struct cluster_pool *pool = &map->pools[p];
        for (uint32_t pg = 0; pg < pool_pg_count(pool); pg++) {
            unsigned missing = 0;
            bool named = false;
            for (unsigned i = 0; i < pool_width(pool); i++) {
                const struct pg_slot *slot = pool_slot(pool, pg, i);
                bool here = slot_has_holder(slot, disk);
                missing += here || slot_condition(map, slot) == SLOT_MISSING;
                named |= here;
            }
            lost += named && missing > pool->m;
        }
    }
    return lost;
}

static unsigned most_together(const struct cluster_map *map, const struct cluster_pool *pool,
                              uint32_t pg)
{
    const struct cluster_disk *disks[POOL_SLOTS_MAX];
    unsigned most = 0;
    for (unsigned i = 0; i < pool_width(pool); i++)
        disks[i] = cluster_map_disk(map, slot_newest(pool_slot(pool, pg, i)));
    for (unsigned i = 0; i < pool_width(pool); i++) {
        unsigned here = 0;
        for (unsigned j = 0; disks[i] && j < pool_width(pool); j++)
            here += disks[j] && cluster_disks_share(disks[i], disks[j], pool->domain);
        most = here > most ? here : most;
    }
    return most;
}

unsigned census_most_together(const struct cluster_map *map, const struct cluster_pool *pool)
{
    unsigned most = 0;
    for (uint32_t pg = 0; pg < pool_pg_count(pool); pg++) {
        unsigned here = most_together(map, pool, pg);
        most = here > most ? here : most;
    }
    return most;
}

struct disk_slots census_disk(const struct cluster_map *map, disk_id disk)
{
    struct disk_slots out = {0};
    for (size_t p = 0; p < map->pool_count; p++) {
        const struct cluster_pool *pool = &map->pools[p];
        size_t n = (size_t)pool_pg_count(pool) * pool_width(pool);
        for (size_t i = 0; i < n; i++) {
            const struct pg_slot *slot = &pool->slots[i];
            if (!slot_has_holder(slot, disk))
                continue;
            out.newest += slot_newest(slot) == disk;
            out.leaving += slot_newest(slot) != disk;
        }
    }
    return out;
}
