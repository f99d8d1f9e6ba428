#include "chunkserver/service_internal.h"

/* Hazard 20: only a change of the very slot that is asked for refuses a request, and the refusal
 * carries that placement group's new line, nothing more. */

#define REFRESH_WAIT SYS_SECOND

static const struct pg_slot *slot_of(const struct cluster_map *map, const struct slot_claim *claim,
                                     const struct cluster_pool **pool, uint32_t *pg)
{
    *pool = cluster_map_pool(map, claim->pool);
    if (!*pool)
        return NULL;
    *pg = pg_of_chunk(*pool, &claim->id->chunk);
    return pool_slot(*pool, *pg, claim->id->index);
}

static PlacementNews *make_news(struct arena *arena, const struct cluster_map *map,
                                const struct cluster_pool *pool, uint32_t number)
{
    PlacementNews *news = arena_alloc(arena, sizeof *news);
    PgInfo *pg = arena_alloc(arena, sizeof *pg);
    placement_news__init(news);
    pg_info__init(pg);
    news->pg = pg;
    news->epoch = map->epoch;
    pg->pool = pool->id;
    pg->pg = number;
    pg->changed = map->epoch;
    pg->n_slots = pool_width(pool);
    pg->slots = arena_alloc(arena, pg->n_slots * sizeof *pg->slots);
    for (unsigned i = 0; i < pg->n_slots; i++) {
        const struct pg_slot *from = pool_slot(pool, number, i);
        Slot *slot = pg->slots[i] = arena_alloc(arena, sizeof *slot);
        slot__init(slot);
        slot->n_holders = from->count;
        slot->holders = arena_alloc(arena, (from->count + 1U) * sizeof *slot->holders);
        for (unsigned h = 0; h < from->count; h++) {
            Holder *holder = slot->holders[h] = arena_alloc(arena, sizeof *holder);
            holder__init(holder);
            holder->disk = from->holders[h].disk;
            holder->since_epoch = from->holders[h].since_epoch;
        }
    }
    return news;
}

enum err slot_check(struct chunk_service *s, const struct slot_claim *claim,
                    const struct request_context *context, struct arena *arena,
                    PlacementNews **news)
{
    *news = NULL;
    if (claim->since_epoch == 0)
        return OK;
    const struct cluster_pool *pool;
    uint32_t pg;
    const struct cluster_map *map = map_cache_ref(s->map);
    const struct pg_slot *slot = slot_of(map, claim, &pool, &pg);
    if (context && (!slot || slot_since(slot) < claim->since_epoch) &&
        map->epoch < claim->since_epoch) {
        map_cache_unref(s->map, map);
        struct request_context mine = *context;
        int64_t limit = sys_now() + REFRESH_WAIT;
        if (mine.deadline > limit)
            mine.deadline = limit;
        map_cache_seen(s->map, claim->since_epoch);
        if (map_cache_refresh(s->map, &mine, claim->since_epoch) != OK) {
            /* We are behind, and stay so: no reason to refuse who is not. */
        }
        map = map_cache_ref(s->map);
        slot = slot_of(map, claim, &pool, &pg);
    }
    bool stale = slot && slot_newest(slot) != claim->disk && slot_since(slot) > claim->since_epoch;
    if (stale && arena)
        *news = make_news(arena, map, pool, pg);
    map_cache_unref(s->map, map);
    return stale ? ERR_STALE_PLACEMENT : OK;
}

bool slot_is_sole_holder(struct chunk_service *s, disk_id disk, uint32_t pool_id,
                         const struct shard_id *id)
{
    const struct slot_claim claim = {.disk = disk, .pool = pool_id, .id = id};
    const struct cluster_pool *pool;
    uint32_t pg;
    const struct cluster_map *map = map_cache_ref(s->map);
    const struct pg_slot *slot = slot_of(map, &claim, &pool, &pg);
    bool sole = slot && slot->count == 1 && slot_newest(slot) == disk;
    map_cache_unref(s->map, map);
    return sole;
}

/* ---- a group that shards are removed from ---- */

void group_enter(struct chunk_disk *d, uint32_t pool, uint32_t pg)
{
    sys_mutex_lock(&d->service->lock);
    d->removing = true; /* by the disk's scrubber alone */
    d->removing_pool = pool;
    d->removing_pg = pg;
    sys_mutex_unlock(&d->service->lock);
}

void group_leave(struct chunk_disk *d)
{
    sys_mutex_lock(&d->service->lock);
    d->removing = false;
    sys_mutex_unlock(&d->service->lock);
    sys_cond_broadcast(&d->service->changed);
}

void group_await(struct chunk_disk *d, uint32_t pool, uint32_t pg)
{
    struct chunk_service *s = d->service;
    sys_mutex_lock(&s->lock);
    while (d->removing && d->removing_pool == pool && d->removing_pg == pg)
        (void)sys_cond_wait(&s->changed, &s->lock, SYS_FOREVER);
    sys_mutex_unlock(&s->lock);
}
