/* The planner's working copy of one pool: slots name disks by their position in the map, -1 where
 * unassigned. Private to planner.c, planner_tree.c and planner_even.c. */
#pragma once
#include "placement/planner.h"

enum { IDEAL_ONE = 1 << 16, IDEAL_SLACK = 64, LEVELS = FAILURE_DOMAIN_COUNT };

struct planner {
    const struct cluster_map *map;
    const struct cluster_pool *pool;
    size_t disks;
    uint32_t pgs;
    unsigned width;
    bool *usable;             /* in, with weight */
    bool *target;             /* usable, up, not suspect: new slots go only there */
    uint32_t *domain[LEVELS]; /* of each disk, numbered from 0; [DOMAIN_DISK] is the disk itself */
    unsigned usable_count, domain_count;
    unsigned cap;    /* slots of one PG that may share a domain */
    uint64_t *ideal; /* per disk, 2^-16 slot */
    int64_t *count;  /* slots per disk now */
    int32_t *slots;  /* pgs x width */
};

enum err planner_init(struct planner *p, const struct cluster_map *map,
                      const struct cluster_pool *pool);
void planner_release(struct planner *p);
/* How many slots of the PG, other than except, lie in the disk's domain at this level. */
unsigned planner_used(const struct planner *p, uint32_t pg, int except, enum failure_domain level,
                      size_t disk);
/* Whether the slot may go to the disk: usable, not in the PG yet, its domain below the cap. */
bool planner_legal(const struct planner *p, uint32_t pg, unsigned slot, size_t disk);
/* The disk for a slot by straw2 among the most distinct; -1 when there is none. */
int32_t planner_choose(const struct planner *p, uint32_t pg, unsigned slot, bool need_up);
void planner_set(struct planner *p, uint32_t pg, unsigned slot, int32_t disk);
void planner_fill_ideal(struct planner *p);
/* P3. Whether it was reached. */
bool planner_even_out(struct planner *p);
