/* Handing leadership over (thesis, section 3.10): no new proposals, the target catches up, then it is
 * told to stand at once. */
#include "metadata/raft/raft_internal.h"

static bool able(const struct raft *r, size_t i)
{
    const struct raft_progress *p = &r->progress[i];
    return raft_configuration_now(r)->members[i].roles & RAFT_VOTER && p->id != r->options.id &&
           p->heard && (p->active || p->lives) && p->flow != RAFT_SNAPSHOT_FLOW &&
           !p->sending.wants;
}

static const struct raft_progress *best(const struct raft *r)
{
    const struct raft_progress *found = NULL;
    for (size_t i = 0; i < r->progress_count; i++)
        if (able(r, i) && (!found || r->progress[i].match > found->match))
            found = &r->progress[i];
    return found;
}

enum err raft_transfer(struct raft *r, raft_id member)
{
    if (r->role != RAFT_LEADER)
        return ERR_NOT_LEADER;
    if (member == r->options.id)
        return ERR_EXISTS;
    if (r->transfer)
        return member == 0 || member == r->transfer ? OK : ERR_BUSY;
    int position = member ? raft_position(r, member) : -1;
    const struct raft_progress *p = member == 0 ? best(r) : NULL;
    if (position >= 0 && able(r, (size_t)position))
        p = &r->progress[position];
    if (!p)
        return ERR_NOT_FOUND;
    r->transfer = p->id;
    r->transfer_elapsed = 0;
    raft_lease_drop(r);
    raft_transfer_try(r, p);
    return OK;
}

static void tell(struct raft *r, raft_id member)
{
    raft_lease_drop(r);
    r->lease_off = true;
    struct raft_message *m = raft_send(r, RAFT_TIMEOUT_NOW, member);
    m->index = raft_last_index(r);
    m->log_term = raft_last_term(r);
}

void raft_transfer_try(struct raft *r, const struct raft_progress *p)
{
    if (r->role == RAFT_LEADER && r->transfer == p->id && p->match == raft_last_index(r))
        tell(r, p->id);
}

/* The target did not make it within an election timeout: this leader goes on. */
void raft_transfer_tick(struct raft *r)
{
    if (!r->transfer || ++r->transfer_elapsed < r->options.election_min_ticks)
        return;
    r->transfer = 0;
    if (r->resigning)
        raft_become_follower(r, r->term, 0);
}

/* A leader that is no member any more steps down (thesis, section 4.2.2); nobody need wait for a
 * timeout. */
void raft_transfer_before_leaving(struct raft *r)
{
    const struct raft_progress *p = best(r);
    if (p && p->match == raft_last_index(r))
        tell(r, p->id);
}

/* Hazard 23. */
void raft_resign(struct raft *r)
{
    if (r->role != RAFT_LEADER) {
        raft_become_follower(r, r->term, r->leader); /* nor does it stand while its disk hangs */
        return;
    }
    r->resigning = true;
    if (raft_transfer(r, 0))
        raft_become_follower(r, r->term, 0);
}

void raft_recv_timeout_now(struct raft *r, const struct raft_message *m)
{
    if (r->role != RAFT_FOLLOWER || !raft_self_votes(r) || r->discarded || r->install.complete ||
        raft_last_index(r) < m->index)
        return;
    raft_stand(r, true);
}
