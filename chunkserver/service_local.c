#include <string.h>
#include "common/rpc/gather.h"
#include "chunkserver/service_internal.h"

/* The service as function calls, for the process's own shard client. */

#define READ_WAIT (10 * SYS_SECOND)

static bool local_has_disk(void *context, disk_id disk)
{
    struct chunk_disk *d = chunk_disk_use(context, disk);
    if (d)
        chunk_disk_leave(d);
    return d != NULL;
}

/* ---- write: the store's writer itself is what the caller holds ---- */

struct local_write {
    struct chunk_disk *disk; /* a use */
    struct shard_writer *writer;
    int64_t progress;
};

static enum err local_begin(void *context, disk_id disk, const struct stored_shard *shard,
                            uint64_t since_epoch, void **write)
{
    struct chunk_service *s = context;
    struct chunk_disk *d = chunk_disk_use(s, disk);
    if (!d)
        return ERR_UNAVAILABLE;
    const struct slot_claim claim = {disk, shard->pool, &shard->id, since_epoch};
    PlacementNews *news;
    /* The caller's map is this very cache: there is nothing newer to tell it. */
    enum err e = slot_check(s, &claim, NULL, NULL, &news);
    struct shard_writer *writer;
    if (e == OK)
        e = chunk_disk_write(d, shard, since_epoch, &writer);
    if (e != OK) {
        chunk_disk_leave(d);
        return e;
    }
    struct local_write *w = sys_alloc(sizeof *w);
    w->disk = d;
    w->writer = writer;
    w->progress = s->timeouts.shard_progress;
    *write = w;
    return OK;
}

static enum err local_append(void *write, const void *data, size_t length,
                             const uint32_t *block_crc, int64_t deadline)
{
    struct local_write *w = write;
    int64_t until = sys_now() + w->progress;
    if (until > deadline)
        until = deadline;
    enum err e = shard_writer_append(w->writer, data, length, block_crc, until);
    /* A disk without room for so long is late, and perhaps some of the bytes were taken: there is no
     * credit to wait for. */
    return e == ERR_BUSY ? ERR_TIMEOUT : e;
}

static void commit_done(void *arg, enum err result)
{
    call_complete(arg, result, 0);
}

static void local_commit(void *write, uint32_t crc, struct call *call)
{
    struct local_write *w = write;
    shard_writer_commit(w->writer, crc, commit_done, call);
    chunk_disk_leave(w->disk);
    sys_free(w);
}

static void local_abort(void *write)
{
    struct local_write *w = write;
    shard_writer_abort(w->writer);
    chunk_disk_leave(w->disk);
    sys_free(w);
}

/* ---- read ---- */

struct local_read {
    struct chunk_disk *disk;
    struct pending *pending;
    struct call *call;
    struct buf *into;
    size_t at;
    disk_id id;
};

static void read_done(struct shard_job *job, enum err result)
{
    struct local_read *r = job->arg;
    struct chunk_service *s = r->disk->service;
    if (result == OK && !call_abandoned(r->call))
        memcpy(r->into->data + r->at, (const uint8_t *)job->buffer + job->data_at, job->length);
    bool look = result == ERR_CORRUPT || result == ERR_IO;
    if (result == ERR_NOT_FOUND)
        look = slot_is_sole_holder(s, r->id, job->pool, &job->id);
    if (look)
        control_suspect(r->disk, job->pool, &job->id);
    uint64_t nonce = job->shard.nonce;
    buf_unref(r->into);
    call_complete(r->call, result, result == OK ? (size_t)nonce : 0);
    pending_unref(r->pending);
    sys_free(r);
}

static enum err local_read(void *context, disk_id disk, uint32_t pool, const struct shard_id *id,
                           uint32_t offset, uint32_t length, struct buf *into, size_t at,
                           struct call *call)
{
    struct chunk_service *s = context;
    struct chunk_disk *d = chunk_disk_use(s, disk);
    if (!d)
        return ERR_UNAVAILABLE;
    struct pending *p = pending_new(s);
    enum err e = pending_read(p, d, pool, id, offset, length, sys_now() + READ_WAIT);
    if (e != OK) {
        chunk_disk_leave(d);
        pending_unref(p);
        return e;
    }
    struct local_read *r = sys_alloc(sizeof *r);
    *r = (struct local_read){d, p, call, buf_ref(into), at, disk};
    p->job.done = read_done;
    p->job.arg = r;
    e = shard_store_submit(d->store, &p->job);
    chunk_disk_leave(d);
    if (e == OK)
        return OK;
    buf_unref(into);
    pending_unref(p);
    sys_free(r);
    return e;
}

/* ---- neither ---- */

static void local_suspect(void *context, disk_id disk, uint32_t pool, const struct shard_id *id)
{
    struct chunk_disk *d = chunk_disk_find(context, disk);
    if (d)
        control_suspect(d, pool, id);
}

static enum err local_remove(void *context, disk_id disk, uint32_t pool,
                             const struct chunk_id *chunks, size_t count, int64_t deadline)
{
    struct chunk_disk *d = chunk_disk_use(context, disk);
    if (!d)
        return ERR_UNAVAILABLE;
    enum err e = control_remove(d, pool, chunks, count, deadline);
    chunk_disk_leave(d);
    return e;
}

void chunk_service_local(struct chunk_service *s, struct shard_local *out)
{
    *out = (struct shard_local){
        .context = s,
        .has_disk = local_has_disk,
        .write_begin = local_begin,
        .write_append = local_append,
        .write_commit = local_commit,
        .write_abort = local_abort,
        .read = local_read,
        .suspect = local_suspect,
        .remove = local_remove,
    };
}
