#include "chunkserver/service.h"
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "chunkserver/service_internal.h"

/* The disks of a process, and the order in which what serves them begins and ends. */

enum { READ_MEMORY = 64 << 20, PARALLEL = 4, RATE = 200 << 20, SCRUB_RATE = 20 << 20 };
#define DAY (INT64_C(24) * 3600 * SYS_SECOND)

static char *copy_text(const char *text)
{
    size_t n = strlen(text ? text : "") + 1;
    char *copy = sys_alloc(n);
    memcpy(copy, text ? text : "", n);
    return copy;
}

struct chunk_disk *chunk_disk_find(struct chunk_service *s, disk_id id)
{
    struct chunk_disk *found = NULL;
    sys_mutex_lock(&s->lock);
    for (size_t i = 0; i < s->disk_count && !found && id != 0; i++)
        if (s->disks[i].store && s->disks[i].id == id)
            found = &s->disks[i];
    sys_mutex_unlock(&s->lock);
    return found;
}

disk_id chunk_disk_id(struct chunk_disk *d)
{
    sys_mutex_lock(&d->service->lock);
    disk_id id = d->id;
    sys_mutex_unlock(&d->service->lock);
    return id;
}

enum err chunk_disk_write(struct chunk_disk *d, const struct stored_shard *shard,
                          uint64_t since_epoch, struct shard_writer **out)
{
    struct shard_store_stats stats;
    shard_store_stats(d->store, &stats);
    if (since_epoch == 0 && stats.mark >= DISK_MARK_BACKFILLFULL)
        return ERR_DISK_FULL;
    return shard_writer_open(d->store, shard, out);
}

/* ---- a directory becomes a disk ---- */

struct listing {
    size_t others;
    char first[SYS_NAME_MAX + 1];
};

static void visit(void *arg, const char *name, bool is_dir)
{
    struct listing *l = arg;
    (void)is_dir;
    /* What an earlier format that was cut short has left is ours. */
    if (strcmp(name, "lost+found") == 0 || strcmp(name, "superblock.new") == 0 ||
        strcmp(name, "extents") == 0)
        return;
    if (l->others++ == 0)
        snprintf(l->first, sizeof l->first, "%s", name);
}

/* What there is to say when a directory cannot be used. */
enum { WHY_BYTES = SYS_PATH_MAX + SYS_NAME_MAX + 128 };

static enum err why_not(char why[WHY_BYTES], const char *directory, enum err e)
{
    if (e == ERR_NOT_FOUND)
        snprintf(why, WHY_BYTES, "%s: no such directory: make it, or mount its file system",
                 directory);
    else
        snprintf(why, WHY_BYTES, "%s: %s", directory, err_text(e));
    return e;
}

/* Whether a directory is a disk of this cluster, or (*empty) may become one. Changes nothing. */
static enum err examine(struct chunk_service *s, const char *directory, bool *empty,
                        char why[WHY_BYTES])
{
    struct shard_store_identity identity;
    struct listing listing = {0};
    enum err e = shard_store_peek(directory, &identity);
    *empty = e == ERR_NOT_FOUND;
    if (e == OK && !uuid_equal(&identity.cluster, &s->cluster)) {
        snprintf(why, WHY_BYTES, "%s is a disk of another cluster", directory);
        return ERR_FOREIGN_DISK;
    }
    if (*empty)
        e = sys_dir_list(directory, visit, &listing);
    if (e == OK && listing.others > 0) {
        snprintf(why, WHY_BYTES, "%s is no disk and not empty (it holds %s): name an empty one",
                 directory, listing.first);
        return ERR_FOREIGN_DISK;
    }
    return e == OK ? OK : why_not(why, directory, e);
}

/* Formats a new disk in an empty directory. */
static enum err make_disk(struct chunk_service *s, const char *directory)
{
    struct uuid uuid;
    sys_random(uuid.bytes, sizeof uuid.bytes);
    enum err e = sys_dir_sync_parent(directory); /* or a power cut takes what was acknowledged */
    if (e == OK)
        e = shard_store_format(directory, &s->cluster, &uuid);
    if (e == OK)
        log_info("chunk", "made a new disk of %s", directory);
    return e;
}

static enum err open_disk(struct chunk_service *s, struct chunk_disk *d,
                          const struct shard_store_config *bounds, char why[WHY_BYTES])
{
    struct shard_store_config config = *bounds;
    config.directory = d->directory;
    config.cluster = s->cluster;
    bool empty = false;
    enum err e = examine(s, d->directory, &empty, why);
    if (e == OK) {
        e = empty ? make_disk(s, d->directory) : OK;
        if (e == OK)
            e = shard_store_open(&d->store, &config);
        if (e != OK)
            e = why_not(why, d->directory, e);
    }
    if (e != OK) {
        d->store = NULL;
        d->error = e;
        return e;
    }
    struct shard_store_identity identity;
    struct shard_store_stats stats;
    shard_store_identity(d->store, &identity);
    shard_store_stats(d->store, &stats);
    d->id = identity.id;
    d->uuid = identity.disk;
    d->audit = stats.unclean || stats.rebuilding;
    if (stats.unclean)
        log_info("chunk", "disk %s was not closed: what it holds is compared with metadata",
                 d->directory);
    return OK;
}

static bool is_mistake(enum err e)
{
    return e == ERR_FOREIGN_DISK || e == ERR_DISK_IN_USE;
}

static enum err open_disks(struct chunk_service *s, const struct chunk_service_config *config,
                           char why[WHY_BYTES])
{
    char another[WHY_BYTES];
    enum err first = OK;
    size_t usable = 0;
    bool empty;
    /* All are looked at before the first is changed. */
    for (size_t i = 0; i < config->directory_count; i++) {
        enum err e = examine(s, config->directories[i], &empty, why);
        if (is_mistake(e))
            return e;
    }
    s->disks = sys_alloc(config->directory_count * sizeof *s->disks);
    for (size_t i = 0; i < config->directory_count; i++) {
        struct chunk_disk *d = &s->disks[s->disk_count++];
        d->service = s;
        d->directory = copy_text(config->directories[i]);
        disk_control_init(d);
        enum err e = open_disk(s, d, &config->store, first == OK ? why : another);
        if (e == OK && (e = control_start(d)) != OK)
            e = why_not(first == OK ? why : another, d->directory, e);
        if (is_mistake(e)) {
            if (first != OK)
                memcpy(why, another, sizeof another);
            return e;
        }
        if (e != OK)
            log_error("chunk", "left out: %s", first == OK ? why : another);
        if (e != OK && first == OK)
            first = e;
        usable += e == OK;
    }
    return usable > 0 ? OK : first;
}

enum err chunk_service_open(const struct chunk_service_config *config, struct chunk_service **out)
{
    if (config->directory_count == 0 || config->directory_count > CHUNK_DISKS_MAX)
        return ERR_INVALID;
    struct chunk_service *s = sys_alloc(sizeof *s);
    s->cluster = config->cluster;
    s->node = config->node;
    s->zone = copy_text(config->zone);
    s->rack = copy_text(config->rack);
    s->host = copy_text(config->host);
    s->map = config->map;
    s->timeouts = config->timeouts;
    s->backfill_parallel = config->backfill_parallel ? config->backfill_parallel : PARALLEL;
    s->backfill_bytes_per_s = config->backfill_bytes_per_s ? config->backfill_bytes_per_s : RATE;
    s->scrub_bytes_per_s = config->scrub_bytes_per_s ? config->scrub_bytes_per_s : SCRUB_RATE;
    s->scrub_interval = config->scrub_interval ? config->scrub_interval : 7 * DAY;
    s->sweep_interval = config->sweep_interval ? config->sweep_interval : DAY;
    sys_mutex_init(&s->lock);
    sys_cond_init(&s->changed);
    read_memory_init(&s->reads, config->read_memory ? config->read_memory : READ_MEMORY);
    char why[WHY_BYTES] = "";
    enum err e = open_disks(s, config, why);
    if (e != OK) {
        if (config->problem)
            snprintf(config->problem, config->problem_bytes, "%s", why);
        chunk_service_free(s);
        return e;
    }
    *out = s;
    return OK;
}

void chunk_service_free(struct chunk_service *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->disk_count; i++) {
        struct chunk_disk *d = &s->disks[i];
        disk_control_stop(d);
        if (d->store)
            shard_store_close(d->store);
        disk_control_release(d);
        sys_free(d->directory);
    }
    read_memory_release(&s->reads);
    sys_cond_release(&s->changed);
    sys_mutex_release(&s->lock);
    sys_free(s->disks);
    sys_free(s->zone);
    sys_free(s->rack);
    sys_free(s->host);
    sys_free(s);
}

size_t chunk_service_routes(struct chunk_service *s, struct rpc_route *out)
{
    size_t n = bulk_routes(s, out);
    return n + control_routes(s, out + n);
}

/* ---- start, stop ---- */

enum err chunk_service_start(struct chunk_service *s, const char *address,
                             const struct chunk_io *io, struct metadata_client *metadata)
{
    if (strlen(address) > ADDRESS_MAX)
        return ERR_INVALID;
    snprintf(s->address, sizeof s->address, "%s", address);
    s->metadata = metadata;
    sys_mutex_lock(&s->lock);
    s->started = true;
    s->stopping = false;
    sys_mutex_unlock(&s->lock);
    enum err e = backfill_start(s, io, &s->backfill);
    if (e == OK)
        e = scrub_start(s, &s->scrub);
    if (e == OK)
        e = sys_thread_start(&s->refresher, "chunk-refresh", 0, refresher_run, s);
    if (e == OK)
        e = sys_thread_start(&s->heartbeat, "chunk-heartbeat", 0, heartbeat_run, s);
    if (e != OK)
        chunk_service_stop(s);
    return e;
}

void chunk_service_stop(struct chunk_service *s)
{
    sys_mutex_lock(&s->lock);
    s->stopping = true;
    s->started = false;
    sys_mutex_unlock(&s->lock);
    sys_cond_broadcast(&s->changed);
    if (s->heartbeat)
        sys_thread_join(s->heartbeat);
    if (s->refresher)
        sys_thread_join(s->refresher);
    s->heartbeat = s->refresher = NULL;
    scrub_stop(s->scrub);
    s->scrub = NULL;
    backfill_stop(s->backfill);
    s->backfill = NULL;
}

/* ---- status ---- */

size_t chunk_service_disks(struct chunk_service *s, struct chunk_disk_status *out, size_t max)
{
    size_t n = s->disk_count < max ? s->disk_count : max;
    for (size_t i = 0; i < n; i++) {
        struct chunk_disk *d = &s->disks[i];
        struct chunk_disk_status *o = &out[i];
        memset(o, 0, sizeof *o);
        o->directory = d->directory;
        o->error = d->error;
        o->open = d->store != NULL;
        if (!d->store)
            continue;
        shard_store_identity(d->store, &o->identity);
        shard_store_stats(d->store, &o->stats);
        sys_mutex_lock(&s->lock);
        o->registered = d->registered;
        sys_mutex_unlock(&s->lock);
        struct backfill_progress progress = {0};
        if (s->backfill)
            backfill_progress(s->backfill, d, &progress);
        o->backfill_done = progress.done;
        o->backfill_total = progress.total;
        o->backfill_bytes = progress.bytes;
        o->repaired = progress.repaired;
        if (s->scrub)
            scrub_report(s->scrub, d, &o->scrub);
    }
    return n;
}

void chunk_service_scrub(struct chunk_service *s, size_t disk, bool deep)
{
    if (s->scrub && disk < s->disk_count)
        scrub_wanted(s->scrub, &s->disks[disk], deep);
}

void chunk_service_wake(struct chunk_service *s)
{
    if (s->backfill)
        backfill_wake(s->backfill);
}
