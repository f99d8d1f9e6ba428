#include "placement/planner.h"
#include <assert.h>
#include "common/base/alloc.h"
#include "placement/planner_internal.h"

/* P2: a disk that still is the right place for what it holds. */
static bool stays(const struct planner *p, int32_t disk)
{
    if (disk < 0 || !p->usable[disk])
        return false;
    const struct cluster_disk *d = &p->map->disks[disk];
    return !d->suspect && (p->pool->m > 1 || d->up);
}

/* An older holder that the slot may go back to, since the bytes are there already; or -1. */
static int32_t older_holder(const struct planner *p, uint32_t pg, unsigned slot)
{
    const struct pg_slot *now = pool_slot(p->pool, pg, slot);
    for (int i = 1; i < now->count; i++) {
        const struct cluster_disk *disk = cluster_map_disk(p->map, now->holders[i].disk);
        if (disk != NULL && p->target[disk - p->map->disks] &&
            planner_legal(p, pg, slot, (size_t)(disk - p->map->disks)))
            return (int32_t)(disk - p->map->disks);
    }
    return -1;
}

/* P1, for one PG. */
static void assign(struct planner *p, uint32_t pg)
{
    for (unsigned slot = 0; slot < p->width; slot++) {
        int32_t disk = planner_choose(p, pg, slot, true);
        if (disk < 0)
            disk = planner_choose(p, pg, slot, false);
        assert(disk >= 0);
        planner_set(p, pg, slot, disk);
    }
}

/* P2: slots in domains above the cap, where another domain has room. */
static void spread(struct planner *p, uint32_t pg, bool back)
{
    for (unsigned slot = 0; slot < p->width; slot++) {
        int32_t at = p->slots[(size_t)pg * p->width + slot];
        if (!stays(p, at) || planner_used(p, pg, (int)slot, p->pool->domain, (size_t)at) < p->cap)
            continue;
        int32_t to = back ? older_holder(p, pg, slot) : planner_choose(p, pg, slot, true);
        if (to >= 0 && planner_legal(p, pg, slot, (size_t)to))
            planner_set(p, pg, slot, to);
    }
}

/* P2. What has to leave its disk goes first, and of a crowd whoever can go back to where its bytes are. */
static void evacuate(struct planner *p, uint32_t pg, struct planner_report *report)
{
    for (unsigned slot = 0; slot < p->width; slot++) {
        if (stays(p, p->slots[(size_t)pg * p->width + slot]))
            continue;
        int32_t to = older_holder(p, pg, slot);
        if (to < 0)
            to = planner_choose(p, pg, slot, true);
        if (to >= 0)
            planner_set(p, pg, slot, to);
        else
            report->stranded_slots++;
    }
    spread(p, pg, true);
    spread(p, pg, false);
}

/* The newest holder as it is, not as it is planned. */
static int32_t newest_now(const struct planner *p, uint32_t pg, unsigned slot)
{
    const struct cluster_disk *disk =
        cluster_map_disk(p->map, slot_newest(pool_slot(p->pool, pg, slot)));
    return disk != NULL ? (int32_t)(disk - p->map->disks) : -1;
}

/* P5, for one PG: its slots trade the disks that are planned for them until no domain is both left and entered,
 * the lowest level first. Which slot has which disk makes no difference to P1 .. P4. */
static void trade(struct planner *p, uint32_t pg)
{
    int32_t now[POOL_SLOTS_MAX], *to = p->slots + (size_t)pg * p->width;
    bool moves = false;
    for (unsigned s = 0; s < p->width; s++) {
        now[s] = newest_now(p, pg, s);
        moves = moves || now[s] != to[s];
    }
    for (int level = 0; moves && level < LEVELS; level++) {
        const uint32_t *domain = p->domain[level];
        for (unsigned s = 0; s < p->width; s++)
            for (unsigned t = 0; t < p->width; t++) {
                if (now[s] < 0 || domain[now[s]] == domain[to[s]])
                    break; /* it does not leave */
                bool enters = to[t] >= 0 && (now[t] < 0 || domain[now[t]] != domain[to[t]]);
                if (!enters || domain[to[t]] != domain[now[s]])
                    continue;
                int32_t kept = to[s];
                to[s] = to[t];
                to[t] = kept;
            }
    }
}

static void solve(struct planner *p, struct planner_report *report)
{
    bool enough = p->usable_count >= p->width;
    for (uint32_t pg = 0; pg < p->pgs; pg++) {
        if (pool_slot(p->pool, pg, 0)->count > 0)
            evacuate(p, pg, report);
        else if (enough)
            assign(p, pg);
        else
            report->unassigned_slots += p->width;
    }
    planner_fill_ideal(p);
    report->even = enough && planner_even_out(p);
    for (uint32_t pg = 0; pg < p->pgs; pg++)
        trade(p, pg);
    report->usable_disks = p->usable_count;
    report->domains = p->domain_count;
    for (size_t i = 0; i < (size_t)p->pgs * p->width; i++) {
        if (p->slots[i] < 0)
            continue;
        unsigned used =
            planner_used(p, (uint32_t)(i / p->width), -1, p->pool->domain, (size_t)p->slots[i]);
        if (used > report->most_per_domain)
            report->most_per_domain = used;
    }
}

/* Whether the slot leaves a domain that would be above the cap if only the slots before it left. */
static bool leaves_crowd(const struct planner *p, uint32_t pg, unsigned slot)
{
    const uint32_t *domain = p->domain[p->pool->domain];
    const int32_t *to = p->slots + (size_t)pg * p->width;
    uint32_t left = domain[newest_now(p, pg, slot)];
    unsigned held = 0;
    for (unsigned s = 0; s < p->width; s++) {
        int32_t now = newest_now(p, pg, s);
        held += now >= 0 && domain[now] == left && (s >= slot || domain[to[s]] == left);
    }
    return domain[to[slot]] != left && held > p->cap;
}

static enum move_reason reason_of(const struct planner *p, uint32_t pg, unsigned slot)
{
    const struct pg_slot *now = pool_slot(p->pool, pg, slot);
    int32_t from = newest_now(p, pg, slot);
    if (now->count == 0)
        return MOVE_INITIAL;
    if (!stays(p, from) || leaves_crowd(p, pg, slot))
        return MOVE_EVACUATE;
    disk_id to = p->map->disks[p->slots[(size_t)pg * p->width + slot]].id;
    return slot_has_holder(now, to) ? MOVE_BACK : MOVE_EVEN;
}

enum err planner_plan(const struct cluster_map *map, uint32_t pool_id, struct planner_move **moves,
                      size_t *count, struct planner_report *report)
{
    const struct cluster_pool *pool = cluster_map_pool(map, pool_id);
    struct planner_report unwanted;
    struct planner p;
    *moves = NULL;
    *count = 0;
    if (pool == NULL)
        return ERR_NOT_FOUND;
    if (report == NULL)
        report = &unwanted;
    *report = (struct planner_report){0};
    enum err e = planner_init(&p, map, pool);
    if (e != OK)
        return e;
    solve(&p, report);
    size_t total = (size_t)p.pgs * p.width, changed = 0;
    for (int pass = 0; pass < 2; pass++) {
        changed = 0;
        for (size_t i = 0; i < total; i++) {
            const struct pg_slot *now = &pool->slots[i];
            if (p.slots[i] < 0 || map->disks[p.slots[i]].id == slot_newest(now))
                continue;
            uint32_t pg = (uint32_t)(i / p.width);
            uint8_t slot = (uint8_t)(i % p.width);
            if (pass == 1)
                (*moves)[changed] = (struct planner_move){.pool = pool_id,
                                                          .pg = pg,
                                                          .slot = slot,
                                                          .reason = reason_of(&p, pg, slot),
                                                          .from = slot_newest(now),
                                                          .from_since = slot_since(now),
                                                          .to = map->disks[p.slots[i]].id};
            changed++;
        }
        if (pass == 0 && changed > 0)
            *moves = sys_alloc(changed * sizeof **moves);
    }
    *count = changed;
    planner_release(&p);
    return OK;
}

enum err planner_table(const struct cluster_map *map, uint32_t pool_id, uint8_t pg_bits,
                       disk_id **table, size_t *count, struct planner_report *report)
{
    const struct cluster_pool *now = cluster_map_pool(map, pool_id);
    struct planner_report unwanted;
    *table = NULL;
    *count = 0;
    if (now == NULL)
        return ERR_NOT_FOUND;
    if (pool_assigned(now))
        return ERR_EXISTS;
    if (pg_bits > POOL_PG_BITS_MAX)
        return ERR_INVALID;
    if (report == NULL)
        report = &unwanted;
    *report = (struct planner_report){0};
    struct cluster_pool pool = *now;
    pool.pg_bits = pg_bits;
    size_t total = (size_t)pool_pg_count(&pool) * pool_width(&pool);
    pool.slots = sys_alloc(total * sizeof *pool.slots);
    struct planner p;
    enum err e = planner_init(&p, map, &pool);
    if (e == OK) {
        solve(&p, report);
        if (report->unassigned_slots > 0)
            e = ERR_UNAVAILABLE;
        else
            *table = sys_alloc(total * sizeof **table);
        for (size_t i = 0; e == OK && i < total; i++)
            (*table)[i] = map->disks[p.slots[i]].id;
        *count = e == OK ? total : 0;
        planner_release(&p);
    }
    sys_free(pool.slots);
    return e;
}

enum err planner_ideal(const struct cluster_map *map, uint32_t pool_id, uint64_t *out)
{
    const struct cluster_pool *pool = cluster_map_pool(map, pool_id);
    struct planner p;
    if (pool == NULL)
        return ERR_NOT_FOUND;
    enum err e = planner_init(&p, map, pool);
    if (e != OK)
        return e;
    planner_fill_ideal(&p);
    if (p.disks > 0)
        memcpy(out, p.ideal, p.disks * sizeof *out);
    planner_release(&p);
    return OK;
}

enum err planner_carry_out(struct cluster_map *map, const struct planner_move *moves, size_t count,
                           uint64_t epoch)
{
    for (size_t i = 0; i < count; i++) {
        const struct cluster_pool *pool = cluster_map_pool(map, moves[i].pool);
        struct pg_slot *slot = pool != NULL ? pool_slot(pool, moves[i].pg, moves[i].slot) : NULL;
        if (slot == NULL)
            return ERR_NOT_FOUND;
        if (slot_newest(slot) != moves[i].from || slot_since(slot) != moves[i].from_since)
            return ERR_MISMATCH;
        enum err e = slot_push(map, slot, moves[i].to, epoch);
        if (e != OK)
            return e;
        for (unsigned s = 0; s < pool_width(pool); s++) /* P4, after each of them by P5 */
            assert(s == moves[i].slot ||
                   slot_newest(pool_slot(pool, moves[i].pg, s)) != moves[i].to);
    }
    map->epoch = epoch;
    return OK;
}
