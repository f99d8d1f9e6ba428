/* The I/O threads of a disk and their queue: staging buffers of writers, and jobs. They take from
 * both in turn, so that neither starves the other. Also the blocking conveniences on top. */
#include <assert.h>
#include <string.h>
#include "chunkserver/store_internal.h"

void jobs_expire(struct shard_store *s)
{
    int64_t now = sys_now();
    struct shard_job *late = NULL, **at = &s->job_first;
    sys_mutex_lock(&s->lock);
    s->job_last = NULL;
    while (*at) {
        struct shard_job *job = *at;
        if (job->deadline < now) {
            *at = job->next;
            job->next = late;
            late = job;
            s->job_count--;
        } else {
            s->job_last = job;
            at = &job->next;
        }
    }
    sys_mutex_unlock(&s->lock);
    while (late) {
        struct shard_job *job = late;
        late = job->next;
        job->done(job, ERR_TIMEOUT);
    }
}

enum err shard_store_submit(struct shard_store *s, struct shard_job *job)
{
    if (job->kind == SHARD_READ &&
        (job->length == 0 || (uintptr_t)job->buffer % SYS_BLOCK != 0 || !job->buffer ||
         (uint64_t)job->offset + job->length > SHARD_LENGTH_MAX ||
         job->capacity < shard_read_room(job->offset, job->length)))
        return ERR_INVALID;
    enum err e = OK;
    job->next = NULL;
    job->data_at = 0;
    job->crc_count = 0;
    jobs_expire(s);
    sys_mutex_lock(&s->lock);
    if (s->failed)
        e = ERR_DISK_FAILED;
    else if (s->stopping)
        e = ERR_STOPPING;
    else if (s->rebuilding)
        e = ERR_UNAVAILABLE;
    else if (s->job_count >= s->config.queue_max)
        e = ERR_BUSY;
    if (!e) {
        if (s->job_last)
            s->job_last->next = job;
        else
            s->job_first = job;
        s->job_last = job;
        s->job_count++;
        sys_cond_signal(&s->work);
    }
    sys_mutex_unlock(&s->lock);
    return e;
}

/* Whether it has shown how fast the disk is. */
static bool run_job(struct shard_store *s, struct shard_job *job, bool failed, uint8_t *scratch)
{
    enum err e;
    bool reads = job->kind == SHARD_READ || job->kind == SHARD_VERIFY;
    if (failed)
        e = ERR_DISK_FAILED;
    else if (job->deadline != SYS_FOREVER && sys_now() > job->deadline)
        e = ERR_TIMEOUT;
    else
        e = reader_run(s, job, scratch);
    job->done(job, e);
    return reads && (e == OK || e == ERR_CORRUPT || e == ERR_IO);
}

void io_run(void *store)
{
    struct shard_store *s = store;
    uint8_t *scratch = sys_alloc_aligned(SCRATCH_BYTES, SYS_BLOCK);
    bool job_turn = false;
    sys_mutex_lock(&s->lock);
    for (;;) {
        while (!s->write_first && !s->job_first && !s->probe_wanted && !s->io_stop)
            (void)sys_cond_wait(&s->work, &s->lock, SYS_FOREVER);
        if (!s->write_first && !s->job_first && s->io_stop)
            break;
        struct staging *b = NULL;
        struct shard_job *job = NULL;
        bool failed = s->failed;
        if (s->job_first && (job_turn || !s->write_first)) {
            job = s->job_first;
            s->job_first = job->next;
            if (!s->job_first)
                s->job_last = NULL;
            s->job_count--;
        } else if (s->write_first) {
            b = s->write_first;
            s->write_first = b->next;
            if (!s->write_first)
                s->write_last = NULL;
        } else {
            s->probe_wanted = false;
        }
        job_turn = !job;
        struct pace_call call;
        pace_begin(&s->pace, &call, sys_now());
        sys_mutex_unlock(&s->lock);
        delay_wait(s);
        bool counts = true;
        if (job)
            counts = run_job(s, job, failed, scratch);
        else if (b)
            writer_write_staging(s, b);
        else
            counts = probe_run(s, scratch);
        int64_t now = sys_now();
        sys_mutex_lock(&s->lock);
        pace_end(&s->pace, &call, now, counts);
    }
    sys_mutex_unlock(&s->lock);
    sys_free(scratch);
}

/* ---- waiting for one answer ----
 * Shared by the one who waits and the one who answers; whoever lets go last frees it, so a caller
 * may leave at its deadline while the disk hangs. */

struct waiter {
    struct sys_mutex lock;
    struct sys_cond cond;
    int users;
    bool over;
    enum err result;
    struct shard_job job;
    void *buffer;
};

static struct waiter *waiter_new(void)
{
    struct waiter *w = sys_alloc(sizeof(*w));
    sys_mutex_init(&w->lock);
    sys_cond_init(&w->cond);
    w->users = 2;
    return w;
}

static void waiter_leave(struct waiter *w)
{
    sys_mutex_lock(&w->lock);
    bool last = --w->users == 0;
    sys_mutex_unlock(&w->lock);
    if (!last)
        return;
    sys_mutex_release(&w->lock);
    sys_cond_release(&w->cond);
    sys_free(w->buffer);
    sys_free(w);
}

static void waiter_answer(void *arg, enum err result)
{
    struct waiter *w = arg;
    sys_mutex_lock(&w->lock);
    w->over = true;
    w->result = result;
    sys_cond_signal(&w->cond);
    sys_mutex_unlock(&w->lock);
    waiter_leave(w);
}

static enum err waiter_wait(struct waiter *w, int64_t deadline)
{
    sys_mutex_lock(&w->lock);
    enum err waited = OK;
    while (!w->over && waited != ERR_TIMEOUT)
        waited = sys_cond_wait(&w->cond, &w->lock, deadline);
    enum err e = w->over ? w->result : ERR_TIMEOUT;
    sys_mutex_unlock(&w->lock);
    return e;
}

static void job_answer(struct shard_job *job, enum err result)
{
    waiter_answer(job->arg, result);
}

static enum err submit_and_wait(struct shard_store *s, struct waiter *w, int64_t deadline)
{
    w->job.deadline = deadline;
    w->job.done = job_answer;
    w->job.arg = w;
    enum err e = shard_store_submit(s, &w->job);
    if (e)
        w->users--;
    return e ? e : waiter_wait(w, deadline);
}

enum err shard_store_write(struct shard_store *s, const struct stored_shard *shard,
                           const void *data, int64_t deadline)
{
    struct shard_writer *writer = NULL;
    enum err e = shard_writer_open(s, shard, &writer);
    if (!e)
        e = shard_writer_append(writer, data, shard->length, NULL, deadline);
    if (e) {
        if (writer)
            shard_writer_abort(writer);
        return e;
    }
    struct waiter *w = waiter_new();
    uint32_t crc = shard_crc_of_crcs(0, writer->crcs, writer->blocks);
    shard_writer_commit(writer, crc, waiter_answer, w);
    e = waiter_wait(w, deadline);
    waiter_leave(w);
    return e;
}

enum err shard_store_read(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                          uint32_t offset, uint32_t length, void *out, struct stored_shard *shard,
                          int64_t deadline)
{
    if ((uint64_t)offset + length > SHARD_LENGTH_MAX)
        return ERR_INVALID;
    struct waiter *w = waiter_new();
    w->job = (struct shard_job){.kind = SHARD_READ, .pool = pool, .id = *id};
    w->job.offset = offset;
    w->job.length = length;
    w->job.capacity = shard_read_room(offset, length);
    w->job.buffer = w->buffer = sys_alloc_aligned(w->job.capacity, SYS_BLOCK);
    enum err e = submit_and_wait(s, w, deadline);
    if (!e) {
        memcpy(out, (uint8_t *)w->buffer + w->job.data_at, length);
        if (shard)
            *shard = w->job.shard;
    }
    waiter_leave(w);
    return e;
}

static enum err run_one(struct shard_store *s, const struct shard_job *job,
                        struct stored_shard *shard, int64_t deadline)
{
    struct waiter *w = waiter_new();
    w->job = *job;
    enum err e = submit_and_wait(s, w, deadline);
    if (!e && shard)
        *shard = w->job.shard;
    waiter_leave(w);
    return e;
}

enum err shard_store_delete(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                            int64_t deadline)
{
    return shard_store_drop(s, pool, id, 0, deadline);
}

enum err shard_store_delete_chunk(struct shard_store *s, uint32_t pool,
                                  const struct chunk_id *chunk, unsigned width, int64_t deadline)
{
    const struct shard_job job = {
        .kind = SHARD_DELETE_CHUNK, .pool = pool, .id = {.chunk = *chunk, .index = (uint8_t)width}};
    return run_one(s, &job, NULL, deadline);
}

enum err shard_store_drop(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                          uint64_t newest, int64_t deadline)
{
    const struct shard_job job = {.kind = SHARD_DELETE, .pool = pool, .id = *id, .newest = newest};
    return run_one(s, &job, NULL, deadline);
}

enum err shard_store_verify(struct shard_store *s, uint32_t pool, const struct shard_id *id,
                            struct stored_shard *shard, int64_t deadline)
{
    const struct shard_job job = {.kind = SHARD_VERIFY, .pool = pool, .id = *id};
    return run_one(s, &job, shard, deadline);
}
