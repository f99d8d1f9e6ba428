/* Reads without asking (thesis, section 6.4.1). A leader that wants leases (options.lease_ns) asks for
 * them in its heartbeats; who answers promises by its own clock to help nobody else for as long. A
 * leader that a quorum has answered trusts nine tenths of that, from when it asked (hazard 14). So the
 * promise is as long as its leader counts on, however the others are configured. */
#include "metadata/raft/raft_internal.h"

/* A restarted member does not know what it promised. */
void raft_lease_time(struct raft *r, int64_t now)
{
    if (r->options.promise_ns == 0)
        return;
    if (!r->timed || now > r->now)
        r->now = now;
    if (!r->timed)
        raft_lease_promise(r, 0, UINT64_MAX);
    r->timed = true;
}

void raft_lease_promise(struct raft *r, raft_id leader, uint64_t ns)
{
    if (ns == 0)
        return;
    int64_t most = r->options.promise_ns;
    int64_t until = r->now + (ns < (uint64_t)most ? (int64_t)ns : most);
    if (until > r->promise_until)
        r->promise_until = until;
    r->promise_to = leader;
}

bool raft_lease_promised(const struct raft *r, raft_id candidate)
{
    return r->options.promise_ns && r->now < r->promise_until &&
           (r->promise_to == 0 || r->promise_to != candidate);
}

/* At each heartbeat, so that the lease is renewed before it ends. */
void raft_lease_renew(struct raft *r)
{
    if (r->options.lease_ns == 0 || r->round != r->round_done)
        return;
    r->round++;
    r->round_started = r->now;
    raft_reads_confirm(r); /* who is alone has all answers */
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

int64_t raft_lease_until(const struct raft *r)
{
    return r->role == RAFT_LEADER ? r->lease_until : 0;
}

bool raft_lease_holds(const struct raft *r, int64_t now)
{
    return now < raft_lease_until(r);
}
