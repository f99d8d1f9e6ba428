/* The keeper of a disk: one thread that flushes the index every interval, or earlier when the tail
 * has grown or somebody asks; gives dead space back; and looks how much room there is. */
#include "chunkserver/store_internal.h"

enum { AGAIN_MS = 5 };

/* Waits for the next round. False: stop. *answer: which requests it will have answered, all up to
 * there; what was given a sequence before them must be durable or off first (index.c I3). */
static bool await_round(struct shard_store *s, bool again, bool *rebuild, uint64_t *answer)
{
    int64_t until = sys_now() + (again ? AGAIN_MS * SYS_MS : s->config.flush_interval);
    enum err waited = OK;
    sys_mutex_lock(&s->lock);
    while (!s->keeper_stop && waited != ERR_TIMEOUT && !s->rebuilding && !s->failed &&
           (again || s->flush_wanted == s->flush_done) && s->tail.count < TAIL_FLUSH)
        waited = sys_cond_wait(&s->house, &s->lock, until);
    bool stop = s->keeper_stop;
    *rebuild = s->rebuilding;
    *answer = writer_synced(s) >= s->flush_sequence ? s->flush_wanted : s->flush_done;
    sys_mutex_unlock(&s->lock);
    return !stop;
}

/* A failed disk has nothing left to keep, but who asks must still be answered. */
static void wait_if_failed(struct shard_store *s)
{
    sys_mutex_lock(&s->lock);
    bool failed = s->failed;
    sys_mutex_unlock(&s->lock);
    if (!failed)
        return;
    fault_settle(s);
    sys_mutex_lock(&s->lock);
    while (!s->keeper_stop && s->flush_wanted == s->flush_done)
        (void)sys_cond_wait(&s->house, &s->lock, SYS_FOREVER);
    s->flush_done = s->flush_wanted;
    sys_mutex_unlock(&s->lock);
}

void keeper_run(void *store)
{
    struct shard_store *s = store;
    uint64_t answer;
    bool again = false, rebuild;
    while (await_round(s, again, &rebuild, &answer)) {
        if (rebuild) {
            index_rebuild(s);
            again = false;
            wait_if_failed(s);
            continue;
        }
        fault_watch(s);
        space_ballast(s, false);
        enum err e = index_flush(s, false, false);
        if (!e)
            space_refresh(s);
        space_tell(s);
        sys_mutex_lock(&s->lock);
        s->flush_done = s->failed ? s->flush_wanted : answer;
        again = s->flush_done != s->flush_wanted;
        sys_cond_broadcast(&s->changed);
        sys_mutex_unlock(&s->lock);
        wait_if_failed(s);
    }
}

enum err shard_store_flush(struct shard_store *s, int64_t deadline)
{
    enum err waited = OK;
    sys_mutex_lock(&s->lock);
    uint64_t mine = ++s->flush_wanted;
    s->flush_sequence = s->sequence;
    sys_cond_signal(&s->house);
    while (s->flush_done < mine && waited != ERR_TIMEOUT && !s->failed && !s->rebuilding)
        waited = sys_cond_wait(&s->changed, &s->lock, deadline);
    enum err e = s->failed              ? ERR_DISK_FAILED
                 : s->rebuilding        ? ERR_UNAVAILABLE
                 : s->flush_done < mine ? ERR_TIMEOUT
                                        : OK;
    sys_mutex_unlock(&s->lock);
    return e;
}
