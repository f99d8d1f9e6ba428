/* An index that is lost, stale or damaged is made anew from the extents while the disk stays open.
 *
 * Found at an open (index.c) or by a read or write of kv that reports corruption. From then on every
 * call that needs the index answers ERR_UNAVAILABLE, which sends the caller to other disks; the
 * keeper rebuilds.
 *
 *  I6  Nothing is in kv when it is dropped: who enters it is counted, and refused from the loss on.
 *  I7  Nothing is being written while the extents are read: writers that are not committing yet are
 *      told ERR_UNAVAILABLE, those that are are waited for. What they made durable is found by the
 *      scan; the tails are dropped with the rest.
 *  I8  Space of the dead that the old index knew of is not given back by it: the scan may find them
 *      again.
 *  I9  A rebuild that is cut short leaves an index without its 'm' row: the next open begins anew. */
#include <assert.h>
#include "chunkserver/store_internal.h"
#include "common/sys/log.h"

#define LOOK_EVERY (10 * SYS_MS)
#define TRY_AGAIN  SYS_SECOND

enum { ATTEMPTS = 3 }; /* of a rebuild that meets read errors; then the disk has failed */

enum err index_enter(struct shard_store *s)
{
    sys_mutex_lock(&s->lock);
    enum err e = s->failed ? ERR_DISK_FAILED : s->rebuilding ? ERR_UNAVAILABLE : OK;
    s->index_users += e == OK;
    sys_mutex_unlock(&s->lock);
    return e;
}

/* What to tell instead of kv's error. */
enum err index_leave(struct shard_store *s, enum err e)
{
    sys_mutex_lock(&s->lock);
    assert(s->index_users > 0);
    s->index_users--;
    if (e == ERR_CORRUPT) {
        index_lost(s, "it is damaged");
        e = ERR_UNAVAILABLE;
    }
    sys_mutex_unlock(&s->lock);
    return e;
}

void index_lost(struct shard_store *s, const char *why)
{
    if (s->rebuilding || s->failed)
        return;
    log_error("store", "%s: the index cannot be used: %s; it is rebuilt from the extents",
              s->directory, why);
    s->rebuilding = true;
    for (struct shard_writer *w = s->writers; w; w = w->next)
        if (w->state == WRITER_OPEN && !w->error)
            w->error = ERR_UNAVAILABLE;
    writer_wake_all(s);
    sys_cond_broadcast(&s->changed);
    sys_cond_signal(&s->house);
}

/* Under the lock. */
static bool busy(const struct shard_store *s)
{
    if (s->index_users > 0 || s->making_extent)
        return true;
    for (const struct shard_writer *w = s->writers; w; w = w->next)
        if (w->inflight > 0 || w->state == WRITER_COMMITTING)
            return true;
    return false;
}

/* False: the store closes or has failed. */
static bool quiet(struct shard_store *s)
{
    sys_mutex_lock(&s->lock);
    while (busy(s) && !s->failed && !s->keeper_stop)
        (void)sys_cond_wait(&s->house, &s->lock, sys_now() + LOOK_EVERY);
    bool go = !s->failed && !s->keeper_stop;
    if (go) {
        tail_clear(&s->tail);
        tail_clear(&s->flushing);
        s->dead.count = 0; /* I8 */
        s->stats.shards = s->stats.shard_bytes = 0;
        s->scanned_count = s->unread_count = 0;
        if (s->current)
            s->current->sealed = true; /* what has been read is not written to */
        s->current = NULL;
        s->run_at = s->run_end;
    }
    sys_mutex_unlock(&s->lock);
    return go;
}

static void tell(void *arg, uint64_t done, uint64_t total)
{
    struct shard_store *s = arg;
    sys_mutex_lock(&s->lock);
    s->stats.rebuild_done = done;
    s->stats.rebuild_total = total;
    sys_mutex_unlock(&s->lock);
}

static void rest(struct shard_store *s)
{
    int64_t until = sys_now() + TRY_AGAIN;
    enum err waited = OK;
    log_warn("store", "%s: the index cannot be rebuilt now, it is tried again", s->directory);
    sys_mutex_lock(&s->lock);
    while (waited != ERR_TIMEOUT && !s->failed && !s->keeper_stop)
        waited = sys_cond_wait(&s->house, &s->lock, until);
    sys_mutex_unlock(&s->lock);
}

/* Room and descriptors come back, a disk that was given up does not. */
bool index_waits(enum err e)
{
    return e == ERR_NO_SPACE || e == ERR_BUSY;
}

void index_rebuild(struct shard_store *s)
{
    int64_t begun = sys_now();
    enum err e = ERR_IO;
    s->progress = tell;
    s->progress_arg = s;
    for (int i = 0; (e == ERR_IO && i < ATTEMPTS) || index_waits(e); i += e == ERR_IO) {
        if (i > 0 || index_waits(e))
            rest(s);
        space_ballast(s, true);
        if (!quiet(s))
            return;
        e = index_start_anew(s);
        if (!e)
            e = recovery_run(s, true);
        if (!e)
            e = superblock_note_index(s);
    }
    sys_mutex_lock(&s->lock);
    if (!e) {
        s->rebuilding = false;
        s->stats.index_rebuilds++;
    } else if (e != ERR_STOPPING) {
        store_fail(s, DISK_FAULT_INDEX, "rebuilding the index", e);
    }
    uint64_t shards = s->stats.shards;
    sys_cond_broadcast(&s->changed);
    sys_mutex_unlock(&s->lock);
    if (!e)
        log_info("store", "%s: the index has been rebuilt from the extents shards=%llu ms=%lld",
                 s->directory, (unsigned long long)shards,
                 (long long)((sys_now() - begun) / SYS_MS));
}
