/* How long a disk takes: its pace, the median time of what its threads have had done by it lately. By it
 * metadata finds disks that are slower than their peers.
 *
 *  A1  What ended within PACE_WINDOW counts, with what has run for longer than PACE_STUCK at its age. What did
 *      not touch the disk does not count. When nothing has ended for PACE_STUCK and something runs for as
 *      long, the disk hangs: its pace is that time, and grows.
 *  A2  A disk that nobody uses writes and syncs a block of its own when asked to (DIR/probe): one that is left
 *      alone because it is slow can show that it is well again. A failed sync of it fails the disk. */
#include <stdlib.h>
#include <string.h>
#include "chunkserver/store_internal.h"

#define PACE_WINDOW (10 * SYS_SECOND)
#define PACE_STUCK  (1 * SYS_SECOND)
#define PROBE_EVERY (3 * SYS_SECOND)

void pace_begin(struct pace *p, struct pace_call *c, int64_t now)
{
    c->began = now;
    c->next = p->running;
    c->link = &p->running;
    if (c->next)
        c->next->link = &c->next;
    p->running = c;
}

void pace_end(struct pace *p, struct pace_call *c, int64_t now, bool counts)
{
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    if (!counts)
        return;
    p->ring[p->count % PACE_SAMPLES].ended = now;
    p->ring[p->count % PACE_SAMPLES].took = now - c->began;
    p->count++;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

/* A1; 0: nothing is known. */
int64_t pace_now(const struct pace *p, int64_t now)
{
    int64_t took[PACE_SAMPLES + PACE_STUCK_MAX], oldest = now;
    size_t n = 0, kept = p->count < PACE_SAMPLES ? p->count : PACE_SAMPLES;
    for (size_t i = 0; i < kept; i++)
        if (now - p->ring[i].ended < PACE_WINDOW)
            took[n++] = p->ring[i].took;
    size_t most = n + PACE_STUCK_MAX;
    for (const struct pace_call *c = p->running; c; c = c->next) {
        oldest = c->began < oldest ? c->began : oldest;
        if (now - c->began >= PACE_STUCK && n < most)
            took[n++] = now - c->began;
    }
    int64_t last = kept ? p->ring[(p->count - 1) % PACE_SAMPLES].ended : 0;
    if (now - oldest >= PACE_STUCK && now - last >= PACE_STUCK)
        return now - oldest;
    if (n == 0)
        return 0;
    qsort(took, n, sizeof *took, compare);
    return took[n / 2];
}

/* ---- probes ---- */

void shard_store_probe(struct shard_store *s)
{
    int64_t now = sys_now();
    jobs_expire(s);
    sys_mutex_lock(&s->lock);
    const struct pace *p = &s->pace;
    int64_t last = p->count ? p->ring[(p->count - 1) % PACE_SAMPLES].ended : 0;
    if (!p->running && now - last >= PROBE_EVERY && !s->failed && !s->stopping) {
        s->probe_wanted = true;
        sys_cond_signal(&s->work);
    }
    sys_mutex_unlock(&s->lock);
}

/* At the open, so that later none is made where the disk's file system is not mounted any more. */
void probe_make(struct shard_store *s)
{
    char path[SYS_PATH_MAX];
    struct sys_file *f;
    if (disk_path(s->directory, "probe", path) == OK &&
        sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_CREATE, &f) == OK)
        sys_file_close(f); /* without it, an idle disk's pace is not known */
}

/* On an I/O thread. Whether the disk has shown anything. */
bool probe_run(struct shard_store *s, uint8_t *scratch)
{
    char path[SYS_PATH_MAX];
    struct sys_file *f = NULL;
    enum err e = disk_path(s->directory, "probe", path);
    if (e == OK)
        e = sys_file_open(path, SYS_OPEN_WRITE | SYS_OPEN_DIRECT, &f);
    if (e != OK)
        return store_write_failed(s, e) == OK;
    memset(scratch, 0, SYS_BLOCK);
    e = store_write(s, f, 0, scratch, SYS_BLOCK);
    if (e == OK)
        e = store_sync(s, f, "sync of a probe");
    sys_file_close(f);
    return e == OK;
}
