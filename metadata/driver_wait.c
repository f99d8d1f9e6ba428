/* What other threads ask of the driver: queued for its thread, or waited for. */
#include <assert.h>
#include <stdatomic.h>
#include <string.h>
#include "metadata/driver_internal.h"

static struct driver_item *new_item(enum driver_item_type type, void *arg)
{
    struct driver_item *item = sys_alloc(sizeof *item);
    item->type = type;
    item->arg = arg;
    return item;
}

/* Locked; unlocks. */
static void queue_item(struct driver *d, struct driver_item *item)
{
    driver_list_push(&d->items, item);
    sys_cond_signal(&d->wake);
    sys_mutex_unlock(&d->lock);
}

enum err driver_receive(struct driver *d, struct raft_message *m)
{
    size_t bytes = raft_message_bytes(m);
    sys_mutex_lock(&d->lock);
    d->status.messages_received++;
    if (d->stopping || d->message_count >= DRIVER_MESSAGES_MAX ||
        d->message_bytes + bytes > DRIVER_MESSAGE_BYTES) {
        d->status.messages_dropped++;
        sys_mutex_unlock(&d->lock);
        raft_message_release(m);
        return ERR_BUSY;
    }
    d->message_count++;
    d->message_bytes += bytes;
    struct driver_item *item = new_item(ITEM_MESSAGE, NULL);
    raft_message_move(&item->message, m);
    queue_item(d, item);
    return OK;
}

enum err driver_propose_start(struct driver *d, const void *data, size_t n, driver_proposed *done,
                              void *arg)
{
    if (n > RAFT_COMMAND_MAX)
        return ERR_TOO_BIG;
    struct raft_payload *payload = raft_payload_new(data, n);
    sys_mutex_lock(&d->lock);
    enum err e = d->stopping                                                 ? ERR_STOPPING
                 : d->status.raft.role != RAFT_LEADER                        ? ERR_NOT_LEADER
                 : d->proposals >= DRIVER_PROPOSALS_MAX - DRIVER_CHANGES_MAX ? ERR_BUSY
                                                                             : OK;
    if (e) {
        sys_mutex_unlock(&d->lock);
        raft_payload_unref(payload);
        return e;
    }
    d->proposals++;
    struct driver_item *item = new_item(ITEM_PROPOSE, arg);
    item->payload = payload;
    item->done = done;
    queue_item(d, item);
    return OK;
}

enum err driver_read_start(struct driver *d, bool lease, driver_read_done *done, void *arg)
{
    sys_mutex_lock(&d->lock);
    enum err e = d->stopping                                  ? ERR_STOPPING
                 : d->status.raft.role != RAFT_LEADER         ? ERR_NOT_LEADER
                 : d->reads_queued >= DRIVER_READS_QUEUED_MAX ? ERR_BUSY
                                                              : OK;
    if (e) {
        sys_mutex_unlock(&d->lock);
        return e;
    }
    d->reads_queued++;
    struct driver_item *item = new_item(ITEM_READ, arg);
    item->read_done = done;
    item->lease = lease;
    queue_item(d, item);
    return OK;
}

/* What is rare: bounded by one number for all. address may be NULL. */
static enum err item_start(struct driver *d, const struct driver_item *what, const char *address,
                           driver_proposed *done, void *arg)
{
    if (address && strlen(address) > RAFT_ADDRESS_MAX)
        return ERR_TOO_BIG;
    sys_mutex_lock(&d->lock);
    enum err e = d->stopping                               ? ERR_STOPPING
                 : d->changes_queued >= DRIVER_CHANGES_MAX ? ERR_BUSY
                                                           : OK;
    if (e) {
        sys_mutex_unlock(&d->lock);
        return e;
    }
    d->changes_queued++;
    struct driver_item *item = new_item(what->type, arg);
    item->change = what->change;
    item->member = what->member;
    item->done = done;
    if (address)
        item->address = memcpy(sys_alloc(strlen(address) + 1), address, strlen(address) + 1);
    queue_item(d, item);
    return OK;
}

/* ---- waiting ---- */

/* Held by the one who waits and by the one who ends it; the last lets it go. */
struct waiter {
    struct sys_mutex lock;
    struct sys_cond cond;
    _Atomic uint32_t refs;
    bool done;
    enum err err;
    struct driver_result result;
};

static struct waiter *waiter_new(void)
{
    struct waiter *w = sys_alloc(sizeof *w);
    sys_mutex_init(&w->lock);
    sys_cond_init(&w->cond);
    atomic_init(&w->refs, 2);
    return w;
}

static void waiter_unref(struct waiter *w)
{
    if (atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1)
        return;
    sys_cond_release(&w->cond);
    sys_mutex_release(&w->lock);
    sys_free(w->result.reply);
    sys_free(w);
}

static void proposed(void *arg, enum err err, uint64_t index, uint64_t term, const void *reply,
                     size_t reply_length)
{
    struct waiter *w = arg;
    sys_mutex_lock(&w->lock);
    w->done = true;
    w->err = err;
    w->result.index = index;
    w->result.term = term;
    if (reply_length) {
        w->result.reply = memcpy(sys_alloc(reply_length), reply, reply_length);
        w->result.reply_length = reply_length;
    }
    sys_cond_signal(&w->cond);
    sys_mutex_unlock(&w->lock);
    waiter_unref(w);
}

/* A read has no term: leased takes its place. */
static void read_done(void *arg, enum err err, uint64_t index, bool leased)
{
    proposed(arg, err, index, leased, NULL, 0);
}

/* started: whether the other side will end it. */
static enum err wait_for(struct waiter *w, enum err started, int64_t deadline,
                         struct driver_result *out)
{
    if (started) {
        waiter_unref(w);
        waiter_unref(w);
        return started;
    }
    enum err e = OK;
    sys_mutex_lock(&w->lock);
    while (!w->done && e == OK)
        e = sys_cond_wait(&w->cond, &w->lock, deadline);
    e = w->done ? w->err : ERR_TIMEOUT;
    if (e == OK && out) {
        *out = w->result;
        w->result.reply = NULL;
    }
    sys_mutex_unlock(&w->lock);
    waiter_unref(w);
    return e;
}

enum err driver_propose(struct driver *d, const void *data, size_t n, int64_t deadline,
                        struct driver_result *out)
{
    struct waiter *w = waiter_new();
    return wait_for(w, driver_propose_start(d, data, n, proposed, w), deadline, out);
}

enum err driver_read_barrier(struct driver *d, int64_t deadline)
{
    struct waiter *w = waiter_new();
    return wait_for(w, driver_read_start(d, false, read_done, w), deadline, NULL);
}

enum err driver_read_leased(struct driver *d, int64_t deadline, bool *leased)
{
    struct waiter *w = waiter_new();
    struct driver_result result = {0};
    enum err e = wait_for(w, driver_read_start(d, true, read_done, w), deadline, &result);
    *leased = result.term != 0;
    return e;
}

enum err driver_change(struct driver *d, enum raft_change_type change, raft_id member,
                       const char *address, int64_t deadline)
{
    struct waiter *w = waiter_new();
    const struct driver_item item = {.type = ITEM_CHANGE, .change = change, .member = member};
    return wait_for(w, item_start(d, &item, address, proposed, w), deadline, NULL);
}

enum err driver_compact(struct driver *d, int64_t deadline, uint64_t *index)
{
    struct waiter *w = waiter_new();
    struct driver_result result = {0};
    const struct driver_item item = {.type = ITEM_COMPACT};
    enum err e = wait_for(w, item_start(d, &item, NULL, proposed, w), deadline, &result);
    *index = result.index;
    return e;
}

enum err driver_transfer(struct driver *d, raft_id member, int64_t deadline)
{
    struct waiter *w = waiter_new();
    const struct driver_item item = {.type = ITEM_TRANSFER, .member = member};
    return wait_for(w, item_start(d, &item, NULL, proposed, w), deadline, NULL);
}

/* ---- asking ---- */

void driver_status(struct driver *d, struct driver_status *out)
{
    sys_mutex_lock(&d->lock);
    *out = d->status;
    out->applied = d->applied;
    out->waiting_proposals = d->proposals;
    out->queued_events = d->items.n;
    sys_mutex_unlock(&d->lock);
}

/* The clock comes last: a process that sleeps before it wakes up to a lease that is over. */
bool driver_lease_holds(struct driver *d)
{
    sys_mutex_lock(&d->lock);
    int64_t until = d->lease_until;
    sys_mutex_unlock(&d->lock);
    return sys_boottime() < until;
}

bool driver_is_leader(struct driver *d)
{
    sys_mutex_lock(&d->lock);
    bool leads = d->status.raft.role == RAFT_LEADER;
    sys_mutex_unlock(&d->lock);
    return leads;
}

bool driver_stalled(struct driver *d)
{
    sys_mutex_lock(&d->lock);
    bool stalled = d->status.stalled;
    sys_mutex_unlock(&d->lock);
    return stalled;
}
