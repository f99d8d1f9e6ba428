/* A chunkserver: the shard stores of some disks, served to gateways and to other chunkservers.
 *
 *   shards     written, read, deleted and verified over rpc (chunk_service_routes) or, in the
 *              embedded form, by function calls (chunk_service_local)
 *   heartbeat  registers each disk with metadata, reports on it, keeps the map fresh
 *   backfill   fills the slots that the map newly gives to its disks, drains the repair rows of
 *              the placement groups whose primary it is
 *
 * The order of a process's life; what a step needs exists by then:
 *
 *   map_cache_new, buf_pool_new
 *   chunk_service_open         disks are open, nothing runs but their stores
 *   chunk_service_local        -> shard_client_new -> struct chunk_io (embedded form)
 *   chunk_service_routes       -> rpc_server_start -> the address
 *   chunk_service_start        registers, reports, fills
 *   ..
 *   chunk_service_stop         its threads end; shards are still served
 *   rpc_server_stop
 *   chunk_service_free         answers what is kept, closes the disks
 *   rpc_server_free, shard_client_free, map_cache_free, .. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/base/err.h"
#include "common/base/ids.h"
#include "common/base/timeouts.h"
#include "common/client/chunk_io.h"
#include "common/client/shard_client.h"
#include "common/rpc/rpc_server.h"
#include "chunkserver/shard_store.h"

struct chunk_service;
struct metadata_client;
struct map_cache;

enum { CHUNK_DISKS_MAX = 64 };

struct chunk_service_config {
    const char *const *directories; /* one disk each; copied, like all texts here */
    size_t directory_count;         /* 1 .. CHUNK_DISKS_MAX */
    struct uuid cluster;
    struct uuid node;               /* of this chunkserver, the same after each start */
    const char *zone, *rack, *host; /* labels of its disks; NULL: empty */
    struct map_cache *map;          /* outlives the service */
    struct timeouts timeouts;
    struct shard_store_config store; /* bounds of every disk; directory and cluster are not read */
    uint64_t read_memory;          /* of reads in progress, one disk at most a quarter; 0: 64 MiB */
    unsigned backfill_parallel;    /* placement groups at once; 0: 4 */
    uint64_t backfill_bytes_per_s; /* read and written; 0: 200 MiB/s */
    uint64_t scrub_bytes_per_s;    /* read of each disk by deep passes; 0: 20 MiB/s */
    int64_t scrub_interval; /* ns between deep passes over a disk; 0: 7 days; < 0: only by hand */
    int64_t sweep_interval; /* ns between light ones; 0: a day */
    /* Out, when not NULL: which directory made chunk_service_open fail, and why. */
    char *problem;
    size_t problem_bytes;
};

/* Opens every disk. An empty directory (but for lost+found) is formatted as a new disk; one that does
 * not exist is not made, since it may be one whose file system is not mounted. One that cannot be used
 * is logged with the reason and left out. Fails when none can be used, or will be once it has room, with the first's error
 * (ERR_NOT_FOUND, ERR_FORMAT, ERR_IO, ..), or when one speaks of a mistake: ERR_FOREIGN_DISK (of another
 * cluster, or holding other files), ERR_DISK_IN_USE. */
enum err chunk_service_open(const struct chunk_service_config *config,
                            struct chunk_service **out) MUST_USE;

/* Appends its routes; room for CHUNK_ROUTES of them. */
enum { CHUNK_ROUTES = 10 };
size_t chunk_service_routes(struct chunk_service *s, struct rpc_route *out);
/* The same operations for who lives in this process. Valid until chunk_service_free. */
void chunk_service_local(struct chunk_service *s, struct shard_local *out);

/* Begins registration, heartbeats and backfill. address: where others reach this server,
 * "1.2.3.4:5678". io and metadata must outlive chunk_service_stop. */
enum err chunk_service_start(struct chunk_service *s, const char *address,
                             const struct chunk_io *io, struct metadata_client *metadata) MUST_USE;
/* Ends and joins what start began. Takes as long as a call to metadata in progress may take. */
void chunk_service_stop(struct chunk_service *s);
/* After stop (or without start), when nobody calls its routes or functions any more. Requests that
 * were kept are answered first. NULL is allowed. */
void chunk_service_free(struct chunk_service *s);

/* ---- for status pages and tests ---- */

enum scrub_kind { SCRUB_NONE, SCRUB_LIGHT, SCRUB_DEEP };
/* Times are of the wall clock, ns; 0: never. */
struct scrub_status {
    enum scrub_kind now;
    bool late;           /* no deep pass was completed for two intervals */
    int64_t swept, read; /* when the last light, deep pass was complete */
    int64_t begun;       /* the deep pass that goes on; 0: none */
    uint64_t bytes, bad; /* of it, or of the last one: read; bad shards */
    uint64_t missing,
        orphans; /* since the disk was opened: found missing; removed, since nothing needs them */
    uint64_t young; /* of the last light pass: unknown, and kept for their age */
};

struct chunk_disk_status {
    const char *directory; /* the service's */
    struct shard_store_identity identity;
    struct shard_store_stats stats;
    bool open;       /* false: it could not be used; error says why, the rest is zero */
    bool registered; /* metadata knows it as it is: it is served */
    enum err error;
    uint64_t backfill_done, backfill_total, backfill_bytes, repaired;
    struct scrub_status scrub;
};
/* One entry per directory, in the order of the configuration. max >= CHUNK_DISKS_MAX is enough. */
size_t chunk_service_disks(struct chunk_service *s, struct chunk_disk_status *out, size_t max);
/* Begins the next round of backfill now. */
void chunk_service_wake(struct chunk_service *s);
/* Begins a light pass over the disk at this place of the configuration, and a deep one. */
void chunk_service_scrub(struct chunk_service *s, size_t disk, bool deep);
