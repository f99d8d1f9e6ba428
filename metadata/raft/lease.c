/* Reads without asking (thesis, section 6.4.1), only when options.lease_ns is set. Who hears a leader
 * promises by its own clock to help nobody else for lease_ns; a leader that a quorum has answered
 * trusts nine tenths of that, from when it asked (hazard 14). */
#include "metadata/raft/raft_internal.h"

/* A restarted member does not know what it promised. */
void raft_lease_time(struct raft *r, int64_t now)
{
    if (r->options.lease_ns == 0)
        return;
    if (!r->timed || now > r->now)
        r->now = now;
    if (!r->timed)
        raft_lease_promise(r, 0);
    r->timed = true;
}

void raft_lease_promise(struct raft *r, raft_id leader)
{
    if (r->options.lease_ns == 0)
        return;
    r->promise_until = r->now + r->options.lease_ns;
    r->promise_to = leader;
}

bool raft_lease_promised(const struct raft *r, raft_id candidate)
{
    return r->options.lease_ns && r->now < r->promise_until &&
           (r->promise_to == 0 || r->promise_to != candidate);
}

/* At each heartbeat, so that the lease is renewed before it ends. */
void raft_lease_renew(struct raft *r)
{
    if (r->options.lease_ns == 0 || r->round != r->round_done)
        return;
    r->round++;
    r->round_started = r->now;
}

void raft_lease_confirmed(struct raft *r)
{
    if (r->options.lease_ns == 0 || r->lease_off || r->transfer)
        return;
    int64_t until = r->round_started + r->options.lease_ns / 10 * 9;
    if (until > r->lease_until)
        r->lease_until = until;
}

void raft_lease_drop(struct raft *r)
{
    r->lease_until = 0;
}

bool raft_lease_holds(const struct raft *r, int64_t now)
{
    return r->role == RAFT_LEADER && now < r->lease_until;
}
