/* What the scrub has found of each placement group: when this disk's part of it was last compared and last read
 * whole, and how much was missing or bad then. Kept in the disk's file (scrub_state.c).
 *
 *  P1  A group is called read when every shard of it here was read in one pass, also if a restart came in
 *      between; the index lists a group's shards one after the other.
 *  P2  A row is of a group that this disk is or once was a holder in; whoever asks compares with the map. */
#include <string.h>
#include "chunkserver/scrub_internal.h"

/* Under the lock. */
static struct scrub_group *find(struct scrub_disk *d, uint32_t pool, uint32_t pg)
{
    struct scrub_groups *g = &d->state.groups;
    for (size_t i = 0; i < g->count; i++)
        if (g->v[i].pool == pool && g->v[i].pg == pg)
            return &g->v[i];
    if (g->count == g->room) {
        g->room = g->room ? 2 * g->room : 64;
        g->v = sys_realloc(g->v, g->room * sizeof *g->v);
    }
    g->v[g->count] = (struct scrub_group){.pool = pool, .pg = pg};
    return &g->v[g->count++];
}

void scrub_group_compared(struct scrub_disk *d, uint32_t pool, uint32_t pg, uint32_t missing)
{
    sys_mutex_lock(&d->scrub->lock);
    struct scrub_group *g = find(d, pool, pg);
    g->swept = sys_wall();
    g->missing = missing;
    sys_mutex_unlock(&d->scrub->lock);
}

static void leave(struct scrub_disk *d)
{
    struct scrub_state *s = &d->state;
    if (!s->in_group)
        return;
    struct scrub_group *g = find(d, s->pool, s->group);
    g->read = sys_wall();
    g->bad = s->group_bad;
    s->in_group = false;
}

void scrub_group_reads(struct scrub_disk *d, uint32_t pg, bool bad)
{
    struct scrub_state *s = &d->state;
    sys_mutex_lock(&d->scrub->lock);
    if (!s->in_group || s->group != pg) {
        leave(d);
        s->in_group = true;
        s->group = pg;
        s->group_bad = 0;
    }
    s->group_bad += bad;
    sys_mutex_unlock(&d->scrub->lock);
}

void scrub_groups_read(struct scrub_disk *d)
{
    struct scrub_state *s = &d->state;
    sys_mutex_lock(&d->scrub->lock);
    leave(d);
    for (size_t i = 0; i < s->groups.count; i++) {
        struct scrub_group *g = &s->groups.v[i];
        if (g->pool != s->pool || g->read >= s->begun)
            continue; /* else: nothing of it is here */
        g->read = sys_wall();
        g->bad = 0;
    }
    sys_mutex_unlock(&d->scrub->lock);
}

size_t scrub_groups_copy(struct scrub *c, const struct chunk_disk *disk, struct arena *arena,
                         struct scrub_group **out)
{
    size_t n = 0;
    *out = NULL;
    sys_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->count; i++)
        if (c->disks[i].disk == disk) {
            const struct scrub_groups *g = &c->disks[i].state.groups;
            n = g->count;
            *out = arena_alloc(arena, (n + 1) * sizeof **out);
            memcpy(*out, g->v, n * sizeof **out);
        }
    sys_mutex_unlock(&c->lock);
    return n;
}
