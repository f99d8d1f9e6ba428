/* What the cluster map says about redundancy: which placement groups are whole, which shards are on
 * their way, which may be missing. Pure.
 *
 * A slot is
 *   whole     one holder, which is up and has not failed
 *   moving    several holders, all of them up: every shard is on one of them
 *   missing   anything else that has holders: some of its shards may be out of reach
 *   empty     never assigned
 * and a PG is what the worst of its slots makes it: unavailable when more than m are missing. A slot
 * waits when its newest holder is not `in`: the planner will move it, or has nowhere to. */
#pragma once
#include <stdint.h>
#include "placement/cluster_map.h"

enum slot_condition { SLOT_WHOLE, SLOT_MOVING, SLOT_MISSING, SLOT_EMPTY };
enum pg_condition { PG_WHOLE, PG_MOVES, PG_IS_DEGRADED, PG_IS_UNAVAILABLE, PG_IS_UNASSIGNED };
enum { PG_CONDITIONS = 5 };

struct census {
    uint64_t pgs[PG_CONDITIONS];
    uint64_t pg_count, slot_count;
    uint64_t slots_moving; /* with several holders, whether all of them are up or not */
    uint64_t slots_missing;
    uint64_t slots_waiting;
    uint64_t slots_down; /* one holder, which is `in` but down: nothing moves yet */
};

enum slot_condition slot_condition(const struct cluster_map *map, const struct pg_slot *slot);
enum pg_condition pg_condition(const struct cluster_map *map, const struct cluster_pool *pool,
                               uint32_t pg);
const char *slot_condition_name(enum slot_condition c); /* "whole" */
const char *pg_condition_name(enum pg_condition c);
void census_take(const struct cluster_map *map, struct census *out);
/* How many PGs may miss more shards than they tolerate once this disk has failed. */
uint64_t census_lost_without(const struct cluster_map *map, disk_id disk);

/* The most shards of one PG that lie in one failure domain of the pool; 1 is what is asked. */
unsigned census_most_together(const struct cluster_map *map, const struct cluster_pool *pool);

/* How often slots name the disk. */
struct disk_slots {
    uint64_t newest;  /* writers use it */
    uint64_t leaving; /* it is an older holder: the shards are being taken elsewhere */
};
struct disk_slots census_disk(const struct cluster_map *map, disk_id disk);
