/* The log thread: one append and one sync for all that came while the last one ran; then what was
 * asked of the log; when idle, the marker. */
#include "common/sys/log.h"
#include "metadata/driver_internal.h"

void driver_loaded_free(struct driver_loaded *l)
{
    raft_entries_release(&l->entries);
    sys_free(l);
}

static void write_out(struct driver *d, struct driver_write *w)
{
    struct log_append a = {
        .hard = w->hard_changed ? &w->hard : NULL,
        .commit = w->commit,
        .truncate_from = w->truncate_from,
        .entries = w->entries.v,
        .count = w->entries.n,
    };
    if (w->reset.index)
        log_store_reset(d->log, w->reset.index, w->reset.term, &w->reset.configuration);
    raft_payload_unref(w->reset.configuration.payload);
    log_store_append(d->log, &a);
    raft_entries_release(&w->entries);
}

/* A record that was written and cannot be read back is rot: this member must not go on. What a snapshot has
 * replaced meanwhile is not there any more, and not asked for again. */
static void load(struct driver *d, struct driver_loaded *l)
{
    enum err e =
        log_store_read(d->log, l->load.first, l->load.last, l->load.max_bytes, &l->entries);
    bool replaced = l->load.member != 0 || l->load.first <= log_store_base(d->log);
    if (e == OK || (e == ERR_NOT_FOUND && replaced))
        return;
    log_error("log", "cannot read entries back log=%s first=%llu: %s", d->options.log.directory,
              (unsigned long long)l->load.first, err_text(e));
    sys_exit(1, "the metadata log cannot be read");
}

/* Locked. */
static void finish(struct driver *d, uint64_t sequence, struct driver_loaded *l)
{
    d->log_busy_since = 0;
    d->compacted = log_store_base(d->log);
    d->compactable = log_store_used(d->log) > d->options.log_bytes
                         ? log_store_compactable(d->log, d->options.log_bytes / 2)
                         : 0;
    if (sequence)
        d->persisted = sequence;
    if (l) {
        l->next = NULL;
        *d->loaded_end = l;
        d->loaded_end = &l->next;
    }
    log_store_status(d->log, &d->status.log);
    sys_cond_signal(&d->wake);
}

static struct driver_loaded *take_load(struct driver *d)
{
    struct driver_loaded *l = d->loads_first;
    if (!l)
        return NULL;
    d->loads_first = l->next;
    if (!d->loads_first)
        d->loads_end = &d->loads_first;
    return l;
}

void driver_log_run(void *driver)
{
    struct driver *d = driver;
    int64_t mark_at = sys_now() + d->options.idle_mark;
    sys_mutex_lock(&d->lock);
    log_store_status(d->log, &d->status.log);
    for (;;) {
        bool work = d->write.sequence || d->loads_first || d->compact_to;
        bool unmarked = log_store_needs_mark(d->log);
        if (!work && !d->log_stopping &&
            sys_cond_wait(&d->log_wake, &d->lock, unmarked ? mark_at : SYS_FOREVER) == OK)
            continue;
        work = d->write.sequence || d->loads_first || d->compact_to;
        if (!work && d->log_stopping && !unmarked)
            break;
        struct driver_write w = d->write;
        d->write = (struct driver_write){0};
        uint64_t compact_to = d->compact_to;
        struct driver_loaded *l = take_load(d);
        sys_mutex_unlock(&d->lock);
        int64_t now = sys_now();
        sys_mutex_lock(&d->lock);
        d->log_busy_since = now;
        sys_mutex_unlock(&d->lock);
        if (w.sequence)
            write_out(d, &w);
        else if (!work)
            log_store_mark(d->log);
        if (compact_to)
            log_store_compact(d->log, compact_to);
        if (l)
            load(d, l);
        mark_at = sys_now() + d->options.idle_mark;
        sys_mutex_lock(&d->lock);
        if (compact_to == d->compact_to)
            d->compact_to = 0;
        finish(d, w.sequence, l);
    }
    sys_mutex_unlock(&d->lock);
}
