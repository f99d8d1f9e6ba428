/* What followers answer to appends (Raft, figure 2, "Leaders", and section 5.3). */
#include "metadata/raft/raft_internal.h"

static void refused(struct raft *r, struct raft_progress *p, const struct raft_message *m)
{
    if (p->flow == RAFT_SNAPSHOT_FLOW)
        return;
    if (p->flow == RAFT_REPLICATE) {
        if (m->index <= p->match)
            return; /* an old one */
        raft_progress_probe(p);
    } else if (m->index != p->next - 1) {
        return; /* an answer to an earlier probe */
    }
    uint64_t hint = m->hint_index < m->index ? m->hint_index : m->index ? m->index - 1 : 0;
    uint64_t agree = hint < r->log.terms.base_index
                         ? hint /* compacted away: a snapshot */
                         : term_runs_find(&r->log.terms, hint, m->hint_term);
    p->next = (agree > p->match ? agree : p->match) + 1;
    p->probing = p->loading = false;
    raft_replicate(r, p);
}

void raft_recv_append_reply(struct raft *r, const struct raft_message *m)
{
    if (r->role != RAFT_LEADER)
        return;
    int position = raft_position(r, m->from);
    if (position < 0)
        return;
    struct raft_progress *p = &r->progress[position];
    p->active = p->heard = true;
    raft_sending_wanted(r, p, m->commit);
    if (m->reject) {
        refused(r, p, m);
        return;
    }
    if (m->index > raft_last_index(r))
        return; /* cannot be */
    bool news = m->index > p->match;
    if (news)
        p->match = m->index;
    if (p->next <= m->index) {
        p->next = m->index + 1;
        p->loading = false;
    }
    raft_inflight_free_to(p, m->index);
    bool probed = p->flow == RAFT_PROBE && m->index + 1 >= p->next;
    bool caught_up = p->flow == RAFT_SNAPSHOT_FLOW && p->match >= r->log.terms.base_index;
    if (probed || caught_up)
        raft_progress_replicate(p);
    if (news)
        raft_advance_commit(r);
    position = r->role == RAFT_LEADER ? raft_position(r, m->from) : -1;
    if (position < 0)
        return; /* a new configuration came of it */
    p = &r->progress[position];
    if (p->next <= raft_last_index(r))
        raft_replicate(r, p);
    raft_transfer_try(r, p);
}
