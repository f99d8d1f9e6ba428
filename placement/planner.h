/* The planner: from a cluster map to the slots that ought to get another newest holder. Pure and
 * deterministic: the same map gives the same plan anywhere.
 *
 * What it sees to, in this order
 *  P1  Unassigned PGs get k+m disks by straw2, in distinct failure domains or as distinct as the
 *      tree allows, once there are k+m disks that are `in` with weight; until then they wait.
 *  P2  A slot whose newest holder is not `in` (out, draining, failed, gone) moves to another disk.
 *      In pools with m <= 1 also one whose newest holder is down, so that writes can go on; in any
 *      pool one whose newest holder is suspect, where another disk can take it. So does, once the
 *      tree allows, a slot in a domain that holds more of its PG than some domain must.
 *  P3  Per-disk slot counts end within one of the weighted ideal with as few moves as that takes.
 *      The ideal respects that a PG uses a disk once, and a domain no more often than it must.
 *  P4  Never two slots of one PG with the same newest holder.
 *  P5  Of the moves of one PG none enters a domain, of any level, that another one leaves. So in
 *      whatever order and part they are carried out, no domain holds more of the PG than it did
 *      before or does after all of them, and P4 holds: a plan may be taken in pieces.
 * A move is carried out by slot_push. What a plan moves for P1 and P2 may go anywhere for free; to
 * even out (P3) first those are re-targeted, then slots that go back to an older holder, then
 * slots at rest. A slot on its way elsewhere is left alone. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "placement/cluster_map.h"

/* EVACUATE: P2. BACK: as EVEN, to an older holder of the slot, which has most of it. */
enum move_reason { MOVE_INITIAL, MOVE_EVACUATE, MOVE_EVEN, MOVE_BACK };

struct planner_move {
    uint32_t pool;
    uint32_t pg;
    uint8_t slot;
    enum move_reason reason;
    disk_id from;        /* the newest holder now, 0 for an unassigned slot */
    uint64_t from_since; /* its since_epoch: carry the move out only if it still is so */
    disk_id to;
};

struct planner_report {
    unsigned usable_disks;    /* in, with weight */
    unsigned domains;         /* among these, at the pool's level */
    unsigned most_per_domain; /* slots of one PG that share a domain at worst; 1 is what is asked */
    uint32_t unassigned_slots; /* that stay so after the plan */
    uint32_t stranded_slots;   /* to be moved (P2), but there is no disk to take them */
    bool even;                 /* P3 holds after the plan */
};

/* The plan for one pool: *moves is an array from sys_alloc (NULL when *count is 0; free with
 * sys_free), by PG and slot. report may be NULL. ERR_NOT_FOUND: no such pool. */
enum err planner_plan(const struct cluster_map *map, uint32_t pool, struct planner_move **moves,
                      size_t *count, struct planner_report *report) MUST_USE;

/* The first table of a pool that has none, with 2^pg_bits PGs: *table is an array from sys_alloc of
 * *count = 2^pg_bits x (k+m) disks, row by row, as even as P3 asks. ERR_UNAVAILABLE: fewer disks
 * than k+m can be used. ERR_EXISTS: it has a table. ERR_INVALID: pg_bits. */
enum err planner_table(const struct cluster_map *map, uint32_t pool, uint8_t pg_bits,
                       disk_id **table, size_t *count, struct planner_report *report) MUST_USE;

/* The weighted ideal number of slots of every disk of the map, in the map's order, in units of
 * 2^-16 slot; 0 for disks that cannot be used. out has map->disk_count places. */
enum err planner_ideal(const struct cluster_map *map, uint32_t pool, uint64_t *out) MUST_USE;

/* Carries the moves out on the map itself at this epoch (P4 is asserted). For tests, and for who
 * applies a whole plan at once. */
enum err planner_carry_out(struct cluster_map *map, const struct planner_move *moves, size_t count,
                           uint64_t epoch) MUST_USE;
