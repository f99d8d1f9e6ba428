/* Heartbeats carry leadership, the commit index as far as it is known to match, and the read round
 * (thesis, section 6.4). They are apart from appends, so that no reply waits for a disk. */
#include "metadata/raft/raft_internal.h"

void raft_recv_heartbeat(struct raft *r, const struct raft_message *m)
{
    if (r->role == RAFT_LEADER) {
        raft_violated(r, "two leaders in one term");
        return;
    }
    raft_follow(r, m);
    raft_lease_promise(r, m->from, m->index);
    uint64_t last = raft_last_index(r);
    if (!raft_frozen(r))
        raft_commit_to(r, m->commit < last ? m->commit : last);
    raft_send(r, RAFT_HEARTBEAT_REPLY, m->from)->context = m->context;
}

void raft_recv_heartbeat_reply(struct raft *r, const struct raft_message *m)
{
    if (r->role != RAFT_LEADER)
        return;
    int position = raft_position(r, m->from);
    if (position < 0)
        return;
    struct raft_progress *p = &r->progress[position];
    p->active = p->heard = true;
    if (m->context > p->round && m->context <= r->round) {
        p->round = m->context;
        raft_reads_confirm(r);
    }
    /* A lost append or a lost answer shows here: what was sent last is sent, or asked for, again. */
    p->probing = false;
    raft_sending_wanted(r, p, m->commit);
    raft_sending_again(r, p);
    if (p->match < raft_last_index(r) || p->flow == RAFT_PROBE)
        raft_replicate_again(r, p);
    raft_transfer_try(r, p);
}
