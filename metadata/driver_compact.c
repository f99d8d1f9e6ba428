/* How long the log gets. It is compacted in the background when its segments outgrow their bound, or
 * when somebody asks; never beyond what is applied durably (hazard 1), and not while a follower that
 * lives still needs it or is being sent a snapshot (hazard 11), unless that takes DRIVER_PIN times the
 * bound: then such a follower gets another snapshot.
 *
 * The log is told how far only in driver_compact_step, when all effects are carried out: a state that was just
 * installed is ahead of the log until the log has been told of its reset. */
#include <string.h>
#include "metadata/driver_internal.h"

/* What followers need begins behind it. */
static uint64_t needed_from(const struct raft_status *s)
{
    uint64_t least = UINT64_MAX;
    if (s->role != RAFT_LEADER)
        return least;
    for (size_t i = 0; i < s->configuration.count; i++) {
        const struct raft_member_status *m = &s->members[i];
        if (m->id == s->id || !m->active)
            continue;
        uint64_t has = m->match;
        if (m->sending && m->snapshot_index > has)
            has = m->snapshot_index;
        if (has < least)
            least = has;
    }
    return least;
}

/* Those who asked and have it now. */
static void end_compactions(struct driver *d, uint64_t base)
{
    struct driver_list kept = {0};
    struct driver_item *item;
    while ((item = driver_list_pop(&d->compactions))) {
        if (item->read > base) {
            driver_list_push(&kept, item);
            continue;
        }
        item->done(item->arg, OK, base, 0, NULL, 0);
        driver_item_free(item);
    }
    d->compactions = kept;
}

/* item->read: the index that is waited for. */
void driver_compact_start(struct driver *d, struct driver_item *item)
{
    struct raft_status s;
    raft_status(d->raft, &s);
    uint64_t needed = needed_from(&s);
    sys_mutex_lock(&d->lock);
    item->read = d->applied < needed ? d->applied : needed;
    sys_mutex_unlock(&d->lock);
    if (d->compact_asked < item->read)
        d->compact_asked = item->read;
    driver_list_push(&d->compactions, item);
}

void driver_compact_step(struct driver *d, const struct raft_status *status)
{
    uint64_t needed = needed_from(status);
    sys_mutex_lock(&d->lock);
    uint64_t base = d->compacted;
    if (d->compact_asked > base && d->compact_asked > d->compact_to) {
        d->compact_to = d->compact_asked;
        sys_cond_signal(&d->log_wake);
    }
    d->compact_asked = 0;
    if (d->compactable) {
        bool pinned = d->status.log.used_bytes <= DRIVER_PIN * d->options.log_bytes;
        uint64_t to = d->compactable;
        if (to > d->applied)
            to = d->applied;
        if (pinned && to > needed)
            to = needed;
        if (to > base && d->compact_to == 0) {
            d->compact_to = to;
            sys_cond_signal(&d->log_wake);
        }
        d->compactable = 0; /* until the log says so again */
    }
    sys_mutex_unlock(&d->lock);
    if (base > d->compacted_done) {
        d->compacted_done = base;
        struct raft_event event = {.type = RAFT_COMPACTED, .index = base};
        if (driver_step(d, &event) != OK)
            return;
    }
    end_compactions(d, base);
}
