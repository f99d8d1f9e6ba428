/* The apply thread, and the proposals that wait for what it applies. */
#include <assert.h>
#include <string.h>
#include "common/sys/log.h"
#include "metadata/driver_internal.h"

static struct driver_pending *pending_at(struct driver *d, size_t i)
{
    return &d->pending[(d->pending_first + i) % DRIVER_PROPOSALS_MAX];
}

void driver_pending_add(struct driver *d, uint64_t index, uint64_t term, driver_proposed *done,
                        void *arg)
{
    sys_mutex_lock(&d->lock);
    assert(d->pending_count < DRIVER_PROPOSALS_MAX);
    *pending_at(d, d->pending_count++) =
        (struct driver_pending){.index = index, .term = term, .done = done, .arg = arg};
    sys_mutex_unlock(&d->lock);
}

/* The first that waits for index or something before it. */
static bool pop_pending(struct driver *d, uint64_t index, struct driver_pending *out)
{
    sys_mutex_lock(&d->lock);
    bool there = d->pending_count && pending_at(d, 0)->index <= index;
    if (there) {
        *out = *pending_at(d, 0);
        d->pending_first = (d->pending_first + 1) % DRIVER_PROPOSALS_MAX;
        d->pending_count--;
        d->proposals--;
    }
    sys_mutex_unlock(&d->lock);
    return there;
}

void driver_pending_close(struct driver *d)
{
    struct driver_pending p;
    while (pop_pending(d, UINT64_MAX, &p))
        p.done(p.arg, ERR_CLOSED, 0, 0, NULL, 0);
}

/* Locked. */
static bool waited_for(struct driver *d, const struct raft_entry *e)
{
    size_t low = 0, high = d->pending_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (pending_at(d, middle)->index < e->index)
            low = middle + 1;
        else
            high = middle;
    }
    return low < d->pending_count && pending_at(d, low)->index == e->index &&
           pending_at(d, low)->term == e->term;
}

void driver_entry_reply(struct driver_entry *e, const void *data, size_t n)
{
    if (!e->local || n == 0)
        return;
    assert(!e->reply);
    e->reply = memcpy(sys_alloc(n), data, n);
    e->reply_length = n;
}

static void answer(struct driver *d, struct driver_entry *e)
{
    struct driver_pending p;
    while (pop_pending(d, e->index, &p)) {
        bool mine = p.index == e->index && p.term == e->term;
        if (mine)
            p.done(p.arg, OK, e->index, e->term, e->reply, e->reply_length);
        else
            p.done(p.arg, ERR_ABORTED, 0, 0, NULL, 0);
    }
    sys_free(e->reply);
}

/* Locked. Takes at most one batch from the queue's front. */
static size_t take_batch(struct driver *d, struct raft_entry *taken, struct driver_entry *batch)
{
    size_t n = 0, bytes = 0;
    while (n < d->apply.n && n < DRIVER_APPLY_MAX && bytes < DRIVER_APPLY_BYTES) {
        const struct raft_entry *e = &d->apply.v[n];
        taken[n] = *e;
        batch[n] = (struct driver_entry){.index = e->index,
                                         .term = e->term,
                                         .type = e->type,
                                         .data = e->payload ? e->payload->data : NULL,
                                         .length = raft_entry_length(e),
                                         .local = waited_for(d, e)};
        bytes += raft_entry_bytes(e);
        n++;
    }
    memmove(d->apply.v, d->apply.v + n, (d->apply.n - n) * sizeof *d->apply.v);
    d->apply.n -= n;
    d->apply_bytes -= bytes;
    return n;
}

static void apply_batch(struct driver *d, struct raft_entry *taken, struct driver_entry *batch,
                        size_t n)
{
    int64_t now = sys_now();
    sys_mutex_lock(&d->lock);
    d->apply_busy_since = now;
    sys_mutex_unlock(&d->lock);
    enum err e = d->options.callbacks.apply(d->options.callbacks.arg, batch, n);
    if (e) {
        log_error("raft", "cannot apply entries %llu..%llu: %s; this member stops",
                  (unsigned long long)batch[0].index, (unsigned long long)batch[n - 1].index,
                  err_text(e));
        sys_exit(1, "the metadata state cannot be written");
    }
    for (size_t i = 0; i < n; i++) {
        answer(d, &batch[i]);
        raft_payload_unref(taken[i].payload);
    }
}

bool driver_apply_due(const struct driver *d)
{
    return d->status.raft.role == RAFT_LEADER || d->apply.n >= DRIVER_APPLY_MAX ||
           d->apply_bytes >= DRIVER_APPLY_BYTES;
}

/* Locked. Each batch costs a synced write of the state. Nobody waits for what a member applies that
 * does not lead, so it lets a few milliseconds' entries come together. */
static void gather(struct driver *d)
{
    if (driver_apply_due(d))
        return;
    d->gathering = true;
    sys_mutex_unlock(&d->lock);
    int64_t until = sys_now() + DRIVER_GATHER_MS * SYS_MS;
    sys_mutex_lock(&d->lock);
    while (!d->apply_stopping && !driver_apply_due(d))
        if (sys_cond_wait(&d->apply_wake, &d->lock, until) == ERR_TIMEOUT)
            break;
    d->gathering = false;
}

void driver_apply_run(void *driver)
{
    struct driver *d = driver;
    struct raft_entry *taken = sys_alloc(DRIVER_APPLY_MAX * sizeof *taken);
    struct driver_entry *batch = sys_alloc(DRIVER_APPLY_MAX * sizeof *batch);
    sys_mutex_lock(&d->lock);
    while (!d->apply_stopping) {
        if (d->apply.n == 0 || d->apply_paused) {
            (void)sys_cond_wait(&d->apply_wake, &d->lock, SYS_FOREVER);
            continue;
        }
        gather(d);
        size_t n = d->apply_paused ? 0 : take_batch(d, taken, batch);
        if (n == 0)
            continue;
        d->applying = true;
        sys_mutex_unlock(&d->lock);
        apply_batch(d, taken, batch, n);
        sys_mutex_lock(&d->lock);
        d->apply_busy_since = 0;
        d->applying = false;
        if (d->apply_paused)
            sys_cond_signal(&d->snapshot_wake);
        d->applied = batch[n - 1].index;
        d->status.applied = d->applied;
        sys_cond_signal(&d->wake);
    }
    sys_mutex_unlock(&d->lock);
    sys_free(taken);
    sys_free(batch);
}
