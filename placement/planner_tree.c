/* Domains, their caps, the weighted ideal, and the choice of a disk for one slot. */
#include <string.h>
#include "common/base/alloc.h"
#include "placement/planner_internal.h"
#include "placement/straw2.h"

/* Numbers the domains by their first disk, so that equal maps are numbered equally. */
static void number_domains(struct planner *p, int level)
{
    uint32_t *first = sys_alloc(p->disks * sizeof *first);
    uint32_t found = 0;
    for (size_t i = 0; i < p->disks; i++) {
        uint32_t j = level == DOMAIN_DISK ? found : 0;
        while (j < found && !cluster_disks_share(&p->map->disks[i], &p->map->disks[first[j]],
                                                 (enum failure_domain)level))
            j++;
        if (j == found)
            first[found++] = (uint32_t)i;
        p->domain[level][i] = j;
    }
    sys_free(first);
}

/* The least number of slots of a PG that some domain must take. */
static unsigned least_cap(struct planner *p)
{
    uint32_t *members = sys_alloc(p->disks * sizeof *members);
    p->domain_count = 0;
    for (size_t i = 0; i < p->disks; i++)
        if (p->usable[i] && members[p->domain[p->pool->domain][i]]++ == 0)
            p->domain_count++;
    unsigned cap = 1;
    for (; cap < p->width; cap++) {
        unsigned room = 0;
        for (size_t i = 0; i < p->disks; i++)
            room += members[i] < cap ? members[i] : cap;
        if (room >= p->width)
            break;
    }
    sys_free(members);
    return cap;
}

enum err planner_init(struct planner *p, const struct cluster_map *map,
                      const struct cluster_pool *pool)
{
    size_t n = map->disk_count;
    *p = (struct planner){.map = map, .pool = pool, .disks = n};
    p->pgs = pool_pg_count(pool);
    p->width = pool_width(pool);
    p->usable = sys_alloc(n);
    p->target = sys_alloc(n);
    p->ideal = sys_alloc(n * sizeof *p->ideal);
    p->count = sys_alloc(n * sizeof *p->count);
    p->slots = sys_alloc((size_t)p->pgs * p->width * sizeof *p->slots);
    for (size_t i = 0; i < n; i++) {
        const struct cluster_disk *disk = &map->disks[i];
        p->usable[i] = disk->admin == DISK_IN && disk->weight > 0;
        p->target[i] = p->usable[i] && disk->up && !disk->suspect;
        p->usable_count += p->usable[i];
    }
    for (int level = 0; level < LEVELS; level++) {
        p->domain[level] = sys_alloc(n * sizeof **p->domain);
        number_domains(p, level);
    }
    p->cap = least_cap(p);
    for (size_t i = 0; i < (size_t)p->pgs * p->width; i++) {
        const struct cluster_disk *disk = cluster_map_disk(map, slot_newest(&pool->slots[i]));
        p->slots[i] = disk != NULL ? (int32_t)(disk - map->disks) : -1;
        if (disk != NULL)
            p->count[p->slots[i]]++;
    }
    return OK;
}

void planner_release(struct planner *p)
{
    sys_free(p->usable);
    sys_free(p->target);
    sys_free(p->ideal);
    sys_free(p->count);
    sys_free(p->slots);
    for (int level = 0; level < LEVELS; level++)
        sys_free(p->domain[level]);
}

unsigned planner_used(const struct planner *p, uint32_t pg, int except, enum failure_domain level,
                      size_t disk)
{
    const int32_t *row = p->slots + (size_t)pg * p->width;
    unsigned used = 0;
    for (int i = 0; i < (int)p->width; i++)
        used += i != except && row[i] >= 0 && p->domain[level][row[i]] == p->domain[level][disk];
    return used;
}

bool planner_legal(const struct planner *p, uint32_t pg, unsigned slot, size_t disk)
{
    return p->usable[disk] && planner_used(p, pg, (int)slot, DOMAIN_DISK, disk) == 0 &&
           planner_used(p, pg, (int)slot, p->pool->domain, disk) < p->cap;
}

/* Candidates compare first by how little their domain is used, then by the domains below it. */
static uint64_t crowding(const struct planner *p, uint32_t pg, unsigned slot, size_t disk)
{
    uint64_t rank = 0;
    for (int level = p->pool->domain; level > DOMAIN_DISK; level--)
        rank = rank << 8 | planner_used(p, pg, (int)slot, (enum failure_domain)level, disk);
    return rank;
}

int32_t planner_choose(const struct planner *p, uint32_t pg, unsigned slot, bool need_up)
{
    uint64_t key = ((uint64_t)p->pool->id << 32 | pg) ^ (uint64_t)slot << 56;
    uint64_t best_rank = UINT64_MAX, best_cost = UINT64_MAX;
    int32_t best = -1;
    for (size_t i = 0; i < p->disks; i++) {
        if (!(need_up ? p->target[i] : p->usable[i]) ||
            planner_used(p, pg, (int)slot, DOMAIN_DISK, i) > 0)
            continue;
        uint64_t rank = crowding(p, pg, slot, i);
        if (rank > best_rank)
            continue;
        uint64_t cost = straw2_cost(key, p->map->disks[i].id, p->map->disks[i].weight);
        if (rank < best_rank || cost < best_cost) { /* ties: the lower id came first */
            best = (int32_t)i;
            best_rank = rank;
            best_cost = cost;
        }
    }
    return best;
}

void planner_set(struct planner *p, uint32_t pg, unsigned slot, int32_t disk)
{
    int32_t *at = &p->slots[(size_t)pg * p->width + slot];
    if (*at >= 0)
        p->count[*at]--;
    *at = disk;
    if (disk >= 0)
        p->count[disk]++;
}

/* Shares `amount` among the disks of `domain` (or all for -1) that are still free, by weight, none
 * above one slot of every PG. Disks at that limit are fixed and the rest shared again. */
static void share(const struct planner *p, int64_t domain, uint64_t amount, bool *fixed)
{
    uint64_t most = (uint64_t)p->pgs * IDEAL_ONE;
    for (size_t round = 0; round <= p->disks; round++) {
        uint64_t weights = 0;
        bool capped = false;
        for (size_t i = 0; i < p->disks; i++)
            if (!fixed[i] && (domain < 0 || p->domain[p->pool->domain][i] == domain))
                weights += p->map->disks[i].weight;
        if (weights == 0)
            return;
        uint64_t taken = 0;
        for (size_t i = 0; i < p->disks; i++) {
            if (fixed[i] || (domain >= 0 && p->domain[p->pool->domain][i] != domain))
                continue;
            p->ideal[i] = amount * p->map->disks[i].weight / weights;
            if (p->ideal[i] > most) {
                p->ideal[i] = most;
                fixed[i] = capped = true;
                taken += most;
            }
        }
        if (!capped)
            return;
        amount = amount > taken ? amount - taken : 0;
    }
}

/* Fixes every domain whose share is above what the cap lets it take; whether there was one. */
static bool fix_full_domains(struct planner *p, bool *fixed)
{
    uint64_t *shares = sys_alloc(p->disks * sizeof *shares);
    uint64_t *members = sys_alloc(p->disks * sizeof *members);
    uint64_t *held = sys_alloc(p->disks * sizeof *held);
    bool *open = sys_alloc(p->disks);
    bool found = false;
    for (size_t i = 0; i < p->disks; i++) {
        uint32_t d = p->domain[p->pool->domain][i];
        members[d] += p->usable[i];
        shares[d] += p->ideal[i];
        open[d] = open[d] || !fixed[i];
        held[d] += fixed[i] ? p->ideal[i] : 0;
    }
    for (size_t d = 0; d < p->disks; d++) {
        uint64_t limit = (uint64_t)p->pgs * IDEAL_ONE * (members[d] < p->cap ? members[d] : p->cap);
        if (!open[d] || shares[d] <= limit)
            continue;
        share(p, (int64_t)d, limit > held[d] ? limit - held[d] : 0, fixed);
        for (size_t i = 0; i < p->disks; i++)
            if (p->domain[p->pool->domain][i] == d)
                fixed[i] = true;
        found = true;
    }
    sys_free(shares);
    sys_free(members);
    sys_free(held);
    sys_free(open);
    return found;
}

void planner_fill_ideal(struct planner *p)
{
    bool *fixed = sys_alloc(p->disks);
    bool *saved = sys_alloc(p->disks);
    uint64_t total = (uint64_t)p->pgs * p->width * IDEAL_ONE;
    for (size_t i = 0; i < p->disks; i++) {
        p->ideal[i] = 0;
        fixed[i] = !p->usable[i];
    }
    for (size_t round = 0; round <= p->disks; round++) {
        uint64_t held = 0;
        for (size_t i = 0; i < p->disks; i++)
            held += fixed[i] ? p->ideal[i] : 0;
        if (p->disks > 0)
            memcpy(saved, fixed, p->disks);
        share(p, -1, total > held ? total - held : 0, saved); /* a trial: its limits are not kept */
        if (!fix_full_domains(p, fixed))
            break;
    }
    sys_free(fixed);
    sys_free(saved);
}
