/* The committer: everything that waits to become durable shares one sync.
 *
 * A group is what has gathered while the group before was being synced: large records, whose bytes
 * are all written, and small ones, which are packed here into batches. Then, per extent in which the
 * group has written: the reservations that the log lacks, and one sync. Then the index's tail knows
 * the shards, and the callers hear.
 *
 *  C1  done(OK) comes after the sync of the record and of its reservation, and after the tail shows
 *      the shard.
 *  C2  A failed sync fails the disk. The group is not retried, nothing after it is tried. */
#include <assert.h>
#include <string.h>
#include "chunkserver/store_internal.h"

enum { RUN_MIN = 128 << 10 };

struct group {
    struct shard_writer *writers[GROUP_MAX];
    enum err results[GROUP_MAX];
    unsigned count;
    uint8_t *batch; /* BATCH_BYTES, aligned */
    uint8_t *block;
};

void commit_queue(struct shard_store *s, struct shard_writer *w)
{
    w->group_next = NULL;
    if (s->commit_last)
        s->commit_last->group_next = w;
    else
        s->commit_first = w;
    s->commit_last = w;
    sys_cond_signal(&s->commits);
}

/* Waits for commits; false: there will be none any more. */
static bool gather_group(struct shard_store *s, struct group *g)
{
    g->count = 0;
    sys_mutex_lock(&s->lock);
    while (!s->commit_first && !s->commit_stop)
        (void)sys_cond_wait(&s->commits, &s->lock, SYS_FOREVER);
    while (s->commit_first && g->count < GROUP_MAX) {
        struct shard_writer *w = s->commit_first;
        s->commit_first = w->group_next;
        if (!s->commit_first)
            s->commit_last = NULL;
        g->results[g->count] = s->failed ? ERR_DISK_FAILED : OK;
        g->writers[g->count++] = w;
    }
    sys_mutex_unlock(&s->lock);
    return g->count > 0;
}

static void leave_run(struct shard_store *s)
{
    sys_mutex_lock(&s->lock);
    struct extent *e = s->run;
    s->run = NULL;
    s->run_at = s->run_end = 0;
    sys_mutex_unlock(&s->lock);
    extent_unuse(s, e);
}

/* Room for at least one record of `need` bytes. */
static enum err enter_run(struct shard_store *s, uint64_t need)
{
    sys_mutex_lock(&s->lock);
    bool usable = s->run && !s->run->broken && s->run_at + need <= s->run_end;
    sys_mutex_unlock(&s->lock);
    if (usable)
        return OK;
    leave_run(s);
    uint64_t length = s->config.extent_bytes / 8;
    length = round_down(length < RUN_MIN ? RUN_MIN : length, SYS_BLOCK);
    if (length > BATCH_BYTES)
        length = BATCH_BYTES;
    enum err error = extent_reserve(s, length, NULL);
    if (error == ERR_DISK_FULL)
        error = extent_reserve(s, round_up(need, SYS_BLOCK), NULL);
    return error;
}

/* False: a copy whose shard has changed meanwhile (compact.c P3). */
static bool place_small(struct shard_store *s, struct shard_writer *w, uint64_t at)
{
    sys_mutex_lock(&s->lock);
    bool wanted = !w->move || !w->move->changed;
    if (wanted) {
        w->place = (struct place){s->run->number, at};
        w->extent = s->run;
        w->extent->users++;
        w->footer.synced = writer_synced(s);
        w->footer.sequence = writer_sequence(s);
        if (w->move)
            w->move->sealed = true;
    }
    sys_mutex_unlock(&s->lock);
    return wanted;
}

static void encode_small(struct shard_store *s, struct shard_writer *w, uint8_t *out)
{
    const uint8_t *salt = s->superblock.salt;
    record_encode_header(salt, &w->shard, &w->place, out);
    out += RECORD_HEADER;
    memcpy(out, w->whole, w->shard.length);
    out += w->shard.length;
    record_encode_table(w->crcs, w->blocks, out);
    out += 4 * w->blocks;
    record_encode_footer(salt, &w->shard, &w->place, &w->footer, out);
    memset(out + RECORD_FOOTER, 0, record_room(w->shard.length) - record_bytes(w->shard.length));
}

/* One batch: as many small records from `from` on as fit into the run. Returns the index behind. */
static unsigned write_batch(struct shard_store *s, struct group *g, unsigned from)
{
    uint64_t used = 0;
    unsigned at = from;
    enum err e = enter_run(s, record_room(g->writers[from]->shard.length));
    for (; !e && at < g->count; at++) {
        struct shard_writer *w = g->writers[at];
        if (!w->small || g->results[at])
            continue;
        uint64_t room = record_room(w->shard.length);
        if (s->run_at + used + room > s->run_end)
            break;
        if (!place_small(s, w, s->run_at + used)) {
            g->results[at] = ERR_ABORTED;
            continue;
        }
        encode_small(s, w, g->batch + used);
        used += room;
    }
    if (!e && used > 0) {
        uint64_t padded = round_up(used, SYS_BLOCK);
        memset(g->batch + used, 0, padded - used);
        e = store_write(s, s->run->file, s->run_at, g->batch, padded);
        sys_mutex_lock(&s->lock);
        s->run_at += padded;
        s->stats.written_bytes += used;
        sys_mutex_unlock(&s->lock);
    } else if (e) {
        at = from + 1;
    }
    for (unsigned i = from; e && i < at; i++)
        if (g->writers[i]->small && !g->results[i])
            g->results[i] = e;
    if (e)
        leave_run(s);
    return at;
}

static void write_small(struct shard_store *s, struct group *g)
{
    unsigned at = 0;
    while (at < g->count) {
        if (g->writers[at]->small && !g->results[at])
            at = write_batch(s, g, at);
        else
            at++;
    }
}

static enum err make_durable(struct shard_store *s, struct group *g, struct extent *e)
{
    enum err error = extent_log(s, e, g->block);
    if (error)
        return error;
    sys_mutex_lock(&s->lock);
    bool failed = s->failed;
    sys_mutex_unlock(&s->lock);
    if (failed)
        return ERR_DISK_FAILED;
    return store_sync(s, e->file, "sync");
}

static void sync_group(struct shard_store *s, struct group *g)
{
    for (unsigned i = 0; i < g->count; i++) {
        struct extent *e = g->writers[i]->extent;
        bool first = g->results[i] == OK;
        for (unsigned j = 0; first && j < i; j++)
            first = g->results[j] != OK || g->writers[j]->extent != e;
        if (!first)
            continue;
        enum err error = make_durable(s, g, e);
        for (unsigned j = i; error && j < g->count; j++)
            if (g->writers[j]->extent == e && !g->results[j])
                g->results[j] = error;
    }
}

static void begin_group(struct shard_store *s, struct pace_call *call)
{
    int64_t now = sys_now();
    sys_mutex_lock(&s->lock);
    pace_begin(&s->pace, call, now);
    sys_mutex_unlock(&s->lock);
}

static void finish_group(struct shard_store *s, struct group *g, struct pace_call *call)
{
    int64_t now = sys_now();
    sys_mutex_lock(&s->lock);
    pace_end(&s->pace, call, now, true);
    for (unsigned i = 0; i < g->count; i++) {
        struct shard_writer *w = g->writers[i];
        if (s->failed)
            g->results[i] = ERR_DISK_FAILED;
        if (!g->results[i] && w->move && w->move->changed) {
            g->results[i] = ERR_ABORTED;
            if (w->small)
                dead_add(&s->dead, &w->place, w->shard.length);
        }
        if (!g->results[i]) {
            struct index_entry entry = {w->shard, w->place, w->footer.sequence};
            index_put(s, &entry);
            s->stats.commits++;
        }
        w->footer.sequence = 0; /* finished: writer_synced may pass it */
    }
    s->stats.commit_groups++;
    sys_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < g->count; i++)
        writer_complete(g->writers[i], g->results[i]);
}

void commit_run(void *store)
{
    struct shard_store *s = store;
    struct group *g = sys_alloc(sizeof(*g));
    g->batch = sys_alloc_aligned(BATCH_BYTES, SYS_BLOCK);
    g->block = sys_alloc_aligned(SYS_BLOCK, SYS_BLOCK);
    while (gather_group(s, g)) {
        struct pace_call call;
        begin_group(s, &call);
        delay_wait(s);
        write_small(s, g);
        sync_group(s, g);
        finish_group(s, g, &call);
    }
    leave_run(s);
    sys_free(g->batch);
    sys_free(g->block);
    sys_free(g);
}
