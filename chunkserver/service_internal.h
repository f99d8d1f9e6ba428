/* Shared by the files of the chunkserver's service:
 *
 *   service.c           what serves the disks of a process: start, stop
 *   disk.c              its disks: open, used, gone and back
 *   service_bulk.c      shards over bulk connections: written, read
 *   service_control.c   deletes, verdicts, suspicions: a worker per disk
 *   service_local.c     the same as function calls
 *   pending.c           one job or commit that somebody waits for; memory for reads
 *   slot_check.c        is the sender's placement the one we know?
 *   heartbeat.c         registration, heartbeats, the map's refresher, verdicts to metadata
 *   backfill.c, backfill_plan.c, backfill_run.c   what the map says is to be filled or repaired
 *   scrub*.c            what is there is read, what ought to be there is compared, what nobody needs goes
 *
 * Locks: the service's guards its disks' small fields and the verdicts; the backfill's its tasks and
 * the disks' progress counters; the scrub's what it says of itself. None is held while another is
 * taken, but for the scrub's under the service's. */
#pragma once
#include "common/base/arena.h"
#include "common/client/map_cache.h"
#include "common/client/metadata_client.h"
#include "common/proto/command.pb-c.h"
#include "common/proto/service.pb-c.h"
#include "common/sys/log.h"
#include "common/sys/sys.h"
#include "chunkserver/service.h"

enum {
    READ_BYTES_MAX = 256 * 1024, /* of one MSG_SHARD_READ */
    READ_PIECES_MAX = READ_BYTES_MAX / SHARD_BLOCK + 1,
    CONTROL_QUEUE_MAX = 1024, /* tasks of one disk */
    VERDICTS_MAX = 1024,
    RECENT_MAX = 64,
    ADDRESS_MAX = 127,
};

/* ---- disks ---- */

struct control_task;

struct chunk_disk {
    struct chunk_service *service;
    char *directory;
    struct shard_store
        *store; /* of who has a use of the disk (disk.c D1), and of who opens and closes it */
    struct uuid uuid;
    int64_t look_at; /* not before, when it is left out */

    /* Under the service's lock. */
    bool open; /* false: left out, error says why */
    enum err error;
    unsigned users;
    uint64_t arrivals, arrivals_seen; /* opened, or no longer refused; that an audit has followed */
    disk_id id;                       /* 0: not served */
    bool registered, audit;
    uint64_t rebuilds;                  /* of its index, that an audit has followed */
    bool registering;                   /* the worker writes its id */
    bool refused;                       /* by metadata, and not registered since */
    int64_t complained_at, register_at; /* of a registration that was refused; not before */
    bool removing; /* shards of this group are being removed by verdicts (group_enter) */
    uint32_t removing_pool, removing_pg;

    /* The worker's queue. */
    struct sys_mutex lock;
    struct sys_cond some;
    struct control_task *first, **last;
    size_t count;
    bool stopping;
    struct sys_thread *worker;

    /* Under the backfill's lock; done and total of one burst of backfill. */
    uint64_t backfill_done, backfill_total, backfill_bytes, repaired;
    uint32_t fills_waiting, fills_running;

    /* Under that of the memory for reads: what its reads have of it, and when some came back. */
    uint64_t read_bytes;
    int64_t read_back;
};

/* A shard that this process's own disk has found bad. */
struct verdict {
    disk_id disk;
    uint32_t pool;
    struct shard_id id;
};

/* Memory for reads, in two sizes. */
struct read_buffer {
    uint8_t *data;
    size_t capacity;
    struct read_buffer *next;
};
enum { READ_CLASSES = 2 };
struct read_memory {
    struct sys_mutex lock;
    struct sys_cond back;
    struct read_buffer *free[READ_CLASSES];
    uint64_t made_bytes, budget_bytes, share_bytes; /* share: of one disk's reads, at most */
};

struct backfill;
struct scrub;

struct chunk_service {
    struct uuid cluster, node;
    char *zone, *rack, *host;
    struct map_cache *map;
    struct timeouts timeouts;
    unsigned backfill_parallel;
    uint64_t backfill_bytes_per_s;
    uint64_t scrub_bytes_per_s;
    int64_t scrub_interval, sweep_interval;
    struct chunk_disk *disks;
    size_t disk_count;
    struct read_memory reads;
    struct shard_store_config store; /* bounds of each */

    /* From start to stop. */
    char address[ADDRESS_MAX + 1];
    struct metadata_client *metadata;
    struct sys_thread *heartbeat, *refresher, *returns;
    struct backfill *backfill;
    struct scrub *scrub;

    struct sys_mutex lock;
    struct sys_cond changed; /* stopping, a verdict, a group that is free again */
    bool started, stopping;
    struct verdict verdicts[VERDICTS_MAX];
    size_t verdict_count;
    struct {
        struct verdict verdict;
        int64_t until;
    } recent[RECENT_MAX]; /* told a moment ago */
    size_t recent_at;
};

/* ---- disk.c ---- */

/* Who asks d->store for anything has a use of the disk. False: it is left out. */
bool chunk_disk_enter(struct chunk_disk *d) MUST_USE;
void chunk_disk_leave(struct chunk_disk *d);
/* The disk with this id, with a use of it; NULL when it is not served here. */
struct chunk_disk *chunk_disk_use(struct chunk_service *s, disk_id id) MUST_USE;
/* The same without a use, and perhaps left out. */
struct chunk_disk *chunk_disk_find(struct chunk_service *s, disk_id id);
enum { DISK_WHY_BYTES = SYS_PATH_MAX + SYS_NAME_MAX + 128 };
/* All of them, at a start; why: for people. */
enum err disks_open(struct chunk_service *s, const char *const *directories, size_t count,
                    char why[DISK_WHY_BYTES]) MUST_USE;
void disks_return_run(void *service); /* a thread */
char *chunk_text(const char *text);   /* a copy; "" of NULL */

disk_id chunk_disk_id(struct chunk_disk *d);
/* Begins a shard on the disk. since_epoch 0 is backfill or repair, which stops at a mark of its own:
 * ERR_DISK_FULL. Else as shard_writer_open. */
enum err chunk_disk_write(struct chunk_disk *d, const struct stored_shard *shard,
                          uint64_t since_epoch, struct shard_writer **out) MUST_USE;

/* ---- pending.c ---- */

/* What an I/O thread will finish and somebody may stop waiting for. The last one out frees it. */
struct pending {
    struct sys_mutex lock;
    struct sys_cond cond;
    int users;
    bool over;
    enum err result;
    struct chunk_service *service;
    struct chunk_disk *disk; /* of a read */
    struct read_buffer *buffer;
    struct shard_job job;
    uint32_t crcs[READ_PIECES_MAX];
};
struct pending *pending_new(struct chunk_service *s); /* of one user */
void pending_unref(struct pending *p);
/* For shard_writer_commit's done: takes a reference before. */
void pending_done(void *arg, enum err result);
/* Prepares p->job for a read of the disk: takes memory for it, waiting a little. ERR_BUSY. */
enum err pending_read(struct pending *p, struct chunk_disk *d, uint32_t pool,
                      const struct shard_id *id, uint32_t offset, uint32_t length,
                      int64_t deadline) MUST_USE;
enum err pending_submit(struct pending *p) MUST_USE; /* with a use of the disk */
enum err pending_wait(struct pending *p, int64_t deadline) MUST_USE;

void read_memory_init(struct read_memory *m, uint64_t budget_bytes, size_t disks);
void read_memory_release(struct read_memory *m);

/* ---- slot_check.c ---- */

struct slot_claim {
    disk_id disk; /* that is asked */
    uint32_t pool;
    const struct shard_id *id;
    uint64_t since_epoch; /* as the sender knows it; 0: does not matter */
};
/* ERR_STALE_PLACEMENT when the slot has a newer holder than the sender knows, with the PG's line in
 * *news (arena). A sender that knows more than we do makes us refresh, and is never refused.
 * context NULL: do not refresh. */
enum err slot_check(struct chunk_service *s, const struct slot_claim *claim,
                    const struct request_context *context, struct arena *arena,
                    PlacementNews **news) MUST_USE;
/* Whether by the map this disk ought to hold the shard: the slot's only holder. */
bool slot_is_sole_holder(struct chunk_service *s, disk_id disk, uint32_t pool,
                         const struct shard_id *id);

/* ---- service_bulk.c, service_control.c ---- */

size_t bulk_routes(struct chunk_service *s, struct rpc_route *out);
size_t control_routes(struct chunk_service *s, struct rpc_route *out);
void disk_control_init(struct chunk_disk *d);
enum err control_start(struct chunk_disk *d) MUST_USE;
void disk_control_stop(struct chunk_disk *d); /* joins the worker; what is queued is answered */
void disk_control_release(struct chunk_disk *d);
/* Somebody suspects a shard of this disk: its worker verifies it. Lost at the bound. */
void control_suspect(struct chunk_disk *d, uint32_t pool, const struct shard_id *id);
/* Metadata has given the disk this id: its worker finishes the registration, since the disk may hang. */
void control_register(struct chunk_disk *d, disk_id id);
/* Deletes whatever shards of the chunks the disk holds. ERR_TIMEOUT, also when the disk hangs. */
enum err control_remove(struct chunk_disk *d, uint32_t pool, const struct chunk_id *chunks,
                        size_t count, int64_t deadline) MUST_USE;

/* ---- heartbeat.c ---- */

void heartbeat_run(void *service); /* threads */
/* Writes the id that metadata gave. Waits for the disk. */
void register_finish(struct chunk_disk *d, disk_id id);
void refresher_run(void *service);
/* A verdict for metadata, sent soon; told once in a while only. False: too many wait. */
bool heartbeat_tell(struct chunk_service *s, const struct verdict *v);
/* Whether metadata has all verdicts on this disk's shards. */
bool heartbeat_has_told(struct chunk_service *s, disk_id disk);
/* Waits until the time has come; false when the service stops. */
bool service_wait(struct chunk_service *s, int64_t until);

/* ---- backfill.c ---- */

enum err backfill_start(struct chunk_service *s, const struct chunk_io *io,
                        struct backfill **out) MUST_USE;
void backfill_stop(struct backfill *b); /* joins, frees; NULL is allowed */
void backfill_wake(struct backfill *b);
struct backfill_progress {
    uint64_t done, total, bytes, repaired;
};
void backfill_progress(struct backfill *b, struct chunk_disk *d, struct backfill_progress *out);

/* backfill_run.c: a page of a group's chunks behind the token `after`. */
enum err group_chunks(struct metadata_client *metadata, const struct request_context *request,
                      uint32_t pool, uint32_t pg, ProtobufCBinaryData after, uint32_t max,
                      struct arena *arena, Answer **answer) MUST_USE;

/* ---- scrub.c ---- */

enum err scrub_start(struct chunk_service *s, struct scrub **out) MUST_USE;
void scrub_stop(struct scrub *c); /* joins, frees; NULL is allowed */
/* Begins a pass over the disk soon: a light one, or both. */
void scrub_wanted(struct scrub *c, const struct chunk_disk *d, bool deep);
void scrub_report(struct scrub *c, const struct chunk_disk *d, struct scrub_status *out);
struct scrub_group;
/* What was found of each placement group, in the arena. */
size_t scrub_groups_copy(struct scrub *c, const struct chunk_disk *disk, struct arena *arena,
                         struct scrub_group **out);

/* ---- slot_check.c: one placement group of one disk (hazard 17) ----
 *
 * Whoever removes shards by a verdict enters the group first, then compares the verdict's epoch with
 * the map; whoever calls the group's shards complete by a newer map waits until the group is free. So a
 * verdict of an earlier time removes nothing that has been counted since. */
void group_enter(struct chunk_disk *d, uint32_t pool, uint32_t pg);
void group_leave(struct chunk_disk *d);
void group_await(struct chunk_disk *d, uint32_t pool, uint32_t pg);
