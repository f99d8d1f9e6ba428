#include <stdlib.h>
#include "chunkserver/backfill_internal.h"

/* What the map, and the rows of missing shards, ask of this server's disks. */

enum { PROBE_MAX = 200 };

static bool answers(const struct cluster_map *map, disk_id id)
{
    const struct cluster_disk *d = cluster_map_disk(map, id);
    return d && d->up && d->admin != DISK_FAILED;
}

/* Slots of the group of which no complete holder can be read: while the newest is being filled, the
 * older ones are what is complete. */
static unsigned danger_of(const struct cluster_map *map, const struct cluster_pool *pool,
                          uint32_t pg)
{
    unsigned danger = 0;
    for (unsigned i = 0; i < pool_width(pool); i++) {
        const struct pg_slot *slot = pool_slot(pool, pg, i);
        bool read = slot->count == 1 && answers(map, slot_newest(slot));
        for (unsigned h = 1; h < slot->count; h++)
            read |= answers(map, slot->holders[h].disk);
        danger += !read;
    }
    return danger;
}

static int in_order(const void *pa, const void *pb)
{
    const struct task *a = pa, *b = pb;
    bool audit_a = a->kind == TASK_AUDIT, audit_b = b->kind == TASK_AUDIT;
    if (audit_a != audit_b)
        return audit_a ? 1 : -1;
    if (a->danger != b->danger)
        return a->danger > b->danger ? -1 : 1;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->pool != b->pool)
        return a->pool < b->pool ? -1 : 1;
    if (a->pg != b->pg)
        return a->pg < b->pg ? -1 : 1;
    return a->slot < b->slot ? -1 : a->slot > b->slot;
}

/* Who is to do what the disk needs; NULL: not this server. *audit: whether all that it holds is to be compared. */
static struct chunk_disk *served(struct backfill *b, disk_id id, bool *audit)
{
    struct chunk_disk *d = chunk_disk_use(b->service, id);
    if (d) {
        *audit = d->audit;
        chunk_disk_leave(d);
    }
    return d;
}

/* ---- slots ---- */

/* Hazard 8: a disk that is suspect, or in a pool with m <= 1 one that is down, has got a stand-in, so that new
 * writes have all their shards in time. What the disk holds is not made again before it is given up: it is
 * likely to return. */
static bool only_stands_in(const struct cluster_map *map, const struct cluster_pool *pool,
                           const struct pg_slot *slot)
{
    bool awaited = false;
    for (unsigned h = 1; h < slot->count; h++) {
        const struct cluster_disk *d = cluster_map_disk(map, slot->holders[h].disk);
        bool given_up = !d || d->admin != DISK_IN;
        if (d && d->up && d->admin != DISK_FAILED && (given_up || !d->suspect))
            return false; /* to be copied from */
        awaited |= !given_up && (d->suspect || pool->m <= 1);
    }
    return awaited;
}

static void plan_pool(struct backfill *b, const struct cluster_map *map,
                      const struct cluster_pool *pool, struct task_list *fills,
                      struct task_list *audits)
{
    for (uint32_t pg = 0; pg < pool_pg_count(pool); pg++)
        for (unsigned i = 0; i < pool_width(pool); i++) {
            const struct pg_slot *slot = pool_slot(pool, pg, i);
            bool audit = false;
            struct task t = {
                .kind = slot->count > 1 ? TASK_FILL : TASK_AUDIT,
                .pool = pool->id,
                .pg = pg,
                .slot = i,
                .since_epoch = slot_since(slot),
                .disk = slot_newest(slot),
                .owner = served(b, slot_newest(slot), &audit),
            };
            if (!t.owner || only_stands_in(map, pool, slot))
                continue;
            if (t.kind == TASK_FILL) {
                t.danger = danger_of(map, pool, pg);
                task_list_add(fills, &t);
            } else if (audits && audit) {
                task_list_add(audits, &t);
            }
        }
}

/* The slots of disks that were not closed in order, once, as soon as all of these are known or refused. */
static bool audits_due(struct backfill *b)
{
    struct chunk_service *s = b->service;
    bool ready = !b->audits_known;
    sys_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->disk_count; i++) {
        const struct chunk_disk *d = &s->disks[i];
        ready &= !d->open || d->registered || d->refused;
    }
    sys_mutex_unlock(&s->lock);
    return ready;
}

/* A disk that has come back; an index made anew, which may name deleted shards again and not name others, as
 * after an unclean stop. */
static void note_changes(struct backfill *b)
{
    struct chunk_service *s = b->service;
    for (size_t i = 0; i < s->disk_count; i++) {
        struct chunk_disk *d = &s->disks[i];
        struct shard_store_stats stats;
        if (!chunk_disk_enter(d))
            continue;
        shard_store_stats(d->store, &stats);
        if (!stats.rebuilding && stats.index_rebuilds != d->rebuilds) {
            d->rebuilds = stats.index_rebuilds;
            d->audit = true;
            b->audits_known = false;
        }
        if (d->arrivals != d->arrivals_seen)
            b->audits_known = false;
        d->arrivals_seen = d->arrivals;
        chunk_disk_leave(d);
    }
}

static void plan_slots(struct backfill *b, const struct cluster_map *map, struct task_list *out)
{
    struct task_list audits = {0};
    note_changes(b);
    bool due = map->epoch > 0 && audits_due(b);
    for (size_t i = 0; i < map->pool_count; i++)
        if (pool_assigned(&map->pools[i]))
            plan_pool(b, map, &map->pools[i], out, due ? &audits : NULL);
    sys_mutex_lock(&b->lock);
    if (due) {
        b->audits_known = true;
        task_list_clear(&b->audits);
        b->audits = audits;
    }
    for (size_t i = 0; i < b->audits.count; i++)
        task_list_add(out, &b->audits.v[i]);
    sys_mutex_unlock(&b->lock);
}

/* ---- repair rows ---- */

static void add_repair(struct backfill *b, const struct cluster_map *map,
                       const struct cluster_pool *pool, uint32_t pg, struct task_list *out)
{
    disk_id primary = pg_primary(map, pool, pg);
    bool audit;
    struct task t = {
        .kind = TASK_REPAIR,
        .pool = pool->id,
        .pg = pg,
        .disk = primary,
        .owner = served(b, primary, &audit),
        .danger = 1 + danger_of(map, pool, pg),
    };
    if (t.owner)
        task_list_add(out, &t);
}

/* One short query says whether there is anything, which mostly there is not; only a long list makes
 * each primary ask for its own groups. */
static void plan_repairs(struct backfill *b, const struct cluster_map *map,
                         const struct cluster_pool *pool, struct task_list *out)
{
    struct arena arena;
    arena_init(&arena);
    ListRepairs list = LIST_REPAIRS__INIT;
    list.pool = pool->id;
    list.all_pgs = true;
    list.max = PROBE_MAX;
    Query query = QUERY__INIT;
    query.body_case = QUERY__BODY_LIST_REPAIRS;
    query.list_repairs = &list;
    const struct request_context request = backfill_request(b);
    Answer *answer = NULL;
    if (metadata_query(b->metadata, &request, &query, &arena, &answer) == OK) {
        if (answer->truncated)
            for (uint32_t pg = 0; pg < pool_pg_count(pool); pg++)
                add_repair(b, map, pool, pg, out);
        else
            for (size_t i = 0; i < answer->n_repairs; i++)
                if ((i == 0 || answer->repairs[i]->pg != answer->repairs[i - 1]->pg) &&
                    answer->repairs[i]->pg < pool_pg_count(pool))
                    add_repair(b, map, pool, answer->repairs[i]->pg, out);
    }
    arena_release(&arena);
}

static void drop_doubles(struct task_list *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++)
        if (kept == 0 || !task_same(&l->v[kept - 1], &l->v[i]))
            l->v[kept++] = l->v[i];
    l->count = kept;
}

void backfill_plan(struct backfill *b, struct task_list *out)
{
    if (map_cache_behind(b->service->map)) {
        const struct request_context request = backfill_request(b);
        if (map_cache_refresh(b->service->map, &request, 0) != OK) {
            /* By the map that we have, then: what it orders is at worst done already. */
        }
    }
    const struct cluster_map *map = map_cache_ref(b->service->map);
    plan_slots(b, map, out);
    for (size_t i = 0; i < map->pool_count && backfill_goes_on(b); i++)
        if (pool_assigned(&map->pools[i]))
            plan_repairs(b, map, &map->pools[i], out);
    map_cache_unref(b->service->map, map);
    if (out->count > 0)
        qsort(out->v, out->count, sizeof *out->v, in_order);
    drop_doubles(out);
}

void backfill_put_off(const struct task_list *failing, int64_t now, struct task_list *plan)
{
    struct task_list later = {0};
    size_t kept = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const struct task *f = task_list_find(failing, &plan->v[i]);
        plan->v[i].failures = f ? f->failures : 0;
        if (f && f->again_at > now)
            task_list_add(&later, &plan->v[i]);
        else
            plan->v[kept++] = plan->v[i];
    }
    for (size_t i = 0; i < later.count; i++)
        plan->v[kept++] = later.v[i];
    task_list_clear(&later);
}
