/* The driver thread: gathers what has come in, steps the core with it, carries the effects out. */
#include "metadata/driver.h"
#include <assert.h>
#include <string.h>
#include "common/sys/log.h"
#include "metadata/driver_internal.h"

enum { STEPS_PER_ROUND = 1024, LOG_BYTES_DEFAULT = 256 << 20 };

void driver_list_push(struct driver_list *l, struct driver_item *item)
{
    item->next = NULL;
    if (l->last)
        l->last->next = item;
    else
        l->first = item;
    l->last = item;
    l->n++;
}

struct driver_item *driver_list_pop(struct driver_list *l)
{
    struct driver_item *item = l->first;
    if (!item)
        return NULL;
    l->first = item->next;
    if (!l->first)
        l->last = NULL;
    l->n--;
    return item;
}

void driver_item_free(struct driver_item *item)
{
    raft_message_release(&item->message);
    raft_payload_unref(item->payload);
    sys_free(item->address);
    sys_free(item);
}

/* A leader of another term, or none any more: what it had proposed it can no longer vouch for. */
enum err driver_step(struct driver *d, const struct raft_event *event)
{
    struct raft_event timed = *event;
    timed.now = d->now;
    enum err e = raft_step(d->raft, &timed, &d->effects);
    uint64_t leading = raft_is_leader(d->raft) ? raft_term(d->raft) : 0;
    if (leading != d->leading_term) {
        d->leading_term = leading;
        driver_pending_close(d);
    }
    if (d->effects.violation) {
        log_error("raft",
                  "%s: this member stops; keep its directory for whoever looks into it, cairn raft "
                  "remove the member, and let a new one join from an empty directory",
                  d->effects.violation);
        sys_exit(1, d->effects.violation);
    }
    return e;
}

static void end_item(struct driver *d, struct driver_item *item, enum err e)
{
    if (item->type == ITEM_PROPOSE) {
        sys_mutex_lock(&d->lock);
        d->proposals--;
        sys_mutex_unlock(&d->lock);
    }
    if (item->done)
        item->done(item->arg, e, 0, 0, NULL, 0);
    if (item->read_done)
        item->read_done(item->arg, e, 0, false);
    driver_item_free(item);
}

/* All proposals that wait go to the core at once, so that they leave in one append. */
static void step_proposals(struct driver *d, struct driver_list *proposals)
{
    size_t n = proposals->n;
    if (n == 0)
        return;
    struct raft_payload **payloads = sys_alloc(n * sizeof *payloads);
    size_t i = 0;
    for (struct driver_item *p = proposals->first; p; p = p->next)
        payloads[i++] = p->payload;
    struct raft_event event = {.type = RAFT_PROPOSE, .payloads = payloads, .count = n};
    enum err e = driver_step(d, &event);
    uint64_t first = d->effects.proposed_first, term = d->effects.proposed_term;
    for (i = 0; i < n; i++) {
        struct driver_item *item = driver_list_pop(proposals);
        if (e) {
            end_item(d, item, e);
            continue;
        }
        driver_pending_add(d, first + i, term, item->done, item->arg);
        driver_item_free(item);
    }
    sys_free(payloads);
}

static void step_change(struct driver *d, struct driver_item *item)
{
    struct raft_event event = {.type = RAFT_CHANGE,
                               .change = item->change,
                               .member = item->member,
                               .address = item->address};
    enum err e = driver_step(d, &event);
    if (e) {
        end_item(d, item, e);
        return;
    }
    sys_mutex_lock(&d->lock);
    d->proposals++;
    sys_mutex_unlock(&d->lock);
    driver_pending_add(d, d->effects.proposed_first, d->effects.proposed_term, item->done,
                       item->arg);
    driver_item_free(item);
}

static void step_read(struct driver *d, struct driver_item *item)
{
    item->read = ++d->read_number;
    driver_list_push(&d->reads, item); /* before the step: its answer may be among the effects */
    struct raft_event event = {.type = RAFT_READ, .read = item->read, .lease = item->lease};
    enum err e = driver_step(d, &event);
    if (!e)
        return;
    struct driver_list kept = {0};
    struct driver_item *other;
    while ((other = driver_list_pop(&d->reads)))
        if (other != item)
            driver_list_push(&kept, other);
    d->reads = kept;
    end_item(d, item, e);
}

static void step_items(struct driver *d, struct driver_list *items)
{
    struct driver_list proposals = {0};
    struct driver_item *item;
    while ((item = driver_list_pop(items))) {
        if (item->type == ITEM_PROPOSE) {
            driver_list_push(&proposals, item);
            continue;
        }
        if (item->type == ITEM_MESSAGE) {
            struct raft_event event = {.type = RAFT_MESSAGE, .message = &item->message};
            enum err e = driver_step(d, &event);
            assert(e == OK);
            driver_item_free(item);
        } else if (item->type == ITEM_READ) {
            step_read(d, item);
        } else if (item->type == ITEM_COMPACT) {
            driver_compact_start(d, item);
        } else if (item->type == ITEM_TRANSFER) {
            struct raft_event event = {.type = RAFT_TRANSFER, .member = item->member};
            end_item(d, item, driver_step(d, &event));
        } else {
            step_change(d, item);
        }
    }
    step_proposals(d, &proposals);
}

static void must(enum err e)
{
    assert(e == OK);
}

static void step_progress(struct driver *d, uint64_t persisted, uint64_t applied)
{
    if (persisted > d->persisted_done) {
        d->persisted_done = persisted;
        must(driver_step(d, &(struct raft_event){.type = RAFT_PERSISTED, .sequence = persisted}));
        driver_release_held(d);
    }
    if (applied > d->applied_done) {
        d->applied_done = applied;
        must(driver_step(d, &(struct raft_event){.type = RAFT_APPLIED, .index = applied}));
    }
}

/* Hazards 23 and 6: heartbeats must not keep a leader in office whose disk hangs, or whom its clock
 * does not allow to lead; nor does such a member stand. */
static void step_tick(struct driver *d, bool stalled)
{
    const struct driver_callbacks *c = &d->options.callbacks;
    bool fit = !c->tick || c->tick(c->arg);
    if (stalled || !fit) {
        if (raft_is_leader(d->raft))
            log_warn("raft", "%s, leadership is given up term=%llu",
                     stalled ? "the log or the state stands still" : "the clock is off",
                     (unsigned long long)raft_term(d->raft));
        must(driver_step(d, &(struct raft_event){.type = RAFT_RESIGN}));
    }
    must(driver_step(d, &(struct raft_event){.type = RAFT_TICK}));
}

static bool stalled_at(const struct driver *d, int64_t now)
{
    return (d->log_busy_since && now - d->log_busy_since >= d->options.stall) ||
           (d->apply_busy_since && now - d->apply_busy_since >= d->options.stall);
}

static void publish(struct driver *d)
{
    struct raft_status now;
    raft_status(d->raft, &now);
    sys_mutex_lock(&d->lock);
    d->status.raft = now;
    d->status.leader_ready = raft_leader_ready(d->raft);
    if (d->gathering && driver_apply_due(d))
        sys_cond_signal(&d->apply_wake);
    sys_mutex_unlock(&d->lock);
    if (d->announce && d->options.callbacks.changed)
        d->options.callbacks.changed(d->options.callbacks.arg, &now);
    d->announce = false;
    driver_compact_step(d, &now);
}

/* A lease that the core has dropped is gone before anybody is told to stand. */
static void publish_lease(struct driver *d)
{
    sys_mutex_lock(&d->lock);
    d->lease_until = raft_lease_until(d->raft);
    sys_mutex_unlock(&d->lock);
}

static bool work_waits(const struct driver *d)
{
    return d->items.n || d->persisted > d->persisted_done || d->applied > d->applied_done ||
           d->loaded_first || d->snapshots_done.first || d->compacted > d->compacted_done ||
           (d->compactable > d->compacted && d->compact_to == 0);
}

static struct driver_list take_items(struct driver *d)
{
    struct driver_list taken = {0};
    while (taken.n < STEPS_PER_ROUND && d->items.n) {
        struct driver_item *item = driver_list_pop(&d->items);
        if (item->type == ITEM_MESSAGE) {
            d->message_count--;
            d->message_bytes -= raft_message_bytes(&item->message);
        } else if (item->type == ITEM_READ) {
            d->reads_queued--;
        } else if (item->type != ITEM_PROPOSE) {
            d->changes_queued--;
        }
        driver_list_push(&taken, item);
    }
    return taken;
}

static void run(void *arg)
{
    struct driver *d = arg;
    int64_t next_tick = sys_now() + d->options.tick;
    d->announce = true;
    driver_carry_out(d);
    publish(d);
    sys_mutex_lock(&d->lock);
    while (!d->stopping) {
        if (!work_waits(d))
            (void)sys_cond_wait(&d->wake, &d->lock, next_tick);
        struct driver_list items = take_items(d);
        uint64_t persisted = d->persisted, applied = d->applied;
        struct driver_loaded *loaded = d->loaded_first;
        d->loaded_first = NULL;
        d->loaded_end = &d->loaded_first;
        struct driver_snapshot_list snapshots = d->snapshots_done;
        d->snapshots_done = (struct driver_snapshot_list){0};
        sys_mutex_unlock(&d->lock);
        d->now = sys_boottime();

        step_progress(d, persisted, applied);
        driver_take_loaded(d, loaded);
        driver_take_snapshots(d, snapshots);
        step_items(d, &items);
        int64_t now = sys_now();
        if (now >= next_tick) {
            sys_mutex_lock(&d->lock);
            bool stalled = d->status.stalled = stalled_at(d, now);
            sys_mutex_unlock(&d->lock);
            step_tick(d, stalled);
            /* Ticks that were missed are not made up for: time that this process slept is no
             * silence of the leader's. */
            next_tick += d->options.tick;
            if (next_tick <= now)
                next_tick = now + d->options.tick;
        }
        publish_lease(d);
        driver_carry_out(d);
        publish(d);
        sys_mutex_lock(&d->lock);
    }
    sys_mutex_unlock(&d->lock);
}

static void defaults(struct driver_options *o)
{
    if (!o->tick)
        o->tick = 100 * SYS_MS;
    if (!o->idle_mark)
        o->idle_mark = 50 * SYS_MS;
    if (!o->stall)
        o->stall = 2 * SYS_SECOND;
    if (!o->log_bytes)
        o->log_bytes = LOG_BYTES_DEFAULT;
}

/* D8: a crash between the switch to an installed state and the log's reset. */
static enum err reset_behind_installed(struct driver *d, struct log_recovery *found)
{
    const struct raft_snapshot *at = &d->options.installed;
    if (at->index == 0 || at->index != d->options.applied || at->index <= found->terms.base_index ||
        term_runs_at(&found->terms, at->index) == at->term)
        return OK;
    log_store_reset(d->log, at->index, at->term, &at->configuration);
    log_store_close(d->log);
    d->log = NULL;
    log_recovery_release(found);
    return log_store_open(&d->options.log, &d->log, found);
}

/* Whether log and state can be of one member. */
static enum err check_state(const struct driver *d, const struct log_recovery *found)
{
    const struct driver_options *o = &d->options;
    const char *log = o->log.directory;
    if (o->discarded)
        return OK;
    if (o->applied < found->terms.base_index) {
        log_error("raft",
                  "the state is gone or older than the log, which begins behind entry %llu: remove "
                  "this member and let a new one join from an empty directory log=%s applied=%llu",
                  (unsigned long long)found->terms.base_index, log, (unsigned long long)o->applied);
        return ERR_CORRUPT;
    }
    if (o->applied > found->terms.last_index ||
        (o->applied_term && term_runs_at(&found->terms, o->applied) != o->applied_term)) {
        log_error("raft",
                  "the log does not hold what the state has applied: remove this member and let a "
                  "new one join from an empty directory log=%s last=%llu applied=%llu",
                  log, (unsigned long long)found->terms.last_index, (unsigned long long)o->applied);
        return ERR_CORRUPT;
    }
    return OK;
}

static enum err open_core(struct driver *d, struct log_store_identity *identity)
{
    struct log_recovery found;
    enum err e = log_store_open(&d->options.log, &d->log, &found);
    if (!e)
        e = reset_behind_installed(d, &found);
    if (e)
        return e;
    d->compacted = d->compacted_done = found.terms.base_index;
    if (identity)
        *identity = found.identity;
    struct raft_options options = {
        .id = found.identity.member,
        .election_min_ticks = d->options.election_min_ticks,
        .election_max_ticks = d->options.election_max_ticks,
        .cache_bytes = d->options.cache_bytes,
        .promise_ns = DRIVER_PROMISE,
        .lease_ns = d->options.lease < DRIVER_PROMISE ? d->options.lease : DRIVER_PROMISE,
    };
    sys_random(&options.seed, sizeof options.seed);
    struct raft_restored restored = {
        .hard = found.hard,
        .terms = &found.terms,
        .configurations = found.configurations.v,
        .configuration_count = found.configurations.n,
        .applied = d->options.applied,
        .discarded = d->options.discarded,
    };
    e = check_state(d, &found);
    if (!e)
        e = raft_new(&options, &restored, &d->raft);
    log_recovery_release(&found);
    return e;
}

static void release(struct driver *d)
{
    if (d->raft)
        raft_free(d->raft);
    if (d->log)
        log_store_close(d->log);
    for (size_t i = 0; i < d->held_count; i++)
        raft_message_release(&d->held[i]);
    sys_free(d->held);
    raft_effects_release(&d->effects);
    raft_entries_release(&d->write.entries);
    raft_payload_unref(d->write.reset.configuration.payload);
    raft_entries_release(&d->apply);
    struct driver_loaded *l;
    while ((l = d->loads_first)) {
        d->loads_first = l->next;
        driver_loaded_free(l);
    }
    while ((l = d->loaded_first)) {
        d->loaded_first = l->next;
        driver_loaded_free(l);
    }
    driver_snapshots_release(&d->snapshots);
    driver_snapshots_release(&d->snapshots_done);
    sys_free(d->pending);
    sys_cond_release(&d->snapshot_wake);
    sys_cond_release(&d->wake);
    sys_cond_release(&d->log_wake);
    sys_cond_release(&d->apply_wake);
    sys_mutex_release(&d->lock);
    sys_free(d);
}

enum err driver_create(const struct log_store_options *log,
                       const struct log_store_identity *identity,
                       const struct raft_configuration *bootstrap)
{
    if (!bootstrap)
        return log_store_create(log, identity, NULL);
    struct raft_entry first = raft_bootstrap_entry(bootstrap);
    enum err e = log_store_create(log, identity, &first);
    raft_payload_unref(first.payload);
    return e;
}

static enum err start_threads(struct driver *d)
{
    enum err e = sys_thread_start(&d->log_thread, "raft-log", 0, driver_log_run, d);
    if (!e)
        e = sys_thread_start(&d->apply_thread, "raft-apply", 1 << 20, driver_apply_run, d);
    if (!e)
        e = sys_thread_start(&d->snapshot_thread, "raft-snapshot", 1 << 20, driver_snapshot_run, d);
    if (!e)
        e = sys_thread_start(&d->driver_thread, "raft", 0, run, d);
    return e;
}

enum err driver_start(const struct driver_options *options, struct log_store_identity *identity,
                      struct driver **out)
{
    struct driver *d = sys_alloc(sizeof *d);
    d->options = *options;
    defaults(&d->options);
    sys_mutex_init(&d->lock);
    sys_cond_init(&d->wake);
    sys_cond_init(&d->log_wake);
    sys_cond_init(&d->apply_wake);
    sys_cond_init(&d->snapshot_wake);
    d->loads_end = &d->loads_first;
    d->loaded_end = &d->loaded_first;
    d->pending = sys_alloc(DRIVER_PROPOSALS_MAX * sizeof *d->pending);
    raft_effects_init(&d->effects);
    d->applied = d->applied_done = d->fed = options->applied;
    enum err e = open_core(d, identity);
    if (e) {
        release(d);
        return e;
    }
    d->apply_to = raft_handed(d->raft);
    raft_status(d->raft, &d->status.raft);
    e = start_threads(d);
    if (e) {
        driver_stop(d);
        return e;
    }
    *out = d;
    return OK;
}

static void stop_thread(struct driver *d, bool *flag, struct sys_cond *cond,
                        struct sys_thread *thread)
{
    sys_mutex_lock(&d->lock);
    *flag = true;
    sys_cond_broadcast(cond);
    sys_mutex_unlock(&d->lock);
    if (thread)
        sys_thread_join(thread);
}

void driver_stop(struct driver *d)
{
    stop_thread(d, &d->stopping, &d->wake, d->driver_thread);
    stop_thread(d, &d->snapshot_stopping, &d->snapshot_wake, d->snapshot_thread);
    stop_thread(d, &d->apply_stopping, &d->apply_wake, d->apply_thread);
    stop_thread(d, &d->log_stopping, &d->log_wake, d->log_thread);
    struct driver_item *item;
    while ((item = driver_list_pop(&d->items)))
        end_item(d, item, ERR_CLOSED);
    while ((item = driver_list_pop(&d->reads)))
        end_item(d, item, ERR_CLOSED);
    while ((item = driver_list_pop(&d->compactions)))
        end_item(d, item, ERR_CLOSED);
    driver_pending_close(d);
    release(d);
}
