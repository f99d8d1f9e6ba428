/* The snapshot thread: reads images of the state for followers that the log cannot help, and writes
 * those that a leader sends here. What it does may wait for LevelDB and for disks, so nothing of it
 * runs on the driver's thread; how much is under way is bounded by the core (RAFT_PIECE_WINDOW). */
#include <assert.h>
#include "common/sys/log.h"
#include "metadata/driver_internal.h"

#define IDLE_EVERY SYS_SECOND

static void job_free(struct driver_snapshot_job *j)
{
    raft_payload_unref(j->piece.snapshot.configuration.payload);
    raft_payload_unref(j->piece.piece);
    raft_payload_unref(j->got.snapshot.configuration.payload);
    raft_payload_unref(j->got.piece);
    sys_free(j);
}

static void push(struct driver_snapshot_list *l, struct driver_snapshot_job *j)
{
    j->next = NULL;
    if (l->last)
        l->last->next = j;
    else
        l->first = j;
    l->last = j;
}

static struct driver_snapshot_job *pop(struct driver_snapshot_list *l)
{
    struct driver_snapshot_job *j = l->first;
    if (!j)
        return NULL;
    l->first = j->next;
    if (!l->first)
        l->last = NULL;
    return j;
}

void driver_snapshots_release(struct driver_snapshot_list *l)
{
    struct driver_snapshot_job *j;
    while ((j = pop(l)))
        job_free(j);
}

static void queue_job(struct driver *d, struct driver_snapshot_job *j)
{
    sys_mutex_lock(&d->lock);
    push(&d->snapshots, j);
    sys_cond_signal(&d->snapshot_wake);
    sys_mutex_unlock(&d->lock);
}

void driver_queue_snapshots(struct driver *d)
{
    const struct raft_effects *e = &d->effects;
    for (size_t i = 0; i < e->snapshot_read_count; i++) {
        struct driver_snapshot_job *j = sys_alloc(sizeof *j);
        j->want = e->snapshot_reads[i];
        queue_job(d, j);
    }
    for (size_t i = 0; i < e->install_count; i++) {
        struct driver_snapshot_job *j = sys_alloc(sizeof *j);
        j->install = true;
        j->piece = e->installs[i];
        raft_payload_ref(j->piece.snapshot.configuration.payload);
        if (j->piece.piece)
            raft_payload_ref(j->piece.piece);
        queue_job(d, j);
    }
}

/* ---- its thread ---- */

/* Nothing is applied from here on, until driver_take_snapshots allows it again. False: it stops, or
 * what is applied here is further than the snapshot. */
static bool pause_apply(struct driver *d, uint64_t index)
{
    sys_mutex_lock(&d->lock);
    d->apply_paused = true;
    while (d->applying && !d->snapshot_stopping)
        (void)sys_cond_wait(&d->snapshot_wake, &d->lock, SYS_FOREVER);
    bool go = !d->snapshot_stopping && d->applied < index;
    if (!go) {
        d->apply_paused = false;
        sys_cond_signal(&d->apply_wake);
    }
    sys_mutex_unlock(&d->lock);
    return go;
}

static void install(struct driver *d, struct driver_snapshot_job *j)
{
    const struct driver_callbacks *c = &d->options.callbacks;
    j->err = c->snapshot_write(c->arg, &j->piece);
    if (j->err != OK || !j->piece.last)
        return;
    if (!pause_apply(d, j->piece.snapshot.index)) {
        j->err = ERR_ABORTED;
        return;
    }
    enum err e = c->snapshot_install(c->arg, &j->piece.snapshot);
    if (e != OK) {
        log_error("raft", "cannot switch to the state that the leader sent: %s; this member stops",
                  err_text(e));
        sys_exit(1, "an installed state cannot be switched to");
    }
    j->installed = true;
}

void driver_snapshot_run(void *driver)
{
    struct driver *d = driver;
    const struct driver_callbacks *c = &d->options.callbacks;
    sys_mutex_lock(&d->lock);
    while (!d->snapshot_stopping) {
        struct driver_snapshot_job *j = pop(&d->snapshots);
        if (!j) {
            int64_t until = sys_now() + IDLE_EVERY;
            if (sys_cond_wait(&d->snapshot_wake, &d->lock, until) == ERR_TIMEOUT &&
                c->snapshot_idle) {
                sys_mutex_unlock(&d->lock);
                c->snapshot_idle(c->arg);
                sys_mutex_lock(&d->lock);
            }
            continue;
        }
        sys_mutex_unlock(&d->lock);
        if (j->install)
            install(d, j);
        else
            j->err = c->snapshot_read(c->arg, &j->want, &j->got);
        sys_mutex_lock(&d->lock);
        push(&d->snapshots_done, j);
        sys_cond_signal(&d->wake);
    }
    sys_mutex_unlock(&d->lock);
}

/* ---- the driver's thread ---- */

/* The state stands at index now: what was handed out for apply up to there is in it. */
static void take_installed(struct driver *d, uint64_t index)
{
    sys_mutex_lock(&d->lock);
    size_t gone = 0;
    for (; gone < d->apply.n && d->apply.v[gone].index <= index; gone++) {
        d->apply_bytes -= raft_entry_bytes(&d->apply.v[gone]);
        raft_payload_unref(d->apply.v[gone].payload);
    }
    for (size_t i = gone; gone && i < d->apply.n; i++)
        d->apply.v[i - gone] = d->apply.v[i];
    d->apply.n -= gone;
    if (d->fed < index)
        d->fed = index;
    d->applied = d->applied_done = d->status.applied = index;
    sys_mutex_unlock(&d->lock);
    enum err e = driver_step(d, &(struct raft_event){.type = RAFT_INSTALLED, .index = index});
    assert(e == OK);
    log_info("raft", "a snapshot of the leader's state is installed index=%llu",
             (unsigned long long)index);
    sys_mutex_lock(&d->lock);
    d->apply_paused = false;
    sys_cond_signal(&d->apply_wake);
    sys_mutex_unlock(&d->lock);
}

static void take_written(struct driver *d, const struct driver_snapshot_job *j)
{
    const struct raft_install_piece *p = &j->piece;
    if (j->err && j->err != ERR_ABORTED)
        log_warn("raft", "a piece of the leader's state cannot be taken index=%llu: %s",
                 (unsigned long long)p->snapshot.index, err_text(j->err));
    enum err e =
        driver_step(d, &(struct raft_event){.type = RAFT_SNAPSHOT_WRITTEN,
                                            .index = p->snapshot.index,
                                            .offset = p->offset + (p->piece ? p->piece->length : 0),
                                            .err = j->err});
    assert(e == OK);
}

static void take_read(struct driver *d, const struct driver_snapshot_job *j)
{
    enum err e = driver_step(d, &(struct raft_event){.type = RAFT_SNAPSHOT_READ,
                                                     .member = j->want.member,
                                                     .snapshot = j->err ? NULL : &j->got.snapshot,
                                                     .offset = j->got.offset,
                                                     .piece = j->got.piece,
                                                     .last = j->got.last});
    assert(e == OK);
}

void driver_take_snapshots(struct driver *d, struct driver_snapshot_list done)
{
    struct driver_snapshot_job *j;
    while ((j = pop(&done))) {
        if (j->installed)
            take_installed(d, j->piece.snapshot.index);
        else if (j->install)
            take_written(d, j);
        else
            take_read(d, j);
        job_free(j);
    }
}
