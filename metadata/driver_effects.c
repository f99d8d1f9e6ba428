/* Carrying effects out: persist, and only then send what depends on it; apply what is committed. */
#include <assert.h>
#include "common/sys/log.h"
#include "metadata/driver_internal.h"

/* Adds a write to what the log thread has not taken yet, as if both had been one. */
static void queue_write(struct driver *d)
{
    struct raft_effects *e = &d->effects;
    if (e->persist_sequence == 0)
        return;
    uint64_t commit = raft_commit(d->raft);
    sys_mutex_lock(&d->lock);
    struct driver_write *w = &d->write;
    struct raft_entries *entries = &w->entries;
    w->sequence = e->persist_sequence;
    w->commit = commit;
    if (e->hard_state_changed) {
        w->hard_changed = true;
        w->hard = e->hard_state;
    }
    if (e->reset.index) { /* what was to be written before it is gone with the rest of the log */
        raft_entries_clear(entries);
        w->truncate_from = 0;
        raft_payload_unref(w->reset.configuration.payload);
        w->reset = e->reset;
        raft_payload_ref(w->reset.configuration.payload);
        d->compact_to = 0;
    }
    if (e->truncate_from) {
        while (entries->n && entries->v[entries->n - 1].index >= e->truncate_from)
            raft_payload_unref(entries->v[--entries->n].payload);
        if (w->truncate_from == 0 || e->truncate_from < w->truncate_from)
            w->truncate_from = e->truncate_from;
    }
    for (size_t i = 0; i < e->entries.n; i++)
        raft_entries_push(entries, &e->entries.v[i]);
    sys_cond_signal(&d->log_wake);
    sys_mutex_unlock(&d->lock);
}

void driver_queue_load(struct driver *d, const struct raft_load *load)
{
    struct driver_loaded *l = sys_alloc(sizeof *l);
    l->load = *load;
    sys_mutex_lock(&d->lock);
    *d->loads_end = l;
    d->loads_end = &l->next;
    sys_cond_signal(&d->log_wake);
    sys_mutex_unlock(&d->lock);
}

static void send_now(struct driver *d, const struct raft_message *m)
{
    d->options.callbacks.send(d->options.callbacks.arg, m);
}

static void hold(struct driver *d, struct raft_message *m)
{
    if (d->held_count == d->held_capacity) {
        d->held_capacity = d->held_capacity ? d->held_capacity * 2 : 32;
        d->held = sys_realloc(d->held, d->held_capacity * sizeof *d->held);
    }
    raft_message_move(&d->held[d->held_count++], m);
}

static void send_messages(struct driver *d)
{
    struct raft_effects *e = &d->effects;
    for (size_t i = 0; i < e->message_count; i++) {
        struct raft_message *m = &e->messages[i];
        if (m->after > d->persisted_done)
            hold(d, m);
        else
            send_now(d, m);
    }
    sys_mutex_lock(&d->lock);
    d->status.messages_sent += e->message_count;
    sys_mutex_unlock(&d->lock);
}

void driver_release_held(struct driver *d)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->held_count; i++) {
        if (d->held[i].after > d->persisted_done) {
            d->held[kept++] = d->held[i];
            continue;
        }
        send_now(d, &d->held[i]);
        raft_message_release(&d->held[i]);
    }
    d->held_count = kept;
}

static void end_reads(struct driver *d)
{
    for (size_t i = 0; i < d->effects.read_count; i++) {
        const struct raft_read_result *result = &d->effects.reads[i];
        struct driver_item *item = driver_list_pop(&d->reads);
        assert(item && item->read == result->read);
        item->read_done(item->arg, result->err, result->index, result->leased);
        driver_item_free(item);
    }
}

/* What is committed goes to the apply thread from memory, or else from the log, a bounded amount at
 * a time. */
static void hand_to_apply(struct driver *d, const struct raft_entries *entries)
{
    sys_mutex_lock(&d->lock);
    for (size_t i = 0; i < entries->n; i++) {
        if (entries->v[i].index <= d->fed)
            continue; /* asked for before a state was installed that has it */
        assert(entries->v[i].index == d->fed + 1);
        d->fed++;
        raft_entries_push(&d->apply, &entries->v[i]);
        d->apply_bytes += raft_entry_bytes(&entries->v[i]);
    }
    if (!d->gathering || driver_apply_due(d))
        sys_cond_signal(&d->apply_wake);
    sys_mutex_unlock(&d->lock);
}

void driver_feed_apply(struct driver *d)
{
    while (!d->feeding && d->fed < d->apply_to) {
        sys_mutex_lock(&d->lock);
        bool full =
            d->apply_bytes >= DRIVER_APPLY_QUEUE_BYTES || d->apply.n >= DRIVER_APPLY_QUEUE_MAX;
        sys_mutex_unlock(&d->lock);
        if (full)
            return; /* what it applies wakes this thread */
        struct raft_entries some = {0};
        if (raft_entries_cached(d->raft, d->fed + 1, d->apply_to, DRIVER_APPLY_BYTES, &some)) {
            hand_to_apply(d, &some);
        } else {
            d->feeding = true;
            driver_queue_load(d, &(struct raft_load){.first = d->fed + 1,
                                                     .last = d->apply_to,
                                                     .max_bytes = DRIVER_APPLY_BYTES});
        }
        raft_entries_release(&some);
    }
}

void driver_take_loaded(struct driver *d, struct driver_loaded *loaded)
{
    while (loaded) {
        struct driver_loaded *next = loaded->next;
        if (loaded->load.member == 0) {
            d->feeding = false;
            hand_to_apply(d, &loaded->entries);
        } else {
            enum err e = driver_step(d, &(struct raft_event){.type = RAFT_LOADED,
                                                             .member = loaded->load.member,
                                                             .entries = &loaded->entries});
            assert(e == OK);
        }
        driver_loaded_free(loaded);
        loaded = next;
    }
}

void driver_carry_out(struct driver *d)
{
    struct raft_effects *e = &d->effects;
    queue_write(d);
    send_messages(d);
    for (size_t i = 0; i < e->load_count; i++)
        driver_queue_load(d, &e->loads[i]);
    driver_queue_snapshots(d);
    if (e->apply_to > d->apply_to)
        d->apply_to = e->apply_to;
    driver_feed_apply(d);
    end_reads(d);
    if (e->role_changed || e->configuration_changed)
        d->announce = true;
    raft_effects_clear(e);
}
