/* Evening out (P3): while a disk has more than one slot above its ideal, or more than one below,
 * one slot moves towards the other side, directly or, where the tree stands in the way, along the
 * shortest chain of disks. */
#include <assert.h>
#include "common/base/alloc.h"
#include "placement/planner_internal.h"

enum move_class { CLASS_FREE, CLASS_RETURN, CLASS_SETTLED, CLASS_NEVER };

/* What it costs to move this slot to that disk. */
static enum move_class move_class(const struct planner *p, size_t slot, size_t to)
{
    const struct pg_slot *now = &p->pool->slots[slot];
    disk_id planned = p->slots[slot] >= 0 ? p->map->disks[p->slots[slot]].id : 0;
    if (planned != slot_newest(now))
        return CLASS_FREE;
    if (slot_has_holder(now, p->map->disks[to].id))
        return CLASS_RETURN;
    return now->count == 1 ? CLASS_SETTLED : CLASS_NEVER;
}

static int64_t excess(const struct planner *p, size_t disk)
{
    return p->count[disk] * IDEAL_ONE - (int64_t)p->ideal[disk];
}

/* Moves the cheapest slot from one disk to the other; false when there is none. */
static bool move_one(struct planner *p, size_t from, size_t to)
{
    size_t total = (size_t)p->pgs * p->width, best = total;
    enum move_class best_class = CLASS_NEVER;
    if (!p->target[to])
        return false;
    for (size_t s = 0; s < total && best_class != CLASS_FREE; s++) {
        if (p->slots[s] != (int32_t)from)
            continue;
        enum move_class class = move_class(p, s, to);
        if (class < best_class &&
            planner_legal(p, (uint32_t)(s / p->width), (unsigned)(s % p->width), to)) {
            best = s;
            best_class = class;
        }
    }
    if (best == total)
        return false;
    planner_set(p, (uint32_t)(best / p->width), (unsigned)(best % p->width), (int32_t)to);
    return true;
}

/* Marks the disks that some slot of `from` can go to and that nobody has reached yet. */
static void reach(const struct planner *p, size_t from, int32_t *parent, size_t *queue,
                  size_t *tail)
{
    for (size_t s = 0; s < (size_t)p->pgs * p->width; s++) {
        if (p->slots[s] != (int32_t)from)
            continue;
        for (size_t to = 0; to < p->disks; to++) {
            if (parent[to] >= 0 || !p->target[to] || move_class(p, s, to) == CLASS_NEVER ||
                !planner_legal(p, (uint32_t)(s / p->width), (unsigned)(s % p->width), to))
                continue;
            parent[to] = (int32_t)from;
            queue[(*tail)++] = to;
        }
    }
}

/* A chain of moves from one disk to a disk whose excess is at most `most` (or to exactly `only`
 * when that is not negative), shortest first; carried out from its end. */
static bool move_chain(struct planner *p, size_t from, int64_t most, int64_t only)
{
    int32_t *parent = sys_alloc(p->disks * sizeof *parent);
    size_t *queue = sys_alloc(p->disks * sizeof *queue);
    size_t head = 0, tail = 0;
    int64_t found = -1;
    for (size_t i = 0; i < p->disks; i++)
        parent[i] = -1;
    parent[from] = (int32_t)from;
    queue[tail++] = from;
    while (head < tail && found < 0) {
        size_t at = queue[head++];
        if (at != from && (only >= 0 ? (int64_t)at == only : excess(p, at) <= most))
            found = (int64_t)at;
        else
            reach(p, at, parent, queue, &tail);
    }
    bool moved = false;
    for (size_t at = (size_t)found; found >= 0 && at != from; at = (size_t)parent[at]) {
        if (!move_one(p, (size_t)parent[at], at))
            break;
        moved = true;
    }
    sys_free(parent);
    sys_free(queue);
    return moved;
}

/* The disk with the most (sign 1) or the least (sign -1) excess among those not passed over. */
static int64_t extreme(const struct planner *p, int sign, const bool *passed)
{
    int64_t best = -1;
    for (size_t i = 0; i < p->disks; i++)
        if (p->usable[i] && !passed[i] &&
            (best < 0 || sign * excess(p, i) > sign * excess(p, (size_t)best)))
            best = (int64_t)i;
    return best;
}

/* Takes one slot off the fullest disk; false when nothing can take it. */
static bool relieve(struct planner *p, size_t from, bool *passed)
{
    memset(passed, 0, p->disks);
    for (int64_t to; (to = extreme(p, -1, passed)) >= 0 && excess(p, (size_t)to) <= 0;) {
        if (move_one(p, from, (size_t)to))
            return true;
        passed[to] = true;
    }
    return move_chain(p, from, 0, -1);
}

/* Gives one slot to the emptiest disk; false when none can come. */
static bool supply(struct planner *p, size_t to, bool *passed)
{
    for (int chain = 0; chain < 2; chain++) {
        memset(passed, 0, p->disks);
        for (int64_t from; (from = extreme(p, 1, passed)) >= 0 && excess(p, (size_t)from) >= 0;) {
            if (chain ? move_chain(p, (size_t)from, 0, (int64_t)to) : move_one(p, (size_t)from, to))
                return true;
            passed[from] = true;
        }
    }
    return false;
}

bool planner_even_out(struct planner *p)
{
    bool *passed = sys_alloc(p->disks);
    bool *none = sys_alloc(p->disks);
    size_t rounds = 2 * (size_t)p->pgs * p->width;
    bool even = false;
    for (size_t i = 0; i < rounds && !even; i++) {
        int64_t most = extreme(p, 1, none), least = extreme(p, -1, none);
        if (most < 0)
            break;
        if (excess(p, (size_t)most) > IDEAL_ONE + IDEAL_SLACK) {
            if (!relieve(p, (size_t)most, passed))
                break;
        } else if (excess(p, (size_t)least) < -(IDEAL_ONE + IDEAL_SLACK)) {
            if (!supply(p, (size_t)least, passed))
                break;
        } else {
            even = true;
        }
    }
    sys_free(passed);
    sys_free(none);
    return even;
}
