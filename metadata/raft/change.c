/* Membership (Raft, section 6; thesis, chapter 4): one change at a time, effective on append. A
 * learner becomes a voter, and a voter leaves, through a joint configuration, which the leader leaves
 * once it is committed. */
#include <string.h>
#include "common/base/alloc.h"
#include "metadata/raft/raft_internal.h"

enum { PROMOTE_LAG_MAX = 4096 }; /* entries that a learner may lack */

enum err raft_configuration_push(struct raft *r, const struct raft_entry *e)
{
    struct raft_configuration c;
    const struct raft_payload *p = e->payload;
    if (!p || raft_configuration_decode(p->data, p->length, &c))
        return ERR_FORMAT;
    if (r->configuration_count == r->configuration_capacity) {
        r->configuration_capacity *= 2;
        r->configurations =
            sys_realloc(r->configurations, r->configuration_capacity * sizeof *r->configurations);
    }
    r->configurations[r->configuration_count++] =
        (struct raft_configuration_at){.index = e->index, .c = c};
    return OK;
}

/* The first is committed, or the empty one of a joining member, so there always is one left. */
void raft_configuration_truncate(struct raft *r, uint64_t from)
{
    while (r->configuration_count > 1 &&
           r->configurations[r->configuration_count - 1].index >= from) {
        r->configuration_count--;
        r->effects->configuration_changed = true;
    }
}

/* What is committed cannot be truncated, so what was before it is not needed. */
void raft_configuration_settle(struct raft *r)
{
    size_t keep = 0;
    while (keep + 1 < r->configuration_count && r->configurations[keep + 1].index <= r->log.commit)
        keep++;
    memmove(r->configurations, r->configurations + keep,
            (r->configuration_count - keep) * sizeof *r->configurations);
    r->configuration_count -= keep;
}

static enum err append_configuration(struct raft *r, const struct raft_configuration *c)
{
    struct raft_payload *payload = raft_configuration_encode(c);
    bool done = raft_leader_append(r, RAFT_ENTRY_CONFIGURATION, payload);
    raft_payload_unref(payload);
    if (!done)
        return ERR_INVALID;
    raft_replicate_all(r);
    return OK;
}

static void leave_joint(struct raft *r)
{
    const struct raft_configuration *now = raft_configuration_now(r);
    struct raft_configuration next = {0};
    for (size_t i = 0; i < now->count; i++) {
        struct raft_member m = now->members[i];
        m.roles &= (uint8_t)~RAFT_OUTGOING;
        if (m.roles)
            next.members[next.count++] = m;
    }
    enum err e = append_configuration(r, &next);
    (void)e; /* what this member encoded decodes */
}

/* Those whom nobody sends anything any more; what is lost here they learn when they stand. */
static void tell_departed(struct raft *r)
{
    for (size_t i = 0; i < r->departed_count; i++) {
        struct raft_message *m = raft_send(r, RAFT_PRE_VOTE_REPLY, r->departed[i]);
        m->reject = true;
        m->hint_index = raft_configuration_index(r);
    }
    r->departed_count = 0;
}

void raft_change_committed(struct raft *r)
{
    const struct raft_configuration *now = raft_configuration_now(r);
    if (raft_configuration_index(r) > r->log.commit)
        return;
    if (raft_configuration_joint(now)) {
        leave_joint(r);
        return;
    }
    tell_departed(r);
    /* Thesis, section 4.2.2: a leader that leaves leads until that is committed. */
    if (raft_position(r, r->options.id) < 0) {
        raft_transfer_before_leaving(r);
        raft_become_follower(r, r->term, 0);
    }
}

static enum err add_learner(struct raft_configuration *c, raft_id id, const char *address)
{
    const struct raft_member *m = raft_configuration_find(c, id);
    if (!m)
        return raft_configuration_set(c, id, RAFT_LEARNER, address);
    if (!address || strcmp(m->address, address) == 0)
        return ERR_EXISTS;
    return raft_configuration_set(c, id, m->roles, address);
}

/* Raft, section 6: both majorities decide until the joint configuration is committed. */
static void join(struct raft_configuration *c)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->members[i].roles & RAFT_VOTER)
            c->members[i].roles |= RAFT_OUTGOING;
}

static struct raft_member *find(struct raft_configuration *c, raft_id id)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->members[i].id == id)
            return &c->members[i];
    return NULL;
}

static enum err promote(struct raft *r, struct raft_configuration *c, raft_id id, raft_id replaces)
{
    struct raft_member *old = find(c, replaces);
    if (replaces && (!old || !(old->roles & RAFT_VOTER)))
        return ERR_NOT_FOUND;
    struct raft_member *m = find(c, id);
    if (!m)
        return ERR_NOT_FOUND;
    if (!(m->roles & RAFT_LEARNER))
        return ERR_EXISTS;
    const struct raft_progress *p = &r->progress[raft_position(r, id)];
    if (!p->heard || p->flow != RAFT_REPLICATE || p->sending.wants ||
        p->match + PROMOTE_LAG_MAX < raft_last_index(r))
        return ERR_BUSY;
    join(c);
    m->roles = RAFT_VOTER;
    if (replaces)
        old->roles = RAFT_OUTGOING;
    return OK;
}

static enum err leave(struct raft_configuration *c, raft_id id)
{
    struct raft_member *m = find(c, id);
    if (!m)
        return ERR_NOT_FOUND;
    if (m->roles == RAFT_LEARNER)
        return raft_configuration_set(c, id, 0, NULL);
    join(c);
    m->roles = RAFT_OUTGOING;
    for (size_t i = 0; i < c->count; i++)
        if (c->members[i].roles & RAFT_VOTER)
            return OK;
    return ERR_INVALID;
}

enum err raft_change(struct raft *r, const struct raft_event *event)
{
    if (r->role != RAFT_LEADER)
        return ERR_NOT_LEADER;
    const struct raft_configuration *now = raft_configuration_now(r);
    if (r->transfer || !raft_leader_ready(r) || raft_configuration_joint(now) ||
        raft_configuration_index(r) > r->log.commit)
        return ERR_BUSY;
    struct raft_configuration next = *now;
    enum err e = ERR_INVALID;
    switch (event->change) {
    case RAFT_ADD_LEARNER:
        e = add_learner(&next, event->member, event->address);
        break;
    case RAFT_PROMOTE:
        e = promote(r, &next, event->member, event->replaces);
        break;
    case RAFT_REMOVE:
        e = leave(&next, event->member);
        break;
    }
    if (e)
        return e;
    r->effects->proposed_first = raft_last_index(r) + 1;
    r->effects->proposed_term = r->term;
    return append_configuration(r, &next);
}
