#include "chunkserver/service.h"
#include <stdio.h>
#include <string.h>
#include "common/base/text.h"
#include "chunkserver/service_internal.h"

/* What serves the disks of a process, and the order in which it begins and ends. */

enum { READ_MEMORY = 64 << 20, PARALLEL = 4, RATE = 200 << 20, SCRUB_RATE = 20 << 20 };
#define DAY (INT64_C(24) * 3600 * SYS_SECOND)

char *chunk_text(const char *text)
{
    size_t n = strlen(text ? text : "") + 1;
    char *copy = sys_alloc(n);
    memcpy(copy, text ? text : "", n);
    return copy;
}

enum err chunk_service_open(const struct chunk_service_config *config, struct chunk_service **out)
{
    if (config->directory_count == 0 || config->directory_count > CHUNK_DISKS_MAX)
        return ERR_INVALID;
    struct chunk_service *s = sys_alloc(sizeof *s);
    s->cluster = config->cluster;
    s->node = config->node;
    s->zone = chunk_text(config->zone);
    s->rack = chunk_text(config->rack);
    s->host = chunk_text(config->host);
    s->map = config->map;
    s->timeouts = config->timeouts;
    s->backfill_parallel = config->backfill_parallel ? config->backfill_parallel : PARALLEL;
    s->backfill_bytes_per_s = config->backfill_bytes_per_s ? config->backfill_bytes_per_s : RATE;
    s->scrub_bytes_per_s = config->scrub_bytes_per_s ? config->scrub_bytes_per_s : SCRUB_RATE;
    s->scrub_interval = config->scrub_interval ? config->scrub_interval : 7 * DAY;
    s->sweep_interval = config->sweep_interval ? config->sweep_interval : DAY;
    sys_mutex_init(&s->lock);
    sys_cond_init(&s->changed);
    read_memory_init(&s->reads, config->read_memory ? config->read_memory : READ_MEMORY,
                     config->directory_count);
    s->store = config->store;
    char why[DISK_WHY_BYTES] = "";
    enum err e = disks_open(s, config->directories, config->directory_count, why);
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
        e = sys_thread_start(&s->returns, "chunk-disks", 0, disks_return_run, s);
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
    if (s->returns)
        sys_thread_join(s->returns);
    s->heartbeat = s->refresher = s->returns = NULL;
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
        o->open = chunk_disk_enter(d);
        if (o->open) {
            shard_store_identity(d->store, &o->identity);
            shard_store_stats(d->store, &o->stats);
            chunk_disk_leave(d);
        }
        sys_mutex_lock(&s->lock);
        o->registered = d->registered;
        o->error = d->error;
        if (!o->open)
            o->identity.id = d->id;
        sys_mutex_unlock(&s->lock);
        if (!o->open)
            continue;
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
