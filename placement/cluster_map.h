/* The cluster map: which disks there are, in which failure domains, what each pool asks for, and
 * for every placement group (PG) of a pool its k+m slots. Versioned by epoch. Pure data: how it
 * travels and where it is kept is decided above.
 *
 * A slot is a list of holders, newest first. Writers use the newest holder, readers try all. The
 * list grows only by slot_push and shrinks only by slot_finish, a compare-and-set on the epoch
 * since which the newest holder is newest.
 *
 * The tree of failure domains is spelled by each disk's labels: a host is the triple (zone, rack,
 * host), a rack the pair (zone, rack). Empty labels are names like any other.
 *
 * Invariants
 *  M1  disks and pools are in ascending order of id; id 0 is never used.
 *  M2  a pool has exactly (1 << pg_bits) * (k + m) slots; k, m and cell never change, pg_bits only
 *      until the first slot is assigned.
 *  M3  in a slot's list no disk appears twice, and since_epoch descends.
 *  M4  a slot with count 0 was never assigned; once assigned it is never empty again.
 *
 * Not for concurrent use: whoever shares a map locks or copies it. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/base/ids.h"

enum {
    CLUSTER_DISKS_MAX = 4096,
    CLUSTER_POOLS_MAX = 64,
    CLUSTER_NAME_MAX = 63,     /* bytes of a pool's name or of a label */
    CLUSTER_ADDRESS_MAX = 127, /* bytes of a disk's address, "host:port" */
    POOL_K_MAX = 32,
    POOL_M_MAX = 8,
    POOL_SLOTS_MAX = POOL_K_MAX + POOL_M_MAX,
    POOL_PG_BITS_MAX = 16,
    POOL_PG_BITS_DEFAULT_MAX = 9, /* a table is assigned by one command of at most 1,024 rows */
    POOL_CELL_MIN = 4096,
    POOL_CELL_MAX = 256 << 10, /* so that a transfer unit holds whole cells and whole blocks */
    SLOT_HOLDERS_MAX = 8,
    DISK_WEIGHT_MAX = 1 << 20, /* GiB: one PiB */
};

/* Does placement use it? Only `in` disks get new slots; the slots of all others are moved away.
 * failed: what it holds is given up, nothing is read from it. */
enum disk_admin { DISK_IN, DISK_OUT, DISK_DRAINING, DISK_FAILED };
enum { DISK_ADMIN_COUNT = 4 };

/* The level of the tree at which a pool's shards are kept apart. */
enum failure_domain { DOMAIN_DISK, DOMAIN_HOST, DOMAIN_RACK, DOMAIN_ZONE };
enum { FAILURE_DOMAIN_COUNT = 4 };

struct cluster_disk {
    disk_id id;
    struct uuid uuid;
    uint32_t weight; /* capacity in GiB, rounded up; 0: takes no slots */
    enum disk_admin admin;
    bool up;      /* does it answer? */
    bool suspect; /* does it answer slowly? */
    uint64_t incarnation;
    char zone[CLUSTER_NAME_MAX + 1];
    char rack[CLUSTER_NAME_MAX + 1];
    char host[CLUSTER_NAME_MAX + 1];
    char address[CLUSTER_ADDRESS_MAX + 1];
};

struct slot_holder {
    disk_id disk;
    uint64_t since_epoch;
};
struct pg_slot {
    uint8_t count;
    struct slot_holder holders[SLOT_HOLDERS_MAX]; /* newest first */
    int64_t
        whole_since; /* log time since which the newest is the only one, 0: it is not; kept by the
                            metadata state alone, 0 elsewhere */
};

struct cluster_pool {
    uint32_t id;
    char name[CLUSTER_NAME_MAX + 1];
    uint8_t k, m;
    uint8_t pg_bits;
    uint32_t cell_bytes; /* a power of two */
    enum failure_domain domain;
    struct pg_slot *slots; /* PG 0's k+m slots, then PG 1's, ..; owned by the map */
};

struct cluster_map {
    uint64_t epoch;
    struct cluster_disk *disks;
    size_t disk_count, disk_room;
    struct cluster_pool *pools;
    size_t pool_count;
};

struct cluster_map *cluster_map_new(void);
struct cluster_map *cluster_map_copy(const struct cluster_map *map);
void cluster_map_free(struct cluster_map *map);  /* NULL is allowed */
void cluster_map_clear(struct cluster_map *map); /* as new */

/* Adds the disk, or replaces the one with its id. ERR_INVALID: a value out of bounds. ERR_TOO_BIG:
 * CLUSTER_DISKS_MAX are there. */
enum err cluster_map_put_disk(struct cluster_map *map, const struct cluster_disk *disk) MUST_USE;
/* ERR_NOT_FOUND. Slots that name it are left: their holders are then treated as failed. */
enum err cluster_map_remove_disk(struct cluster_map *map, disk_id id) MUST_USE;
/* Adds a pool (spec->slots is not read) with all slots unassigned. When a pool with this id is
 * there: name and domain are taken, pg_bits while no slot is assigned; ERR_INVALID when k, m or cell
 * differ, or pg_bits of an assigned pool. */
enum err cluster_map_put_pool(struct cluster_map *map, const struct cluster_pool *spec) MUST_USE;

const struct cluster_disk *cluster_map_disk(const struct cluster_map *map,
                                            disk_id id); /* or NULL */
struct cluster_disk *cluster_map_disk_mutable(struct cluster_map *map, disk_id id);
const struct cluster_pool *cluster_map_pool(const struct cluster_map *map, uint32_t id);
const struct cluster_pool *cluster_map_pool_named(const struct cluster_map *map, const char *name);

/* Whether both lie in the same domain of this level. */
bool cluster_disks_share(const struct cluster_disk *a, const struct cluster_disk *b,
                         enum failure_domain level);
const char *failure_domain_name(uint32_t domain); /* "host" */

/* Whether the values of a disk or pool are in bounds (what put checks). */
bool cluster_disk_valid(const struct cluster_disk *disk);
bool cluster_pool_valid(const struct cluster_pool *pool);

static inline unsigned pool_width(const struct cluster_pool *pool)
{
    return (unsigned)pool->k + pool->m;
}
static inline uint32_t pool_pg_count(const struct cluster_pool *pool)
{
    return UINT32_C(1) << pool->pg_bits;
}
/* Whether any slot has a holder. */
bool pool_assigned(const struct cluster_pool *pool);
/* The power of two nearest 100 x disks / width, from 8 to 2^POOL_PG_BITS_DEFAULT_MAX,
 * as its exponent. */
uint8_t pool_default_pg_bits(size_t disks, unsigned width);

/* ---- chunk -> PG: the first pg_bits bits of XXH64(chunk id) ---- */

uint64_t chunk_hash(const struct chunk_id *chunk);
uint32_t pg_of_hash(uint64_t hash, uint8_t pg_bits);
uint32_t pg_of_chunk(const struct cluster_pool *pool, const struct chunk_id *chunk);
/* The hashes of a PG: first .. last, both inclusive. */
void pg_hash_range(uint32_t pg, uint8_t pg_bits, uint64_t *first, uint64_t *last);

/* ---- slots ---- */

/* NULL when pg or index is out of range. */
struct pg_slot *pool_slot(const struct cluster_pool *pool, uint32_t pg, unsigned index);
/* The newest holder, 0 when unassigned. */
disk_id slot_newest(const struct pg_slot *slot);
uint64_t slot_since(const struct pg_slot *slot); /* 0 when unassigned */
bool slot_has_holder(const struct pg_slot *slot, disk_id disk);
/* Makes disk the newest holder as of epoch, which must be above the newest's (ERR_INVALID). Pushed
 * again, it leaves its older place; pushing the newest itself only renews since_epoch. A full list
 * gives up an older holder that is failed or gone from the map, else ERR_BUSY. */
enum err slot_push(const struct cluster_map *map, struct pg_slot *slot, disk_id disk,
                   uint64_t epoch) MUST_USE;
/* The newest holder has compared everything: the list is cut to it. ERR_MISMATCH when it is not
 * `disk` since `since_epoch`. */
enum err slot_finish(struct pg_slot *slot, disk_id disk, uint64_t since_epoch) MUST_USE;

/* Whether a shard on this disk can count: it is in the map and has not failed. */
bool cluster_map_disk_holds(const struct cluster_map *map, disk_id id);
bool cluster_map_disk_suspect(const struct cluster_map *map, disk_id id);
/* Writes the newest holder of each slot (0: unassigned); out has room for POOL_SLOTS_MAX. */
unsigned pg_acting(const struct cluster_pool *pool, uint32_t pg, disk_id *out);
/* The first newest holder that is up, 0 when there is none: it drains the PG's repair rows. */
disk_id pg_primary(const struct cluster_map *map, const struct cluster_pool *pool, uint32_t pg);
