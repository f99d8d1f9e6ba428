/* RequestVote and its replies (Raft, figure 2 and section 5.4.1), and the same as PreVote (thesis,
 * section 9.6). */
#include "metadata/raft/raft_internal.h"

/* Raft, section 5.4.1: later last term, or the same and at least as long. */
static bool up_to_date(const struct raft *r, const struct raft_message *m)
{
    uint64_t term = raft_last_term(r);
    return m->log_term > term || (m->log_term == term && m->index >= raft_last_index(r));
}

void raft_recv_vote(struct raft *r, const struct raft_message *m)
{
    bool pre = m->type == RAFT_PRE_VOTE;
    bool free_to =
        r->vote == m->from || (r->vote == 0 && r->leader == 0) || (pre && m->term > r->term);
    bool grant = free_to && up_to_date(r, m);
    if (grant && !pre) {
        r->elapsed = 0;
        if (r->vote != m->from) {
            r->vote = m->from;
            raft_save_hard_state(r);
        }
    }
    struct raft_message *reply = raft_send(r, pre ? RAFT_PRE_VOTE_REPLY : RAFT_VOTE_REPLY, m->from);
    reply->reject = !grant;
    if (grant)
        reply->term = m->term;
}

void raft_recv_vote_reply(struct raft *r, const struct raft_message *m)
{
    bool pre = m->type == RAFT_PRE_VOTE_REPLY;
    if (r->role != (pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE))
        return;
    /* Leave that was given for another term than the one this member would stand in. */
    if (pre && !m->reject && m->term != r->term + 1)
        return;
    int position = raft_position(r, m->from);
    if (position < 0)
        return;
    if (m->reject)
        r->refused |= UINT32_C(1) << position;
    else
        r->votes |= UINT32_C(1) << position;
    raft_count_votes(r);
}
