/* RequestVote and its replies (Raft, figure 2 and section 5.4.1), and the same as PreVote (thesis,
 * section 9.6). */
#include "metadata/raft/raft_internal.h"

/* Raft, section 5.4.1: later last term, or the same and at least as long. */
static bool up_to_date(const struct raft *r, const struct raft_message *m)
{
    uint64_t term = raft_last_term(r);
    return m->log_term > term || (m->log_term == term && m->index >= raft_last_index(r));
}

/* Not of this member's last committed configuration, nor of one that may follow it. */
static bool stranger(const struct raft *r, raft_id id)
{
    if (r->configurations[0].index > r->log.commit || r->configurations[0].c.count == 0)
        return false;
    for (size_t i = 0; i < r->configuration_count; i++)
        if (raft_configuration_find(&r->configurations[i].c, id))
            return false;
    return true;
}

struct raft_message *raft_vote_answer(struct raft *r, enum raft_message_type type, raft_id to)
{
    struct raft_message *reply = raft_send(r, type, to);
    if (stranger(r, to))
        reply->hint_index = r->configurations[0].index;
    return reply;
}

/* Who hears a leader does not answer candidates, but a removed one shall learn why. */
void raft_answer_removed(struct raft *r, const struct raft_message *m)
{
    if (m->type == RAFT_PRE_VOTE && stranger(r, m->from))
        raft_vote_answer(r, RAFT_PRE_VOTE_REPLY, m->from)->reject = true;
}

/* It tells of something committed, so it holds in any term. Whoever is a member again has a later
 * configuration, or gets it. */
void raft_recv_notice(struct raft *r, const struct raft_message *m)
{
    if ((m->type != RAFT_PRE_VOTE_REPLY && m->type != RAFT_VOTE_REPLY) ||
        m->hint_index <= r->removed_at || r->role == RAFT_LEADER)
        return;
    bool before = raft_removed(r);
    r->removed_at = m->hint_index;
    if (!before && raft_removed(r))
        r->effects->configuration_changed = true;
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
    struct raft_message *reply =
        raft_vote_answer(r, pre ? RAFT_PRE_VOTE_REPLY : RAFT_VOTE_REPLY, m->from);
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
